"""One side of a comparison, from outside: its process is started, given orders, and stopped in between."""

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
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Self

from speedsheet.bench.supervise import cause, kill, read, rebuilt
from speedsheet.core.errors import WorkerDied
from speedsheet.core.units import format_duration


class Resident:
    """A process that has loaded one side. `answer` waits for what the last order brought."""

    def __init__(self, job: Mapping[str, Any], *, stall_limit_s: float) -> None:
        self._stall_limit_s = stall_limit_s
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "speedsheet.bench.worker", "blocks", str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=read, args=(self._process.stdout, self._messages), daemon=True).start()
        self._stage = "starting"
        self._news: tuple[Any, ...] = ()
        self.order(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        kill(self._process)
        self._stderr.close()

    def order(self, message: Mapping[str, Any]) -> None:
        """Say what to do next."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def answer(self) -> dict[str, Any]:
        """Return what the process says next.

        Raises what went wrong in it, or WorkerDied where it died, or nothing moved in it for the stall limit.
        """
        moved = time.monotonic()
        while True:
            try:
                line = self._messages.get(timeout=max(0.0, moved + self._stall_limit_s - time.monotonic()))
            except queue.Empty:
                raise WorkerDied(
                    f"nothing moved for {format_duration(self._stall_limit_s)} while {self._stage}; it was killed",
                    do="give a longer --stall-limit if the model is that slow",
                ) from None
            if not line:
                raise self._died()
            message: dict[str, Any] = json.loads(line)
            if "error" in message:
                raise rebuilt(message["error"])
            if "stage" not in message:
                said: dict[str, Any] = message["answer"] if "answer" in message else message["result"]
                return said
            news = message["stage"], message["done"]
            moved = time.monotonic() if news != self._news else moved
            self._news, self._stage = news, message["stage"]

    def freeze(self) -> None:
        """Stop every thread of the process until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # that it is gone is told by the next answer
            os.killpg(self._process.pid, number)

    def _died(self) -> WorkerDied:
        return WorkerDied(cause(self._process.wait(), self._stderr))
