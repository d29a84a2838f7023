"""The inside of a worker process: one task, told on standard input, answered on standard output, then gone.

`python -m speedsheet.bench.worker TASK PARENT` is started by `supervise.call` and by nobody else.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from speedsheet.bench.job import Say
from speedsheet.core.errors import SpeedsheetError
from speedsheet.core.plan import Reached

_EVERY_S = 0.25
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Run the task named on the command line."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not an answer
    _die_first()
    _die_with_parent(int(sys.argv[2]))

    def reply(message: Mapping[str, Any]) -> None:
        replies.write(json.dumps(message, default=str) + "\n")
        replies.flush()

    said: dict[str, float] = {}

    def say(stage: str, done: float | None, left: float | None, reached: Reached | None = None, /) -> None:
        if time.monotonic() - said.get(stage, -_EVERY_S) >= _EVERY_S:
            said[stage] = time.monotonic()
            reply({"stage": stage, "done": done, "left": left, "reached": asdict(reached) if reached else None})

    def answer(said: Mapping[str, Any]) -> None:
        reply({"answer": said})

    try:
        reply({"result": _task(sys.argv[1], answer)(_hear(), say)})
    except SpeedsheetError as error:
        kind = type(error).__name__
        reply({"error": {"kind": kind, "what": error.what, "where": error.where, "do": error.do}})
    except Exception as error:  # noqa: BLE001 - the row fails with it, and the parent goes on
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}, line {last.lineno}"
        what = f"{type(error).__name__}: {error}"
        reply({"error": {"kind": "RowFailed", "what": what, "where": where, "do": "report it"}})
    replies.flush()
    os._exit(0)  # engines' threads and destructors have nothing more to say


def _hear() -> dict[str, Any]:
    """Wait for one line of the parent: the job, and for some tasks what comes after it."""
    said: dict[str, Any] = json.loads(sys.stdin.readline())
    return said


def _task(name: str, answer: Callable[[Mapping[str, Any]], None]) -> Callable[[Mapping[str, Any], Say], dict[str, Any]]:
    if name == "prepare":
        from speedsheet.bench.prepare import prepare as task
    elif name == "audit":
        from speedsheet.bench.audit import audit as task
    elif name == "ceiling":
        from speedsheet.bench.ceiling import ceiling as task
    elif name == "explain":
        from speedsheet.bench.explain import explain as task
    elif name == "ruler":
        from speedsheet.bench.ruler import ruler as task
    elif name == "blocks":
        from speedsheet.bench.blocks import blocks

        task = partial(blocks, hear=_hear, answer=answer)
    elif name == "share":
        from speedsheet.bench.crowd import share

        task = partial(share, hear=_hear, answer=answer)
    else:
        from speedsheet.bench.measure import measure as task
    return task


def _die_first() -> None:
    """Ask the kernel to take this process before any other when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when the one that listens to it is gone (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before the kernel was asked
        os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
