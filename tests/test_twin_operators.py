"""Operators of a graph: nothing of the work is lost, what a compiler fuses is fused, what is unknown is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import conv, mlp, model, tensor, weights
from speedsheet.convert.shipping.recipe import shipped
from speedsheet.core.errors import BadInput, BadModel, SpeedsheetError, UnknownName
from speedsheet.plugins import workloads
from speedsheet.twin.families import CONVOLUTIONAL, RECOMMENDER, TRANSFORMER, UNFUSED, family
from speedsheet.twin.operators import workpiece
from speedsheet.twin.pieces import own_piece, stated_piece, zoo_piece
from speedsheet.twin.types import Operator, Workpiece

NODE = helper.make_node


def read(
    nodes: list[onnx.NodeProto], shape: list[int], stored: list[onnx.TensorProto], outputs: list[str] | None = None
) -> Workpiece:
    """Read a graph of one input x and the output y."""
    names = outputs or ["y"]
    proto = model(nodes, [tensor("x", list(shape))], [tensor(name, None) for name in names], stored)
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    return workpiece(proto, "case", {"x": tuple(shape)})


def constant(name: str, values: list[float]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


@pytest.mark.parametrize("name", sorted(workloads()))
def test_fusing_loses_no_multiply_accumulate(name: str) -> None:
    """For every shipped model the operators hold exactly the work that its recipe counted from the graph.

    But for products of two stored tensors, which a compiler computes once: XLNet's position encodings.
    """
    piece = zoo_piece(name)
    stored = {"xlnet": 12 * 256 * 768 * 768}.get(name, 0)
    assert piece.macs + stored == shipped(name).macs_per_sample
    assert not [operator.name for operator in piece.operators if operator.unknown]
    assert len({operator.name for operator in piece.operators}) == len(piece.operators)


def test_a_convolution_takes_its_tail() -> None:
    """Bias, batch-norm, residual addition and activation join it: one operator that reads the residual too."""
    nodes = [
        NODE("Conv", ["x", "k", "b"], ["c"], name="first", pads=[1, 1, 1, 1]),
        NODE("Mul", ["c", "scale"], ["m"]),
        NODE("Add", ["m", "shift"], ["n"]),
        NODE("Add", ["n", "x"], ["s"]),
        NODE("Relu", ["s"], ["y"]),
    ]
    stored = [weights("k", 8, 8, 3, 3), weights("b", 8), weights("scale", 8, 1, 1), weights("shift", 8, 1, 1)]
    (only,) = read(nodes, [1, 8, 10, 10], stored).operators
    assert (only.name, only.kind, only.m, only.k, only.n, only.taps) == ("first", "conv", 100, 72, 8, 9)
    assert (only.input_elements, only.output_elements) == (800, 800)
    assert only.vector_ops == 3 * 800, "one bias, one addition, one ReLU: the batch-norm is folded into the weights"


def test_a_batch_norm_behind_a_residual_addition_is_not_folded() -> None:
    """What is added between product and scale cannot move into the weights."""
    nodes = [
        NODE("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        NODE("Add", ["c", "x"], ["s"]),
        NODE("Mul", ["s", "scale"], ["y"]),
    ]
    (only,) = read(nodes, [1, 8, 10, 10], [weights("k", 8, 8, 3, 3), weights("scale", 8, 1, 1)]).operators
    assert only.vector_ops == 2 * 800


def test_concat_is_free_and_what_follows_it_joins_the_next_product() -> None:
    """DenseNet's blocks: the batch-norm and ReLU of all maps together are done by who reads them."""
    nodes = [
        NODE("Conv", ["x", "k"], ["c"], name="grow", pads=[1, 1, 1, 1]),
        NODE("Concat", ["x", "c"], ["j"], axis=1),
        NODE("Mul", ["j", "scale"], ["m"]),
        NODE("Relu", ["m"], ["r"]),
        NODE("Conv", ["r", "q"], ["y"], name="squeeze"),
    ]
    stored = [weights("k", 4, 8, 3, 3), weights("scale", 12, 1, 1), weights("q", 2, 12, 1, 1)]
    grow, squeeze = read(nodes, [1, 8, 10, 10], stored).operators
    assert (grow.vector_ops, grow.output_elements) == (0, 400)
    assert (squeeze.name, squeeze.input_elements, squeeze.vector_ops) == ("squeeze", 1200, 2 * 1200)


