"""How far apart two elements of a series must be before they count as two: the integrated autocorrelation time.

A mean of n elements whose integrated autocorrelation time is tau is as uncertain as a mean of n / tau independent ones.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: The sum of autocorrelations ends at the first lag of at least so many times half its value (Sokal 1997, section 3).
_WINDOW = 5.0
_LEAST_ELEMENTS = 4
#: Neighbouring bins are correlated where chance would make them so in one series of a hundred; fewer bins do not tell.
_SURE, _LEAST_BINS = 2.33, 32


def bin_means(series: NDArray[Any], length: int) -> NDArray[np.float64]:
    """Return means over bins of `length` elements of a series (n,); what fills none is left out at the beginning."""
    means: NDArray[np.float64] = series[series.size % length :].reshape(-1, length).mean(axis=1)
    return means


def autocorrelations(series: ArrayLike) -> NDArray[np.float64]:
    """Return the autocorrelations of a series (n,) at lags 0 to n - 1; all zero but the first where it is constant.

    The sums are divided by n at every lag, and computed by FFT: 0.2 s for a million elements.
    """
    values = np.asarray(series, np.float64)
    centred = values - values.mean()
    length = 1 << (2 * values.size - 1).bit_length()
    spectrum = np.fft.rfft(centred, length)
    sums = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, length)[: values.size]
    # what rounding leaves of a constant is no variance
    if sums[0] <= values.size * (np.finfo(np.float64).eps * np.abs(values).max(initial=0.0) * values.size) ** 2:
        return np.asarray(np.arange(values.size) == 0, np.float64)
    return np.asarray(sums / sums[0], np.float64)


def integrated_time(series: ArrayLike) -> float:
    """Return the integrated autocorrelation time of a series (n,) in elements, at least 1: 1 + 2 (r1 + r2 + ...).

    The sum ends by Sokal's self-consistent window, and its bias from the estimated mean is removed to first order
    (Wolff 2004, Monte Carlo errors with less errors, eq. 49). A series shorter than 4 tells nothing: 1. Below about 50
    times itself the estimate is rough and low.
    """
    correlations = autocorrelations(series)
    if correlations.size < _LEAST_ELEMENTS:
        return 1.0
    times = 2.0 * np.cumsum(correlations) - 1.0
    enough = np.arange(times.size) >= _WINDOW * times / 2
    lag = int(np.argmax(enough)) if enough.any() else times.size - 1
    unbiased = float(times[lag]) * (1.0 + (2 * lag + 1) / times.size)
    return min(max(unbiased, 1.0), float(times.size))


def lasting_time(series: NDArray[np.float64], tau: float) -> float:
    """Return how long what is slow in a series (n,) lasts, in elements: at least its integrated time `tau`.

    Where something slow lies under noise, the noise makes the integrated time short, though the slow part alone decides
    how uncertain a long mean is: a neighbour who stays for a while, seen in the share of requests above a percentile.
    Means over bins have less noise (blocking: Flyvbjerg and Petersen 1989, J. Chem. Phys. 91), so the integrated time
    of bins counts, of the longest that are told to be correlated.
    """
    length = 1 << max((series.size // _LEAST_BINS).bit_length() - 1, 0)
    while length > 1:
        bins = bin_means(series, length)
        centred = bins - bins.mean()
        if float(centred[1:] @ centred[:-1]) * sqrt(bins.size) > _SURE * float(centred @ centred):
            return max(tau, length * integrated_time(bins))
        length //= 2
    return tau


def effective_n(series: ArrayLike) -> float:
    """Return how many independent elements would say as much about the mean as this series does."""
    size = np.asarray(series).size
    return size / integrated_time(series) if size else 0.0
