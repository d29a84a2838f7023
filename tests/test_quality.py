"""What spoils a measurement is on its row, in real worker processes: neighbours, slow starts, drift, lack of time."""

import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from speedsheet.bench.figures import figured
from speedsheet.bench.sheet import measure_sheet
from speedsheet.core.measurement import Measurement
from speedsheet.core.plan import LoadPlan, Target
from speedsheet.core.request import RowRequest
from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, WINDOW, Samples, Window
from speedsheet.records import store as records
from speedsheet.testing.faulty import SLOW_REQUESTS

S = 1_000_000_000
PLAN = LoadPlan(2, 10.0)
ROW = Measurement("net", "onnx", "own", 4, 2, "fp32", device="CPU", engine="e")


def measured(*requests, store, **options):
    return measure_sheet(requests, store=store, **options).rows


def asking(model, engine, **changes):
    return RowRequest(str(model), f"speedsheet.testing.{engine}", **{"thread_num": 2, "precision": "fp32", **changes})


def codes(row):
    return {finding.code for finding in row.findings}


@pytest.fixture
def busy_neighbour():
    """Two processes that compute and nothing else, one for each core of a small machine; they end by themselves too."""
    code = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"
    neighbours = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    yield
    for neighbour in neighbours:
        neighbour.kill()
        neighbour.wait()


def test_a_busy_neighbour_is_reported(busy_neighbour, small_model, tmp_path):
    """The ledger counts the windows and names the signal; figures with them counted in are kept beside."""
    (row,) = measured(asking(small_model, "faulty:PICKY", window_s=3.0), store=tmp_path / "store")
    assert row.status == "ok", row.error
    assert 1 <= row.interference.flagged <= row.interference.windows
    assert row.interference.by_signal["others_cpu_cores"] >= 1
    assert row.with_flagged.throughput_samples_per_s.value > 0
    (finding,) = [finding for finding in row.findings if finding.code == "interference"]
    assert "others_cpu_cores" in finding.text
    windows = records.samples(Path(row.record)).measured()
    assert len(windows) == row.interference.windows
    assert sum(bool(window.flags) for window in windows) == row.interference.flagged
    assert all(window.signals["others_cpu_cores"] >= 0 for window in windows)


def test_a_slow_start_is_warm_up(small_model, tmp_path):
    """What an engine does while it is three times slower does not count; it stays in the record, marked."""
    (row,) = measured(asking(small_model, "faulty:SLOW_START", window_s=7.0), store=tmp_path / "store")
    assert row.status == "ok", row.error
    samples = records.samples(Path(row.record))
    order = np.argsort(samples.start_ns, kind="stable")
    slow = order[: SLOW_REQUESTS - 10]  # a few ran before the clients did
    assert set(samples.phase[slow].tolist()) == {WARMUP}
    assert row.warmup_s > 0.001 * SLOW_REQUESTS
    assert row.warmup_s == pytest.approx((samples.open_ns - samples.start_ns.min()) / S)


def test_an_engine_that_drifts_never_becomes_steady(small_model, tmp_path):
    """The row ends, from the best point that there is, and says what the medians did and what to do."""
    (row,) = measured(asking(small_model, "faulty:DRIFT", window_s=6.0), store=tmp_path / "store")
    assert row.status == "ok", row.error
    assert row.steady is False
    (finding,) = [finding for finding in row.findings if finding.code == "not_steady"]
    assert "ms); measure longer (--time), or find what changes" in finding.text
    assert row.throughput_samples_per_s.value > 0


def test_a_target_below_the_noise_ends_within_the_budget(small_model, tmp_path):
    """With what was reached, and how long it would take."""
    request = asking(small_model, "faulty:PICKY", targets=(Target(1e-6), Target(0.9, "p50")))
    began = time.monotonic()
    (row,) = measured(request, store=tmp_path / "store", budget_s=10.0, refine=True)
    assert time.monotonic() - began < 10
    assert row.status == "ok", row.error
    throughput, median = row.targets
    assert not throughput.met
    assert (throughput.half_width or 1) > 1e-6
    assert median.quantity == "p50"
    wide = [finding.text for finding in row.findings if finding.code == "wide_interval"]
    assert any(text.startswith("throughput ") and "not to ±0.0001 %" in text for text in wide)


