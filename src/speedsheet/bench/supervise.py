"""A worker process, from outside: started, listened to, killed when it hangs, and explained when it dies."""

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
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any

from speedsheet.core import errors
from speedsheet.core.errors import RowFailed, SpeedsheetError, WorkerDied
from speedsheet.core.plan import Reached
from speedsheet.core.units import format_duration

#: Told the stage, the share of it that is done, the seconds left, and the target farthest from being met.
Tell = Callable[[str, float | None, float | None, Reached | None], None]


class BudgetSpent(RowFailed):
    """The time for the whole sheet ended while this row ran."""


def call(
    task: str, job: Mapping[str, Any], *, tell: Tell, stall_limit_s: float, deadline_s: float | None = None
) -> dict[str, Any]:
    """Run one task in a process of its own and return its result.

    The process is killed when nothing moves in it for `stall_limit_s` (no stage begins, no request completes), or at
    `deadline_s` on the monotonic clock. Raises what the worker raised, WorkerDied, or BudgetSpent.
    """
    with tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "speedsheet.bench.worker", task, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        try:
            return _converse(process, job, tell, stall_limit_s, deadline_s)
        except (EOFError, BrokenPipeError):
            raise WorkerDied(cause(process.wait(), stderr)) from None
        finally:
            kill(process)


def _converse(
    process: subprocess.Popen[bytes], job: Mapping[str, Any], tell: Tell, stall_limit_s: float, deadline_s: float | None
) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=read, args=(process.stdout, messages), daemon=True).start()
    process.stdin.write(json.dumps(job).encode())
    process.stdin.close()
    stage, moved, last = "starting", time.monotonic(), ("", None)
    while True:
        until = min(moved + stall_limit_s, deadline_s or float("inf"))
        try:
            line = messages.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            if deadline_s and time.monotonic() >= deadline_s:
                raise BudgetSpent(f"the budget ended while {stage}", do="give a longer --budget") from None
            raise WorkerDied(
                f"nothing moved for {format_duration(stall_limit_s)} while {stage}; the worker was killed",
                do="give a longer --stall-limit if the model is that slow",
            ) from None
        if not line:
            raise EOFError
        message = json.loads(line)
        if "result" in message:
            result: dict[str, Any] = message["result"]
            return result
        if "error" in message:
            raise rebuilt(message["error"])
        news = message["stage"], message["done"]
        moved = time.monotonic() if news != last else moved
        last, stage = news, message["stage"]
        reached = message.get("reached")
        tell(stage, message["done"], message["left"], Reached(**reached) if reached else None)


def read(stream: IO[bytes], messages: queue.SimpleQueue[bytes]) -> None:
    """Put every line that a process says into `messages`, and an empty one at its end."""
    for line in stream:
        messages.put(line)
    messages.put(b"")


def rebuilt(error: Mapping[str, str]) -> SpeedsheetError:
    """Return the error that a process has told of."""
    kind = getattr(errors, error["kind"], RowFailed)
    rebuilt: SpeedsheetError = kind(error["what"], where=error["where"], do=error["do"])
    return rebuilt


def cause(code: int, stderr: IO[bytes]) -> str:
    """Say how a worker ended: its signal or exit code, and the last it said."""
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - 4096))
    said = [line.strip() for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    words = f": {' | '.join(said[-3:])[-300:]}" if said else ", without a word"
    if code >= 0:
        return f"the worker exited with code {code}{words}"
    name = signal.Signals(-code).name
    memory = " (the kernel kills for memory this way)" if -code == signal.SIGKILL else ""
    return f"the worker was killed by {name}{memory}{words}"


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()
