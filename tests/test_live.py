"""A against B in real worker processes: paired blocks, judged outputs, kept samples, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

import models
from speedsheet.bench import live
from speedsheet.bench.live import compare_live
from speedsheet.bench.match import Match
from speedsheet.bench.sides import named
from speedsheet.core.comparison import Comparison, Design
from speedsheet.core.errors import BadInput, RecordDamaged
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import RowRequest
from speedsheet.core.samples import WARMUP
from speedsheet.records import columns, comparisons
from speedsheet.stats.comparison import FIRST_LOOK, b_first, log_ratios, ratio
from speedsheet.testing.contract import example_artifact, example_feed
from speedsheet.testing.slowed import SlowedEngine, SlowedRequest

NULL = "speedsheet.testing.null:ENGINE"
SHORT, ONCE = Design(6, 2, 0.03), Design(1, 1, 0.02)


def asking(model, **changes):
    return RowRequest(str(model), **{"engine": NULL, "thread_num": 1, "precision": "fp32", **changes})


def against(a, b, tmp_path, **options):
    return compare_live((a, b), store=tmp_path / "comparisons", **{"design": ONCE, **options})


def workers():
    return [child for child in psutil.Process().children() if "speedsheet.bench.worker" in " ".join(child.cmdline())]


ROW = Measurement("resnet50", "tensorflow", "images", 16, 12, "fp32", "openvino", device="CPU")
STATUSES: list[str] = []


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    """A small model against itself, once for the tests that read its record; after each block the workers are seen."""
    folder = tmp_path_factory.mktemp("same")
    request = asking(models.save(models.mlp(), folder / "mlp.onnx"), engine="onnxruntime", batch_size=2)

    def look(_progress):
        STATUSES.extend(worker.status() for worker in workers())

    return against(request, request, folder, design=SHORT, seed=7, target=1e-9, listen=look)


def test_same_against_same_has_a_ratio_with_its_interval_and_a_verdict(same):
    """Both sides carry their own figures, gate and audit; the ratio's interval lies inside the verdict's."""
    assert same.status == "ok", same.error
    assert same.names == ("A", "B")
    assert same.same
    assert same.generations == 6
    assert same.verdict.low <= same.ratio.throughput.low <= same.ratio.throughput.high <= same.verdict.high
    for row in (same.a, same.b):
        assert row.gate.passed
        assert row.precision_executed["fp32"] == 1.0
        assert row.throughput_samples_per_s.low <= row.throughput_samples_per_s.value
        assert row.latency_ms.p50 is not None
        assert row.processes == 6
        assert row.floor.p50_us > 0
    assert not workers()


def test_a_comparison_is_sealed_with_every_block_and_its_raw_samples(same):
    """Every block's figures follow again from the samples of its file; the ratio follows from the blocks."""
    content = comparisons.verify(Path(same.record))
    assert content["comparison"]["verdict"]["outcome"] == same.verdict.outcome
    blocks = [comparisons.Block(**block) for block in content["blocks"]]
    assert len(blocks) == 6 * 2 * 2
    for block in blocks:
        path = Path(same.record) / f"samples-{block.side}-{block.generation + 1}.parquet"
        samples = columns.read(path, block.open_ns, block.close_ns)
        inside = (samples.end_ns > block.open_ns) & (samples.end_ns <= block.close_ns)
        assert np.array_equal(np.unique(samples.phase[inside]), [1])
        assert int(inside.sum()) == block.requests
        assert block.throughput_samples_per_s == pytest.approx(
            2 * block.requests / (block.close_ns - block.open_ns) * 1e9
        )
        latency_ms = (samples.end_ns - samples.start_ns)[inside] / 1e6
        assert block.p50_ms == pytest.approx(float(np.median(latency_ms)))
        assert (samples.phase == WARMUP).any()
    assert ratio(log_ratios(blocks, "throughput_samples_per_s")) == same.ratio.throughput
    assert ratio(log_ratios(blocks, "mean_ms")) == same.ratio.mean_latency