def test_a_budget_goes_to_the_row_that_needs_it(small_model, tmp_path):
    """What is known well enough is measured once; what is not gets the time that is left, and ends within it."""
    loose = asking(small_model, "faulty:PICKY", window_s=1.0, targets=(Target(0.9),))
    tight = replace(loose, targets=(Target(1e-6),), seed=1)
    began = time.monotonic()
    easy, hard = measured(loose, tight, store=tmp_path / "store", budget_s=16.0, refine=True)
    assert time.monotonic() - began < 16
    assert (easy.status, hard.status) == ("ok", "ok"), (easy.error, hard.error)
    assert easy.wall_s < hard.wall_s
    assert "wide_interval" in codes(hard)
    kept = [record.measurement.targets[0].target for record in records.listed(tmp_path / "store").records]
    assert kept.count(0.9) == 1
    assert kept.count(1e-6) == 2


def test_several_processes_are_pooled_and_all_kept(small_model, tmp_path):
    """Each is fresh and measured alone; the record has the requests of all, and which process each was of."""
    request = asking(small_model, "faulty:PICKY", window_s=0.5, processes=3)
    stages = []
    (row,) = measured(request, store=tmp_path / "store", listen=lambda progress: stages.append(progress.stage))
    assert row.status == "ok", row.error
    assert row.processes == 3
    samples = records.samples(Path(row.record))
    assert np.unique(samples.process).tolist() == [0, 1, 2]
    assert np.all(np.diff(samples.process) >= 0)
    parts = samples.parts()
    assert [part.open_ns < part.close_ns for part in parts] == [True] * 3
    assert all(before.end_ns.max() < after.start_ns.min() for before, after in pairwise(parts))
    assert row.requests == sum(int(part.window.sum()) for part in parts)
    assert row.wall_s >= 3 * 0.5
    assert {window.process for window in samples.windows} == {0, 1, 2}
    assert len({stage for stage in stages if "warming up" in stage and "of 3" in stage}) == 3


def test_what_was_measured_before_a_process_died_is_kept(small_model, tmp_path):
    """The row fails with the reason and the number of the process; the samples of those before it are on disk."""

    def kill_the_second(progress):
        if "process 2 of 3" in progress.stage:
            for child in psutil.Process().children():
                if "speedsheet.bench.worker" in " ".join(child.cmdline()):
                    child.kill()

    request = asking(small_model, "faulty:PICKY", window_s=0.5, processes=3)
    (row,) = measured(request, store=tmp_path / "store", listen=kill_the_second)
    assert row.status == "failed"
    assert row.error.startswith("process 2 of 3: the worker was killed by SIGKILL")
    samples = records.samples(Path(row.record))
    assert np.unique(samples.process).tolist() == [0]
    assert samples.window.sum() > 0
    assert len(samples.windows) > 0


def test_one_wrong_process_fails_the_row(small_model, tmp_path):
    """Its record is sealed at once, with what it measured; no other process is started."""
    request = asking(small_model, "faulty:NAN", window_s=0.3, processes=3)
    (row,) = measured(request, store=tmp_path / "store")
    assert row.status == "failed"
    assert "the outputs are wrong" in row.error
    assert np.unique(records.samples(Path(row.record)).process).tolist() == [0]


def test_resume_tells_a_quick_row_from_a_full_one(small_model, tmp_path):
    """Nor is a row that a budget cut short taken for one that was measured as asked."""
    store = tmp_path / "store"
    full = asking(small_model, "faulty:PICKY", window_s=0.3)
    (quick,) = measured(replace(full, quick=True), store=store)
    (first,) = measured(full, store=store, resume=True)
    assert first.record != quick.record
    for request, row in ((full, first), (replace(full, quick=True), quick)):
        (again,) = measured(request, store=store, resume=True)
        assert again.record == row.record
    long = replace(full, window_s=60.0)
    (short,) = measured(long, store=store, budget_s=6.0)
    assert short.status == "ok", short.error
    conditions = records.verify(Path(short.record)).conditions
    assert conditions["complete"] is False
    assert records.find(store, conditions["request_sha256"]) is None


