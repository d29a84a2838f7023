"""Parameters and multiply-accumulates of an ONNX graph at given input shapes; the weights need not be loaded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx

from speedsheet.convert.graph.shape_values import fold_shape_values
from speedsheet.core.errors import BadModel
from speedsheet.core.macs import CONVOLUTIONS, PRODUCTS, conv_macs, conv_transpose_macs, matmul_macs

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
#: Where a convolution keeps its weights, if not in its second input.
_WEIGHT_INDEX = {"QLinearConv": 3}
_NUMBERS = frozenset(
    getattr(onnx.TensorProto, kind)
    for kind in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "UINT8", "INT4", "UINT4")
    if hasattr(onnx.TensorProto, kind)
)
_Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a graph holds and what one request of it costs, by node name too."""

    parameters: int
    macs: int
    macs_by_node: Mapping[str, int]


def count(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> Counts:
    """Count at these input shapes (by input name, the batch included). Bodies of If, Loop and Scan are not counted.

    A node without a name goes by its first output. Raises BadModel where a product's shape cannot be inferred.
    """
    known = infer(model, shapes)
    by_node: dict[str, int] = defaultdict(int)
    for node in model.graph.node:
        macs = node_macs(node, known)
        if macs:
            by_node[node.name or node.output[0]] += macs
    return Counts(parameters(model.graph), sum(by_node.values()), dict(by_node))


def parameters(graph: onnx.GraphProto) -> int:
    """Count the numbers that a graph holds: floats and quantised integers, not shapes, axes or indices."""
    total: int = sum(prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in _NUMBERS)
    total += sum(prod(t.values.dims) for t in graph.sparse_initializer if t.values.data_type in _NUMBERS)
    for node in graph.node:
        if node.op_type == "Constant":
            total += sum(prod(a.t.dims) for a in node.attribute if a.name == "value" and a.t.data_type in _NUMBERS)
    return total


def infer(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that is known once the inputs have these shapes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        for axis, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ()), strict=False):
            axis.dim_value = size
    for value in copy.graph.output:  # a free batch would win over what is inferred
        value.type.tensor_type.ClearField("shape")
    known = _inferred(copy)
    while fold_shape_values(copy, known):
        known |= _inferred(copy)
    return known


def _inferred(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        sizes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(size.HasField("dim_value") for size in sizes):
            known[value.name] = tuple(size.dim_value for size in sizes)
    return known


def node_macs(node: onnx.NodeProto, known: _Shapes) -> int:
    """Count the multiply-accumulates of one node; 0 for one that multiplies no matrices."""
    kind = node.op_type
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if kind in CONVOLUTIONS:
        return conv_macs(
            _shape(node, node.input[_WEIGHT_INDEX.get(kind, 1)], known), _shape(node, node.output[0], known)
        )
    if kind == "ConvTranspose":
        return conv_transpose_macs(_shape(node, node.input[1], known), _shape(node, node.input[0], known))
    if kind in PRODUCTS:
        left = _shape(node, node.input[0], known)
        return matmul_macs(left, _shape(node, node.output[0], known), transposed=bool(attributes.get("transA", 0)))
    if kind == "Einsum":
        return _einsum_macs(attributes["equation"].decode(), [_shape(node, name, known) for name in node.input])
    if kind in _RECURRENT:
        steps, batch, _ = _shape(node, node.input[0], known)
        return steps * batch * sum(prod(_shape(node, name, known)) for name in node.input[1:3])
    return 0


def _einsum_macs(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """Every combination of the indices that occur once: what a contraction of two operands does."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").split("->")[0].split(","), shapes, strict=True):
        head, dots, tail = term.partition("...")
        middle = (
            [f".{axis - len(shape) + len(tail)}" for axis in range(len(head), len(shape) - len(tail))] if dots else []
        )
        for label, size in zip([*head, *middle, *tail], shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return prod(sizes.values()) if len(shapes) > 1 else 0


def _shape(node: onnx.NodeProto, name: str, known: _Shapes) -> tuple[int, ...]:
    if name not in known:
        raise BadModel(
            f"the shape of {name!r} cannot be inferred",
            where=f"{node.op_type} {node.name or node.output[0]}",
            do="give every input a full shape (--input NAME=SHAPE:DTYPE)",
        )
    return known[name]
