"""What an ONNX node is to the card, from its type, attributes and the shapes around it; nothing is fused yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import onnx

from speedsheet.convert.graph.count import node_macs
from speedsheet.core.macs import CONVOLUTIONS, PRODUCTS

Shapes = Mapping[str, tuple[int, ...]]

#: Same elements under another shape or name: no work where the compiler chooses addresses; concat writes in place,
#: and padding, slices and transposes are strides of the engine that moves tensors.
VIEWS = frozenset(
    {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Concat", "Split", "Slice", "Pad", "Transpose"}
    | {"Dropout", "Expand", "Tile", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "DepthToSpace"}
    | {"SpaceToDepth", "ConstantOfShape", "Range"}
)
#: One vector operation for each element of the output.
SIMPLE = frozenset(
    {"Add", "Sub", "Mul", "Relu", "Clip", "LeakyRelu", "PRelu", "Abs", "Neg", "Max", "Min", "Where", "Equal", "Less"}
    | {"Greater", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or", "Xor", "Floor", "Ceil", "Round", "Sign"}
    | {"ThresholdedRelu", "HardSigmoid", "BatchNormalization", "Mean", "Sum", "Mod", "IsNaN"}
)
#: One operation of the exp, division and square-root unit for each element, and one vector operation beside it.
SPECIAL = frozenset(
    {"Exp", "Log", "Sqrt", "Tanh", "Sigmoid", "Erf", "Reciprocal", "Div", "Pow", "Softplus", "Elu", "Selu", "Gelu"}
    | {"HardSwish", "Mish", "Sin", "Cos", "Celu", "Softsign"}
)
#: Vector operations an element of what they read: a maximum or sum over rows, scaled and shifted.
ROWS = {"Softmax": 3, "LogSoftmax": 3, "LayerNormalization": 6, "InstanceNormalization": 6, "GroupNormalization": 6,
        "RMSNormalization": 4, "SkipLayerNormalization": 7, "LpNormalization": 3}  # fmt: skip
POOLS = frozenset({"MaxPool", "AveragePool", "LpPool"})
GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool"})
REDUCTIONS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare"}
    | {"ReduceLogSumExp", "ArgMax", "ArgMin", "CumSum", "TopK"}
)
LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND", "EmbedLayerNormalization"})
#: The square of a number, and its root, are no work of the special unit.
_PLAIN_POWERS = frozenset({1.0, 2.0, 3.0})


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product of one sample: `groups` times (m x k) by (k x n); `taps` is the kernel's area."""

    m: int
    k: int
    n: int
    groups: int
    taps: int


def product(node: onnx.NodeProto, shapes: Shapes) -> Product | None:
    """Return a node's matrix product; None for one that multiplies no matrices. Raises BadModel for unknown shapes."""
    macs = node_macs(node, shapes)
    if not macs:
        return None
    kind = node.op_type
    out = shapes[next(name for name in node.output if name)]
    if kind in CONVOLUTIONS or kind == "ConvTranspose":
        return _convolution(node, shapes, out)
    if kind in PRODUCTS:
        left = shapes[node.input[0]]
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        k = left[-2 if turned else -1]
        m, n = (out[-2], out[-1]) if len(out) > 1 else (1, out[-1] if out else 1)
        return _gathered(node, shapes, Product(m, k, n, macs // max(m * k * n, 1), 1))
    n = out[-1] if out else 1
    m = max(prod(out) // max(n, 1), 1)
    return Product(m, max(macs // max(m * n, 1), 1), n, 1, 1)


def _convolution(node: onnx.NodeProto, shapes: Shapes, out: tuple[int, ...]) -> Product:
    attributes = {attribute.name: attribute for attribute in node.attribute}
    groups = attributes["group"].i if "group" in attributes else 1
    weight = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]
    taps = prod(weight[2:])
    if node.op_type == "ConvTranspose":
        positions = prod(shapes[node.input[0]]) // max(weight[0], 1)
        return Product(positions, weight[0] // groups, weight[1] * taps, groups, taps)
    return Product(out[0] * prod(out[2:]), weight[1] * taps, weight[0] // groups, groups, taps)


def _gathered(node: onnx.NodeProto, shapes: Shapes, found: Product) -> Product:
    """Where the right side is one matrix, the batches of the left side are rows of one product."""
    right = shapes.get(node.input[1], ())
    if len(right) <= 2 and found.groups > 1:  # noqa: PLR2004  a matrix
        return Product(found.m * found.groups, found.k, found.n, 1, 1)
    return found


def vector_work(node: onnx.NodeProto, shapes: Shapes, constants: Mapping[str, Any]) -> tuple[int, int]:
    """Return the vector and the special operations of an element-wise node, for one execution of the graph."""
    elements = max((prod(shapes.get(name, ())) for name in node.output if name), default=0)
    if node.op_type in SIMPLE:
        return elements, 0
    if node.op_type == "Pow" and node.input[1] in constants:
        exponent = constants[node.input[1]]
        return elements, 0 if exponent in _PLAIN_POWERS else elements
    if node.op_type == "Div":  # one reciprocal for each divisor, and a product for each element
        divisors = 0 if node.input[1] in constants else prod(shapes.get(node.input[1], ()))
        return elements, min(divisors, elements)
    return elements, elements


def reduction_work(node: onnx.NodeProto, shapes: Shapes) -> tuple[int, int]:
    """Return the vector and special operations of a node that sums or ranks over what it reads."""
    read = prod(shapes.get(node.input[0], ()))
    kind = node.op_type
    if kind in ROWS:
        special = read if "oftmax" in kind else read // max((shapes.get(node.input[0]) or (1,))[-1], 1)
        return ROWS[kind] * read, special
    if kind in POOLS:
        sizes = next((list(attribute.ints) for attribute in node.attribute if attribute.name == "kernel_shape"), [1])
        return prod(shapes.get(node.output[0], ())) * prod(sizes), 0
    return read, 0
