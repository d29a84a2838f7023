"""Guard: exit 1 where a slowdown beyond the allowance is established, and only there."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from looking_back import asked
from speedsheet.bench.job import request_to_json
from speedsheet.bench.sheet import measure_sheet
from speedsheet.cli import main
from speedsheet.core.measurement import Throughput
from speedsheet.core.plan import Target
from speedsheet.core.request import RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.history.comparing import compare
from speedsheet.history.guard import guarded
from speedsheet.records import store
from speedsheet.sheets import files
from speedsheet.sheets.document import Document
from test_compare_records import FAST, HOST, SLOW, of, served

CONDITIONS = {"request": request_to_json(RowRequest("resnet50"))}
SLOWED = ["--engine", "speedsheet.testing.slowed:ENGINE", "--set", "inner=onnxruntime"]


def judged(a, b, allow=0.05, again=None):
    return guarded(compare(of(*a), of(*b), allow=allow), allow, again)


def test_a_slowdown_is_established_twice_or_not_at_all():
    """A suspect is measured again; what was slow once and not twice is within."""
    before, now = served(throughput_samples_per_s=FAST), served()
    (once,) = judged([before], [now])
    assert (once.state, once.measured) == ("slower", 1)
    (twice,) = judged([before], [now], again=lambda rows: rows)
    assert (twice.state, twice.measured) == ("slower", 2)
    (spared,) = judged(
        [before], [now], again=lambda rows: [replace(row, throughput_samples_per_s=FAST) for row in rows]
    )
    assert (spared.state, spared.measured) == ("within", 2)
    assert "not when it was measured again" in spared.why


@pytest.mark.parametrize(("now", "state"), [
    (Throughput(97.0, 96.9, 97.1), "within"), (Throughput(94.0, 80.0, 110.0), "within"),
    (Throughput(70.0, 69.0, 71.0), "slower"), (Throughput(70.0), "unjudged"), (Throughput(), "unjudged"),
    (FAST, "within"), (Throughput(94.0, 20.0, 440.0), "unjudged"),
])  # fmt: skip
def test_only_what_is_sure_and_beyond_the_allowance_is_a_slowdown(now, state):
    """A wide interval establishes nothing; one that may hide a halving is no pass, nor is a missing number."""
    (row,) = judged([served(throughput_samples_per_s=SLOW)], [served(throughput_samples_per_s=now)])
    assert row.state == state


def test_a_suspect_whose_second_measurement_has_no_interval_is_not_judged():
    """A missing number is not a pass the second time either."""
    blank = [replace(served(), throughput_samples_per_s=Throughput(70.0))]
    (row,) = judged([served(throughput_samples_per_s=FAST)], [served()], again=lambda rows: blank)
    assert (row.state, row.measured) == ("unjudged", 2)


def test_each_row_is_measured_again_on_its_own_engine(tmp_path, capsys):
    """Of a model on two engines the suspect one is measured again, not the one that comes last."""
    rows = [served(engine=engine, throughput_samples_per_s=FAST) for engine in ("onnxruntime", "openvino")]
    sealed = [store.seal(tmp_path / "records", row, None, {"host": HOST, **CONDITIONS}) for row in rows]
    place = files.write(Document.of(Sheet(HOST, tuple(sealed))), tmp_path / "sheets")
    asked_of = []

    def measure(requests, **_):
        asked_of.append([request.engine for request in requests])
        return Sheet(HOST, tuple(
            served(engine=request.engine, throughput_samples_per_s=SLOW if request.engine == "onnxruntime" else FAST)
            for request in requests
        ))  # fmt: skip

    assert main(["guard", "--baseline", str(place), "--allow", "5%", "--out", str(tmp_path)], measure=measure) == 1
    assert asked_of == [["onnxruntime", "openvino"], ["onnxruntime"]]
    assert "a slowdown beyond 5 % is established" in capsys.readouterr().out


def test_a_summary_that_cannot_be_written_changes_no_verdict(tmp_path, capsys, monkeypatch):
    """The answer is printed first, and its exit code stands; whatever else goes wrong is never a slowdown."""
    places = [
        files.write(Document.of(Sheet(HOST, (served(throughput_samples_per_s=speed),))), tmp_path / name)
        for name, speed in (("fast", FAST), ("slow", SLOW))
    ]
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    assert main(["guard", str(places[1]), "--baseline", str(places[1]), "--allow", "5%"]) == 0
    assert main(["guard", str(places[1]), "--baseline", str(places[0]), "--allow", "5%"]) == 1
    told = capsys.readouterr()
    assert told.err.count("no summary was written") == 2
    assert "a slowdown beyond 5 % is established" in told.out

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    (record,) = [store.seal(tmp_path / "records", served(), None, {"host": HOST, **CONDITIONS})]
    place = files.write(Document.of(Sheet(HOST, (record,))), tmp_path / "again")
    assert main(["guard", "--baseline", str(place), "--allow", "5%", "--out", str(tmp_path)], measure=broken) == 3


def test_a_row_that_was_not_measured_now_is_not_judged():
    """A baseline's row without a partner is told, and is no pass."""
    found = judged([served(), served(model="gone")], [served(), served(model="new")])
    assert [row.state for row in found] == ["within", "unjudged"]


