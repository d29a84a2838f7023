"""Whether a run has settled, and from when: told from the median latencies of consecutive windows.

A coefficient of variation that looks small is not a steady state. Settled means: no split of what is kept into earlier
and later windows has medians that differ by more than noise, and their order shows no trend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["steady", "not steady", "unknown"]

#: So many windows must agree, after the first, which is never kept.
LEAST_WINDOWS = 5
#: What differs by less is no matter: it can bias a figure by no more.
_MATTERS = 0.01
#: How many times the noise of one window two medians may differ, for 5 % false alarms at tau of 3 windows or less.
_SPLIT_LIMIT = 6.0
#: Normal quantile of 5 % both sides, times the root of tau = 3: the variance of Kendall's sum grows with tau.
_TREND_LIMIT = 1.96 * sqrt(3.0)
#: The standard deviation of a normal variable for each unit of its median absolute deviation.
_PER_DEVIATION = 1.4826


@dataclass(frozen=True, slots=True)
class Steadiness:
    """`first` is the window from which all later ones count, null unless `verdict` is ``steady``.

    ``unknown`` is a run of too few windows to tell, ``not steady`` one whose windows still differ.
    """

    verdict: Verdict
    first: int | None = None


def steady_from(medians: Sequence[float] | NDArray[np.float64]) -> Steadiness:
    """Return from which window on a run is steady; `medians` are all windows' median latencies since load began.

    The first window is never kept, nor the first one that agrees where earlier ones do not: a change may lie inside
    it, where a median does not see it.
    """
    values = np.asarray(medians, np.float64)
    if values.size <= LEAST_WINDOWS:
        return Steadiness("unknown")
    for first in range(1, values.size - LEAST_WINDOWS + 1):
        if settled(values[first:]):
            start = first if first == 1 else first + 1
            return Steadiness("steady", start) if start <= values.size - LEAST_WINDOWS else Steadiness("not steady")
    return Steadiness("not steady")


def settled(windows: NDArray[np.float64]) -> bool:
    """Whether windows (n,) agree and show no trend."""
    return not _split(windows) and not _trend(windows)


def _split(windows: NDArray[np.float64]) -> bool:
    """Whether earlier and later windows differ, at any split, by more than the noise between neighbours explains."""
    matters = _MATTERS * float(np.median(windows))
    steps = np.abs(np.diff(windows))
    noise = _PER_DEVIATION * float(np.median(steps)) / sqrt(2)
    for head in range(1, windows.size - 1):
        apart = abs(float(np.median(windows[:head])) - float(np.median(windows[head:])))
        if apart > max(matters, _SPLIT_LIMIT * noise * sqrt(1 / head + 1 / (windows.size - head))):
            return True
    return False


def _trend(windows: NDArray[np.float64]) -> bool:
    """Whether the windows rise or fall throughout: the test of Mann (1945) and Kendall, and Sen's slope (1968)."""
    n = windows.size
    earlier, later = np.triu_indices(n, 1)
    rises = windows[later] - windows[earlier]
    total = abs(float(np.sign(rises).sum()))
    drift = abs(float(np.median(rises / (later - earlier)))) * (n - 1)
    deviation = sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return total - 1 > _TREND_LIMIT * deviation and drift > _MATTERS * float(np.median(windows))
