"""How far the indices in a user's model may go: a table that a request reads past the end of stops most engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx
from numpy.typing import NDArray

from speedsheet.convert.graph.shapes import Dim, known_shapes
from speedsheet.convert.graph.walk import graphs, heavy

#: Operators that hand on values as they are; Concat hands on all its inputs, the others the first.
_PASSING = frozenset(
    {
        "Cast",
        "Clip",
        "Concat",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
    }
    | {"Transpose", "Unsqueeze"}
)
#: Operators that look rows up: position of the table among the inputs for each position of indices.
_LOOKUPS = {"Gather": {1: 0}, "EmbedLayerNormalization": {0: 2, 1: 4}}


@dataclass(frozen=True, slots=True)
class _Ids:
    """Values of inputs, with up to `shift` added."""

    origins: frozenset[str]
    shift: int = 0


#: What is known of a value: ids, one number everywhere, or (None) nothing.
_Known = _Ids | float | None


def table_sizes(model: onnx.ModelProto) -> dict[str, int]:
    """Return how far ids may go, by the name of their input: the rows of the smallest table that they index.

    Ids are taken to be at least 0, so that what exporters write to allow negative ones folds away. The model must
    carry the shapes that inference found; its functions must be inlined.
    """
    trace = _Trace(known_shapes(model))
    for value in model.graph.input:
        trace.known[value.name] = _Ids(frozenset({value.name}))
    for graph in graphs(model):
        for tensor in graph.initializer if isinstance(graph, onnx.GraphProto) else ():
            trace.store(tensor.name, tensor)
        for node in graph.node:
            trace.visit(node)
    return trace.rows


@dataclass(slots=True)
class _Trace:
    """Follows ids from node to node, in the order of the graph."""

    shapes: Mapping[str, tuple[Dim, ...]]
    known: dict[str, _Known] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def store(self, name: str, tensor: onnx.TensorProto) -> None:
        """Keep a small number or array that the graph holds."""
        if heavy(tensor) or tensor.data_type == onnx.TensorProto.STRING:
            return
        values = onnx.numpy_helper.to_array(tensor)
        if values.size and values.dtype.kind in "biuf":
            self.constants[name] = values
            lowest, highest = float(values.min()), float(values.max())
            self.known[name] = lowest if lowest == highest else None

    def visit(self, node: onnx.NodeProto) -> None:
        """Note what a node looks up, and what is known of its outputs."""
        for indices, rows in self._looked_up(node):
            ids = self.known.get(indices)
            for origin in ids.origins if isinstance(ids, _Ids) else ():
                bound = max(1, min(rows, rows - ids.shift)) if isinstance(ids, _Ids) else rows
                self.rows[origin] = min(self.rows.get(origin, bound), bound)
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
                    self.store(node.output[0], attribute.t)
            return
        result = self._result(node)
        self.known.update((name, result) for name in node.output)

    def _looked_up(self, node: onnx.NodeProto) -> Iterator[tuple[str, int]]:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        for indices, table in _LOOKUPS.get(node.op_type, {}).items():
            if max(indices, table) < len(node.input):
                dims = self.shapes.get(node.input[table], ())
                size = dims[axis] if -len(dims) <= axis < len(dims) else None
                if isinstance(size, int):
                    yield node.input[indices], size

    def _result(self, node: onnx.NodeProto) -> _Known:
        given = [self.known.get(name) for name in node.input]
        if not given:
            return None
        if node.op_type in _PASSING:
            return _merged(given) if node.op_type == "Concat" else given[0]
        if node.op_type == "Not" and isinstance(given[0], float):
            return 1.0 - given[0]
        if node.op_type == "Where" and len(given) == len(("condition", "then", "otherwise")):
            condition, then, otherwise = given
            if isinstance(condition, float):
                return then if condition else otherwise
            return _merged([then, otherwise])
        return self._of_two(node, given[0], given[1]) if len(given) == len(("left", "right")) else None

    def _of_two(self, node: onnx.NodeProto, left: _Known, right: _Known) -> _Known:
        if node.op_type in {"Less", "GreaterOrEqual"} and isinstance(left, _Ids) and isinstance(right, float):
            return float(node.op_type == "GreaterOrEqual") if right <= 0 <= left.shift else None
        if node.op_type == "Mul":
            if 0.0 in (left, right):
                return 0.0
            return right if left == 1.0 else left if right == 1.0 else None
        if node.op_type == "Add":
            for one, other, name in ((left, right, node.input[1]), (right, left, node.input[0])):
                if other == 0.0:
                    return one
                added = self.constants.get(name)
                if isinstance(one, _Ids) and added is not None and added.dtype.kind in "iu":
                    return replace(one, shift=one.shift + int(added.max()))
        return None


def _merged(given: list[_Known]) -> _Known:
    """What is known of values that come together: constants among them are the model's own business."""
    ids = [one for one in given if isinstance(one, _Ids)]
    if not ids:
        return given[0] if len(set(given)) == 1 else None
    return _Ids(frozenset().union(*(one.origins for one in ids)), max(one.shift for one in ids))
