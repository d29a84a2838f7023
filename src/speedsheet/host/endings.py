"""Signals that end a process, made to wait until what was changed on the machine is put back.

SIGKILL and a power cut cannot be met: for these there is a file on disk (`clocks.reset`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class _Ended(BaseException):
    """A signal that would have ended the process here; it does, once everything is put back."""


class Waiting:
    """Signals that wait: all, but those that come inside `let`."""

    def __init__(self) -> None:
        self.handlers: dict[int, object] = {}
        self.came: list[int] = []
        self.ended: _Ended | None = None
        self._waiting = True

    @contextmanager
    def let(self) -> Iterator[None]:
        """Let the first signal end what is inside, as an exception; whatever comes after it waits again."""
        try:
            self._waiting = False
            for number in self.came[:1]:  # one that came before
                self.came.remove(number)
                self.meet(number, None)
            yield
        finally:
            self._waiting = True

    def meet(self, number: int, frame: FrameType | None) -> None:
        """Handle one signal: note it, hand it to who handled it before, or unwind."""
        if self._waiting:
            self.came.append(number)
            return
        self._waiting = True  # before anything is raised, so that nothing disturbs the putting back
        handler = self.handlers[number]
        if callable(handler):
            handler(number, frame)
            return
        self.came.append(number)
        self.ended = _Ended()
        raise self.ended


@contextmanager
def wait() -> Iterator[Waiting]:
    """Make signals wait inside, and let those that came do what they do where it ends.

    Signals that are ignored stay so, and another's handler is still called. Outside the main thread, which alone is
    told of signals, nothing is changed.
    """
    waiting = Waiting()
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in _ENDING}
        waiting.handlers = {number: was for number, was in found.items() if was not in {signal.SIG_IGN, None}}
    for number in waiting.handlers:
        signal.signal(number, waiting.meet)
    try:
        yield waiting
    except _Ended as ended:
        if ended is not waiting.ended:
            raise
    finally:
        for number, was in waiting.handlers.items():
            signal.signal(number, was)  # type: ignore[arg-type]  # what getsignal gave
        for number in waiting.came:
            signal.raise_signal(number)
