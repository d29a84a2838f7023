"""Products in an ONNX operator: how many from its shapes, and whether of integers; one rule to count and to audit."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

#: The operators whose work is a product of matrices, fused forms of the engines included.
CONVOLUTIONS = frozenset({"Conv", "FusedConv", "QLinearConv", "ConvInteger", "NhwcFusedConv", "NhwcConv"})
PRODUCTS = frozenset(
    {"MatMul", "FusedMatMul", "Gemm", "FusedGemm", "QLinearMatMul", "MatMulInteger", "DynamicQuantizeMatMul"}
    | {"MatMulIntegerToFloat", "QGemm", "TransposeMatMul", "MatMulNBits", "MatMulScale"}
)
#: The operators that carry a state from step to step, and how many products with it each has.
GATES = {"LSTM": 4, "DynamicQuantizeLSTM": 4, "GRU": 3, "RNN": 1}
_INTEGERS = frozenset({"QGemm", "QAttention", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})

Shape = Sequence[int]


def of_integers(operator: str) -> bool:
    """Whether an operator computes with integers as they are, without a node that dequantises them first."""
    return operator in _INTEGERS or operator.startswith("QLinear") or "Integer" in operator


def conv_macs(weight: Shape, output: Shape) -> int:
    """Weights (Cout, Cin/groups, taps...), output (N, Cout, spatial...): every weight once per output position."""
    return prod(weight) * prod(output) // output[1] if len(output) > 1 and output[1] else 0


def conv_transpose_macs(weight: Shape, inputs: Shape) -> int:
    """Weights (Cin, Cout/groups, taps...), input (N, Cin, spatial...): every weight once per input position."""
    return prod(weight) * prod(inputs) // inputs[1] if len(inputs) > 1 and inputs[1] else 0


def matmul_macs(left: Shape, output: Shape, *, transposed: bool = False) -> int:
    """Left (..., M, K), output (..., M, N): K for every output element."""
    if not left:
        return 0
    return left[-2 if transposed else -1] * prod(output)


def product_macs(left: Shape, output: Shape) -> int:
    """As `matmul_macs`, for engines that do not tell whether the left side is transposed: its shape does."""
    turned = len(left) > 1 and len(output) > 1 and left[-2] != output[-2] and left[-1] == output[-2]
    return matmul_macs(left, output, transposed=turned)


def recurrent_macs(inputs: Shape, output: Shape, gates: int) -> int:
    """Input (steps, batch, width), output (..., directions, batch, hidden): both widths for each gate of an element."""
    steps, batch, width = inputs
    directions, hidden = output[-3], output[-1]
    return steps * batch * directions * gates * hidden * (width + hidden)
