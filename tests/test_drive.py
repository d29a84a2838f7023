"""The timed loop: who is counted, when the window opens and closes, and what a failure does."""

import gc
import threading
import time

import numpy as np
import pytest

from speedsheet.core.errors import EngineFailed
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import AFTER, WARMUP, WINDOW
from speedsheet.load.drive import drive
from speedsheet.load.watch import completions_to_stop
from speedsheet.stats.estimates import estimate


def napping(seconds):
    return lambda: time.sleep(seconds)


def test_each_client_starts_at_another_batch_and_takes_them_in_turn():
    """The order of input batches is the plan's, so a sample's slot is the batch that it read."""
    seen = {client: [] for client in range(3)}
    plan = LoadPlan(3, 0.05, pool_batches=8)
    clients = [
        [
            lambda c=client, s=plan.slot(client, position): (seen[c].append(s), time.sleep(0.001))
            for position in range(8)
        ]
        for client in range(3)
    ]
    samples = drive(plan, clients)
    for client in range(3):
        slots = samples.slot[samples.client == client]
        assert slots.tolist() == seen[client]
        assert slots[0] == client
        assert set(np.diff(slots) % 8) == {1}


def test_the_window_is_whole_rounds_with_every_client_busy():
    """It opens after every client's warm-up, closes on a completion, and holds a multiple of the clients."""
    samples = drive(LoadPlan(3, 0.2), [[napping(0.01 * (client + 1))] * 8 for client in range(3)])
    first = [samples.end_ns[samples.client == client][0] for client in range(3)]
    last = [samples.end_ns[samples.client == client][-1] for client in range(3)]
    assert samples.open_ns == max(first)
    assert samples.close_ns <= min(last)
    assert samples.close_ns in samples.end_ns
    assert np.count_nonzero(samples.phase == WINDOW) % 3 == 0
    assert np.all(samples.end_ns[samples.phase == WARMUP] <= samples.open_ns)
    assert np.all(samples.end_ns[samples.phase == AFTER] > samples.close_ns)


def test_clients_never_pause():
    """Between a client's requests there is nothing: the rows of the window explain its time."""
    samples = drive(LoadPlan(4, 0.5), [[napping(0.005)] * 8] * 4)
    said = estimate(samples, batch_size=1, thread_num=4)
    assert abs(said.little_residual) < 0.02
    mine = samples.client == 0
    gaps = samples.start_ns[mine][1:] - samples.end_ns[mine][:-1]
    assert np.all(gaps >= 0)


def test_slow_requests_get_their_three_per_client():
    """A window shorter than the requests is prolonged, not filled with parts of them."""
    samples = drive(LoadPlan(2, 0.01), [[napping(0.08)] * 8] * 2)
    window = samples.client[samples.phase == WINDOW]
    assert np.bincount(window).min() >= 3


def test_the_window_goes_on_to_enough_rounds_where_they_fit():
    """At the pace until now five rounds end in time, or they do not and the round in hand is the last."""
    quick = LoadPlan(4, 3.0, requests_per_client=1, rounds=5, rounds_within_s=15.0)
    assert completions_to_stop(quick, served=5, served_s=3.0) == 20
    assert completions_to_stop(quick, served=4, served_s=3.5) == 8
    assert completions_to_stop(quick, served=400, served_s=3.0) == 404
    samples = drive(LoadPlan(2, 0.05, requests_per_client=1, rounds=5, rounds_within_s=5.0), [[napping(0.04)] * 8] * 2)
    assert np.count_nonzero(samples.phase == WINDOW) >= 10


def test_a_failing_request_fails_the_run_and_stops_the_others():
    """The error is the engine's own, and no thread is left behind."""

    def broken():
        raise ValueError("the device is lost")

    before = threading.active_count()
    with pytest.raises(EngineFailed, match="a request of client 1 failed: ValueError: the device is lost"):
        drive(LoadPlan(2, 5.0), [[napping(0.001)] * 8, [napping(0.001)] * 3 + [broken]])
    assert threading.active_count() == before


class Engine:
    """Serves one request at a time, 50 ms each, first come, first served; what waits or runs can be given up."""

    def __init__(self):
        self.waiting, self.over, self.broken_off = [], threading.Event(), []

    def run(self):
        ticket = object()
        self.waiting.append(ticket)
        try:
            while self.waiting[0] is not ticket:
                self.pause()
            for _ in range(50):
                self.pause()
        finally:
            self.waiting.remove(ticket)

    def pause(self):
        time.sleep(0.001)
        if self.over.is_set():
            self.broken_off.append(1)
            raise RuntimeError("cancelled")


def test_what_is_in_flight_at_the_end_may_be_given_up():
    """Nobody waits for what no longer counts: it is neither a failure nor a row, and the window is as whole as ever."""
    plan, engine = LoadPlan(6, 0.1, requests_per_client=2), Engine()
    samples = drive(plan, [[engine.run] * 8] * 6, give_up=engine.over.set)
    assert len(engine.broken_off) == 6
    served = np.bincount(samples.client[samples.phase == WINDOW])
    assert served.min() >= 2
    assert served.sum() % 6 == 0
    assert np.count_nonzero(samples.phase == AFTER) < 6
    waited = Engine()
    drained = drive(plan, [[waited.run] * 8] * 6)
    assert np.count_nonzero(drained.phase == AFTER) >= 6
    assert not waited.broken_off


def test_a_failure_before_the_end_is_one_wherever_what_follows_is_given_up():
    """Giving up hides nothing: the first failed request fails the run, whatever then breaks off."""
    engine = Engine()

    def broken():
        raise ValueError("the device is lost")

    with pytest.raises(EngineFailed, match="a request of client 1 failed: ValueError: the device is lost"):
        drive(LoadPlan(2, 5.0), [[engine.run] * 8, [napping(0.001)] * 3 + [broken]], give_up=engine.over.set)


def test_the_collector_is_back_after_the_run():
    """It is off while the clock runs, and as it was afterwards."""
    seen = []
    drive(LoadPlan(1, 0.05), [[lambda: (seen.append(gc.isenabled()), time.sleep(0.001))]])
    assert not any(seen)
    assert gc.isenabled()


def test_more_requests_than_a_chunk_are_all_kept():
    """An empty call makes millions of rows; none is lost where a chunk ends."""
    calls = [0]

    def count():
        calls[0] += 1

    samples = drive(LoadPlan(1, 1.0), [[count]])
    assert samples.end_ns.size == calls[0]
    assert np.all(np.diff(samples.end_ns) >= 0)
    assert np.all(samples.start_ns > 0)


def test_progress_is_told_between_nothing_and_all():
    """Whoever listens hears shares from 0 to 1 and seconds that are left."""
    told = []
    drive(LoadPlan(1, 1.5), [[napping(0.002)]], lambda done, left, _reached: told.append((done, left)))
    assert told
    assert all(0 <= done <= 1 and left >= 0 for done, left in told)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
