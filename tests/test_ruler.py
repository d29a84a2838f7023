"""The ruler: its floor, the calls per second up to which clients are exact, and rows too near to it."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.bench.ruler import NEAR, OFF, Step, exact_calls_per_s, floor_at, near_floor
from speedsheet.bench.supervise import call
from speedsheet.core.engine import Setup
from speedsheet.core.errors import BadInput, RowFailed, WorkerDied
from speedsheet.core.measurement import Floor, Latency, Measurement
from speedsheet.core.plan import LoadPlan
from speedsheet.load.drive import drive
from speedsheet.testing import NullEngine
from speedsheet.testing.contract import example_artifact, example_feed

ROW = Measurement("m", "onnx", "t", batch_size=1, thread_num=2, precision="fp32")


def working(task, job):
    return call(task, job, tell=lambda *_: None, stall_limit_s=60)


def null_run(folder, **settings):
    session = NullEngine().load(example_artifact(folder), Setup("CPU", "fp32", 4, 1, 1, settings), lambda: None)
    return session.bind(example_feed(0), {}).run


@pytest.mark.parametrize("thread_num", [1, 4])
def test_the_ruler_is_measured_in_a_worker_as_a_row_is(thread_num):
    """A request of the empty engine takes some time, and clients are exact up to some rate, or the host is too busy."""
    floor = Floor(**working("ruler", {"thread_num": thread_num}))
    assert 0 < floor.p50_us <= floor.p99_us
    assert floor.exact_calls_per_s is None or floor.exact_calls_per_s > 100


def test_what_goes_wrong_inside_a_worker_says_where():
    """An error that nobody foresaw fails its row in one line, with its place: what a report of it needs."""
    with pytest.raises(RowFailed, match=r"^ruler\.py, line \d+: KeyError: 'thread_num'; report it$"):
        working("ruler", {})


def test_the_known_delay_is_never_cut_short_and_does_not_hold_the_lock(tmp_path):
    """Answers come after the time that was asked; eight clients wait for theirs at once."""
    run = null_run(tmp_path, DELAY_US="20000")
    samples = drive(LoadPlan(8, 0.3), [[run]] * 8)
    assert samples.latency_ns.min() >= 20_000_000
    busy_ns = int((samples.end_ns - samples.start_ns).sum())
    assert busy_ns > 3 * (samples.end_ns.max() - samples.start_ns.min())


def test_the_empty_call_lets_go_of_the_lock_as_engines_do(tmp_path):
    """Two clients of the null engine both get their turn long before the interpreter would force one to stop."""
    run, turns = null_run(tmp_path), []

    def take(name):
        for _ in range(20_000):
            run()
            turns.append(name)

    threads = [threading.Thread(target=take, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(turns) == {"a", "b"}


def test_a_delay_that_is_no_number_is_refused_in_one_line(tmp_path):
    """The setting is named, with what to give."""
    with pytest.raises(BadInput, match="DELAY_US=soon is not a number; give microseconds"):
        null_run(tmp_path, DELAY_US="soon")


DELAYS = [10.0 * 2**step for step in range(8)]


def step(delay_us, added=(0.0, 0.0), clients=1):
    """What clients see whose p50 and p90 are above the truth by so much."""
    return Step((delay_us,) * 2, tuple(delay_us * (1 + share) for share in added), clients / delay_us * 1e6)


@given(limit=st.floats(0.1, 2000), clients=st.integers(2, 64), which=st.sampled_from([0, 1]))
def test_the_limit_is_the_fastest_step_that_is_exact(limit, clients, which):
    """Of clients that are exact down to a delay, the calls per second at the last delay not below it are told."""

    def measure(delay_us):
        added = [share * 0.9 for share in OFF.values()]
        if delay_us < limit:
            added[which] *= 1.3
        return step(delay_us, added, clients)

    exact = [clients / delay * 1e6 for delay in DELAYS if delay >= limit]
    assert exact_calls_per_s(DELAYS, measure) == (max(exact) if exact else None)


def test_a_step_that_was_disturbed_once_is_tried_again():
    """A neighbour's burst in one try does not lower the limit; one in every try does."""
    tried = []

    def measure(delay_us):
        tried.append(delay_us)
        return step(delay_us, (3.0, 3.0) if tried.count(delay_us) == 1 else (0.0, 0.0))

    assert exact_calls_per_s(DELAYS, measure) == 1e6 / DELAYS[0]
    assert exact_calls_per_s(DELAYS, lambda delay_us: step(delay_us, (0.0, 3.0))) is None


@given(st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_a_row_is_near_the_floor_where_a_tenth_of_it_may_be_the_rulers(p50_us, floor_us):
    """Rows below ten floors carry the finding with the share, and others none."""
    row = replace(ROW, latency_ms=Latency(mean=p50_us / 1000, p50=p50_us / 1000), floor=Floor(floor_us, floor_us, None))
    findings = near_floor(row)
    assert bool(findings) == (row.latency_ms.p50 * 1000 < NEAR * floor_us)
    assert all(finding.code == "near_floor" and "may be the ruler's" in finding.text for finding in findings)


def test_the_share_that_may_be_the_rulers_is_told():
    """The figure is the floor over the row's median, at most all of it; an unmeasured ruler says nothing."""
    row = replace(ROW, latency_ms=Latency(mean=0.002, p50=0.001), floor=Floor(0.25, 0.4, 50_000.0))
    assert "up to 25 % of its latency" in near_floor(row)[0].text
    assert "up to 100 %" in near_floor(replace(row, floor=Floor(5.0, 9.0, None)))[0].text
    assert near_floor(replace(row, floor=None)) == near_floor(replace(row, latency_ms=Latency())) == ()


def test_the_ruler_is_measured_once_for_each_number_of_clients_and_each_state_of_the_clocks():
    """A sheet of many rows pays for it once; a ruler that died is asked again, and the row goes on without."""
    asked = []

    def dies(task, job):
        asked.append(task)
        raise WorkerDied("killed")

    def answers(task, job):
        asked.append((task, job["thread_num"]))
        return {"p50_us": 0.2, "p99_us": 0.3, "exact_calls_per_s": 4e4}

    assert floor_at(90_001, "default", dies) is None
    first, again = (floor_at(90_001, "default", answers) for _ in range(2))
    assert first == again == Floor(0.2, 0.3, 4e4)
    assert floor_at(90_002, "default", answers).p99_us == 0.3
    assert floor_at(90_002, "tuned", answers).p99_us == 0.3
    assert asked == ["ruler", ("ruler", 90_001), *[("ruler", 90_002)] * 2]


def test_a_floor_survives_the_way_through_json():
    """What stands on the row is what is read back, an unmeasured limit among it."""
    for floor in (Floor(0.2, 0.3, 4e4), Floor(0.2, 0.3, None), None):
        assert Measurement.from_json(replace(ROW, floor=floor).to_json()).floor == floor


def test_one_client_alone_is_exact_as_long_as_its_floor_is_a_tenth():
    """With nobody to wait for, the limit and the mark of rows near the floor are one rule."""
    floor = Floor(**working("ruler", {"thread_num": 1}))
    assert np.isclose(floor.exact_calls_per_s, 1e6 / floor.p50_us / NEAR)