def test_attention_and_layer_norm_are_recognised() -> None:
    """BERT-base: twelve attentions whose scores stay inside, twenty-five norms, whoever exported them."""
    piece = zoo_piece("bert_128")
    kinds = Counter(operator.kind for operator in piece.operators)
    assert (kinds["attention"], kinds["norm"], kinds["product"], kinds["softmax"]) == (12, 25, 0, 0)
    attention = next(operator for operator in piece.operators if operator.kind == "attention")
    assert attention.inner_elements == 12 * 128 * 128
    assert attention.macs == 2 * 12 * 128 * 128 * 64
    assert attention.special_ops == 12 * 128 * 128


def test_slices_are_counted_as_what_is_read() -> None:
    """Three slices of one product that are read apart are together that product, and one alone is a third of it."""
    parts = [NODE("Slice", ["p", f"from{n}", f"to{n}", "axis"], [f"s{n}"]) for n in range(3)]
    bounds = [
        numpy_helper.from_array(np.array([8 * n + more]), f"{name}{n}")
        for n in range(3)
        for name, more in (("from", 0), ("to", 8))
    ]
    stored = [weights("w", 16, 24), weights("v", 8, 4), numpy_helper.from_array(np.array([1]), "axis"), *bounds]
    for read_apart, written in ((1, 4 * 8), (3, 4 * 24)):
        products = [NODE("MatMul", [f"s{n}", "v"], [f"y{n}"]) for n in range(read_apart)]
        nodes = [NODE("MatMul", ["x", "w"], ["p"], name="whole"), *parts[:read_apart], *products]
        piece = read(nodes, [4, 16], stored, [f"y{n}" for n in range(read_apart)])
        assert (piece.operators[0].name, piece.operators[0].output_elements) == ("whole", written)


