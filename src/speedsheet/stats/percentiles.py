"""Intervals of percentiles: order statistics, chosen as if there were as many requests as count as independent.

The share of requests above a percentile is a mean, and correlation widens it like any mean. The number of independent
requests that would leave it as uncertain takes the place of n in the binomial interval (Korn and Graubard 1998, Survey
Methodology 24, Confidence intervals for proportions with small expected numbers of positive counts), whose ends are
order statistics, interpolated (Hutson 1999, J. Applied Statistics 26, Calculating nonparametric confidence intervals
for quantiles using fractional order statistics).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, comb, log, sqrt
from statistics import NormalDist

from speedsheet.stats.spread import CONFIDENCE, stretched, t_of
from speedsheet.stats.student import incomplete_beta

#: The percentiles of a row, by the name of their field.
PERCENTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
#: Independent requests above a percentile that went into where it lies, where they come in clusters; a share is left.
_SPENT, _LEFT = 1.5, 0.3
#: How many of the independent requests needed must be told to be there: their number is an estimate too.
_NEEDED_LOOSE, _NEEDED_CLUSTERED = 0.75, 0.9
#: Requests that alternate may know a share better than as many independent ones; more than this is chance.
_MOST_INDEPENDENT = 1.25
#: From this variance on a binomial is normal but for its skewness, to a fiftieth of an order statistic.
_NEARLY_NORMAL = 50.0
_HALVINGS = 14


@lru_cache
def requests_needed(quantile: float, doubt: float = 0.01) -> int:
    """Return how many requests a percentile needs before it is printed.

    The fewest n of which at most one lies above the percentile with probability at most `doubt`: 11 for p50, 64 for
    p90, 662 for p99, 6 636 for p99.9 (the early-stopping rule of MLPerf LoadGen at 99 %).
    """
    n = 2
    while sum(comb(n, k) * quantile ** (n - k) * (1 - quantile) ** k for k in (0, 1)) > doubt:
        n += 1
    return n


@lru_cache
def independent_needed(quantile: float, confidence: float = 0.95) -> int:
    """Return how many independent requests a percentile needs to have an interval at all: 6, 36, 72, 368, 3 688.

    The fewest n whose largest lies above the percentile, and whose smallest below, but for the doubt on each side.
    """
    return ceil(log((1 - confidence) / 2) / log(max(quantile, 1 - quantile)))


@dataclass(frozen=True, slots=True)
class Support:
    """What a percentile rests on: so many `independent` requests, the `levels` of the sample that bound it.

    `lacking` is by which factor the run is too short for it; at most 1 where it is not.
    """

    independent: float
    levels: tuple[float, float]
    lacking: float


def supported(quantile: float, requests: int, independent: float, degrees: float, skewness: float = 0.0) -> Support:
    """Return what supports a percentile of `requests`, the share above it being known as well as by `independent`.

    What lies above a percentile comes in clusters where requests are correlated. Then one and a half of them went into
    where the percentile lies, and the error of the share, with its `degrees`, is itself less well known: by as many
    degrees as there are independent ones above. Both constants were chosen by simulation (`testing/coverage.py`).
    """
    rare = min(quantile, 1 - quantile)
    doubt = (t_of(degrees) / _Z) ** 2
    clustered = max(1 - doubt * independent / requests, 0.0)
    left = max(independent - clustered * _SPENT / rare, _LEFT * independent)
    degrees = max(round(1 / (1 / degrees + clustered / max(left * rare, 1.0)), 1), 1.0)
    needed = independent_needed(quantile) * (_NEEDED_LOOSE + clustered * (_NEEDED_CLUSTERED - _NEEDED_LOOSE))
    carrying = min(left * (_Z / t_of(degrees)) ** 2, _MOST_INDEPENDENT * requests)
    low, high = levels(quantile, carrying)
    own = (2 * quantile - 1) / sqrt(left * quantile * (1 - quantile))
    t = t_of(degrees)
    below, above = stretched(t, skewness - own if skewness > own else min(skewness, 0.0))
    low, high = quantile - (quantile - low) * below / t, quantile + (high - quantile) * above / t
    return Support(min(left, requests), (max(low, 0.0), min(high, 1.0)), needed / left)


def levels(quantile: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the levels in (0, 1) of the sample whose values bound the percentile, for `n` independent requests.

    With fewer than `independent_needed` a level lies outside the n, at less than 1 / (n + 1) from 0 or 1.
    """
    doubt = (1 - confidence) / 2
    return _rank(quantile, n, 1 - doubt) / (n + 1), _rank(quantile, n, doubt) / (n + 1)


def _rank(quantile: float, n: float, chance: float) -> float:
    """Return the rank k, not whole, of which the k-th of n lies below the percentile with probability `chance`.

    The distribution function of the k-th of n uniform numbers is the incomplete beta function I(k, n + 1 - k).
    """
    variance = n * quantile * (1 - quantile)
    z = NormalDist().inv_cdf(1 - chance)
    near = n * quantile + 0.5 + z * sqrt(variance) + (z * z - 1) * (1 - 2 * quantile) / 6  # Cornish and Fisher
    if variance >= _NEARLY_NORMAL:
        return near
    low, high = max(near - 1.5, 0.0), min(near + 1.5, n + 1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        below = incomplete_beta(middle, n + 1 - middle, quantile) > chance
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2
