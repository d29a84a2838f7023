"""Clients of one row in several processes at once: when, from one clock, as one loop, and nothing is left of them."""

import json
import os
import queue
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedsheet.bench import ruler
from speedsheet.bench.crowd import processes_for
from speedsheet.bench.judge import Verdict, worst
from speedsheet.bench.row import Desk, readied
from speedsheet.bench.ruler import near_floor
from speedsheet.bench.sheet import measure_sheet
from speedsheet.bench.supervise import Worker, call
from speedsheet.core.errors import RowFailed
from speedsheet.core.measurement import Floor, Gate, Latency, Measurement, Throughput
from speedsheet.core.request import RowRequest
from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, WINDOW, Samples, Window
from speedsheet.host.facts import allowed_cores
from speedsheet.load.merge import merged
from speedsheet.records import store as records

NULL, FAULTY = "speedsheet.testing.null:ENGINE", "speedsheet.testing.faulty:"
SLOW_RULER = Floor(0.2, 0.4, exact_calls_per_s=10.0)

several_cores = pytest.mark.skipif(allowed_cores() < 2, reason="every process wants a core of its own")


@pytest.fixture
def slow_ruler(monkeypatch):
    """Let clients be exact up to ten calls per second only, so that every row is too fast for one process."""
    for thread_num in (1, 2, 3, 4, 16):
        monkeypatch.setitem(ruler.KNOWN, (thread_num, "default"), SLOW_RULER)


def measured(model, engine, store, thread_num=4, listen=lambda _progress: None, window_s=0.3):
    request = RowRequest(
        str(model), engine=engine, precision="fp32", thread_num=thread_num, window_s=window_s,
        settings={"DELAY_US": "300"} if engine == NULL else {},
    )  # fmt: skip
    return measure_sheet([request], store=store, listen=listen).rows[0]


def crowd():
    """Return the client processes: workers of a worker."""
    return [each for each in psutil.Process().children(recursive=True) if "share" in each.cmdline()]


@several_cores
@pytest.mark.parametrize("engine", [NULL, "onnxruntime"])
def test_clients_too_fast_for_one_process_are_moved_and_the_row_says_so(engine, slow_ruler, small_model, tmp_path):
    """The row has its number, judged outputs, all clients, and tells from how many processes they asked."""
    row = measured(small_model, engine, tmp_path / "store")
    assert row.status == "ok", row.error
    assert row.client_processes == min(4, allowed_cores())
    assert "moved to" in next(finding.text for finding in row.findings if finding.code == "client_processes")
    assert row.gate.passed
    assert row.floor == SLOW_RULER
    samples = records.samples(Path(row.record))
    whole = samples.with_flagged()  # on a busy machine what is not flagged may be short
    assert set(samples.client[whole.window].tolist()) == {0, 1, 2, 3}
    assert samples.window.sum() % 4 == 0
    assert np.all(np.diff(samples.end_ns) >= 0)
    assert samples.open_ns < samples.close_ns
    first = [samples.start_ns[samples.client == client].min() for client in range(4)]
    assert max(first) <= samples.open_ns


def test_slow_rows_stay_in_one_process(small_model, tmp_path):
    """A row below the limit is what it always was."""
    row = measured(small_model, f"{FAULTY}HANG", tmp_path / "s", thread_num=1, window_s=0.01)
    assert row.status == "ok", row.error
    assert row.client_processes == 1
    assert "client_processes" not in {finding.code for finding in row.findings}


@several_cores
def test_a_client_process_that_is_killed_fails_the_row_and_leaves_none_behind(slow_ruler, small_model, tmp_path):
    """The row names the signal and which process it was; the others are gone."""

    def kill_the_second(progress):
        if "processes" in progress.stage and len(crowd()) > 1:
            os.kill(max(each.pid for each in crowd()), signal.SIGKILL)

    row = measured(small_model, NULL, tmp_path / "store", listen=kill_the_second, window_s=2.0)
    assert row.status == "failed"
    assert "worker 2 of 2 was killed by SIGKILL" in row.error
    assert crowd() == []


