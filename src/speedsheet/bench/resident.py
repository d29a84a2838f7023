"""One side of a comparison, from outside: its process is started, given orders, and stopped in between."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Mapping
from typing import Any, Self

from speedsheet.bench.supervise import Worker


class Resident:
    """A process that has loaded one side. `answer` waits for what the last order brought."""

    def __init__(self, job: Mapping[str, Any], *, stall_limit_s: float) -> None:
        self._stall_limit_s = stall_limit_s
        self._messages: queue.SimpleQueue[tuple[Worker, bytes]] = queue.SimpleQueue()
        self._worker = Worker("blocks", "the worker", self._messages)
        self.order(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.__exit__()

    def order(self, message: Mapping[str, Any]) -> None:
        """Say what to do next."""
        self._worker.order(message)

    def answer(self) -> dict[str, Any]:
        """Return what the process says next.

        Raises what went wrong in it, or WorkerDied where it died, or nothing moved in it for the stall limit.
        """
        self._worker.moved = time.monotonic()
        while True:
            until = self._worker.moved + self._stall_limit_s
            try:
                _, line = self._messages.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise self._worker.hangs(self._stall_limit_s) from None
            message = self._worker.heard(line)
            if "stage" not in message:
                said: dict[str, Any] = message["answer"] if "answer" in message else message["result"]
                return said

    def freeze(self) -> None:
        """Stop every thread of the process until `thaw`."""
        self._worker.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._worker.signal(signal.SIGCONT)
