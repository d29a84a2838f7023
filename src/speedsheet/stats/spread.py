"""How well a mean over one or several processes is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cbrt, sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.stats.autocorrelation import bin_means
from speedsheet.stats.longrun import MIN_ROUNDS, uncertainty
from speedsheet.stats.student import t_quantile

CONFIDENCE = 0.95
#: A skewness of the mean above this is not told well enough by a sample to be believed.
_MOST_SKEW = 0.4
#: Processes that differ by no more than the noise within them explains, in variance, are alike. Two tell little of how
#: far they differ, and must agree closely. At their least kind the bounds leave 93 % of the intervals to hold.
_ALIKE, _TWO_ALIKE = 1.0, 0.2
#: Batches of a series whose skewness tells that of its mean, and the fewest that do.
_BATCHES, _LEAST_BATCHES = 40, 16


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard error of a mean with its degrees of freedom; both zero where the run is too short to tell.

    `longer` is by which factor the run would have to be longer, at the least, to tell. `noise` is the part of the
    spread that lies within processes, where that between them is larger.
    """

    error: float
    degrees: float
    longer: float = 1.0
    noise: Spread | None = None

    @property
    def half_width(self) -> float:
        """Half of Student's interval."""
        return t_of(self.degrees) * self.error


def spread(series: Sequence[NDArray[np.float64]], rounds: Sequence[int]) -> Spread:
    """Return how well the mean over all series is known, one series (elements,) for each process.

    A process weighs as many `rounds` as it has, however many of them an element stands for. Where several differ by
    more than the noise within them explains, the error is that of their means with Student's few degrees of freedom,
    which holds whatever differs between them; if its interval is the wider one.
    """
    lengths = np.array([count for one, count in zip(series, rounds, strict=True) if one.size], np.float64)
    series = [one for one in series if one.size]
    known = [uncertainty(one) for one in series]
    factors = [1 + each.missing / one.size for one, each in zip(series, known, strict=True)]
    weights = lengths / max(lengths.sum(), 1.0)
    noise = None
    if series and all(each.degrees for each in known):
        variances = np.array([weight * each.error for weight, each in zip(weights, known, strict=True)]) ** 2
        noise = _summed(variances, np.array([each.degrees for each in known]))
    if len(series) > 1:
        means = np.array([one.mean() for one in series])
        variance = float(weights @ (means - weights @ means) ** 2) / (len(series) - 1)
        between = Spread(sqrt(variance), len(series) - 1, noise=noise)
        alike = _TWO_ALIKE if len(series) == 2 else _ALIKE  # noqa: PLR2004 - a pair
        if noise is None or (variance > alike * noise.error**2 and between.half_width > noise.half_width):
            return between
    return noise or Spread(0.0, 0.0, max(factors, default=MIN_ROUNDS))


def _summed(variances: NDArray[np.float64], degrees: NDArray[np.float64]) -> Spread:
    """Return the error of a sum of independent parts (parts,), its degrees of freedom by Welch and Satterthwaite."""
    total = float(variances.sum())
    if total <= 0:
        return Spread(0.0, float(degrees.sum()))
    return Spread(sqrt(total), round(total**2 / float((variances**2 / degrees).sum()), 1))


@lru_cache(maxsize=1024)
def t_of(degrees: float) -> float:
    """Return Student's t at `CONFIDENCE`; degrees of freedom need not be whole."""
    return t_quantile(CONFIDENCE, degrees)


def batch_skewness(series: Sequence[NDArray[np.float64]]) -> float:
    """Return the skewness of the mean of all series, as their batches tell it; 0 where there are too few."""
    length = max(sum(one.size for one in series) // _BATCHES, 1)
    batches = np.concatenate([bin_means(one, length) for one in series])
    from_mean = batches - batches.mean()
    variance = float(np.mean(from_mean**2))
    if batches.size < _LEAST_BATCHES or variance <= 0:
        return 0.0
    return float(np.mean(from_mean**3) / variance**1.5 / sqrt(batches.size))


def stretched(t: float, skewness: float) -> tuple[float, float]:
    """Return t for the lower and the upper end of the interval of a mean whose distribution has this skewness.

    A mean of few values with a long tail is more often far too low than far too high. The end on the side of the tail
    is moved out by Hall's transformation (1992, J. Royal Stat. Soc. B 54, On the removal of skewness by
    transformation); the other one stays, since the skewness is itself estimated.
    """
    size = min(abs(skewness), _MOST_SKEW)
    if size < 1e-6:  # noqa: PLR2004 - the limit is t
        return t, t
    far = max(t, 3 / size * (1 - cbrt(1 - size * (t + size / 6))))
    return (t, far) if skewness > 0 else (far, t)
