"""INT8: one quantised graph for every engine, judged against FP32; what it cost and what was left wide is kept."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from speedsheet.bench.inputs import Model, calibration_feeds
from speedsheet.bench.job import Prepared, request_to_json
from speedsheet.bench.prepare import prepare
from speedsheet.bench.sheet import measure_sheet
from speedsheet.convert.data import input_pool
from speedsheet.convert.own.artifact import own_artifact
from speedsheet.convert.own.workload import own_workload
from speedsheet.convert.quantise import float_layers, layer_sqnr_db, quantise, quantised, sums_saturate
from speedsheet.core.errors import BadInput, RowFailed
from speedsheet.core.measurement import executed_kinds
from speedsheet.core.request import RowRequest
from speedsheet.records import store as records


def conv_net(path, seed=3, batch="n"):
    """Write two convolutions with a norm between them and a classifier, batch free or fixed."""
    draw = np.random.default_rng(seed)

    def weight(name, *shape):
        return numpy_helper.from_array((draw.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype("f4"), name)

    ones = numpy_helper.from_array(np.ones((1, 16, 1, 1), np.float32) * 1.5, "gamma")
    nodes = [
        helper.make_node("Conv", ["x", "k0"], ["c0"], name="conv0", pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["c0", "gamma"], ["n0"], name="norm0"),
        helper.make_node("Relu", ["n0"], ["r0"], name="relu0"),
        helper.make_node("Conv", ["r0", "k1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "w"], ["y"], name="head"),
    ]
    weights = [weight("k0", 16, 3, 3, 3), ones, weight("k1", 32, 16, 3, 3), weight("w", 32, 10)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 32, 32])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 10])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def asking(path, **changes):
    return RowRequest(str(path), **{"precision": "int8", "batch_size": 4, "thread_num": 2, "window_s": 0.3, **changes})


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_one_int8_graph_runs_as_int8_on_every_engine(engine, tmp_path):
    """The audit sees int8 products, the gate compares with FP32, and the record holds how it was made."""
    path = conv_net(tmp_path / "net.onnx")
    (row,) = measure_sheet([asking(path, engine=engine)], store=tmp_path / "store").rows
    assert row.status == "ok", row.error
    assert row.precision_executed["int8"] > 0.5
    assert row.gate.passed
    made = records.read(Path(row.record)).conditions["quantisation"]
    assert made["tool"].startswith("NNCF")
    assert made["calibration_samples"] >= 24
    assert set(made["sqnr_db"]) >= {"c1"}
    assert all(ratio > 10 for ratio in made["sqnr_db"].values())


def test_calibration_never_sees_the_measured_samples(tmp_path):
    """A file with too few distinct samples for both is refused, with the number that is needed."""
    path = conv_net(tmp_path / "net.onnx")
    images = np.random.default_rng(1).standard_normal((64, 3, 32, 32)).astype("f4")
    np.savez(tmp_path / "few.npz", x=images[:40])
    np.savez(tmp_path / "enough.npz", x=images)
    with pytest.raises(BadInput, match=r"calibration inputs are among the measured.*at least 64"):
        measure_sheet([asking(path, data=tmp_path / "few.npz", engine="openvino")], store=tmp_path / "store")
    (row,) = measure_sheet(
        [asking(path, data=tmp_path / "enough.npz", engine="openvino")], store=tmp_path / "store"
    ).rows
    assert row.status == "ok", row.error


def test_a_model_with_a_fixed_batch_is_calibrated_at_that_batch(tmp_path):
    """A graph that takes eight samples and no other number is quantised with eight at a time."""
    path = conv_net(tmp_path / "net.onnx", batch=8)
    (row,) = measure_sheet([asking(path, engine="openvino", batch_size=None)], store=tmp_path / "store").rows
    assert row.status == "ok", row.error
    assert row.batch_size == 8
    assert row.precision_executed["int8"] > 0.5


@pytest.mark.parametrize(("batch", "calibrated"), [("n", 4), (8, 8)])
def test_calibration_is_in_small_batches_where_the_graph_lets_it(batch, calibrated, tmp_path):
    """A free first dimension takes four samples at a time, which costs less memory; a fixed one takes its own."""
    path = conv_net(tmp_path / "net.onnx", batch=batch)
    own = own_workload(path, batch_size=8)
    model = Model(own.workload, own_artifact(path, own, tmp_path), 8, "the file's own")
    feeds = calibration_feeds(asking(path, batch_size=8), model, [])
    assert {len(feed["x"]) for feed in feeds} == {calibrated}
    assert sum(len(feed["x"]) for feed in feeds) == 32


def test_what_an_int8_row_uses_is_not_the_oldest_of_the_cache(tmp_path, monkeypatch):
    """Each use of a quantised model is noted, so that a full cache drops others first."""
    monkeypatch.setenv("SPEEDSHEET_CACHE", str(tmp_path / "cache"))
    job = {"request": request_to_json(asking(conv_net(tmp_path / "net.onnx"), engine="openvino"))}
    folder = Prepared.from_json(prepare(job, lambda *_: None)).artifact.folder
    os.utime(folder, (0, 0))
    prepare(job, lambda *_: None)
    assert folder.stat().st_mtime > 0


def test_a_model_quantised_elsewhere_is_judged_by_the_one_it_came_from(tmp_path):
    """As it is, against its FP32 original: right where it is its own, wrong where it is another model's."""
    path, other = conv_net(tmp_path / "net.onnx"), conv_net(tmp_path / "other.onnx", seed=4)
    wide = own_artifact(path, own_workload(path, batch_size=4), tmp_path)
    made = quantise(wide, input_pool(own_workload(path).workload, 4, 8, 7), "seed 7", tmp_path)
    request = asking(made.artifact.graph, precision="as-is", engine="openvino", reference=path)
    right, wrong = measure_sheet([request, replace(request, reference=other)], store=tmp_path / "store").rows
    assert right.status == "ok", right.error
    assert executed_kinds(right.precision_executed) == "int8"
    assert wrong.gate.passed is False


