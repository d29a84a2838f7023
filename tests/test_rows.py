"""A row end to end, in real worker processes: right, wrong, crashed, hung, interrupted, resumed, out of budget."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from speedsheet.bench import prepare
from speedsheet.bench.job import Prepared, request_to_json
from speedsheet.bench.sheet import measure_sheet
from speedsheet.convert.own.input_text import parse_input
from speedsheet.core.errors import BadModel, UnknownName, UsageError
from speedsheet.core.measurement import TIMED_FINDINGS, Finding, Latency, Measurement, Throughput, WithFlagged
from speedsheet.core.plan import Reached
from speedsheet.core.request import RowRequest
from speedsheet.records import store as records


def measured(*requests, store, **options):
    return measure_sheet(requests, store=store, **options).rows


def asking(model, **changes):
    return RowRequest(str(model), **{"window_s": 0.3, "thread_num": 2, "precision": "fp32", **changes})


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "speedsheet.testing.null:ENGINE"])
def test_a_users_model_becomes_a_sealed_row_on_every_engine(engine, small_model, tmp_path):
    """Outputs are judged, samples are kept, and what the row says is what its record says."""
    (row,) = measured(asking(small_model, engine=engine), store=tmp_path / "store")
    assert row.status == "ok", row.error
    assert row.gate.passed
    assert row.throughput_samples_per_s.low <= row.throughput_samples_per_s.value <= row.throughput_samples_per_s.high
    assert row.precision_executed["fp32"] == 1
    record = records.verify(Path(row.record))
    assert record.measurement == row
    samples = records.samples(Path(row.record))
    assert int(samples.window.sum()) == row.requests
    assert row.latency_ms.mean == pytest.approx(samples.latency_ns.mean() / 1e6)


def test_auto_prefers_what_executes_nearest_and_says_what_it_rejected(small_model, tmp_path):
    """Between engines of equal precision a short trial decides; the loser stands on the row with its speed."""
    (row,) = measured(asking(small_model), store=tmp_path / "store")
    assert row.status == "ok", row.error
    (rejected,) = [finding for finding in row.findings if finding.code == "engine_rejected"]
    assert "x the throughput of" in rejected.text


@pytest.mark.parametrize("fault", ["NAN", "STALE", "SWAPPED", "SCALED", "DEAD", "MISSING"])
def test_an_engine_that_answers_wrongly_shows_no_speed(fault, small_model, tmp_path):
    """The row says what is wrong in place of its speed; the record keeps the samples all the same."""
    (row,) = measured(asking(small_model, engine=f"speedsheet.testing.faulty:{fault}"), store=tmp_path / "store")
    assert row.status == "failed"
    assert row.gate.passed is False
    assert "the outputs are wrong" in row.error
    assert row.throughput_samples_per_s.value is row.latency_ms.mean is None
    assert row.requests is row.wall_s is row.little_residual is None
    assert records.samples(Path(row.record)).end_ns.size > 0


def test_a_failed_row_says_nothing_of_its_speed():
    """Neither a figure, nor what one can be computed from, nor a finding that quotes one; what is wrong stays."""
    speed, latency = Throughput(4321.0, 4321.0, 4321.0), Latency(4321.0, p50=4321.0, bounds={"p50": (4321.0, 4321.0)})
    row = Measurement(
        "net", "onnx", "own", 1, 4, "fp32", latency_ms=latency, throughput_samples_per_s=speed, requests=4321,
        wall_s=4321.0, targets=(Reached("p50", 0.05, 4321.0, 4321.0),), effective_n=4321.0, tau_s=4321.0,
        coverage_checked=True, with_flagged=WithFlagged(speed, latency), first_inference_ms=4321.0,
        samples_per_joule=4321.0, little_residual=4321.0, load_ms=7.0,
        findings=(*(Finding(code, "4321") for code in TIMED_FINDINGS), Finding("precision", "!")),
    )  # fmt: skip
    failed = row.failed("the outputs are wrong")
    assert "4321" not in json.dumps(failed.to_json())
    assert (failed.load_ms, failed.findings, failed.coverage_checked) == (7.0, (Finding("precision", "!"),), None)


def test_a_model_that_answers_nan_is_not_judged_and_shows_no_speed(tmp_path):
    """Whatever is not computed would be equal to it: the row fails in one line that says what to give."""
    nodes = [helper.make_node("Log", ["x"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "log.onnx"
    )
    request = asking(tmp_path / "log.onnx", engine="onnxruntime", inputs=(parse_input("x=4x8:float32:-2:-1"),))
    (row,) = measured(request, store=tmp_path / "store")
    assert row.status == "failed"
    assert "answers NaN or infinity to these inputs (output 'y')" in row.error
    assert row.throughput_samples_per_s.value is None


def test_a_full_cache_drops_what_is_old_and_never_what_is_asked_for(small_model, tmp_path, monkeypatch):
    """The model of the request in hand may be the oldest there is: it is in use all the same."""
    monkeypatch.setenv("SPEEDSHEET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(prepare, "_CACHE_BYTES", 0)

    def prepared(seed):
        job = {"request": request_to_json(asking(small_model, seed=seed))}
        return Prepared.from_json(prepare.prepare(job, lambda *_: None))

    first = prepared(1)
    for folder in (first.artifact.folder, first.folder):
        os.utime(folder, (0, 0))
    second = prepared(2)
    assert second.artifact.graph.is_file()
    assert len(second.answers()) == second.slots
    assert not first.folder.exists()


def test_a_crash_a_raise_and_a_hang_fail_their_rows_and_the_sheet_goes_on(small_model, tmp_path):
    """Each failed row names its reason; the row after them is measured."""
    faults = [asking(small_model, engine=f"speedsheet.testing.faulty:{fault}") for fault in ("CRASH", "RAISE", "HANG")]
    rows = measured(*faults, asking(small_model, engine="onnxruntime"), store=tmp_path / "store", stall_limit_s=3)
    crash, broken, hung, fine = rows
    assert [row.status for row in rows] == ["failed", "failed", "failed", "ok"]
    assert "killed by SIGSEGV" in crash.error
    assert "the device is lost" in broken.error
    assert "nothing moved for 3 s" in hung.error
    assert fine.throughput_samples_per_s.value
    assert all(Path(row.record).is_dir() for row in rows)


def workers():
    return [child for child in psutil.Process().children() if "speedsheet.bench.worker" in " ".join(child.cmdline())]


def test_a_worker_killed_by_hand_in_mid_row_fails_that_row_only(small_model, tmp_path):
    """Whoever kills a worker sees the signal on its row, and the next row measured."""

    def kill_when_measuring(progress):
        if progress.row == 1 and progress.stage.startswith("measuring"):
            for worker in workers():
                os.kill(worker.pid, signal.SIGKILL)

    rows = measured(
        asking(small_model, engine="onnxruntime", window_s=5.0), asking(small_model, engine="openvino"),
        store=tmp_path / "store", listen=kill_when_measuring,
    )  # fmt: skip
    assert "killed by SIGKILL" in rows[0].error
    assert rows[1].status == "ok", rows[1].error


def test_a_killed_sheet_leaves_no_worker_behind(small_model, tmp_path):
    """When the process that listens is killed, its worker goes with it, whatever it was doing."""
    command = [
        sys.executable,
        "-m",
        "speedsheet",
        "run",
        str(small_model),
        "--engine",
        "speedsheet.testing.faulty:HANG",
    ]
    with subprocess.Popen([*command, "--time", "60s", "--out", str(tmp_path / "out")], stderr=subprocess.PIPE) as sheet:
        assert any(b"measuring" in line for line in sheet.stderr)
        (worker,) = psutil.Process(sheet.pid).children()
        sheet.kill()
    assert psutil.wait_procs([worker], timeout=5)[1] == []


def test_interrupting_keeps_what_is_done_and_leaves_no_worker(small_model, tmp_path):
    """Ctrl-C ends the row in hand; finished rows are returned, the others say that they were interrupted."""

    def interrupt(progress):
        if progress.row == 2 and progress.stage.startswith("measuring"):
            raise KeyboardInterrupt

    requests = [asking(small_model, engine="onnxruntime", window_s=window) for window in (0.2, 3.0, 3.0)]
    rows = measured(*requests, store=tmp_path / "store", listen=interrupt)
    assert [row.status for row in rows] == ["ok", "skipped", "skipped"]
    assert rows[2].error == "interrupted"
    assert workers() == []


def test_resume_measures_only_what_has_no_record(small_model, tmp_path):
    """The same request is taken from its record; another batch of settings is measured."""
    store = tmp_path / "store"
    request = asking(small_model, engine="onnxruntime")
    (first,) = measured(request, store=store)
    again, other = measured(request, replace(request, thread_num=1), store=store, resume=True)
    assert replace(again, findings=first.findings) == first
    assert [finding.code for finding in again.findings if finding not in first.findings] == ["resumed"]
    assert other.record != first.record
    (fresh,) = measured(request, store=store)
    assert fresh.record != first.record


def test_a_spent_budget_skips_rows_with_the_reason(small_model, tmp_path):
    """What no longer fits is skipped and says so; what was measured stays."""
    requests = [asking(small_model, engine="onnxruntime", window_s=30.0, thread_num=count) for count in (1, 2, 1)]
    began = time.monotonic()
    rows = measured(*requests, store=tmp_path / "store", budget_s=6)
    assert time.monotonic() - began < 12
    assert {row.status for row in rows} <= {"ok", "skipped"}
    assert all("budget" in row.error for row in rows if row.status == "skipped")


def test_wrong_requests_are_refused_before_anything_is_built(small_model, tmp_path):
    """A name, a file, a precision or a budget that cannot work costs no time."""
    store = tmp_path / "store"
    good = asking(small_model)
    for request, kind, words in [
        (asking("resnet5"), UnknownName, "did you mean resnet50"),
        (replace(good, engine="openvno"), UnknownName, "did you mean openvino"),
        (replace(good, model=str(tmp_path / "none.onnx")), BadModel, "none.onnx"),
        (replace(good, precision="fp8"), UsageError, "no precision is called"),
        (replace(good, device="TPU", engine="openvino"), UsageError, "TPU"),
    ]:
        with pytest.raises(kind, match=words) as caught:
            measure_sheet([good, request], store=store)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="takes at least"):
        measure_sheet([asking("bert_128", batch_size=64)], store=store, budget_s=0.001)
    assert not store.exists()


def test_strict_precision_fails_the_row_instead_of_falling_back(small_model, tmp_path):
    """fp16 that would run as fp32 is no fp16 row."""
    request = asking(small_model, engine="onnxruntime", precision="fp16", strict_precision=True)
    (row,) = measured(request, store=tmp_path / "store")
    assert row.status == "failed"
    assert "asked fp16, executed fp32" in row.error
    (loose,) = measured(replace(request, strict_precision=False), store=tmp_path / "store")
    assert loose.status == "ok"
    assert "precision" in {finding.code for finding in loose.findings}


def test_settings_pass_through_and_are_on_the_row(small_model, tmp_path):
    """What the user sets wins over the default rule, and what the engine ran with is read back."""
    threads = {"intra_op_num_threads": "2", "session.intra_op.allow_spinning": "0"}
    ort, vino = measured(
        asking(small_model, engine="onnxruntime", settings=threads),
        asking(small_model, engine="openvino", settings={"NUM_STREAMS": "1"}),
        store=tmp_path / "store",
    )  # fmt: skip
    assert ort.engine_settings["intra_op_num_threads"] == "2"
    assert vino.engine_settings["NUM_STREAMS"] == "1"
    with pytest.raises(UsageError, match="no setting 'threads'"):
        measured(asking(small_model, engine="onnxruntime", settings={"threads": "2"}), store=tmp_path / "store")


def test_inputs_that_the_model_cannot_compute_are_the_commands_fault(small_model, tmp_path):
    """An index past its table stops the right answers already: the message names the input and the option."""
    request = asking(small_model, engine="onnxruntime", inputs=(parse_input("ids=4:int64:50:60"),))
    with pytest.raises(UsageError, match=r"does not compute with .*'ids' 4.*--input NAME=SHAPE"):
        measured(request, store=tmp_path / "store")


def test_an_engine_that_refuses_written_shapes_gets_the_graph_with_free_ones(small_model, tmp_path):
    """Branches of different sizes cannot have one size written into both; the row says that it was done without."""
    (row,) = measured(asking(small_model, engine="speedsheet.testing.faulty:PICKY"), store=tmp_path / "store")
    assert row.status == "ok", row.error
    assert "free_dimensions" in {finding.code for finding in row.findings}


def test_workers_import_no_framework(small_model, tmp_path):
    """Nothing of TensorFlow, Keras or PyTorch is loaded where rows are prepared, audited and measured."""
    code = (
        "import sys, speedsheet.plugins as p;"
        "import speedsheet.bench.prepare, speedsheet.bench.audit, speedsheet.bench.measure;"
        "p.workloads(); [p.probe(name) for name in p.engine_names()];"
        "print(sorted({'tensorflow', 'keras', 'torch', 'tf2onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def recurrent(path, join="Add"):
    """Write y = x + state, state' = y / 2, with a scalar rate that is not used for anything but being there."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node(join, ["x", "state"], ["sum"], name="join"),
        helper.make_node("Cast", ["rate"], ["gain"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["sum", "gain"], ["next_state"], name="decay"),
        helper.make_node("Identity", ["sum"], ["y"], name="out"),
    ]
    inputs = [value("x", 1, ["n", 16]), value("state", 1, ["n", 16]), value("rate", TensorProto.INT64, [])]
    outputs = [value("y", 1, ["n", 16]), value("next_state", 1, ["n", 16])]
    graph = helper.make_graph(nodes, "recurrent", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("carry", [{}, {"next_state": "state"}])
def test_recurrent_state_is_zeros_or_carried(engine, carry, tmp_path):
    """Without --carry state is zeros at each request; with it, each client's own output comes back, and is judged."""
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(1).standard_normal((15, 16)).astype(np.float32), rate=np.array(2))
    request = asking(recurrent(tmp_path / "cell.onnx"), engine=engine, carry=carry, data=data, batch_size=5)
    (row,) = measured(request, store=tmp_path / "store")
    assert row.status == "ok", row.error
    assert row.gate.passed
    assert "data.npz" in row.inputs_source


