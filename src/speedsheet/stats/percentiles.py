"""Intervals of percentiles: order statistics, chosen as if there were as many requests as count as independent.

The share of requests above a percentile is a mean, and correlation widens it like any mean. The number of independent
requests that would leave it as uncertain takes the place of n in the binomial interval (Korn and Graubard 1998, Survey
Methodology 24, Confidence intervals for proportions with small expected numbers of positive counts), whose ends are
order statistics, interpolated (Hutson 1999, J. Applied Statistics 26, Calculating nonparametric confidence intervals
for quantiles using fractional order statistics).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil, comb, log, sqrt
from statistics import NormalDist

from speedsheet.stats.student import incomplete_beta

#: The percentiles of a row, by the name of their field.
PERCENTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
#: From this variance on a binomial is normal but for its skewness, to a fiftieth of an order statistic.
_NEARLY_NORMAL = 50.0


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
    if variance >= _NEARLY_NORMAL:  # Cornish and Fisher's expansion
        z = NormalDist().inv_cdf(1 - chance)
        return n * quantile + 0.5 + z * sqrt(variance) + (z * z - 1) * (1 - 2 * quantile) / 6
    low, high = 0.0, n + 1
    for _ in range(40):
        middle = (low + high) / 2
        if incomplete_beta(middle, n + 1 - middle, quantile) > chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2