@pytest.mark.parametrize(
    ("machine", "flags", "saturate"),
    [
        ("x86_64", ["avx2", "fma"], True),
        ("x86_64", ["avx2", "avx512f", "avx512_vnni"], False),
        ("x86_64", ["avx2", "avx_vnni"], False),
        ("x86_64", [], False),
        ("aarch64", ["i8mm"], False),
    ],
)
def test_weights_get_seven_bits_where_the_processor_cuts_sums_off(machine, flags, saturate):
    """Only an x86 processor with AVX2 and without VNNI adds int8 products in 16 bits."""
    assert sums_saturate({"machine": machine, "cpu_flags": flags}) is saturate


@pytest.mark.parametrize("seven_bits", [True, False])
def test_seven_bits_are_the_upper_half_of_eight(tmp_path, seven_bits):
    """Weights that may not saturate lie within -64 and 63, so that two products fit 16 bits."""
    path = conv_net(tmp_path / "net.onnx")
    feeds = input_pool(own_workload(path).workload, 4, 8, 7)
    narrow = quantised(onnx.load(path), feeds, seven_bits=seven_bits)
    weights = [numpy_helper.to_array(one) for one in narrow.graph.initializer if one.data_type == TensorProto.INT8]
    most = max(int(np.abs(array.astype(int)).max()) for array in weights if array.ndim > 1)
    assert most <= 64 if seven_bits else most > 100


def test_what_is_left_in_floating_point_is_named():
    """A product whose inputs are not dequantised is a float layer; one behind a transpose of such is not."""
    nodes = [
        helper.make_node("DequantizeLinear", ["xq", "s"], ["x"]),
        helper.make_node("Transpose", ["x"], ["xt"]),
        helper.make_node("DequantizeLinear", ["wq", "s"], ["w"]),
        helper.make_node("MatMul", ["xt", "w"], ["a"], name="narrow"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="wide"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("xq", "wq", "s")]
    graph = helper.make_graph(nodes, "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    assert float_layers(helper.make_model(graph)) == ["wide"]


def test_products_of_integers_are_not_told_as_left_in_floating_point():
    """A model that was quantised elsewhere, in the form that needs no dequantising, computes in int8."""
    kinds = ("QLinearConv", "QLinearMatMul", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul", "MatMul")
    nodes = [helper.make_node(kind, ["a", "b"], [f"y{n}"], name=kind) for n, kind in enumerate(kinds)]
    assert float_layers(helper.make_model(helper.make_graph(nodes, "g", [], []))) == ["MatMul"]


def test_what_has_no_product_is_not_quantised(tmp_path):
    """A model without a matrix product is refused in one line that says so."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    own = own_workload(path, batch_size=4)
    with pytest.raises(RowFailed, match="no product that int8 could run; leave --precision int8"):
        quantise(own_artifact(path, own, tmp_path), input_pool(own.workload, 4, 8, 7), "seed 7", tmp_path)


def test_a_scalar_before_the_samples_is_not_counted_as_them(tmp_path, monkeypatch):
    """Calibration is told in samples, whatever the model's first input is."""
    monkeypatch.setenv("SPEEDSHEET_CACHE", str(tmp_path / "cache"))
    path = conv_net(tmp_path / "net.onnx", batch=2)
    net = onnx.load(path)
    net.graph.node[0].input[0] = "scaled"
    net.graph.node.insert(0, helper.make_node("Mul", ["x", "gain"], ["scaled"]))
    net.graph.input.insert(0, helper.make_tensor_value_info("gain", TensorProto.FLOAT, []))
    onnx.save(net, path)
    job = {"request": request_to_json(asking(path, batch_size=None))}
    assert Prepared.from_json(prepare(job, lambda *_: None)).quantisation["calibration_samples"] == 32


def test_sqnr_is_in_decibel():
    """A tenth of noise is 20 dB; none at all is infinite."""
    signal = np.ones((2, 8), np.float32)
    assert layer_sqnr_db({"y": signal}, {"y": signal * np.float32(1.1)})["y"] == pytest.approx(20, abs=0.01)
    assert layer_sqnr_db({"y": signal}, {"y": signal})["y"] == float("inf")
