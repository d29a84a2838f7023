"""Worker processes, from outside: started, listened to, killed when they hang, and explained when they die."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, Self

from speedsheet.core import errors
from speedsheet.core.errors import BudgetSpent, RowFailed, SpeedsheetError, WorkerDied
from speedsheet.core.plan import Reached
from speedsheet.core.units import format_duration

#: Told the stage, the share of it that is done, the seconds left, and the target farthest from being met.
Tell = Callable[[str, float | None, float | None, Reached | None], None]
#: What a worker answers when it waits for the others.
READY: Mapping[str, Any] = {"ready": True}
#: Workers that wait for each other begin so long after the last of them is ready: the word reaches all before.
_AHEAD_NS = 50_000_000


def call(
    task: str, job: Mapping[str, Any], *, tell: Tell, stall_limit_s: float, deadline_s: float | None = None
) -> dict[str, Any]:
    """Run one task in a process of its own and return its result.

    The process is killed when nothing moves in it for `stall_limit_s` (no stage begins, no request completes), or at
    `deadline_s` on the monotonic clock. Raises what the worker raised, WorkerDied, or BudgetSpent.
    """
    return call_together(task, [job], tell=tell, stall_limit_s=stall_limit_s, deadline_s=deadline_s)[0]


def call_together(
    task: str, jobs: Sequence[Mapping[str, Any]], *, tell: Tell, stall_limit_s: float, deadline_s: float | None = None
) -> list[dict[str, Any]]:
    """Run one task on several jobs at once, each in a process of its own; return their results in order.

    Workers that answer READY are kept waiting until all are, and are then told one instant at which to begin, and the
    processes of this run. The first that fails fails all, and none is left behind. Progress is the first one's: they
    go in step.
    """
    with ExitStack() as stack:
        messages: queue.SimpleQueue[tuple[Worker, bytes]] = queue.SimpleQueue()
        names = ["the worker"] if len(jobs) == 1 else [f"worker {n} of {len(jobs)}" for n in range(1, len(jobs) + 1)]
        workers = [stack.enter_context(Worker(task, name, messages)) for name in names]
        for worker, job in zip(workers, jobs, strict=True):
            worker.order(job)
        ready: set[Worker] = set()
        results: dict[Worker, dict[str, Any]] = {}
        while len(results) < len(workers):
            busy = [worker for worker in workers if worker not in ready and worker not in results]
            message = _next(busy, messages, stall_limit_s, deadline_s)
            if message is None:
                continue
            worker, said = message
            if "result" in said:
                results[worker] = said["result"]
            elif said.get("answer") == READY:
                ready.add(worker)
            elif worker is workers[0]:
                reached = said.get("reached")
                tell(said["stage"], said["done"], said["left"], Reached(**reached) if reached else None)
            if len(ready) == len(workers):
                ready = _begin(workers)
        return [results[worker] for worker in workers]


def _begin(workers: Sequence[Worker]) -> set[Worker]:
    """End the waiting; return who still waits: nobody."""
    processes = [os.getppid(), *(worker.pid for worker in workers)]
    begin_ns = time.perf_counter_ns() + _AHEAD_NS
    for worker in workers:
        worker.moved = time.monotonic()
        worker.order({"begin_ns": begin_ns, "processes": processes})
    return set()


def _next(
    busy: Sequence[Worker],
    messages: queue.SimpleQueue[tuple[Worker, bytes]],
    stall_limit_s: float,
    deadline_s: float | None,
) -> tuple[Worker, dict[str, Any]] | None:
    """Return the next that any worker says, null where one has ended as it should.

    Raises what it tells of, WorkerDied where one ended before its time or has not moved for too long, BudgetSpent.
    """
    slowest = min(busy, key=lambda worker: worker.moved)
    until = min(slowest.moved + stall_limit_s, deadline_s or float("inf"))
    try:
        worker, line = messages.get(timeout=min(max(0.0, until - time.monotonic()), threading.TIMEOUT_MAX))
    except queue.Empty:
        if deadline_s and time.monotonic() >= deadline_s:
            raise BudgetSpent(f"the budget ended while {slowest.stage}", do="give a longer --budget") from None
        raise slowest.hangs(stall_limit_s) from None
    if not line and worker not in busy and worker.answered:
        return None
    return worker, worker.heard(line)


class Worker:
    """One process of `speedsheet.bench.worker`, from its start to its end; what it says goes into `messages`.

    `stage` is what it does, `moved` when it last told of it, on the monotonic clock: tasks tell only of what has gone
    on. `answered` is whether it has said its last word.
    """

    def __init__(self, task: str, name: str, messages: queue.SimpleQueue[tuple[Worker, bytes]]) -> None:
        self.name, self.stage, self.moved, self.answered = name, "starting", time.monotonic(), False
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "speedsheet.bench.worker", task, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(messages,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with suppress(OSError):  # what was not yet written has no reader
                assert stream
                stream.close()

    def order(self, message: Mapping[str, Any]) -> None:
        """Say what to do: a job, or what a task waits for."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self.died() from None

    def heard(self, line: bytes) -> dict[str, Any]:
        """Take in what the process said; raises the error that it tells of, and WorkerDied where it said nothing."""
        if not line:
            raise self.died()
        message: dict[str, Any] = json.loads(line)
        if "error" in message:
            raise _rebuilt(message["error"])
        self.answered = "result" in message
        if "stage" in message:
            self.stage, self.moved = message["stage"], time.monotonic()
        return message

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started in its session."""
        with suppress(ProcessLookupError):  # that it is gone is told when it is next listened to
            os.killpg(self._process.pid, number)

    def died(self) -> WorkerDied:
        """Say how the process ended."""
        return WorkerDied(f"{self.name} {_cause(self._process.wait(), self._stderr)}")

    def hangs(self, stall_limit_s: float) -> WorkerDied:
        """Say that the process has not moved for too long."""
        return WorkerDied(
            f"nothing moved for {format_duration(stall_limit_s)} while {self.stage}; {self.name} was killed",
            do="give a longer --stall-limit if the model is that slow",
        )

    def _read(self, messages: queue.SimpleQueue[tuple[Worker, bytes]]) -> None:
        assert self._process.stdout
        with suppress(ValueError):  # closed meanwhile: nobody listens any more
            for line in self._process.stdout:
                messages.put((self, line))
        messages.put((self, b""))


def _rebuilt(error: Mapping[str, str]) -> SpeedsheetError:
    kind = getattr(errors, error["kind"], RowFailed)
    rebuilt: SpeedsheetError = kind(error["what"], where=error["where"], do=error["do"])
    return rebuilt


def _cause(code: int, stderr: IO[bytes]) -> str:
    """Say how a worker ended: its signal or exit code, and the last it said."""
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4096))
    said = [line.strip() for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    words = f": {' | '.join(said[-3:])[-300:]}" if said else ", without a word"
    if code >= 0:
        return f"exited with code {code}{words}"
    name = signal.Signals(-code).name
    memory = " (the kernel kills for memory this way)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{memory}{words}"
