"""What is going on, on standard error: a live view in a terminal, a line per change without one."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from speedsheet.cli.screen import Screen
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import Progress
from speedsheet.core.units import format_duration
from speedsheet.sheets.as_terminal import summary
from speedsheet.sheets.columns import model_name
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.letters import BLANK, clean, to_ascii

_REDRAWS_PER_S = 1  # the clients are being timed on the same cores
_QUICKEST_S = 0.25
_BAR_CELLS, _SHARE_CELLS = 30, 7
_TWO_MINUTES_S = 120


class View(Protocol):
    """Somebody to tell, between entering and leaving."""

    def listen(self, progress: Progress) -> None:
        """Hear of a stage."""

    def finished(self, row: Measurement) -> None:
        """Hear of a row that is done."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view(screen: Screen, *, quiet: bool) -> View:
    """Return the live view for a terminal; else plain lines, or nothing where `quiet`."""
    if screen.terminal:
        return LiveView(screen)
    return SilentView() if quiet else PlainView(screen)


class SilentView:
    """Tells nobody."""

    def listen(self, progress: Progress) -> None:
        """Hear and be silent."""

    def finished(self, row: Measurement) -> None:
        """Hear and be silent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


class PlainView(SilentView):
    """A line where the row or its stage changes, for logs; what is left of the whole sheet once a row."""

    def __init__(self, screen: Screen) -> None:
        self._screen, self._last = screen, Progress(0, 0, "", "")

    def listen(self, progress: Progress) -> None:
        """Write a line, if it says something new: the row or start, its stage, or how near its target is."""
        last, self._last = self._last, progress
        if (_heading(progress), progress.reached) == (_heading(last), last.reached):
            return
        left = [] if progress.remaining_s is None else [f"{format_duration(progress.remaining_s)} left"]
        left = _nearness(progress) or left
        if progress.row != last.row and progress.sheet_left_s is not None:
            left.append(f"about {_roughly(progress.sheet_left_s)} left in all")
        self._write(_heading(progress) + (f" ({', '.join(left)})" if left else ""))

    def finished(self, row: Measurement) -> None:
        """Write the row in a few words."""
        self._write(f"{clean(model_name(row))}: {summary(row)}")

    def _write(self, line: str) -> None:
        self._screen.write(line + "\n")
        self._screen.stream.flush()


class LiveView:
    """The row in hand at the foot of the terminal, the finished ones above; redrawn once a second."""

    def __init__(self, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen, self._clock = screen, clock
        self._progress: Progress | None = None
        self._told_s = self._drawn_s = clock()
        self._live = Live(
            console=screen.console, refresh_per_second=_REDRAWS_PER_S, transient=True, get_renderable=self.picture,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def listen(self, progress: Progress) -> None:
        """Take note; draw at once where the stage is new, though never more often than four times a second."""
        known, now_s = self._progress, self._clock()
        self._progress, self._told_s = progress, now_s
        new = known is None or _heading(known) != _heading(progress)
        if new and now_s - self._drawn_s >= _QUICKEST_S:
            self._drawn_s = now_s
            self._live.refresh()

    def finished(self, row: Measurement) -> None:
        """Leave the row's few words above the view."""
        line = f"{clean(model_name(row))}: {summary(row)}"
        style = "" if row.status == "ok" else "red" if row.status == "failed" else "yellow"
        self._screen.show(Text(self._letters(line), style))

    def picture(self) -> Group:
        """Return what is to be seen now: heading, and a bar with the time left where they are known."""
        progress = self._progress
        if progress is None:
            return Group(Text("starting"))
        lines = [Text(self._letters(_heading(progress)), "bold", no_wrap=True, overflow="ellipsis")]
        left = self._left(progress)
        room = self._screen.width - sum(len(part) + 2 for part in left) - _SHARE_CELLS
        bar = _bar(progress, min(_BAR_CELLS, max(room, 0)))
        below = [self._letters("  ".join(line)) for line in ([*bar, *left], _nearness(progress))]
        return Group(*lines, *(Text(line, no_wrap=True, overflow="ellipsis") for line in below if line))

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _left(self, progress: Progress) -> list[str]:
        """Say how long the stage and the whole sheet still take, counted on since they were told."""
        since_s = self._clock() - self._told_s
        stage_s, sheet_s = progress.remaining_s, progress.sheet_left_s
        return [
            *([] if stage_s is None else [f"{format_duration(max(stage_s - since_s, 0.0))} left"]),
            *([] if sheet_s is None else [f"about {_roughly(max(sheet_s - since_s, 0.0))} left in all"]),
        ]

    def _letters(self, text: str) -> str:
        return to_ascii(text) if self._screen.ascii_only else text


def _nearness(progress: Progress) -> list[str]:
    """Say how well the figure farthest from its target is known, and how long its target may still take."""
    reached = progress.reached
    if reached is None:
        return []
    half = BLANK if reached.half_width is None else f"{rounded(reached.half_width * 100, usual=2)} %"
    wanted = f"±{half} of {reached.quantity.replace('_', '.')}, to be ±{reached.target * 100:g} %"
    return [wanted, *([] if not reached.more_s else [f"about {_roughly(reached.more_s)} more"])]


def _heading(progress: Progress) -> str:
    place = f"{progress.row}/{progress.rows} " if progress.rows else ""
    return f"{place}{clean(progress.label)} · {clean(progress.stage)}"


def _bar(progress: Progress, cells: int) -> list[str]:
    """Draw how much of the stage is done, where that is known."""
    if progress.done is None:
        return []
    share = min(max(progress.done, 0.0), 1.0)
    full = round(share * cells)
    bar = f"{'━' * full}{'╌' * (cells - full)} " if cells else ""
    return [f"{bar}{share:4.0%}".replace("%", " %")]


def _roughly(seconds: float) -> str:
    """Write a guess with no more digits than it deserves: tens of seconds below two minutes, then minutes."""
    if seconds < _TWO_MINUTES_S:
        return format_duration(max(round(seconds / 10) * 10, 10))
    return format_duration(round(seconds / 60) * 60)
