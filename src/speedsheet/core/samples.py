"""Samples: one row a request, raw, always kept. A measured and a modelled run fill the same columns."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

WARMUP, WINDOW, AFTER, FLAGGED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns of equal length, in order of completion. Times are nanoseconds of one monotonic clock.

    `slot` is the input batch; `scheduled_ns` equals `start_ns` in a closed loop; `phase` is 0 before the measured
    window, 1 for requests that completed in it, 2 after, 3 for those of the window in a part of it that was flagged as
    disturbed; `failed` marks requests that were not served.
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

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """Return the columns by name, as they are written to disk."""
        scalar = {"open_ns", "close_ns"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in scalar}