def test_blocks_run_in_the_order_that_the_seed_draws(same):
    """Side by side in pairs; which side begins is the seed's, and stands on every block."""
    order = b_first(SHORT, 7)
    blocks = comparisons.verify(Path(same.record))["blocks"]
    for first, second in zip(blocks[::2], blocks[1::2], strict=True):
        assert (first["generation"], first["round"]) == (second["generation"], second["round"])
        assert first["side"] == ("b" if order[first["generation"], first["round"]] else "a")
        assert {first["side"], second["side"]} == {"a", "b"}
        assert first["first"]
        assert not second["first"]
        assert first["close_ns"] < second["open_ns"]


@pytest.mark.parametrize("damage", ["text", "samples", "missing"])
def test_a_damaged_comparison_is_seen(same, damage, tmp_path):
    """A changed figure, changed samples, a file that is gone."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in Path(same.record).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    comparisons.verify(folder)
    file, taken = folder / comparisons.FILE, folder / "samples-a-1.parquet"
    if damage == "text":
        file.write_text(file.read_text().replace('"outcome": "none"', '"outcome": "slower"').replace("920", "921"))
        file.write_text(file.read_text().replace('"seed": 7', '"seed": 8'))
    elif damage == "samples":
        taken.write_bytes(taken.read_bytes()[:-1] + b"x")
    else:
        taken.unlink()
    with pytest.raises(RecordDamaged):
        comparisons.verify(folder)


@pytest.mark.parametrize(("side", "fault"), [("a", "NAN"), ("b", "STALE")])
def test_a_side_whose_outputs_are_wrong_gets_no_ratio(side, fault, small_model, tmp_path):
    """The comparison names the side and what is wrong; neither side shows a speed."""
    good, bad = asking(small_model), asking(small_model, engine=f"speedsheet.testing.faulty:{fault}")
    found = against(*((bad, good) if side == "a" else (good, bad)), tmp_path)
    assert found.status == "failed"
    assert f"{side.upper()} failed: the outputs are wrong" in found.error
    assert found.ratio.throughput.value is found.verdict is None
    assert getattr(found, side).gate.passed is False
    assert found.a.throughput_samples_per_s.value is found.b.throughput_samples_per_s.value is None
    assert comparisons.verify(Path(found.record))["comparison"]["status"] == "failed"
    assert not workers()


def test_a_side_that_crashes_raises_or_hangs_says_so(small_model, tmp_path):
    """Each names its side and its reason, and no process is left."""
    for fault, said in (("CRASH", "SIGSEGV"), ("RAISE", "the device is lost"), ("HANG", "nothing moved for 8 s")):
        bad = asking(small_model, engine=f"speedsheet.testing.faulty:{fault}")
        found = against(asking(small_model), bad, tmp_path, stall_limit_s=8.0 if fault == "HANG" else 300.0)
        assert found.status == "failed"
        assert found.error.startswith("B failed: ")
        assert said in found.error
        assert not workers()


def test_a_side_that_cannot_load_says_why_before_anything_is_measured(small_model, tmp_path):
    """An engine that refuses the model fails its side; the other one is not measured in vain."""
    bad = asking(small_model, engine="openvino", settings={"NO_SUCH_KEY": "1"})
    found = against(asking(small_model), bad, tmp_path)
    assert found.status == "failed"
    assert "NO_SUCH_KEY" in found.b.error
    assert found.a.status == "ok"
    assert found.generations == 0


def test_two_models_are_each_fed_their_own_inputs(tmp_path):
    """Inputs of other names and shapes, other outputs: each side is judged by its own right answers."""
    mlp = models.save(models.mlp(), tmp_path / "mlp.onnx")
    conv = models.save(models.conv(8, 8), tmp_path / "conv.onnx")
    found = against(asking(mlp, engine="onnxruntime"), asking(conv, engine="onnxruntime"), tmp_path)
    assert found.status == "ok", found.error
    assert found.names == ("mlp", "conv")
    assert found.a.gate.passed
    assert found.b.gate.passed


def test_the_side_that_waits_is_stopped(same):
    """Whatever its engine's threads do between requests: not one of its instructions runs beside the other's block.

    Looked at after each block, when both wait: a signal that has not yet arrived may be seen now and then.
    """
    assert same.status == "ok"
    assert len(STATUSES) >= 6 * 2 * 2 * 2
    assert STATUSES.count(psutil.STATUS_STOPPED) > len(STATUSES) * 0.7


def test_ctrl_c_ends_with_what_there_is_and_no_verdict(small_model, tmp_path):
    """Whoever stops when he likes what he sees gets the ratio so far, and no verdict; nothing is left behind."""

    def interrupt(progress):
        if "start 2" in progress.label and progress.done > 1 / 3:
            raise KeyboardInterrupt

    found = against(asking(small_model), asking(small_model), tmp_path, design=Design(3, 1, 0.02), listen=interrupt)
    assert found.status == "interrupted"
    assert found.verdict is None
    assert found.generations == 1
    assert found.ratio.throughput.value is not None
    assert found.error == "ended by hand after 1 of 3 starts"
    assert comparisons.verify(Path(found.record))["comparison"]["status"] == "interrupted"
    assert not workers()


def test_a_real_ctrl_c_does_the_same(small_model, tmp_path):
    """The signal reaches the parent alone: workers are in sessions of their own."""
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

    def begin(progress):
        if progress.label.startswith("start 1") and progress.done:
            timer.start()

    found = against(asking(small_model), asking(small_model), tmp_path, design=Design(60, 1, 0.02), listen=begin)
    assert found.status == "interrupted"
    assert not workers()


def test_a_killed_comparison_leaves_no_worker_behind_not_even_a_stopped_one(small_model, tmp_path):
    """When the process that listens is killed, both sides go with it, the one that waits included."""
    command = [sys.executable, "-m", "speedsheet", "compare", "--live", f"{small_model}@{NULL},threads=1", "@"]
    with subprocess.Popen(
        [*command, "--time", "3s", "--out", str(tmp_path / "out")], stderr=subprocess.PIPE
    ) as comparing:
        assert any(b"start 2 of" in line for line in comparing.stderr)
        while len(sides := psutil.Process(comparing.pid).children()) < 2:
            time.sleep(0.01)
        comparing.kill()
    assert psutil.wait_procs(sides, timeout=20)[1] == []


def match_with(log_ratios, target):
    match = Match({}, 60.0, target, 0, 1.0, None, Design(40, 2, 0.5), generations=FIRST_LOOK)
    match.log_ratios = log_ratios
    return match


def test_a_target_that_is_met_ends_the_comparison():
    """First looked at after ten starts; where that does not do, the spread says how many more."""
    known = match_with([0.1, 0.101] * 5, 0.01)
    assert known.over
    known._look()
    assert known.over
    assert known.looks == [FIRST_LOOK]
    wide = match_with([0.1, 0.2] * 5, 0.025)
    wide._look()
    assert not wide.over
    assert FIRST_LOOK * 1.2 <= wide.generations <= 40
    early = match_with([0.1] * 9, 0.01)
    early._look()
    assert not early.looks


def test_a_target_below_the_noise_says_what_was_reached(same):
    """It ends with the time, and names the half-width reached and the time that may do."""
    codes = {finding.code: finding.text for finding in same.findings}
    assert "the ratio's half-width came down to" in codes["wide_interval"]
    assert "--time" in codes["wide_interval"]


def test_measuring_longer_than_asked_is_said():
    """Six starts with blocks of four rounds are the least that has an interval, whatever was asked."""
    match = Match({}, 60.0, None, 0, 1.0, None, generations=6)
    found = Comparison(("A", "B"), ROW, ROW, design=Design(6, 1, 20.0), measured_s=240.0)
    (finding,) = live._time(match, found)
    assert finding.code == "longer_than_asked"
    assert finding.text.startswith("60 s were asked and 4 min measured: an interval takes 6 starts with blocks of 20 s")
    assert not live._time(match, replace(found, measured_s=66.0))


def test_wrong_requests_are_refused_before_anything_is_built(tmp_path):
    """Inputs for a shipped model, which has its own."""
    with pytest.raises(BadInput):
        compare_live((asking("dlrm", carry={"a": "b"}), asking("dlrm")), store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("a", "b", "names"),
    [
        ({}, {}, ("A", "B")),
        ({}, {"precision": "bf16"}, ("fp32", "bf16")),
        ({}, {"engine": "onnxruntime", "device": "CPUExecutionProvider"}, ("openvino", "onnxruntime")),
        ({}, {"engine": "onnxruntime", "precision": "int8"}, ("openvino fp32", "onnxruntime int8")),
        ({}, {"engine_settings": {"NUM_STREAMS": "1"}}, ("default NUM_STREAMS", "NUM_STREAMS=1")),
        ({"engine_settings": {"K": "1", "L": "2"}}, {"engine_settings": {"K": "3", "L": "2"}}, ("K=1", "K=3")),
        ({}, {"batch_size": 1}, ("batch 16", "batch 1")),
        ({}, {"thread_num": 1}, ("12 clients", "1 client")),
        ({"model": "v1.onnx"}, {"model": "v2.onnx"}, ("v1", "v2")),
        ({"model": "old/net.onnx"}, {"model": "new/net.onnx"}, ("old/net.onnx", "new/net.onnx")),
        ({"device": "GPU.0"}, {}, ("GPU.0", "CPU")),
    ],
)
def test_sides_are_named_by_what_tells_them_apart(a, b, names):
    """And by nothing else: settings of different engines are not compared."""
    assert named(replace(ROW, **a), replace(ROW, **b)) == names


def test_sides_that_executed_the_same_are_said():
    """bf16 where the engine executes fp32: the ratio is then not one of precisions."""
    ran = {"fp32": 1.0, "bf16": 0.0}
    a, b = replace(ROW, precision_executed=ran), replace(ROW, precision="bf16", precision_executed=ran)
    (finding,) = live._alike(a, b)
    assert finding.text == "asked fp32 and bf16, both sides executed fp32"
    assert not live._alike(a, replace(b, precision_executed={"bf16": 1.0}))
    assert not live._alike(a, a)


def test_json_has_every_key_and_reads_back(same):
    """The document of a comparison is stable: keys are there whether or not they have a value."""
    data = same.to_json()
    assert data["schema"] == "speedsheet.compare/1"
    empty = Comparison(("A", "B"), ROW, ROW).to_json()
    assert set(data) == set(empty)
    assert set(data["ratio"]) == {"throughput", "mean_latency", "p50_latency"}
    assert data["names"] == {"a": "A", "b": "B"}
    assert Measurement.from_json(data["a"]) == same.a


def test_the_slowed_engine_is_slower_by_its_share():
    """A request takes at least its own processor time and the share more; time asleep is not counted."""

    class Worker:
        took = 0

        def run(self):
            began = time.thread_time_ns()
            time.sleep(0.01)
            while time.thread_time_ns() < began + 5_000_000:
                pass
            self.took = time.thread_time_ns() - began

        def outputs(self):
            return {}

    worker = Worker()
    request = SlowedRequest(worker, 0.5)
    began = time.thread_time_ns()
    request.run()
    assert time.thread_time_ns() - began >= 1.5 * worker.took


def test_the_slowed_engine_answers_as_the_one_inside(tmp_path):
    """Outputs, audit and settings are the inner engine's; a share that is none is refused."""
    from speedsheet.core.engine import Setup

    setup = Setup("CPU", "fp32", 4, 1, 1, {"inner": "onnxruntime", "slower": "3%"}, audit=True)
    session = SlowedEngine().load(example_artifact(tmp_path), setup, lambda: None)
    feed = example_feed(0)
    request = session.bind(feed, {})
    request.run()
    inner = SlowedEngine().load(example_artifact(tmp_path), replace(setup, audit=False), lambda: None).bind(feed, {})
    inner.run()
    assert np.array_equal(request.outputs()["y"], inner.outputs()["y"])
    assert session.executed({}) == {"fp32": 1.0}
    assert session.settings["slower"] == "3%"
    session.close()
    for settings in ({}, {"inner": "onnxruntime", "slower": "3"}, {"inner": "onnxruntime", "slower": "-3%"}):
        with pytest.raises(BadInput):
            SlowedEngine().load(example_artifact(tmp_path), replace(setup, settings=settings), lambda: None)
