"""What compiling for the card would do: INT8 as it rounds, operators that it lacks, where intermediates live."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models import carried, conv, embedding, mlp, model, save_external, tensor, weights
from speedsheet.core.errors import BadModel
from speedsheet.twin.folding import fold_scales
from speedsheet.twin.forward import forward, program
from speedsheet.twin.quantised import FP16_LARGEST, int8_error, weight_error
from speedsheet.twin.quantiser import (
    CALIBRATIONS,
    Histogram,
    power_of_two_step,
    rounded_to,
    sqnr_db,
)
from speedsheet.twin.support import hindrance, settle, unsupported


class Nothing:
    """Watches and changes nothing."""

    def hand(self, step, lane, inputs):
        return inputs

    def see(self, step, outputs):
        pass


def normal(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def computed(proto, feed, tmp_path):
    return forward(program(proto, tmp_path), feed, Nothing())[0]


# --- the forward pass


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("pad", [{"pads": [1, 0, 2, 1]}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}])
def test_convolutions_are_the_reference_evaluators(groups, pad, tmp_path):
    """Strides, dilations, pads, groups and bias: numbers of onnx's own evaluator, grouped and depthwise too."""
    attributes = {"strides": [2, 1], "dilations": [1, 1] if "auto_pad" in pad else [1, 2], "group": groups, **pad}
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 2], **attributes)
    stored = [weights("w", 8, 8 // groups, 3, 2), weights("b", 8)]
    proto = model([node], [tensor("x", [2, 8, 9, 10])], [tensor("y", [None] * 4)], stored)
    x = normal(2, 8, 9, 10)
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    assert np.allclose(computed(proto, {"x": x}, tmp_path)["y"], wanted, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_of_any_rank(rank, tmp_path):
    """Sound, images and volumes."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 2 * rank)
    stored = [weights("w", 5, 3, *[3] * rank)]
    proto = model([node], [tensor("x", [1, 3, *[7] * rank])], [tensor("y", [None] * (2 + rank))], stored)
    x = normal(1, 3, *[7] * rank)
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    assert np.allclose(computed(proto, {"x": x}, tmp_path)["y"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 2], pads=[1, 0, 1, 1]),
        helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        helper.make_node("Erf", ["x"], ["y"]),
        helper.make_node("Pow", ["x", "three"], ["y"]),
        helper.make_node("Pow", ["x", "two"], ["y"]),
        helper.make_node("MatMul", ["x", "square"], ["y"]),
        helper.make_node("MatMul", ["square", "x"], ["y"]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ],
    ids=lambda node: f"{node.op_type} {len(node.attribute)} {list(node.input)[-1]}",
)
def test_operators_with_a_form_of_their_own_are_the_reference_evaluators(node, tmp_path):
    """What is computed faster here is computed alike."""
    stored = [
        numpy_helper.from_array(np.float32(3), "three"),
        numpy_helper.from_array(np.array([2], np.float32), "two"),
        weights("square", 8, 8),
        numpy_helper.from_array(normal(2, 1, 5, 8).swapaxes(2, 3), "turned"),
    ]
    used = [one for one in stored if one.name in node.input]
    proto = model([node], [tensor("x", [2, 3, 8, 8])], [tensor("y", [None] * 4)], used)
    x = normal(2, 3, 8, 8)
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    made = computed(proto, {"x": x}, tmp_path)["y"]
    assert made.dtype == wanted.dtype
    assert np.allclose(made, wanted, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("proto", "feed"),
    [
        (mlp(), {"x": normal(5, 8)}),
        (conv(16, 16), {"image": normal(2, 3, 16, 16)}),
        (
            embedding(),
            {
                "ids": np.arange(12).reshape(2, 6),
                "attention_mask": np.ones((2, 6), np.int64),
                "flip": np.array([True, False]),
            },
        ),
        (carried(), {"input": normal(1, 576), "state": normal(2, 1, 128), "sr": np.array(16000)}),
    ],
    ids=["mlp", "conv", "embedding", "carried"],
)
def test_whole_graphs_are_the_reference_evaluators(proto, feed, tmp_path):
    """Branches, recurrence, gathers: what reads values from outside its subgraph finds them."""
    wanted = ReferenceEvaluator(proto).run(None, feed)
    made = computed(proto, feed, tmp_path)
    assert list(made) == [value.name for value in proto.graph.output]
    for one, other in zip(made.values(), wanted, strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_weights_beside_the_graph_are_read_where_they_lie(tmp_path):
    """External data is mapped, not loaded; a file that is not there is said."""
    path = save_external(mlp(), tmp_path / "m.onnx")
    proto = onnx.load(path, load_external_data=False)
    feed = {"x": normal(5, 8)}
    assert np.allclose(computed(proto, feed, tmp_path)["y"], computed(mlp(), feed, tmp_path)["y"])
    (tmp_path / "model.data").unlink()
    with pytest.raises(BadModel, match=r"model\.data.*missing"):
        program(proto, tmp_path)


def test_an_operator_that_cannot_be_computed_is_named(tmp_path):
    """The reference evaluator knows no operators of ONNX Runtime's own."""
    node = helper.make_node("FusedGelu", ["x"], ["y"], domain="com.microsoft", name="gelu")
    proto = model([node], [tensor("x", [2, 2])], [tensor("y", [2, 2])], domains=("com.microsoft",))
    with pytest.raises(BadModel, match="FusedGelu gelu: cannot be computed here"):
        computed(proto, {"x": normal(2, 2)}, tmp_path)


# --- folding


def scaled(*, twice=False, shape=(4, 1, 1)):
    factor = numpy_helper.from_array(np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(np.float32), "f")
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        helper.make_node("Mul", ["f", "c"], ["m"], name="scale"),
        helper.make_node("Add", ["m", "c" if twice else "m"], ["y"], name="sum"),
    ]
    stored = [weights("w", 4, 3, 3, 3), weights("b", 4), factor]
    return model(nodes, [tensor("x", [1, 3, 8, 8])], [tensor("y", [1, 4, 6, 6])], stored)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), ()])