@pytest.fixture
def square(tmp_path):
    """Write a model of eight multiplications of matrices: milliseconds, which a neighbour does not drown."""
    weights = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32) / 23
    nodes = [helper.make_node("MatMul", [f"x{n}", "w"], [f"x{n + 1}"], f"multiply{n}") for n in range(8)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 512]) for name in ("x0", "x8")]
    graph = helper.make_graph(nodes, "square", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    path = tmp_path / "square.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def baseline(square, tmp_path):
    """Measure a run of one row until it is known to 25 %, whatever else runs here, and keep it as `run` does."""
    request = asked(square, engine="speedsheet.testing.slowed:ENGINE", window_s=30.0, thread_num=1, batch_size=64,
                    targets=(Target(0.25),), settings={"inner": "onnxruntime", "slower": "0%"})  # fmt: skip
    sheet = measure_sheet([request], store=tmp_path / "data" / "records")
    assert sheet.ok, sheet.rows[0].error
    return files.write(Document.of(sheet), tmp_path / "data" / "sheets")


def test_a_slowdown_put_in_by_hand_fails_the_guard_and_without_it_it_passes(baseline, tmp_path, capsys):
    """The same row with a spin of nine times its length behind each request is slower than 20 % allow.

    Without it, it is not. Nine times is far beyond what this test's neighbours do; how small a slowdown is found is
    counted by `make trust`.
    """
    out, summary = str(tmp_path / "out"), tmp_path / "summary.md"
    command = ["guard", "--baseline", str(baseline), "--allow", "20%", "--out", out, "--across"]
    assert main([*command, *SLOWED, "--set", "slower=900%", "--json", "--summary", str(summary)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "speedsheet.guard/1"
    assert found["counts"] == {"slower": 1, "within": 0, "unjudged": 0}
    assert found["rows"][0]["measured"] == 2
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("### speedsheet guard: a slowdown beyond 20 % is established")
    assert "| square.onnx | FP32 |" in text
    assert main([*command, "--allow", "70%"]) == 0
    told = capsys.readouterr()
    assert "no slowdown beyond 70 % is established" in told.out


def test_another_host_is_not_judged_unless_told_to(tmp_path, capsys):
    """Exit 3: neither a pass nor an established slowdown; --across judges."""
    places = [
        files.write(Document.of(Sheet({**HOST, "cpu": cpu}, (served(throughput_samples_per_s=speed),))), tmp_path / cpu)
        for cpu, speed in (("EPYC", FAST), ("Xeon", SLOW))
    ]
    command = ["guard", str(places[1]), "--baseline", str(places[0]), "--allow", "5%"]
    assert main(command) == 3
    told = capsys.readouterr().out
    assert "could not be judged" in told
    assert "another cpu" in told
    assert main([*command, "--across"]) == 1


def test_a_baseline_without_records_cannot_be_measured_again(tmp_path, capsys):
    """One line, with what to do."""
    place = files.write(Document.of(Sheet(HOST, (served(),))), tmp_path)
    assert main(["guard", "--baseline", str(place), "--allow", "5%"]) == 2
    assert "has no record" in capsys.readouterr().err
    assert main(["guard", "--baseline", str(place)]) == 2
    assert "--allow is missing" in capsys.readouterr().err
    assert main(["guard", "--baseline", str(place), "--allow", "5"]) == 2
    assert "write 5%" in capsys.readouterr().err
