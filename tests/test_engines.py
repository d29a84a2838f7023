"""Every shipped engine keeps the contract that the product relies on."""

import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from speedsheet import plugins
from speedsheet.bench.choose import choose, setups_for
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Setup, grant
from speedsheet.core.errors import BadInput, BudgetSpent, UnknownName, UsageError
from speedsheet.core.measurement import Measurement, Throughput
from speedsheet.core.request import RowRequest
from speedsheet.engines.onnxruntime import ENGINE, OnnxRuntime, _kind, _options
from speedsheet.engines.openvino import OpenVino
from speedsheet.testing import EngineContract, NullEngine
from speedsheet.testing.contract import example_artifact


class TestOnnxRuntime(EngineContract):
    engine = OnnxRuntime()


class TestOpenVino(EngineContract):
    engine = OpenVino()


class TestNull(EngineContract):
    engine = NullEngine()


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_long_runs_that_are_given_up_are_not_waited_for(name, tmp_path):
    """Of six clients whose runs take long, hardly one completes what it had in flight."""
    width, layers = 512, 300
    nodes = [helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"], name=f"layer{i}") for i in range(layers)]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, [width, width]) for end in ("x0", f"x{layers}")]
    weights = numpy_helper.from_array(np.eye(width, dtype=np.float32), "w")
    graph = helper.make_graph(nodes, "long", ends[:1], ends[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    info = plugins.probe(name)
    artifact = replace(example_artifact(tmp_path), graph_name="g.onnx")
    setup = Setup(info.default_device, "fp32", width, 6, 2)
    session = plugins.engine(name).load(artifact, setup, lambda: None)
    requests = [session.bind({"x0": np.ones((width, width), np.float32)}, {}) for _ in range(6)]
    ends, stop = [], []

    def client(run):
        with suppress(Exception):
            while not stop:
                run()
                ends.append(bool(stop))

    threads = [threading.Thread(target=client, args=(request.run,)) for request in requests]
    for thread in threads:
        thread.start()
    while len(ends) < len(requests):  # clients that compute side by side end together
        time.sleep(0.001)
    time.sleep(0.2)
    stop.append(True)
    for request in requests:
        request.give_up()
    for thread in threads:
        thread.join()
    assert sum(ends) <= 2


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_missing_engine_names_the_command_that_installs_it(name, monkeypatch):
    """Without its library an engine is unavailable, with the reason and the remedy, and no crash."""
    monkeypatch.setitem(sys.modules, name, None)
    found = plugins.probe(name)
    assert isinstance(found, EngineUnavailable)
    assert "not installed" in found.reason
    assert found.do == f'pip install "speedsheet[{name}]"'


def test_the_version_is_that_of_the_library_whatever_its_package_is_called(monkeypatch):
    """onnxruntime-gpu and others bring the same module under another name: they are there, with their version."""
    monkeypatch.setattr(onnxruntime, "__version__", "9.9")
    assert OnnxRuntime().probe().version == "9.9"


def loaded(folder, clients=1, cores=1, **settings):
    setup = Setup("CPUExecutionProvider", "fp32", 4, clients, cores, settings)
    return OnnxRuntime().load(example_artifact(folder), setup, lambda: None)


@pytest.mark.parametrize(("clients", "cores"), [(1, 1), (1, 6), (2, 6), (4, 6), (6, 6), (9, 6)])
def test_clients_and_the_pool_that_they_share_are_as_many_threads_as_there_are_cores(clients, cores, tmp_path):
    """A core that no client has to itself is not left idle: ONNX Runtime has one pool for all requests of a session."""
    loaded(tmp_path).close()
    before = psutil.Process().num_threads()
    session = loaded(tmp_path, clients, cores)
    pool = psutil.Process().num_threads() - before
    session.close()
    assert min(clients, cores) + pool == cores


@pytest.mark.parametrize(("value", "on"), [("on", True), ("True", True), ("1", True), ("off", False), ("no", False)])
def test_a_switch_is_on_or_off_as_it_is_written(value, on):
    """What is neither is refused, with the setting's name."""
    options, _ = _options({"enable_cpu_mem_arena": value}, Setup("CPUExecutionProvider", "fp32", 1, 1, 1))
    assert options.enable_cpu_mem_arena is on


def test_a_switch_that_is_neither_on_nor_off_is_refused(tmp_path):
    """A row never tells of a setting that the engine did not run with."""
    with pytest.raises(BadInput, match="enable_mem_pattern=maybe is neither on nor off; use 1, true"):
        loaded(tmp_path, enable_mem_pattern="maybe")


def test_precisions_fall_back_as_stated_and_never_to_a_narrower_one():
    """fp16 runs as fp16, else bf16, else fp32; bf16 else fp32; int8 is never made of anything else."""
    assert grant("fp16", ("fp32", "fp16", "bf16")) == "fp16"
    assert grant("fp16", ("fp32", "bf16")) == "bf16"
    assert grant("bf16", ("fp32", "fp16")) == "fp32"
    assert grant("fp32", ("fp32", "bf16")) == "fp32"
    with pytest.raises(UsageError, match="int8"):
        grant("int8", ("fp32",))


def test_unknown_names_ask_what_was_meant():
    """A typing error costs one line."""
    with pytest.raises(UnknownName, match="did you mean openvino"):
        plugins.engine("openvno")
    with pytest.raises(UnknownName, match=r"write package\.module:ATTRIBUTE"):
        plugins.engine("speedsheet.testing.null:NOTHING")
    with pytest.raises(UnknownName, match="did you mean bert_128"):
        plugins.workload("bert128")


def test_an_engine_of_ones_own_is_named_by_its_module():
    """A stranger's engine needs no entry in speedsheet."""
    assert plugins.engine("speedsheet.testing.null:ENGINE").name == "speedsheet.testing.null:ENGINE"


CARDS = EngineInfo(
    "cards", "1",
    {"CPU": ("fp32", "bf16", "int8"), "GPU.0": ("fp32", "fp16", "int8"), "GPU.1": ("fp32", "fp16")},
    "CPU", "none", ("AUTO", "HETERO", "MULTI"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("device", "precisions"),
    [
        ("CPU", ("fp32", "bf16", "int8")),
        ("GPU.0", ("fp32", "fp16", "int8")),
        ("GPU", ("fp32", "fp16")),
        ("AUTO:CPU", ("fp32", "bf16", "int8")),
        ("MULTI:CPU(2),GPU.0(4)", ("fp32", "int8")),
        ("HETERO:GPU,CPU", ("fp32",)),
        ("AUTO", ("fp32",)),
    ],
)
def test_a_device_made_of_others_has_what_all_of_them_have(device, precisions):
    """What may run on any of several devices is asked only for what each can execute."""
    assert CARDS.has(device)
    assert CARDS.precisions_on(device) == precisions


ROW = Measurement("net", "onnx", "own", 1, 2, "int8")
BOTH = EngineInfo("both", "1", {"CPU": ("fp32", "int8")}, "CPU", "none")
WIDE = EngineInfo("wide", "1", {"CPU": ("fp32",)}, "CPU", "none")


def test_an_engine_without_the_precision_leaves_the_row_to_those_that_have_it():
    """It is named with the reason; where no engine is left, the command is refused."""
    setups, findings = setups_for([WIDE, BOTH], RowRequest("net"), ROW, 1)
    assert [(info.name, setup.precision) for info, setup in setups] == [("both", "int8")]
    assert [finding.code for finding in findings] == ["engine_rejected"]
    assert "wide 1 rejected: precision 'int8' is not available here" in findings[0].text
    with pytest.raises(UsageError, match="int8"):
        setups_for([WIDE], RowRequest("net"), ROW, 1)


def candidates():
    return [(info, Setup("CPU", "fp32", 1, 2, 1)) for info in (WIDE, BOTH)]


@pytest.mark.parametrize("fastest", ["both", "wide"])
def test_of_a_model_as_it_is_the_trial_decides(fastest):
    """No type was asked, so an engine that runs a quantised file in int8 is as near as one that widens it."""

    def trial(candidate, _clients):
        return replace(ROW, throughput_samples_per_s=Throughput(2.0 if candidate.info.name == fastest else 1.0))

    choice = choose(
        candidates(), "as-is", lambda name, _setup: ("graph", {"int8" if name == "both" else "fp32": 1.0}, 0.1), trial
    )
    assert choice.candidate.info.name == fastest
    assert "0.50 x the throughput" in choice.findings[0].text


@pytest.mark.parametrize(("slowest_s", "clients"), [(0.05, 8), (0.5, 2)])
def test_engines_are_tried_with_as_many_clients_as_a_moment_has_room_for(slowest_s, clients):
    """All of the row's, where a round of them is short on the slowest; else as many as there are cores, on each."""
    pairs = [(info, Setup("CPU", "fp32", 1, 8, 2)) for info in (WIDE, BOTH)]
    seen = []

    def trial(_candidate, clients):
        seen.append(clients)
        return replace(ROW, throughput_samples_per_s=Throughput(1.0))

    choose(pairs, "fp32", lambda name, _: ("graph", {"fp32": 1.0}, slowest_s if name == "wide" else 0.01), trial)
    assert seen == [clients, clients]


def test_a_setting_that_one_engine_alone_knows_leaves_the_row_to_it():
    """The other is rejected with what it says; where none knows it, the command was wrong."""

    def audit(name, _setup):
        if name == "wide":
            raise BadInput("no setting is called NUM_STREAMS")
        return "graph", {"fp32": 1.0}, 0.1

    choice = choose(candidates(), "fp32", audit, None)
    assert choice.candidate.info.name == "both"
    assert "NUM_STREAMS" in choice.findings[0].text
    with pytest.raises(BadInput, match="NUM_STREAMS"):
        choose([candidates()[0]] * 2, "fp32", audit, None)


@pytest.mark.parametrize("stage", ["audit", "trial"])
def test_a_budget_that_ends_while_engines_are_compared_rejects_none(stage):
    """The row is skipped, as any that no time was left for; no engine failed."""

    def spend(*_):
        raise BudgetSpent("the budget ended")

    told = ("graph", {"fp32": 1.0}, 0.1)
    audit, trial = (spend, None) if stage == "audit" else (lambda *_: told, spend)
    with pytest.raises(BudgetSpent):
        choose(candidates(), "fp32", audit, trial)


def executed(nodes, x, outputs, stored, folder, opset=18, engine=ENGINE):
    """Run a model once, by default on ONNX Runtime, and return what executed."""
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, x)], [value("y", TensorProto.FLOAT, outputs)]
    graph = helper.make_graph(nodes, "g", *ends, stored)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "graph.onnx")
    setup = Setup(engine.probe().default_device, "fp32", 1, 1, 1, audit=True)
    session = engine.load(Artifact(folder, "", 0, 0, 0, ""), setup, lambda: None)
    session.bind({"x": np.ones(x, np.float32)}, {}).run()
    return session.executed({})


def stored(kind, **shapes):
    return [numpy_helper.from_array(np.ones(shape, kind), name) for name, shape in shapes.items()]


def test_products_that_quantise_as_they_go_are_int8(tmp_path):
    """ONNX Runtime takes floats there, makes bytes of them and multiplies bytes: that is what executed."""
    product = helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s"], ["y"], domain="com.microsoft", name="product")
    weights = stored(np.int8, w=(16, 8)) + stored(np.float32, s=(1,))
    assert executed([product], (4, 16), (4, 8), weights, tmp_path) == {"int8": 1.0}


def test_a_recurrent_layer_that_quantises_as_it_goes_is_int8_with_all_of_its_work(tmp_path):
    """Of 800 products for each sample of a step 768 are of bytes; the engine does not tell how large they are."""
    names = ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"]
    layer = helper.make_node("DynamicQuantizeLSTM", names, ["h"], domain="com.microsoft", name="layer", hidden_size=8)
    head = helper.make_node("MatMul", ["h", "v"], ["y"], name="head")
    weights = stored(np.int8, w=(1, 16, 32), r=(1, 8, 32), wz=(1,), rz=(1,))
    weights += stored(np.float32, ws=(1,), rs=(1,), v=(8, 4))
    found = executed([layer, head], (5, 2, 16), (5, 1, 2, 4), weights, tmp_path)
    assert found["int8"] == pytest.approx(768 / 800, abs=0.002)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_a_recurrent_layer_is_work_beside_a_quantised_product(operator, gates, tmp_path):
    """OpenVINO runs the layer in floats: a model that is mostly of it is not int8 for the bytes of its last product."""
    make = helper.make_node
    nodes = [
        make(operator, ["x", "w", "r"], ["h"], name="layer", hidden_size=64),
        make("QuantizeLinear", ["h", "s", "hz"], ["q"], name="narrow"),
        make("DequantizeLinear", ["q", "s", "hz"], ["wide"], name="wide"),
        make("DequantizeLinear", ["v", "s", "vz"], ["weights"], name="weights"),
        make("MatMul", ["wide", "weights"], ["y"], name="head"),
    ]
    weights = stored(np.float32, w=(1, gates * 64, 32), r=(1, gates * 64, 64), s=())
    weights += stored(np.uint8, hz=()) + stored(np.int8, v=(64, 64), vz=())
    found = executed(nodes, (5, 2, 32), (5, 1, 2, 64), weights, tmp_path, engine=OpenVino())
    layer, head = gates * 64 * (32 + 64), 64 * 64
    assert found == pytest.approx({"fp32": layer / (layer + head), "int8": head / (layer + head)})


def test_attention_is_counted_by_its_queries_and_keys(tmp_path):
    """ONNX's own operator (opset 23) takes queries, keys and values with heads; a product in bytes behind it counts."""
    split = helper.make_node("Attention", ["x", "k", "v"], ["h"], name="attention")
    head = helper.make_node("DynamicQuantizeMatMul", ["h", "w", "s"], ["y"], domain="com.microsoft", name="head")
    weights = stored(np.float32, k=(2, 3, 5, 8), v=(2, 3, 5, 4), s=(1,)) + stored(np.int8, w=(4, 6))
    found = executed([split, head], (2, 3, 7, 8), (2, 3, 7, 6), weights, tmp_path, opset=23)
    wide, narrow = 2 * 3 * 7 * 5 * (8 + 4), 2 * 3 * 7 * 4 * 6
    assert found == pytest.approx({"fp32": wide / (wide + narrow), "int8": narrow / (wide + narrow)})


def test_quantising_alone_is_no_product():
    """What only makes bytes of floats computes in floats."""
    node = {"op_name": "DynamicQuantizeLinear", "input_type_shape": [{"float": [4]}]}
    assert _kind(node) == "fp32"