def test_a_quantised_graph_has_the_operators_of_its_model() -> None:
    """Scales and zero points around a convolution add none, and its weights are counted through them."""
    stored = [
        weights("k", 8, 8, 3, 3, kind=np.int8),
        constant("scale", [0.1]),
        numpy_helper.from_array(np.int8([0]), "zero"),
    ]
    nodes = [
        NODE("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        NODE("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        NODE("DequantizeLinear", ["k", "scale", "zero"], ["w"]),
        NODE("Conv", ["d", "w"], ["c"], pads=[1, 1, 1, 1]),
        NODE("Relu", ["c"], ["y"]),
    ]
    (only,) = read(nodes, [1, 8, 10, 10], stored).operators
    assert (only.kind, only.weight_elements, only.input_elements) == ("conv", 8 * 8 * 9, 800)


def _attention(outputs: list[str]) -> Workpiece:
    nodes = [
        NODE("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        NODE("MatMul", ["x", "t"], ["scores"], name="scores"),
        NODE("Softmax", ["scores"], ["p"], axis=-1),
        NODE("MatMul", ["p", "x"], ["y"], name="values"),
    ]
    return read(nodes, [4, 16, 8], [], outputs)


def test_scores_that_somebody_else_reads_are_not_fused_away() -> None:
    """Attention is one operator only where nothing but its own second product reads the scores."""
    assert [operator.kind for operator in _attention(["y"]).operators] == ["attention"]
    nodes = [
        NODE("Transpose", ["x"], ["t"], perm=[0, 2, 1]),
        NODE("MatMul", ["x", "t"], ["scores"]),
        NODE("Softmax", ["scores"], ["p"], axis=-1),
        NODE("MatMul", ["p", "x"], ["v"]),
        NODE("MatMul", ["p", "v"], ["y"]),
    ]
    piece = read(nodes, [4, 16, 8], [])
    assert [operator.kind for operator in piece.operators] == ["product"] * 3
    assert piece.operators[0].output_elements == 4 * 16 * 16


def test_an_unknown_operator_is_named_and_costed_by_its_bytes() -> None:
    """It reads and writes what its tensors hold, and says that it is not known."""
    nodes = [NODE("MatMul", ["x", "w"], ["h"]), NODE("Fancy", ["h"], ["y"], name="odd", domain="mine")]
    proto = model(nodes, [tensor("x", [1, 8])], [tensor("y", [1, 16])], [weights("w", 8, 16)], domains=("mine",))
    _, odd = workpiece(proto, "case", {"x": (1, 8)}).operators
    assert (odd.name, odd.kind, odd.unknown, odd.input_elements) == ("odd", "unknown", True, 16)


def test_embedding_rows_are_look_ups_and_short_tables_are_not() -> None:
    """A table of thousands of rows is fetched from row by row; one of a few rows is selected from."""
    for rows, gathers in ((5000, 3), (16, 0)):
        nodes = [NODE("Gather", ["t", "x"], ["y"])]
        proto = model(
            nodes, [tensor("x", [1, 3], TensorProto.INT64)], [tensor("y", [1, 3, 8])], [weights("t", rows, 8)]
        )
        (only,) = workpiece(proto, "case", {"x": (1, 3)}).operators
        assert (only.kind, only.gathers, only.output_elements) == ("gather", gathers, 24)


def test_a_users_own_file_is_read_like_the_zoo(tmp_path: Path) -> None:
    """One sample where the batch is free; as many as the file fixes where it is not."""
    for batch, samples in (("batch", 1), (4, 4)):
        path = tmp_path / f"mlp-{samples}.onnx"
        onnx.save(mlp(batch), path)
        piece = own_piece(path)
        assert (piece.name, piece.samples) == (f"mlp-{samples}", samples)
        assert piece.macs == samples * (8 * 16 + 16 * 3)
        assert (piece.input_bytes, piece.output_bytes) == (samples * 8 * 4, samples * 3 * 4)


def test_shapes_that_cannot_be_guessed_name_the_input(tmp_path: Path) -> None:
    """One line says which input is to be given, and how."""
    proto = conv()
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    onnx.save(proto, tmp_path / "free.onnx")
    with pytest.raises(BadInput, match=r"image.*--input"):
        own_piece(tmp_path / "free.onnx")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    """A file that is none, and a name that no model has: one line each."""
    (tmp_path / "x.onnx").write_bytes(b"\x89PNG rest")
    with pytest.raises(BadModel, match="PNG"):
        own_piece(tmp_path / "x.onnx")
    with pytest.raises(UnknownName, match="did you mean resnet50"):
        zoo_piece("resnet5")


def test_operators_are_kept_and_a_damaged_cache_is_read_anew(tmp_path: Path) -> None:
    """What was read once is the same from the cache, and a cache that does not read is no harm."""
    first = zoo_piece("mobilenet_v2", tmp_path)
    (kept,) = (tmp_path / "twin").iterdir()
    assert zoo_piece("mobilenet_v2", tmp_path) == first
    for damage in ("", "{}", kept.read_text(encoding="utf-8")[:-40], '{"operators": [{"name": 1}]}'):
        kept.write_text(damage, encoding="utf-8")
        assert zoo_piece("mobilenet_v2", tmp_path) == first
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert zoo_piece("mobilenet_v2", tmp_path / "file") == first


def test_families_are_told_by_their_work() -> None:
    """Convolutions, fused attention, attention that is not recognised, look-ups."""
    told = {name: family(zoo_piece(name)) for name in ("resnet50", "bert_512", "xlnet", "dlrm", "wdl")}
    assert told == {
        "resnet50": CONVOLUTIONAL, "bert_512": TRANSFORMER, "xlnet": UNFUSED, "dlrm": RECOMMENDER, "wdl": RECOMMENDER,
    }  # fmt: skip
    assert family(stated_piece("any", 3.5, 20.0)) == CONVOLUTIONAL


def test_every_hostile_graph_gives_operators_or_one_line(tmp_path: Path) -> None:
    """A loop, an If, a graph of constants alone, an input that nothing reads: no traceback."""
    body = helper.make_graph([NODE("Identity", ["i"], ["o"])], "b", [tensor("i", [])], [tensor("o", [])])
    cases = [
        model([NODE("Constant", [], ["y"], value=constant("c", [1.0]))], [tensor("x", [1])], [tensor("y", [1])]),
        model([NODE("If", ["x"], ["y"], then_branch=body, else_branch=body)], [tensor("x", [1])], [tensor("y", None)]),
        model([NODE("Identity", ["x"], ["y"])], [tensor("x", [1, 4])], [tensor("y", [1, 4])]),
    ]
    for place, proto in enumerate(cases):
        path = tmp_path / f"{place}.onnx"
        onnx.save(proto, path)
        said = ""
        try:
            assert all(isinstance(operator, Operator) for operator in own_piece(path).operators)
        except SpeedsheetError as error:
            said = str(error)
        assert "\n" not in said
