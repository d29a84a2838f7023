"""Counting: every product's work by hand, from shapes alone."""

from __future__ import annotations

import tracemalloc

import onnx
import pytest
from onnx import TensorProto, helper

from speedsheet.convert.graph.count import count
from speedsheet.core.errors import BadModel
from speedsheet.core.macs import of_integers


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list],
    constants: dict[str, list[int]] | None = None,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Return a model whose constants have shapes and no values, as those with weights outside have."""
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(nodes[-1].output[0])],
    )
    for name, dims in (constants or {}).items():
        tensor = graph.initializer.add(name=name, data_type=kind, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    ("node", "inputs", "constants", "macs"),
    [
        (("Conv", {"pads": [1, 1, 1, 1]}), [2, 8, 10, 12], [16, 8, 3, 3], 2 * 16 * 10 * 12 * 8 * 9),
        (("Conv", {"group": 4}), [1, 8, 5, 5], [8, 2, 3, 3], 8 * 3 * 3 * 2 * 9),
        (("Conv", {"strides": [2]}), [1, 3, 9], [4, 3, 3], 4 * 4 * 3 * 3),
        (("ConvTranspose", {"strides": [2, 2]}), [1, 6, 7, 5], [6, 4, 2, 2], 7 * 5 * 6 * 4 * 4),
        (("MatMul", {}), [2, 3, 7, 5], [5, 11], 2 * 3 * 7 * 5 * 11),
        (("Gemm", {"transB": 1}), [9, 5], [4, 5], 9 * 5 * 4),
        (("Gemm", {"transA": 1}), [5, 9], [5, 4], 9 * 5 * 4),
        (("Einsum", {"equation": "abc,cde->abde"}), [2, 3, 4], [4, 5, 6], 2 * 3 * 4 * 5 * 6),
        (("Einsum", {"equation": "...ij,jk->...ik"}), [7, 2, 3], [3, 4], 7 * 2 * 3 * 4),
        (("Add", {}), [2, 3], [2, 3], 0),
    ],
)
def test_products_are_counted(node, inputs, constants, macs):
    """Convolutions with groups and strides, matrix products in each orientation, and contractions."""
    kind, attributes = node
    made = helper.make_node(kind, ["x", "w"], ["y"], name="it", **attributes)
    counts = count(model([made], {"x": inputs}, {"w": constants}), {"x": tuple(inputs)})
    assert counts.macs == macs
    assert counts.macs_by_node == ({"it": macs} if macs else {})


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_are_counted(kind: str, gates: int):
    """Every gate of every direction multiplies the input and the state at every step."""
    node = helper.make_node(kind, ["x", "w", "r"], ["y"], hidden_size=6, direction="bidirectional")
    shapes = {"w": [2, gates * 6, 5], "r": [2, gates * 6, 6]}
    counts = count(model([node], {"x": [7, 3, 5]}, shapes), {"x": (7, 3, 5)})
    assert counts.macs == 7 * 3 * 2 * gates * 6 * (5 + 6)
    assert counts.macs_by_node == {"y": counts.macs}


@pytest.mark.parametrize(("operator", "integers"), [
    ("QLinearConv", True), ("MatMulInteger", True), ("MatMulIntegerToFloat", True), ("QGemm", True),
    ("DynamicQuantizeLSTM", True), ("Conv", False), ("DequantizeLinear", False), ("DynamicQuantizeLinear", False),
])  # fmt: skip
def test_products_of_integers_are_known_by_name(operator, integers):
    """One list for the audit, for what stays in floating point, and for what a file already is."""
    assert of_integers(operator) is integers


def test_the_batch_is_what_is_given():
    """A free first axis takes the size that is asked, through a reshape that depends on it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], end=1),
        helper.make_node("Concat", ["s", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["z"]),
        helper.make_node("MatMul", ["z", "w"], ["y"]),
    ]
    made = model(nodes, {"x": ["batch", 2, 6]}, {"w": [12, 5]})
    made.graph.initializer.append(helper.make_tensor("rest", TensorProto.INT64, [1], [12]))
    assert count(made, {"x": (4, 2, 6)}).macs == 4 * 12 * 5
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_parameters_are_numbers_and_not_shapes():
    """Floats and quantised weights are counted, inline constants too; axes and indices are not."""
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [5], [0.0] * 5))
    made = model([constant, helper.make_node("Add", ["x", "c"], ["y"])], {"x": [5]}, {"w": [3, 4]}, TensorProto.INT8)
    made.graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [2], [0, 1]))
    assert count(made, {"x": (5,)}).parameters == 5 + 12


def test_an_unknown_shape_is_told():
    """A product whose shape nothing gives is named, with what to do."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="lost")
    with pytest.raises(BadModel, match=r"MatMul lost: the shape of .* cannot be inferred; give every input"):
        count(model([node], {"x": ["batch", "free"]}, {"w": [4, 5]}), {"x": (2,)})


def test_shapes_that_are_computed_are_followed():
    """A reshape by arithmetic on shapes, as exporters write it, does not stop the count."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["i"], to=TensorProto.INT32),
        helper.make_node("Slice", ["i", "zero", "two", "zero"], ["head"]),
        helper.make_node("ReduceProd", ["head"], ["rows"], keepdims=1),
        helper.make_node("Max", ["rows", "least"], ["most"]),
        helper.make_node("Concat", ["most", "width"], ["t32"], axis=0),
        helper.make_node("Cast", ["t32"], ["t"], to=TensorProto.INT64),
        helper.make_node("Expand", ["one", "t"], ["wide"]),
        helper.make_node("MatMul", ["wide", "w"], ["y"]),
    ]
    made = model(nodes, {"x": ["batch", 3, 8]}, {"w": [8, 5]})
    for name, value, kind in (
        ("zero", 0, TensorProto.INT64),
        ("two", 2, TensorProto.INT64),
        ("least", 1, TensorProto.INT32),
        ("width", 8, TensorProto.INT32),
        ("one", 1.0, TensorProto.FLOAT),
    ):
        made.graph.initializer.append(helper.make_tensor(name, kind, [1], [value]))
    before = made.SerializeToString()
    assert count(made, {"x": (4, 3, 8)}).macs == 12 * 8 * 5
    assert made.SerializeToString() == before


def test_a_hostile_size_is_not_made():
    """Shape arithmetic that asks for terabytes is left alone."""
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["y"]),
    ]
    made = model(nodes, {"x": [1]})
    made.graph.initializer.append(helper.make_tensor("huge", TensorProto.INT64, [2], [1 << 40, 1 << 20]))
    assert count(made, {"x": (1,)}).macs == 0


def test_small_values_that_multiply_are_not_made():
    """Three vectors of some hundred elements, along three axes, would be a gigabyte."""
    made = model(
        [helper.make_node("Where", ["c", "a", "b"], ["z"]), helper.make_node("Add", ["x", "z"], ["y"])], {"x": [1]}
    )
    for name, kind, dims in (
        ("c", TensorProto.BOOL, [512, 1, 1]),
        ("a", TensorProto.INT64, [1, 512, 1]),
        ("b", TensorProto.INT64, [1, 1, 512]),
    ):
        made.graph.initializer.append(helper.make_tensor(name, kind, dims, [1] * 512))
    tracemalloc.start()
    try:
        count(made, {"x": (1,)})
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
