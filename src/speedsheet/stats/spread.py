"""How well a mean over one or several processes is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from speedsheet.stats.longrun import uncertainty
from speedsheet.stats.student import t_quantile

CONFIDENCE = 0.95
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class Spread:
    """`half_width` is half the interval of a mean at `CONFIDENCE`, `error` its standard error; both null where unknown.

    `longer` is by which factor the run would have to be longer, at the least, to know them.
    """

    half_width: float | None
    error: float | None
    longer: float = 1.0

    def independent(self, variance: float) -> tuple[float, float]:
        """Return how many independent elements of `variance` are as uncertain, and how many have as wide an interval.

        The second is the smaller one: it pays for the error's being estimated too. Infinite where nothing varies.
        """
        assert self.half_width is not None
        assert self.error is not None
        if self.half_width <= 0 or variance <= 0:
            return float("inf"), float("inf")
        return variance / self.error**2, variance * (_Z / self.half_width) ** 2


def spread(series: Sequence[NDArray[np.float64]], edge_variance: Sequence[float] = ()) -> Spread:
    """Return how well the mean over all series is known, one series (elements,) for each process.

    `edge_variance` is what the edges of each add to the variance of its mean.
    """
    lengths = np.array([one.size for one in series], np.float64)
    weights = lengths / lengths.sum()
    known = [uncertainty(one) for one in series]
    longer = max((one.size + each.missing) / max(one.size, 1) for one, each in zip(series, known, strict=True))
    found: list[tuple[float, float]] = []
    if all(each.degrees for each in known):
        edges = edge_variance or [0.0] * len(series)
        variances = [each.error**2 + edge for each, edge in zip(known, edges, strict=True)]
        error = sqrt(float(weights**2 @ np.array(variances)))
        found.append((t_of(sum(each.degrees for each in known)) * error, error))
    if len(series) > 1:
        means = np.array([one.mean() for one in series])
        error = sqrt(float(weights @ (means - weights @ means) ** 2) / (len(series) - 1))
        found.append((t_of(len(series) - 1) * error, error))
    if not found:
        return Spread(None, None, longer)
    return Spread(max(half for half, _ in found), max(error for _, error in found), longer)


@lru_cache(maxsize=256)
def t_of(degrees: int) -> float:
    """Return Student's t at `CONFIDENCE`."""
    return t_quantile(CONFIDENCE, degrees)
