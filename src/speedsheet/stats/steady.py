"""Whether a run has settled, and from when: told from the median latencies of consecutive windows.

A coefficient of variation that looks small is not a steady state. Settled means: no split of what is kept into earlier
and later windows has medians that differ by more than noise, and they neither rise nor fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from speedsheet.stats.student import t_quantile

Verdict = Literal["steady", "not steady", "unknown"]

#: So many windows must agree, after the first, which is never kept.
LEAST_WINDOWS = 5
#: What differs by less is no matter: it can bias a figure by no more.
_MATTERS = 0.01
#: How many times the noise of one window two medians may differ, for 5 % false alarms at tau of 3 windows or less.
_SPLIT_LIMIT = 8.0
#: A slope is surer than it looks where neighbours are alike: by the root of tau, here of 3 windows.
_TREND_CONFIDENCE, _TREND_WIDER = 0.95, sqrt(3.0)
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

    The first window that agrees with all later ones is not kept: a change may lie inside it, where a median does not
    see it. So the first of all never is.
    """
    values = np.asarray(medians, np.float64)
    if values.size <= LEAST_WINDOWS:
        return Steadiness("unknown")
    for first in range(values.size - LEAST_WINDOWS):
        if settled(values[first:]):
            return Steadiness("steady", first + 1)
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
    """Whether the windows rise or fall throughout: Student's test of the slope of a line through them.

    A rank test (Mann 1945, Kendall) cannot see a trend in five windows, however plain; this one sees 1 % a window.
    """
    n = windows.size
    place = np.arange(n) - (n - 1) / 2
    squares = float(place @ place)
    slope = float(place @ windows) / squares
    rest = windows - windows.mean() - slope * place
    error = sqrt(float(rest @ rest) / (n - 2) / squares)
    sure = abs(slope) > _trend_limit(n) * error
    return sure and abs(slope) * (n - 1) > _MATTERS * float(np.median(windows))


@lru_cache
def _trend_limit(windows: int) -> float:
    return t_quantile(_TREND_CONFIDENCE, windows - 2) * _TREND_WIDER
