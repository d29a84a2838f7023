"""What a client writes while it is timed: two columns, in chunks that are mapped before they are needed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# A chunk is mapped, not touched, when it is made: a new one costs microseconds once in a million requests.
CHUNK = 1 << 20


@dataclass(slots=True)
class Log:
    """One client's columns; an entry whose end is still zero has not happened yet."""

    starts: list[NDArray[np.int64]] = field(default_factory=list)
    ends: list[NDArray[np.int64]] = field(default_factory=list)

    def grow(self) -> tuple[memoryview[int], memoryview[int]]:
        """Map a new chunk and return it as what a client writes fastest."""
        self.starts.append(np.zeros(CHUNK, np.int64))
        self.ends.append(np.zeros(CHUNK, np.int64))
        return memoryview(self.starts[-1]), memoryview(self.ends[-1])  # type: ignore[arg-type]  # int64 reads as int

    def count(self) -> int:
        """Count completions by bisection, so that the client publishes nothing and the reader costs nothing."""
        if not self.ends:
            return 0
        last = self.ends[-1]
        return (len(self.ends) - 1) * CHUNK + bisect_left(range(CHUNK), True, key=lambda index: last[index] == 0)

    def end(self, index: int) -> int:
        """Return when a request completed."""
        return int(self.ends[index // CHUNK][index % CHUNK])

    def latencies(self, first: int, after: int, step: int) -> NDArray[np.int64]:
        """Return the latency of every `step`-th request from `first` on to the one before `after`."""
        index = np.arange(first, after, step)
        return self._taken(self.ends, index) - self._taken(self.starts, index)

    def columns(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the starts and ends of the first `count` requests."""
        return _joined(self.starts, count), _joined(self.ends, count)

    @staticmethod
    def _taken(chunks: Sequence[NDArray[np.int64]], index: NDArray[np.int64]) -> NDArray[np.int64]:
        if not index.size:
            return index
        first, last = int(index[0]) // CHUNK, int(index[-1]) // CHUNK
        parts = [chunks[place][index[index // CHUNK == place] % CHUNK] for place in range(first, last + 1)]
        return np.concatenate(parts)


def _joined(chunks: Sequence[NDArray[np.int64]], count: int) -> NDArray[np.int64]:
    return np.concatenate(chunks)[:count] if chunks else np.empty(0, np.int64)
