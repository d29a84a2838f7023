"""How much a graph makes of its shapes: inference writes out what it knows of them, element by element."""

from __future__ import annotations

from math import prod

import onnx
import onnx.inliner

from speedsheet.convert.graph.check import MAX_AXES, one_line
from speedsheet.convert.graph.walk import graphs, heavy, skeleton
from speedsheet.core.errors import BadModel

#: Elements of all values together; inference takes some 60 bytes for each.
MAX_ELEMENTS = 2**24


def check_growth(model: onnx.ModelProto) -> None:
    """Raise BadModel where arithmetic on shapes makes more elements than memory should hold.

    A value that is joined to itself forty times in a row has 2^40 elements, and the file two kilobytes.
    """
    lengths: dict[str, int] = {}
    total = 0
    for graph in graphs(inlined(skeleton(model)) if model.functions else model):
        lengths.update((tensor.name, prod(tensor.dims)) for tensor in graph.initializer if not heavy(tensor))
        for node in graph.node:
            length = _length(node, lengths)
            total += length or 0
            if total > MAX_ELEMENTS:
                raise BadModel(
                    f"its arithmetic on shapes makes more than {MAX_ELEMENTS} elements",
                    do="simplify the model (onnxslim), or export it again",
                )
            for name in node.output:
                if length is None:
                    lengths.pop(name, None)
                else:
                    lengths[name] = length


def inlined(light: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose functions are written out where they are called."""
    if not light.functions:
        return light
    try:
        return onnx.inliner.inline_local_functions(light)
    except (RuntimeError, ValueError, TypeError) as error:
        raise BadModel(f"its functions cannot be written out: {one_line(error)}", do="export it again") from error


def _length(node: onnx.NodeProto, lengths: dict[str, int]) -> int | None:
    """Return how many elements of a node's outputs may be known at most, None where none are."""
    if node.op_type == "Shape":
        return MAX_AXES
    if node.op_type == "Constant":
        sizes = [prod(given.t.dims) for given in node.attribute if given.HasField("t") and not heavy(given.t)]
        return max([*sizes, *(len(given.ints) + len(given.floats) for given in node.attribute)], default=None)
    given = [lengths.get(name) for name in node.input if name]
    known = [length for length in given if length is not None]
    if not known or len(known) < len(given):
        return None
    if node.op_type == "Gather":
        return known[-1]
    return sum(known) if node.op_type == "Concat" else max(known)