def run(flagged, *, window_s=10, power_w=20.0, steady=True):
    """Make samples of one request each 0.05 s from two clients; a second is a window, `flagged` by number."""
    end = START + np.arange(1, 20 * (window_s + 1) + 1, dtype=np.int64) * (S // 20)
    second = (np.arange(end.size) // 20) - 1
    phase = np.where(second < 0, WARMUP, np.where(np.isin(second, list(flagged)), FLAGGED, WINDOW)).astype(np.int8)
    phase[-1] = AFTER
    if len(flagged) == window_s:
        phase[phase == FLAGGED] = WINDOW
    windows = tuple(
        Window(START + n * S, START + (n + 1) * S, 1e8, {"power_w": power_w} if power_w else {},
               ("others_cpu_cores",) if n - 1 in flagged else ())
        for n in range(window_s + 1)
    )  # fmt: skip
    zeros = np.zeros(end.size, np.int32)
    client = (np.arange(end.size) % 2).astype(np.int32)
    return Samples(
        client, zeros, end - S // 10, end - S // 10, end, phase, zeros.astype(bool), START + S, int(end[-2]),
        windows=windows, steady=steady,
    )  # fmt: skip


START = 10**15


@pytest.mark.parametrize(
    ("flagged", "window_s", "remeasured", "words"),
    [
        ({2, 3}, 12, 2, "2 of 12 windows were disturbed (others_cpu_cores 2) and are left out; as many were measured"),
        ({2, 3}, 11, 1, "1 were measured again: end other work"),
        ({2, 3}, 10, 0, "there was no time to replace them: end other work"),
        (
            set(range(10)),
            10,
            0,
            "all 10 windows were disturbed (others_cpu_cores 10), and the figures are of all there is",
        ),
    ],
)
def test_the_ledger_says_what_was_left_out_and_what_came_in_its_place(flagged, window_s, remeasured, words):
    """Counted against the window that was planned, 10 s."""
    row = figured(ROW, run(flagged, window_s=window_s), PLAN, ["steal_share"])
    told = row.interference
    assert (told.windows, told.flagged, told.remeasured) == (window_s, len(flagged), remeasured)
    assert told.unavailable == ("steal_share",)
    assert words in next(finding.text for finding in row.findings if finding.code == "interference")
    kept = window_s - len(flagged) if len(flagged) < window_s else window_s
    assert row.wall_s == pytest.approx(kept, abs=0.06)
    assert row.with_flagged.throughput_samples_per_s.value == pytest.approx(80, rel=0.01)


def test_a_quiet_run_has_no_doubts_and_no_second_figures():
    """What nothing disturbed needs no figures with and without it."""
    row = figured(ROW, run(set()), PLAN)
    assert (row.interference.flagged, row.interference.remeasured, row.with_flagged) == (0, 0, None)
    assert "interference" not in codes(row)
    assert (row.steady, row.warmup_s) == (True, pytest.approx(1.05))


def test_energy_is_that_of_the_windows_that_count():
    """20 W in every window at 80 samples a second are 4 samples a joule; one window without power tells nothing."""
    assert figured(ROW, run(set()), PLAN).samples_per_joule == pytest.approx(4.0, rel=0.01)
    assert figured(ROW, run({1, 2}), PLAN).samples_per_joule == pytest.approx(4.0, rel=0.01)
    assert figured(ROW, run(set(), power_w=None), PLAN).samples_per_joule is None
    samples = run(set())
    holed = replace(
        samples, windows=(*samples.windows[:3], replace(samples.windows[3], signals={}), *samples.windows[4:])
    )
    assert figured(ROW, holed, PLAN).samples_per_joule is None


def test_targets_say_what_was_reached():
    """Met or not, and how long it takes; a percentile without an interval has no half-width."""
    plan = replace(PLAN, targets=(Target(0.5), Target(1e-9), Target(0.1, "p99_9")))
    row = figured(ROW, run(set()), plan)
    loose, _, rare = row.targets
    assert (loose.met, loose.more_s) == (True, 0.0)
    assert rare.half_width is None
    assert rare.more_s > 10
    texts = [finding.text for finding in row.findings if finding.code == "wide_interval"]
    assert [text.split()[0] for text in texts] == [
        each.quantity.replace("_", ".") for each in row.targets if not each.met
    ]
    assert "p99.9 has no interval after 10 s, not to ±10 %" in texts[-1]
    assert Measurement.from_json(row.to_json()) == row
