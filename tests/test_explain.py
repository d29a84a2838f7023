"""Explain: where the time goes by the engine's own account, beside what executed and what the card would do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx import helper

from looking_back import measured
from speedsheet.bench.explain import owners
from speedsheet.cli import main
from speedsheet.history.explanations import explained, keep, kept
from speedsheet.host.places import data_folder

STEPS = [
    {"name": "conv1+relu", "kind": "Convolution", "time_us": 600.0, "executed": "bf16", "nodes": ["conv1", "relu1"]},
    {"name": "reorder", "kind": "Reorder", "time_us": 100.0, "executed": "", "nodes": ["conv1"]},
    {"name": "fc", "kind": "FullyConnected", "time_us": 300.0, "executed": "fp32", "nodes": ["fc"]},
]
FOUND = {"steps": STEPS, "macs": {"conv1": 3 * 10**8, "fc": 10**6}, "batch_size": 4, "runs": 9}


def told(**changes):
    return explained(FOUND, **{"model": "m", "engine": "e", "precision": "fp16", **changes})


def test_shares_are_of_the_whole_and_work_is_counted_once():
    """Costliest first; shares sum to one; a reorder of a convolution's input does not do its work again."""
    found = told()
    assert [step.name for step in found.steps] == ["conv1+relu", "fc", "reorder"]
    assert sum(step.share for step in found.steps) == pytest.approx(1.0)
    assert found.steps[0].gflop_per_s == pytest.approx(1000.0)
    assert found.steps[2].gflop_per_s is None
    assert [(kind, count) for kind, count, *_ in found.kinds] == [
        ("Convolution", 1),
        ("FullyConnected", 1),
        ("Reorder", 1),
    ]


def test_what_runs_behind_a_product_does_not_do_its_work_again():
    """An activation that the engine did not fuse is the product's by name, and has none of its work."""
    steps = [
        {"name": "to int8", "kind": "Convert", "time_us": 5.0, "executed": "", "nodes": ["conv1"]},
        {"name": "conv1", "kind": "Convolution", "time_us": 60.0, "executed": "bf16", "nodes": ["conv1"]},
        {"name": "relu1", "kind": "Subgraph", "time_us": 3.0, "executed": "fp32", "nodes": ["conv1"]},
    ]
    found = explained({**FOUND, "steps": steps}, model="m", engine="e", precision="fp16", modelled_us={"conv1": 30.0})
    assert {step.name: step.macs for step in found.steps} == {"conv1": 3 * 10**8, "to int8": 0, "relu1": 0}
    assert [step.modelled_us for step in found.steps] == [30.0, None, None]


def test_the_cards_operators_stand_beside_their_nodes_once():
    """A fused step takes the operators of its nodes; what no step answers to is blank, and counted in the whole."""
    found = told(card="STCP920", modelled_us={"conv1": 30.0, "relu1": 10.0, "elsewhere": 60.0})
    assert found.modelled_total_us == pytest.approx(100.0)
    assert found.steps[0].modelled_us == pytest.approx(40.0)
    assert found.steps[0].modelled_share == pytest.approx(0.4)
    assert found.steps[1].modelled_us is None


def test_what_is_fused_belongs_to_the_product_before_it():
    """Norm and activation behind a convolution are its, and a residual sum is of the later branch."""
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["c1"], name="conv1"),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "b"], ["c2"], name="conv2"),
        helper.make_node("Mul", ["c2", "g"], ["m2"], name="norm2"),
        helper.make_node("Add", ["m2", "r1"], ["s"], name="sum"),
        helper.make_node("MaxPool", ["s"], ["y"], name="pool", kernel_shape=[2, 2]),
    ]
    owner = owners(helper.make_model(helper.make_graph(nodes, "g", [], [])))
    assert {owner[name] for name in ("conv1", "c1", "relu1", "r1")} == {"conv1"}
    assert {owner[name] for name in ("conv2", "norm2", "m2", "sum", "s")} == {"conv2"}
    assert owner["y"] == "pool"


def test_an_explanation_is_kept_and_a_damaged_one_is_none(tmp_path):
    """Read back as it was; half a file, or another schema, is as good as none."""
    found = told(card="STCP920", modelled_us={"conv1": 30.0})
    keep(tmp_path, "a-record", found)
    assert kept(tmp_path, "a-record") == found
    assert kept(tmp_path, "../a-record") == found  # only the last part of a name is a name
    for text in ("", "{}", '{"schema": "speedsheet.explanation/9"}', "[1]"):
        (tmp_path / "bad.json").write_text(text)
        assert kept(tmp_path, "bad") is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_real_engines_tell_where_a_real_model_spends_its_time(engine, capsys):
    """ResNet-50's convolutions take most of it, each step has a type that ran, and the card's operators meet them."""
    assert main(["explain", "resnet50", "--engine", engine, "--batch", "1", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    convolutions = [step for step in found["steps"] if "Conv" in step["kind"]]
    assert sum(step["share"] for step in convolutions) > 0.5
    assert len([step for step in convolutions if step["modelled_us"]]) >= 45
    assert sum(step["macs"] for step in found["steps"]) == pytest.approx(3.86e9, rel=0.02)
    assert {step["executed"] for step in convolutions} <= {"bf16", "fp32", "fp16"}
    assert found["card"] == "STCP920"


def test_a_record_is_explained_as_it_was_measured(small_model, tmp_path, capsys):
    """The record's own engine and settings; in a narrow terminal, in Chinese, without a card for a user's own model."""
    record = measured(small_model, tmp_path / "records")
    assert main(["explain", str(record)]) == 0
    out = capsys.readouterr().out
    assert "small.onnx FP32" in out
    assert "onnxruntime 1." in out
    assert "MatMul" in out or "Gemm" in out
    assert "STCP920" not in out
    assert main(["explain", str(record), "--lang", "zh"]) == 0
    assert "取自引擎自带的分析器" in capsys.readouterr().out
    folder = data_folder() / "explanations"
    assert kept(folder, record.name).batch_size == 4


def test_a_record_that_is_run_otherwise_keeps_its_own_explanation(small_model, tmp_path, capsys, monkeypatch):
    """Another engine takes its own device and settings, is printed, and is not put on the record's page."""
    record = measured(small_model, tmp_path / "records")
    assert main(["explain", str(record), "--engine", "openvino", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["engine"][:8]) == ("speedsheet.explanation/1", "openvino")
    assert kept(data_folder() / "explanations", record.name) is None
    monkeypatch.chdir(record)
    assert main(["explain", "."]) == 0
    assert "onnxruntime" in kept(data_folder() / "explanations", record.name).engine


def test_what_cannot_be_explained_is_one_line(small_model, tmp_path, capsys):
    """An engine that does not tell, and a name that is nothing."""
    command = ["explain", str(small_model), "--engine", "speedsheet.testing.null:ENGINE", "--precision", "fp32"]
    assert main(command) == 1
    assert "does not tell where its time goes" in capsys.readouterr().err
    assert main([*command, "--device", "stcp92"]) == 2  # before anything runs
    assert "did you mean stcp920" in capsys.readouterr().err
    assert main(["explain", "resnet51"]) == 2
    assert capsys.readouterr().err.startswith("speedsheet: ")
    assert main(["explain", str(Path(tmp_path) / "no.onnx")]) == 2
