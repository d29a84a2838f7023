"""Which operators of a graph a card cannot compute in the types that it has, and which graphs are not computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import onnx
from onnx import TensorProto

from speedsheet.convert.graph.shape_values import fold_shape_values
from speedsheet.convert.graph.shapes import Shape, infer, known_shapes, write_shapes
from speedsheet.convert.graph.walk import nodes, skeleton, subgraphs
from speedsheet.core.errors import quoted
from speedsheet.twin.reading import VIEWS

#: Computes in another type; has subgraphs; makes a shape that depends on data; is not one that the model knows.
Reason = Literal["type", "control_flow", "shape", "unknown"]

#: What FP16 and INT8 hold: floats as FP16, or quantised; a truth value is a byte.
_HELD = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT8}
    | {TensorProto.BOOL}
)
#: Reads its first input by indices: those are addresses, and no arithmetic.
_INDEXED = frozenset({"Gather", "GatherElements", "GatherND"})
_LOOPS = frozenset({"Loop", "Scan"})
#: A tensor of more elements is not made here: 1 GiB in FP32.
_MOST_ELEMENTS = 1 << 28


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A node that the card cannot compute: its name and operator, why, and the element types where they are why."""

    name: str
    operator: str
    reason: Reason
    types: tuple[str, ...] = ()


def unsupported(settled: onnx.ModelProto, unknown: frozenset[str]) -> tuple[Unsupported, ...]:
    """Return what of a settled graph cannot run on a card of FP16 and INT8.

    `unknown` names the nodes of which nothing is known but their bytes.
    """
    graph = settled.graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    stored = {tensor.name for tensor in graph.initializer}
    known = known_shapes(settled)
    found = []
    for node in graph.node:
        name = node.name or node.output[0]
        operator = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        foreign = _foreign(node, types, stored)
        if subgraphs(node):
            found.append(Unsupported(name, operator, "control_flow"))
        elif foreign:
            found.append(Unsupported(name, operator, "type", foreign))
        elif any(not all(isinstance(size, int) for size in known.get(made, (None,))) for made in node.output if made):
            found.append(Unsupported(name, operator, "shape"))
        elif name in unknown:
            found.append(Unsupported(name, operator, "unknown"))
    return tuple(found)


def hindrance(settled: onnx.ModelProto) -> str | None:
    """Say why a settled graph is not computed on this machine; None where every tensor it makes has a bounded size.

    A file may ask for endless loops or any size. Past an operator of another domain nothing is computed in any case.
    """
    known = known_shapes(settled)
    loop = next((node for node in nodes(settled.graph) if node.op_type in _LOOPS), None)
    if loop is not None:
        return f"{quoted(loop.name or loop.op_type)} loops, and loops are not computed here"
    for node in settled.graph.node:
        if node.domain not in {"", "ai.onnx"}:
            return None
        name = quoted(node.name or node.output[0])
        for dims in (known.get(made) for made in node.output if made):
            sizes = [size for size in dims or () if isinstance(size, int)]
            if dims is None or len(sizes) < len(dims):
                return f"{name} makes a shape that depends on data"
            if prod(sizes) > _MOST_ELEMENTS:
                return f"{name} makes {prod(sizes):.2g} elements at once"
    return None


def settle(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """Return a light copy with static shapes, in which the arithmetic on shapes is done and stored.

    Raises BadInput where the shapes do not fit.
    """
    light = skeleton(onnx.inliner.inline_local_functions(model) if model.functions else model)
    write_shapes(light, shapes)
    while True:
        light = infer(light)
        full = {
            name: tuple(size for size in dims if isinstance(size, int))
            for name, dims in known_shapes(light).items()
            if all(isinstance(size, int) for size in dims)
        }
        if not fold_shape_values(light, full):
            return light


def _foreign(node: onnx.NodeProto, types: Mapping[str, int], stored: set[str]) -> tuple[str, ...]:
    """Return the element types in which a node computes and the card does not; moving data is the same in any type."""
    if (node.op_type in VIEWS and node.op_type != "Cast") or node.op_type in _INDEXED or node.op_type == "Constant":
        return ()
    names = [name for name in (*node.input, *node.output) if name and name not in stored]
    kinds = dict.fromkeys(types[name] for name in names if types.get(name))
    return tuple(_type_name(kind) for kind in kinds if kind not in _HELD)


def _type_name(kind: int) -> str:
    return str(TensorProto.DataType.Name(kind)).lower()
