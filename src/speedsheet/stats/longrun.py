"""The uncertainty of the mean of a correlated series.

The variance of the mean of n correlated elements is their spectral density at frequency zero over n. It is estimated
as the mean square of the first cosine coefficients of the series: each is nearly independent of the others and of the
mean, so Student's t with as many degrees of freedom as coefficients holds (Mueller 2007, J. Econometrics 141, A theory
of robust long-run variance estimation; Lazarus, Lewis, Stock and Watson 2018, J. Bus. Econ. Stat. 36, HAR inference).
With all n - 1 coefficients it is the interval of the i.i.d. formula. Against batch means its bias falls with the
square of the length of the run, not with the length.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.stats.autocorrelation import integrated_time, lasting_time

#: Coefficients used: more would narrow an interval by 3 % at most, and see less of what is slow.
MOST_COEFFICIENTS, LEAST_COEFFICIENTS = 24, 4
#: Fewer elements have no interval.
MIN_ROUNDS = LEAST_COEFFICIENTS + 1
#: Coefficients per element where the series tells of no correlation: short runs tell little.
_SHARE = 0.4
#: Bias of the variance that is allowed, were the series autoregressive with the time that is seen to last.
_BIAS = 0.1
#: A series of fewer times its own autocorrelation time has no interval; a shorter one than `_TELLS` does not tell it.
LEAST_TIMES = 6.0
_TELLS = 16


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard error of a mean with its degrees of freedom; both zero where the series is too short.

    `tau` is the integrated autocorrelation time and `missing` what the series lacks to have an error, both in elements.
    """

    error: float
    degrees: int
    tau: float
    missing: float = 0.0


def uncertainty(series: NDArray[np.float64]) -> Uncertainty:
    """Return how well the mean of a series (n,) is known."""
    n = series.size
    tau = integrated_time(series) if n >= _TELLS else 1.0
    missing = max(MIN_ROUNDS, LEAST_TIMES * tau if n >= _TELLS else 0.0) - n
    if missing > 0:
        return Uncertainty(0.0, 0, tau, missing)
    degrees = coefficients(n, lasting_time(series, tau))
    found = _cosines(n)[:degrees] @ series
    return Uncertainty(sqrt(float(found @ found) / degrees / n), degrees, tau)


def coefficients(n: int, tau: float) -> int:
    """Return how many cosine coefficients of a series of n elements are still at frequency zero, `tau` being its time.

    For a first-order autoregression the mean of the first k is low by (pi k / n)^2 (tau^2 - 1) / 12.
    """
    most = min(MOST_COEFFICIENTS, max(LEAST_COEFFICIENTS, int(_SHARE * n)))
    if tau <= 1.0:
        return most
    unbiased = n / pi * sqrt(12 * _BIAS / (tau**2 - 1))
    return min(most, max(LEAST_COEFFICIENTS, int(unbiased)))


@lru_cache(maxsize=32)
def _cosines(n: int) -> NDArray[np.float64]:
    """Return the first cosines (coefficients, n) of the discrete cosine transform, orthonormal and without the mean."""
    order = np.arange(1, min(MOST_COEFFICIENTS, n - 1) + 1)[:, None]
    cosines: NDArray[np.float64] = sqrt(2.0 / n) * np.cos(pi / n * order * (np.arange(n) + 0.5))
    return cosines