def test_carried_state_is_judged_by_the_reference_that_was_given(tmp_path):
    """A last request is replayed on the reference, not on the model that is measured."""
    path, other = recurrent(tmp_path / "cell.onnx"), recurrent(tmp_path / "other.onnx", join="Sub")
    carry = {"next_state": "state"}
    request = asking(
        path, engine="onnxruntime", precision="as-is", carry=carry, inputs=(parse_input("rate=:int64:2:3"),)
    )
    own, wrong = measured(replace(request, reference=path), replace(request, reference=other), store=tmp_path / "store")
    assert own.gate.passed, own.error
    assert wrong.gate.passed is False


def test_rows_come_back_in_the_order_asked_and_run_cheapest_first(small_model, tmp_path):
    """The cheap row is measured first, wherever it stands."""
    order = []
    requests = [asking("dssm_mock", engine="onnxruntime"), asking(small_model, engine="onnxruntime")]
    rows = measured(*requests, store=tmp_path / "store", finished=lambda row: order.append(row.model))
    assert [row.model for row in rows] == ["dssm_mock", str(small_model)]
    assert order == [str(small_model), "dssm_mock"]


def test_a_row_is_json_with_every_key(small_model, tmp_path):
    """Scripts find every key on every row, measured or not, and nothing that JSON does not know."""
    requests = [asking(small_model, engine=name) for name in ("onnxruntime", "speedsheet.testing.faulty:RAISE")]
    rows = measured(*requests, store=tmp_path / "store")
    good, bad = (json.loads(json.dumps(row.to_json(), allow_nan=False)) for row in rows)
    assert good.keys() == bad.keys()
    assert set(good["latency_ms"]) >= {"mean", "p50", "p90", "p99"}
    assert set(good["throughput_samples_per_s"]) == {"value", "low", "high", "confidence"}
    assert bad["error"]


def test_no_thread_is_left_behind(small_model, tmp_path):
    """A sheet in a user's own program leaves its threads as they were."""
    before = threading.active_count()
    measured(asking(small_model, engine="onnxruntime"), store=tmp_path / "store")
    time.sleep(0.2)
    assert threading.active_count() == before
