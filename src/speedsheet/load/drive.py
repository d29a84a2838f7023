"""The only timed loop in the product: clients that never pause, and columns that are filled while nothing else runs."""

from __future__ import annotations

import gc
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from speedsheet.core.errors import EngineFailed
from speedsheet.core.plan import LoadPlan, Reached
from speedsheet.core.samples import Samples
from speedsheet.load.collect import Host
from speedsheet.load.log import CHUNK, Log
from speedsheet.load.watch import Tell, Watch

Run = Callable[[], object]

_POLL_S = 0.05
_UNSEEN = Host()


def _nobody(_done: float, _left_s: float, _reached: Reached | None) -> None:
    """Tell nobody."""


def drive(
    plan: LoadPlan,
    clients: Sequence[Sequence[Run]],
    tell: Tell = _nobody,
    host: Host = _UNSEEN,
    give_up: Callable[[], None] | None = None,
) -> Samples:
    """Run the closed loop of `plan` and return every request that was completed.

    `clients[c]` holds client c's calls in the order of use; it cycles through them. All clients are busy from before
    the window opens until after it closes; `plan` says when that is, and `host` what disturbs it. What is in flight
    then is waited for, or `give_up` makes it raise. Raises EngineFailed with the first request that failed before.
    """
    logs = [Log() for _ in clients]
    watch = Watch(plan, logs, tell, host)
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
            while not stop and not watch.over(time.perf_counter_ns()):
                time.sleep(_POLL_S)
        finally:
            stop.append(True)
            busy_ns = time.perf_counter_ns()
            failed = tuple(failures) if give_up else failures  # what breaks off from here on was given up
            if give_up:
                give_up()
            for thread in threads:
                thread.join()
    if failed:
        client, error = failed[0]
        raise EngineFailed(f"a request of client {client} failed: {type(error).__name__}: {error}") from error
    return watch.done(busy_ns)


def _client(
    index: int, runs: Sequence[Run], log: Log, stop: list[bool], failures: list[tuple[int, BaseException]]
) -> None:
    clock = time.perf_counter_ns
    cycle = itertools.cycle(runs)
    try:
        while not stop:
            starts, ends = log.grow()
            for position, run in zip(range(CHUNK), cycle, strict=False):
                began = clock()
                run()
                ended = clock()
                # whoever reads an end finds its start: the reader counts ends
                starts[position] = began
                ends[position] = ended
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
