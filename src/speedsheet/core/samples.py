"""Samples: one row a request, raw, always kept. A measured and a modelled run fill the same columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

WARMUP, WINDOW, AFTER, FLAGGED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a run between two readings of the host: whole rounds, and at least a second where they are shorter.

    `median_ns` is the median latency of its completions, `signals` what the host told of it by name (what it does not
    tell is left out), `flags` the signals that say that it was disturbed.
    """

    opened_ns: int
    closed_ns: int
    median_ns: float
    signals: Mapping[str, float] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    process: int = 0

    @property
    def duration_ns(self) -> int:
        """How long it lasted."""
        return self.closed_ns - self.opened_ns


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns of equal length, in order of completion. Times are nanoseconds of one monotonic clock.

    `slot` is the input batch; `scheduled_ns` equals `start_ns` in a closed loop; `phase` is 0 before the measured
    window, 1 for requests that completed in it, 2 after, 3 for those of the window in a part of it that was flagged as
    disturbed; `failed` marks requests that were not served; `process` counts the worker processes that measured the
    row one after the other.

    `windows` are the parts into which the run was cut, the warm-up's among them. `steady` says whether their medians
    were steady from `open_ns` on; it is null where there were too few to tell, or nobody looked.
    """

    client: NDArray[np.int32]
    slot: NDArray[np.int32]
    scheduled_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    phase: NDArray[np.int8]
    failed: NDArray[np.bool_]
    open_ns: int
    close_ns: int
    process: NDArray[np.int16] = field(default_factory=lambda: np.empty(0, np.int16))
    windows: tuple[Window, ...] = ()
    steady: bool | None = None

    def __post_init__(self) -> None:
        if self.process.size != self.end_ns.size:  # one process is what nobody needs to say
            object.__setattr__(self, "process", np.zeros(self.end_ns.size, np.int16))

    @property
    def window(self) -> NDArray[np.bool_]:
        """Which rows were served inside the measured window."""
        served: NDArray[np.bool_] = (self.phase == WINDOW) & ~self.failed
        return served

    @property
    def latency_ns(self) -> NDArray[np.int64]:
        """Latency of the served requests of the window, from scheduled time to outputs in host memory."""
        chosen = self.window
        return self.end_ns[chosen] - self.scheduled_ns[chosen]

    def segments(self) -> list[tuple[int, int, int]]:
        """Return the undisturbed stretches of the window: first row, row after the last, and when the stretch opened.

        A stretch opens on the completion before its first, so its time is `end_ns[last - 1] - opened_ns`.
        """
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.window.view(np.int8), [0]])))
        pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return [(first, after, int(self.end_ns[first - 1]) if first else self.open_ns) for first, after in pairs]

    def with_flagged(self) -> Samples:
        """Return the same samples with what was flagged counted in."""
        return replace(self, phase=np.where(self.phase == FLAGGED, WINDOW, self.phase).astype(np.int8))

    def measured(self) -> list[Window]:
        """Return the windows of which requests were measured, or flagged as disturbed: those that end after it opened.

        Each process has its own opening, so a window is told by its requests.
        """
        kept = (self.phase == WINDOW) | (self.phase == FLAGGED)
        edges_ns = np.array([(window.opened_ns, window.closed_ns) for window in self.windows], np.int64).reshape(-1, 2)
        counts = np.searchsorted(self.end_ns[kept], edges_ns, "right").tolist()
        return [window for window, (before, by) in zip(self.windows, counts, strict=True) if before < by]

    def parts(self) -> list[Samples]:
        """Return the samples of each process, as it measured them."""
        return [self._part(number) for number in np.unique(self.process).tolist()]

    def _part(self, number: int) -> Samples:
        mine = self.process == number
        columns = {name: column[mine] for name, column in self.columns().items()}
        kept = np.flatnonzero((columns["phase"] == WINDOW) | (columns["phase"] == FLAGGED))
        ends: NDArray[np.int64] = self.end_ns[mine]
        open_ns = int(ends[kept[0] - 1]) if kept.size and kept[0] else self.open_ns
        windows = tuple(window for window in self.windows if window.process == number)
        close_ns = int(ends[kept[-1]]) if kept.size else self.close_ns
        return replace(self, **columns, open_ns=open_ns, close_ns=close_ns, windows=windows)

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Return the columns by name, as they are written to disk."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NO_COLUMNS}


_NO_COLUMNS = frozenset({"open_ns", "close_ns", "windows", "steady"})


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of processes that measured one after the other as one, each request with its process."""
    columns = {name: np.concatenate([part.columns()[name] for part in parts]) for name in parts[0].columns()}
    columns["process"] = np.repeat(np.arange(len(parts), dtype=np.int16), [part.end_ns.size for part in parts])
    states = {part.steady for part in parts}
    return Samples(
        **columns,
        open_ns=parts[0].open_ns,
        close_ns=parts[-1].close_ns,
        windows=tuple(replace(window, process=n) for n, part in enumerate(parts) for window in part.windows),
        steady=False if False in states else None if None in states else True,
    )
