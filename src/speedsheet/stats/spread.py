"""How well a mean over one or several processes is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cbrt, sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.stats.longrun import MIN_ROUNDS, uncertainty
from speedsheet.stats.student import t_quantile

CONFIDENCE = 0.95
#: A skewness of the mean above this is not told well enough by a sample to be believed.
_MOST_SKEW = 0.4
#: Batches of a series whose skewness tells that of its mean, and the fewest that do.
_BATCHES, _LEAST_BATCHES = 40, 16


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard error of a mean with its degrees of freedom; both zero where the run is too short to tell.

    `longer` is by which factor the run would have to be longer, at the least, to tell.
    """

    error: float
    degrees: float
    longer: float = 1.0

    @property
    def half_width(self) -> float:
        """Half of Student's interval."""
        return t_of(self.degrees) * self.error


def spread(series: Sequence[NDArray[np.float64]], rounds: Sequence[int]) -> Spread:
    """Return how well the mean over all series is known, one series (elements,) for each process.

    A process weighs as many `rounds` as it has, however many of them an element stands for. Of several processes, the
    wider of two intervals is taken: Student's over their means, which holds whatever differs between them, and that of
    the noise within them.
    """
    lengths = np.array([count for one, count in zip(series, rounds, strict=True) if one.size], np.float64)
    series = [one for one in series if one.size]
    known = [uncertainty(one) for one in series]
    factors = [1 + each.missing / one.size for one, each in zip(series, known, strict=True)]
    found = [Spread(0.0, 0.0, max(factors, default=MIN_ROUNDS))]
    weights = lengths / max(lengths.sum(), 1.0)
    if series and all(each.degrees for each in known):
        noise = np.array([weight * each.error for weight, each in zip(weights, known, strict=True)]) ** 2
        found.append(_summed(noise, np.array([each.degrees for each in known])))
    if len(series) > 1:
        means = np.array([one.mean() for one in series])
        between = float(weights @ (means - weights @ means) ** 2) / (len(series) - 1)
        found.append(Spread(sqrt(between), len(series) - 1))
    return max(found, key=lambda each: (each.degrees > 0, each.half_width if each.degrees else 0.0))


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
    batches = np.concatenate([one[one.size % length :].reshape(-1, length).mean(axis=1) for one in series])
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
