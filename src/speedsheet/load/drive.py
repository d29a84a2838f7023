"""The only timed loop in the product: clients that never pause, and columns that are filled while nothing else runs."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.errors import EngineFailed
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import AFTER, WARMUP, WINDOW, Samples
from speedsheet.core.units import NS_PER_S

Run = Callable[[], object]
#: Told the share of the window that has passed and the seconds that are left, a few times a second at most.
Tell = Callable[[float, float], None]

# A chunk is mapped, not touched, when it is made: a new one costs microseconds once in a million requests.
_CHUNK = 1 << 20
_POLL_S = 0.05
_TELL_EVERY = 10


def drive(plan: LoadPlan, clients: Sequence[Sequence[Run]], tell: Tell = lambda _done, _left: None) -> Samples:
    """Run the closed loop of `plan` and return every request of it.

    `clients[c]` holds client c's calls in the order of use; it cycles through them. All clients are busy from before
    the window opens until after it closes: it opens when the last client completes its warm-up, and closes on the
    completion that ends a round after the plan's stop rule is met. Raises EngineFailed with the first failed request.
    """
    logs = [_Log() for _ in clients]
    stop: list[bool] = []
    failures: list[tuple[int, BaseException]] = []
    threads = [
        threading.Thread(target=_client, args=(index, runs, logs[index], stop, failures), daemon=True)
        for index, runs in enumerate(clients)
    ]
    with _quiet():
        for thread in threads:
            thread.start()
        try:
            _wait(plan, logs, stop, tell)
        finally:
            stop.append(True)
            for thread in threads:
                thread.join()
    if failures:
        client, error = failures[0]
        raise EngineFailed(f"a request of client {client} failed: {type(error).__name__}: {error}") from error
    return _collect(plan, logs)


@dataclass(slots=True)
class _Log:
    """One client's columns, in chunks; an entry that is still zero has not happened yet."""

    starts: list[NDArray[np.int64]] = field(default_factory=list)
    ends: list[NDArray[np.int64]] = field(default_factory=list)

    def grow(self) -> tuple[memoryview[int], memoryview[int]]:
        """Map a new chunk and return it as what a client writes fastest."""
        self.starts.append(np.zeros(_CHUNK, np.int64))
        self.ends.append(np.zeros(_CHUNK, np.int64))
        return memoryview(self.starts[-1]), memoryview(self.ends[-1])  # type: ignore[arg-type]  # int64 reads as int

    def count(self) -> int:
        """Count completions by bisection, so that the client publishes nothing and the reader costs nothing."""
        if not self.ends:
            return 0
        last = self.ends[-1]
        return (len(self.ends) - 1) * _CHUNK + bisect_left(range(_CHUNK), True, key=lambda index: last[index] == 0)

    def end(self, index: int) -> int:
        return int(self.ends[index // _CHUNK][index % _CHUNK])


def _client(
    index: int, runs: Sequence[Run], log: _Log, stop: list[bool], failures: list[tuple[int, BaseException]]
) -> None:
    clock = time.perf_counter_ns
    cycle = itertools.cycle(runs)
    try:
        while not stop:
            starts, ends = log.grow()
            for position, run in zip(range(_CHUNK), cycle, strict=False):
                began = clock()
                run()
                ends[position] = clock()
                starts[position] = began
                if stop:
                    return
    except BaseException as error:  # noqa: BLE001 - whatever an engine raises fails the row, not the thread
        failures.append((index, error))
        stop.append(True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the collector out of the timed region: with a large heap it pauses for up to 100 ms."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _wait(plan: LoadPlan, logs: Sequence[_Log], stop: list[bool], tell: Tell) -> None:
    """Sleep in the main thread until the stop rule holds or a client has failed."""
    opened: tuple[int, list[int]] | None = None
    enough = 0
    for poll in itertools.count():
        time.sleep(_POLL_S)
        if stop:
            return
        counts = [log.count() for log in logs]
        if opened is None:
            if min(counts) < plan.warmup_requests:
                continue
            open_ns = max(log.end(plan.warmup_requests - 1) for log in logs)
            opened = open_ns, counts
        passed_s = (time.perf_counter_ns() - opened[0]) / NS_PER_S
        # counts were read after the window opened, so what is added to them completed in it
        served = [count - before for count, before in zip(counts, opened[1], strict=True)]
        if not enough and passed_s >= plan.window_s and min(served) >= plan.requests_per_client:
            enough = completions_to_stop(plan, sum(served), passed_s)
        if enough and sum(served) >= enough:
            return
        if poll % _TELL_EVERY == 0:
            done = _done(plan, served, passed_s, enough)
            tell(done, passed_s * (1 - done) / done if done > 0 else plan.window_s)


def completions_to_stop(plan: LoadPlan, served: int, passed_s: float) -> int:
    """Return how many completions end the window, once its time has passed with `served` of them.

    The round in hand is finished; and the plan's rounds are, where they end in time at the pace until now.
    """
    rounds = served / plan.thread_num
    fits = passed_s / rounds * plan.rounds <= plan.rounds_within_s
    return max(int(rounds) + 1, plan.rounds if fits else 0) * plan.thread_num


def _done(plan: LoadPlan, served: Sequence[int], passed_s: float, enough: int) -> float:
    """Return the share of the window that is behind: of its time and its requests, or of what it goes on to."""
    if enough:
        return min(sum(served) / enough, 1.0)
    requests = sum(min(count, plan.requests_per_client) for count in served) / plan.requests_per_client
    return min(passed_s / plan.window_s, requests / len(served), 1.0)


def _collect(plan: LoadPlan, logs: Sequence[_Log]) -> Samples:
    counts = [log.count() for log in logs]
    client = np.repeat(np.arange(len(logs), dtype=np.int64), counts)
    request = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    start_ns = np.concatenate([_joined(log.starts, count) for log, count in zip(logs, counts, strict=True)])
    end_ns = np.concatenate([_joined(log.ends, count) for log, count in zip(logs, counts, strict=True)])
    open_ns = max(log.end(plan.warmup_requests - 1) for log in logs)
    # until the first client's last completion every client is busy, so nothing drains before it; and whole rounds,
    # since clients that keep step with each other complete in bursts, and part of a burst is no fair share of a round
    busy_ns = min(log.end(count - 1) for log, count in zip(logs, counts, strict=True))
    served_ns = np.sort(end_ns[(end_ns > open_ns) & (end_ns <= busy_ns)])
    close_ns = int(served_ns[served_ns.size // len(logs) * len(logs) - 1])
    phase = np.full(end_ns.size, WINDOW, np.int8)
    phase[end_ns <= open_ns] = WARMUP
    phase[end_ns > close_ns] = AFTER
    order = np.argsort(end_ns, kind="stable")
    return Samples(
        client=client[order].astype(np.int32),
        slot=plan.slot(client, request).astype(np.int32)[order],
        scheduled_ns=start_ns[order],
        start_ns=start_ns[order],
        end_ns=end_ns[order],
        phase=phase[order],
        failed=np.zeros(end_ns.size, np.bool_),
        open_ns=open_ns,
        close_ns=close_ns,
    )


def _joined(chunks: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    return np.concatenate(chunks)[:count] if chunks else np.empty(0, np.int64)