def test_a_scale_behind_a_convolution_goes_into_its_weight(shape, tmp_path):
    """Bias included; the outputs stay what they were, one node is gone, and the weight is another."""
    proto = scaled(shape=shape)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes, tensors = fold_scales(proto.graph.node, stored, frozenset({"y"}))
    assert [node.name for node in nodes] == ["conv", "sum"]
    assert np.array_equal(tensors["w"][1], stored["w"][1] * (2 if shape else 1))
    x = normal(1, 3, 8, 8)
    (wanted,) = ReferenceEvaluator(proto).run(None, {"x": x})
    assert np.allclose(computed(proto, {"x": x}, tmp_path)["y"], wanted, atol=1e-4)


@pytest.mark.parametrize("proto", [scaled(twice=True), scaled(shape=(6,))], ids=["read twice", "along width"])
def test_what_another_node_reads_or_is_no_channel_scale_is_not_folded(proto, tmp_path):
    """A convolution read elsewhere, or a factor along another axis, stays as it is."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    nodes, tensors = fold_scales(proto.graph.node, stored, frozenset({"y"}))
    assert [node.name for node in nodes] == ["conv", "scale", "sum"]
    assert tensors == stored


# --- INT8 beside FP32


def deep(layers=4, width=64):
    nodes, stored = [], []
    for layer in range(layers):
        name = f"w{'x' * layer}"
        stored.append(numpy_helper.from_array(normal(width, width, seed=layer, scale=width**-0.5), name))
        nodes += [
            helper.make_node("MatMul", [f"h{layer}", name], [f"m{layer}"], name=f"product{layer}"),
            helper.make_node("Relu", [f"m{layer}"], [f"h{layer + 1}"]),
        ]
    ends = [tensor("h0", ["batch", width])], [tensor(f"h{layers}", ["batch", width])]
    return model(nodes, *ends, stored)


def feeds(count, width=64, seed=10):
    return [{"h0": normal(16, width, seed=seed + n)} for n in range(count)]


def test_int8_costs_a_little_and_more_with_depth(tmp_path):
    """Each product has its weight's and its output's ratio; later ones lose more; outputs stay near."""
    error = int8_error(program(deep(), tmp_path), feeds(2), feeds(2, seed=50), 16)
    assert [layer.name for layer in error.layers] == [f"product{n}" for n in range(4)]
    assert (error.calibration_samples, error.judged_samples, error.blank) == (32, 32, None)
    for calibration in CALIBRATIONS:
        ratios = [layer.output_db[calibration] for layer in error.layers]
        assert ratios[0] > ratios[-1] > 15
    for layer in error.layers:
        assert 35 < layer.weight_db < layer.free_weight_db < 50
    assert {(one.output, one.calibration) for one in error.outputs} == {("h4", name) for name in CALIBRATIONS}
    for one in error.outputs:
        assert one.centred_cosine > 0.98
        assert one.relative_error < 0.2
        assert one.sqnr_db > 15


def test_a_product_is_computed_as_the_card_rounds_it(tmp_path):
    """By hand: inputs at the step of each calibration, the weight at its own; a long tail tells the two apart."""
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        [tensor("x", ["n", 64])],
        [tensor("y", ["n", 8])],
        [weights("w", 64, 8)],
    )
    x, weight = np.random.default_rng(5).standard_t(3, (4000, 64)).astype(np.float32), weights("w", 64, 8)
    w = numpy_helper.to_array(weight)
    (layer,) = int8_error(program(proto, tmp_path), [{"x": x}], [{"x": x[:100]}]).layers
    seen = Histogram()
    seen.add(x)
    for calibration in CALIBRATIONS:
        by_hand = rounded_to(seen.step(calibration), x[:100]) @ rounded_to(power_of_two_step(w), w)
        assert layer.output_db[calibration] == pytest.approx(sqnr_db(x[:100] @ w, by_hand), abs=1e-3)
    assert abs(layer.output_db["kl"] - layer.output_db["percentile"]) > 0.5


def test_a_calibration_that_saw_too_little_is_seen_in_the_error(tmp_path):
    """Inputs ten times smaller than those judged clip them: the error says so."""
    honest, wrong = (
        int8_error(program(deep(), tmp_path), calibration, feeds(2, seed=50), 16)
        for calibration in (feeds(2), [{"h0": feed["h0"] / 10} for feed in feeds(2)])
    )
    assert honest.outputs[0].relative_error < 0.2
    assert wrong.outputs[0].relative_error > 0.5


def test_a_coarser_weight_is_seen_in_its_layer_alone_first(tmp_path, monkeypatch):
    """Where one weight has an outlier, its own ratio falls by as much, and the outputs from there on."""
    proto = deep()
    spoilt = numpy_helper.to_array(proto.graph.initializer[1]).copy()
    spoilt[0, 0] = 40.0
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(spoilt, proto.graph.initializer[1].name))
    good, bad = (int8_error(program(one, tmp_path), feeds(2), feeds(2, seed=50), 16) for one in (deep(), proto))
    assert bad.layers[0] == good.layers[0]
    assert bad.layers[1].output_db["percentile"] < good.layers[1].output_db["percentile"] - 10


def test_one_sample_has_no_centred_figures(tmp_path):
    """What cannot be centred is null, not zero."""
    one = [{"h0": normal(1, 64)}]
    for error in int8_error(program(deep(), tmp_path), one, one).outputs:
        assert error.relative_error is error.centred_cosine is None
        assert error.sqnr_db > 15


def test_what_fp16_cannot_hold_is_named(tmp_path):
    """A mask of the largest float, and an activation beyond 65504; what FP16 holds is not named."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "mask"], ["a"], name="masked"),
        helper.make_node("Softmax", ["a"], ["y"], name="softmax"),
    ]
    mask = np.array([0, np.finfo(np.float32).min, 0], np.float32)
    stored = [weights("w", 8, 3), numpy_helper.from_array(mask, "mask")]
    proto = model(nodes, [tensor("x", [2, 8])], [tensor("y", [2, 3])], stored)
    feed = [{"x": normal(2, 8)}]
    assert int8_error(program(proto, tmp_path), feed, feed).beyond_fp16 == ("mask", "masked")
    feed = [{"x": normal(2, 8) * np.float32(4 * FP16_LARGEST)}]
    assert "product" in int8_error(program(proto, tmp_path), feed, feed).beyond_fp16