@several_cores
def test_client_processes_go_with_whoever_listens(slow_ruler, small_model, tmp_path):
    """When the command is killed, so are its worker and the workers of that worker."""
    program = (
        "import json, sys; from speedsheet.bench import ruler; from speedsheet.core.measurement import Floor\n"
        "from speedsheet.bench.sheet import measure_sheet; from speedsheet.core.request import RowRequest\n"
        "from pathlib import Path\n"
        "ruler.KNOWN[4, 'default'] = Floor(0.2, 0.4, 10.0)\n"
        "request = RowRequest(sys.argv[1], engine=sys.argv[2], precision='fp32', thread_num=4, window_s=2.0,\n"
        "                     settings={'DELAY_US': '300'})\n"
        "measure_sheet([request], store=Path(sys.argv[3]), listen=lambda told: print(told.stage, flush=True))\n"
    )
    command = [sys.executable, "-c", program, str(small_model), NULL, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sheet:
        assert any("processes" in line for line in sheet.stdout)
        below = psutil.Process(sheet.pid).children(recursive=True)
        sheet.kill()
    assert len(below) >= 3
    assert psutil.wait_procs(below, timeout=5)[1] == []


@several_cores
def test_a_crowd_that_a_budget_cuts_short_is_not_complete(slow_ruler, small_model, tmp_path):
    """What ends before its window is not taken for the row that was asked, from however many processes it came."""
    settings = {"DELAY_US": "300"}
    request = RowRequest(
        str(small_model), engine=NULL, precision="fp32", thread_num=4, window_s=60.0, settings=settings
    )
    ready = readied(request, Desk(tmp_path / "store", 60.0), lambda *_: None)
    job = {**ready.job, "conditions": ready.conditions, "store": str(tmp_path / "store"), "client_processes": 0}
    done = call("measure", {**job, "until_s": time.monotonic() + 4.0}, tell=lambda *_: None, stall_limit_s=60.0)
    assert done["client_processes"] == min(4, allowed_cores())
    assert records.read(Path(done["record"])).conditions["complete"] is False


def test_a_worker_that_tells_of_progress_does_not_hang_whatever_share_it_tells():
    """A run may stand at all of its share for long: a target takes longer than was thought, windows are disturbed."""
    told = json.dumps({"stage": "measuring", "done": 1.0, "left": 0.0, "reached": None}).encode()
    with Worker("ruler", "the worker", queue.SimpleQueue()) as worker:
        worker.heard(told)
        moved = worker.moved
        worker.heard(told)
        assert worker.moved > moved


def test_the_clock_is_one_for_all_processes():
    """An instant that another process reads lies between two of ours: windows may be compared."""
    before = time.perf_counter_ns()
    program = "import time; print(time.perf_counter_ns())"
    there = int(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert before < there < time.perf_counter_ns()


def samples_of(clients, requests, start_ns, each_ns, flags=((),)):
    """Clients that never pause, each with `requests` of `each_ns`; the run is cut into as many windows as `flags`."""
    client = np.tile(np.arange(clients, dtype=np.int32), requests)
    number = np.repeat(np.arange(requests, dtype=np.int64), clients)
    start = start_ns + number * each_ns + client
    phase = np.full(client.size, WINDOW, np.int8)
    phase[:clients], phase[-clients:] = WARMUP, AFTER
    end = start + each_ns - 1
    edges = np.linspace(clients - 1, client.size - 1, len(flags) + 1).astype(int)
    for first, after, names in zip(edges[:-1], edges[1:], flags, strict=True):
        if names and not all(flags):
            phase[first + 1 : after + 1] = FLAGGED
    windows = tuple(
        Window(int(end[first]), int(end[after]), float(each_ns), {}, tuple(names))
        for first, after, names in zip(edges[:-1], edges[1:], flags, strict=True)
    )
    columns = {"client": client, "slot": client % 8, "scheduled_ns": start, "start_ns": start, "end_ns": end}
    return Samples(
        **columns, phase=phase, failed=np.zeros(client.size, bool), open_ns=int(end[clients - 1]),
        close_ns=int(end[-clients - 1]), windows=windows, steady=True,
    )  # fmt: skip


parts_of = st.lists(
    st.builds(samples_of, st.integers(1, 5), st.integers(20, 60), st.integers(0, 400), st.integers(60, 90)),
    min_size=1, max_size=4,
)  # fmt: skip


@given(parts_of)
@settings(max_examples=60)
def test_merged_samples_are_one_loop_in_which_all_clients_are_busy(parts):
    """Every request is kept; the window is whole rounds, opens with the last and closes before the first is done."""
    clients = sum(int(part.client.max()) + 1 for part in parts)
    whole = merged(parts, clients)
    assert whole.end_ns.size == sum(part.end_ns.size for part in parts)
    assert set(whole.client.tolist()) == set(range(clients))
    assert whole.open_ns == max(part.open_ns for part in parts)
    busy = min(whole.end_ns[whole.client == client].max() for client in range(clients))
    assert whole.open_ns < whole.close_ns
    assert whole.close_ns <= busy
    assert np.count_nonzero(whole.window) % clients == 0
    assert whole.window.any()
    inside = (whole.end_ns > whole.open_ns) & (whole.end_ns <= whole.close_ns)
    assert np.all(whole.window <= inside)
    assert len(whole.windows) == 1
    assert whole.steady is None
    assert {(start, end, slot) for start, end, slot in zip(whole.start_ns, whole.end_ns, whole.slot, strict=True)} == {
        triple for part in parts for triple in zip(part.start_ns, part.end_ns, part.slot, strict=True)
    }


def test_what_one_process_saw_disturbed_is_flagged_for_all():
    """A neighbour takes a core from one of them; the others' requests of that time are left out too."""
    calm, disturbed = samples_of(2, 60, 0, 50, [(), (), ()]), samples_of(2, 60, 7, 50, [(), ("steal_share",), ()])
    for parts in ([calm, disturbed], [disturbed, calm]):
        whole = merged(parts, 4)
        assert {flag for window in whole.windows for flag in window.flags} == {"steal_share"}
        opened_ns, closed_ns = disturbed.windows[1].opened_ns, disturbed.windows[1].closed_ns
        inside = (whole.end_ns > opened_ns) & (whole.end_ns <= closed_ns)
        assert np.all(whole.phase[inside] == FLAGGED)
        assert whole.window.any()


def test_the_window_opens_where_all_together_are_steady():
    """A slow start of one process is not measured, though the process that cut the run did not see it."""
    calm = samples_of(1, 3000, 0, 50, [()] * 12)
    late = samples_of(1, 3000, 3, 50, [()] * 12)
    slow = np.arange(late.end_ns.size) < 700
    late = replace(late, start_ns=np.where(slow, late.start_ns - 100, late.start_ns))
    whole = merged([calm, late], 2)
    assert whole.steady is True
    assert whole.open_ns >= late.end_ns[700]
    assert merged([calm, samples_of(1, 3000, 3, 50)], 2).open_ns < late.end_ns[700]
    creeping = replace(calm, start_ns=calm.end_ns - 40 - np.arange(calm.end_ns.size) // 10)
    assert merged([creeping, late], 2).steady is False


def test_processes_that_never_ran_at_once_fail_the_row():
    """What was not measured at the same time is no crowd."""
    with pytest.raises(RowFailed, match="the clients of 2 processes were never busy at once; measure longer"):
        merged([samples_of(1, 20, 0, 50), samples_of(1, 20, 100_000, 50)], 2)


def test_windows_are_counted_once_and_hold_the_median_of_all():
    """Two processes that each saw the run do not make twice the windows, nor twice the energy."""
    whole = merged([samples_of(1, 60, 0, 50, [(), ()]), samples_of(3, 60, 7, 90, [(), ()])], 4)
    assert len(whole.windows) == 2
    assert all(80 < window.median_ns < 100 for window in whole.windows)


def test_where_all_was_disturbed_the_figures_are_of_that():
    """Flags that leave nothing to measure by are not obeyed, as in one process."""
    first, second = samples_of(1, 40, 0, 50, [("a",), ()]), samples_of(1, 40, 0, 50, [(), ("b",)])
    whole = merged([first, second], 2)
    assert whole.window.any()
    assert not np.any(whole.phase == FLAGGED)


@given(st.integers(1, 6), st.lists(st.booleans(), min_size=2, max_size=6), st.integers(0, 40))
def test_of_what_was_disturbed_whole_rounds_are_left_out(clients, flags, offset):
    """However windows and rounds lie to each other, no stray request of a disturbed round is left to measure by."""
    tags = [("a",) if flag else () for flag in flags]
    parts = [samples_of(clients, 90, 0, 50, tags), samples_of(2, 90, offset, 70, [()] * len(tags))]
    whole = merged(parts, clients + 2)
    assert whole.window.sum() % (clients + 2) == 0
    assert whole.window.any()


ROW = Measurement("m", "onnx", "t", batch_size=8, thread_num=4, precision="fp32")


@given(st.floats(1, 1e6), st.integers(1, 64), st.integers(1, 64), st.floats(10, 1e6))
def test_there_are_never_more_processes_than_clients_or_cores(rate, thread_num, cores, exact):
    """Below the limit one; above it enough to get below it, as far as clients and cores go."""
    samples, setup = samples_of(1, 100, 0, round(1e9 / rate)), {"thread_num": thread_num, "cores": cores}
    really = 98 / (samples.close_ns - samples.open_ns) * 1e9
    found = processes_for(samples, Floor(0.2, 0.3, exact), setup)
    assert 1 <= found <= min(thread_num, cores)
    if really <= exact:
        assert found == 1
    elif found < min(thread_num, cores):
        assert really / found < exact
    assert processes_for(samples, None, setup) == processes_for(samples, Floor(0.2, 0.3, None), setup) == 1


def test_a_row_that_could_be_divided_no_further_says_that_it_is_too_fast():
    """The calls of each process are held to the limit; more processes, or fewer calls, silence it."""
    row = replace(
        ROW, throughput_samples_per_s=Throughput(8 * 90_000.0), latency_ms=Latency(mean=0.04, p50=0.04),
        floor=Floor(0.2, 0.3, 40_000.0), client_processes=2,
    )  # fmt: skip
    (finding,) = near_floor(row)
    assert finding.code == "near_floor"
    assert "exact up to 40000 calls per second, and these make 45000" in finding.text
    assert near_floor(replace(row, client_processes=3)) == ()


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_outputs_are_right_only_where_they_are_in_every_process(passes):
    """One process with wrong outputs is enough for the gate to fail."""
    verdicts = [Verdict(Gate(passed, "relative_error", 0.1 if passed else 0.9, 0.5), {}) for passed in passes]
    assert worst(verdicts).gate.passed == all(passes)
    assert Verdict.from_json(json.loads(json.dumps({"gate": {"passed": True}, "by_output": {}, "findings": []})))