def test_weights_alone_are_judged_where_the_model_is_not_computed(tmp_path):
    """Outputs are blank with the reason; what is known of weights is the same as with them."""
    whole = int8_error(program(deep(), tmp_path), feeds(1), feeds(1))
    alone = weight_error(program(deep(), tmp_path), "too large")
    assert alone.blank == "too large"
    assert alone.outputs == ()
    for one, other in zip(alone.layers, whole.layers, strict=True):
        assert (one.weight_db, one.free_weight_db) == (other.weight_db, other.free_weight_db)
        assert set(one.output_db.values()) == {None}


def test_a_model_that_answers_nan_is_no_calibration(tmp_path):
    """The layer that first reads it is named."""
    with pytest.raises(BadModel, match="product0: its input holds NaN"):
        int8_error(program(deep(), tmp_path), [{"h0": np.full((1, 64), np.nan, np.float32)}], feeds(1))


# --- what the card lacks


def found(proto, shapes, unknown=()):
    return [(one.operator, one.reason, one.types) for one in unsupported(settle(proto, shapes), frozenset(unknown))]


def test_float_models_are_supported_whatever_they_do_with_shapes():
    """Products, look-ups by int64 and arithmetic on shapes run; the cast of an integer mask does not."""
    assert found(mlp(), {"x": (4, 8)}) == []
    assert found(conv(), {"image": (1, 3, 32, 32)}) == []
    shapes = {"ids": (2, 6), "attention_mask": (2, 6), "flip": (2,)}
    assert found(embedding(), shapes) == [
        ("Cast", "type", ("int64", "int32")),
        ("Cast", "type", ("int64",)),
    ]


def test_wider_types_branches_and_unknown_operators_are_named():
    """DOUBLE is computed in no type of the card; a branch is left to the host; unknown ones are what nobody costs."""
    double = model(
        [helper.make_node("Add", ["x", "x"], ["y"], name="sum")],
        [tensor("x", [2], TensorProto.DOUBLE)],
        [tensor("y", [2], TensorProto.DOUBLE)],
    )
    assert found(double, {"x": (2,)}) == [("Add", "type", ("double",))]
    reasons = found(carried(), {"input": (1, 576), "state": (2, 1, 128), "sr": ()}, unknown=["lstm"])
    assert ("If", "control_flow", ()) in reasons
    assert ("Equal", "type", ("int64",)) in reasons
    assert ("LSTM", "unknown", ()) in reasons


def test_a_shape_that_depends_on_data_is_named():
    """What is not zero is not known before it runs."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["n"], name="where"),
        helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT),
    ]
    proto = model(nodes, [tensor("x", [4])], [tensor("y", [None, None])])
    assert found(proto, {"x": (4,)}) == [("NonZero", "type", ("int64",)), ("Cast", "type", ("int64",))]
    tables = model([helper.make_node("Compress", ["x", "c"], ["y"], name="some")], [tensor("x", [4]), tensor(
        "c", [4], TensorProto.BOOL)], [tensor("y", [None])])  # fmt: skip
    assert found(tables, {"x": (4,), "c": (4,)}) == [("Compress", "shape", ())]


def test_what_has_no_bound_is_not_computed_here():
    """A file may loop without end, or make what no memory holds: said before anything is computed."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Add", ["s", "s"], ["t"]),
        ],
        "body",
        [tensor("n", [], TensorProto.INT64), tensor("go", [], TensorProto.BOOL), tensor("s", [4])],
        [tensor("again", [], TensorProto.BOOL), tensor("t", [4])],
    )
    loop = helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body, name="forever")
    yes = numpy_helper.from_array(np.array(True), "yes")
    endless = model([loop], [tensor("x", [4])], [tensor("y", [4])], [yes])
    assert hindrance(settle(endless, {"x": (4,)})) == "'forever' loops, and loops are not computed here"
    sizes = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "sizes")
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["c"], name="huge"),
        helper.make_node("Add", ["c", "x"], ["y"]),
    ]
    huge = model(nodes, [tensor("x", [1])], [tensor("y", [None, None])], [sizes])
    assert hindrance(settle(huge, {"x": (1,)})) == "'huge' makes 1.1e+12 elements at once"
    chosen = model([helper.make_node("Compress", ["x", "c"], ["y"], name="some")], [tensor("x", [4]), tensor(
        "c", [4], TensorProto.BOOL)], [tensor("y", [None])])  # fmt: skip
    assert hindrance(settle(chosen, {"x": (4,), "c": (4,)})) == "'some' makes a shape that depends on data"
    for proto, shapes in ((mlp(), {"x": (4, 8)}), (conv(), {"image": (1, 3, 32, 32)})):
        assert hindrance(settle(proto, shapes)) is None
