"""The card's quantiser in numpy: INT8 with a power-of-two step for weights, a calibrated one for activations.

The card's compiler is built on TVM, whose quantiser rounds the range of a weight up to a power of two
(relay.quantize, weight_scale="power2"), one for the whole tensor, and takes the range of an activation from a
percentile of what was seen, or from the least Kullback-Leibler divergence. Where the card's own differs is not
published: what is computed here is TVM's rule, on histograms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, floor, inf, isfinite, log2, log10

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
#: Ways to choose an activation's range, in the order in which they are reported.
CALIBRATIONS = ("percentile", "kl")
#: Values of one sign in INT8; the most negative one is not used, so that a tensor and its negative round alike.
LEVELS = 128
_LARGEST = LEVELS - 1
#: TVM's default share of values that lie within the range (relay/quantize/_calibrate.py).
_PERCENTILE = 0.99999
_BINS = 4096
_STRIDE = 16
#: A finer step would be no number of float32's full precision; what is below it becomes zero.
_SMALLEST = float(np.finfo(np.float32).tiny)


def power_of_two_step(weight: NDArray[np.floating]) -> float:
    """Return the step of a weight: its largest magnitude rounded up to a power of two, over 128 levels.

    Raises ValueError for what is not finite.
    """
    largest = float(np.max(np.abs(weight), initial=0.0))
    if not isfinite(largest):
        raise ValueError("holds NaN or infinity")
    return max(2.0 ** ceil(log2(largest)) / LEVELS, _SMALLEST) if largest > 0 else 1.0


def exact_step(weight: NDArray[np.floating]) -> float:
    """Return the step by which the largest magnitude is just representable: what a free scale would give."""
    largest = float(np.max(np.abs(weight), initial=0.0))
    return max(largest / _LARGEST, _SMALLEST) if largest > 0 else 1.0


def rounded_to(step: float, array: F32) -> F32:
    """Return what INT8 makes of an array: the nearest multiple of `step`, within 127 of them."""
    with np.errstate(over="ignore"):  # beyond the last level by any amount is the last level
        levels = np.rint(array / np.float32(step))
    np.clip(levels, -_LARGEST, _LARGEST, out=levels)
    levels *= np.float32(step)
    return np.asarray(levels, np.float32)


def sqnr_db(signal: F32, approximation: F32) -> float:
    """Return the signal-to-quantisation-noise ratio in decibel; infinite where nothing was lost."""
    noise = float(np.sum(np.square(approximation - signal, dtype=np.float64)))
    power = float(np.sum(np.square(signal, dtype=np.float64)))
    return inf if noise == 0 else 10 * log10(power / noise) if power > 0 else -inf


@dataclass(slots=True)
class Histogram:
    """Magnitudes of a tensor over many requests, in bins whose width doubles when a larger value comes.

    Doubling merges pairs of bins, so that nothing is counted twice and no order of requests matters. Zeros are
    counted apart: they are exact at every step.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    width: float = 0.0
    zeros: int = 0
    largest: float = 0.0

    def add(self, array: F32) -> None:
        """Count an array's magnitudes. Raises ValueError for what is not finite."""
        sizes = np.abs(array.ravel())
        largest = float(sizes.max(initial=0.0))
        if not np.isfinite(largest):
            raise ValueError("holds NaN or infinity")
        self.largest = max(self.largest, largest)
        self._widen(largest)
        sizes = sizes[sizes > 0]
        self.zeros += array.size - sizes.size
        if sizes.size:
            self.counts += np.bincount((sizes / np.float64(self.width)).astype(np.int64), minlength=_BINS)

    def _widen(self, largest: float) -> None:
        if largest == 0:
            return
        if self.width == 0:
            self.width = 2.0 ** (floor(log2(largest)) + 1) / _BINS
        while largest >= self.width * _BINS:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([pairs, np.zeros(_BINS - pairs.size, np.int64)])
            self.width *= 2

    def threshold(self, calibration: str) -> float:
        """Return the range of INT8 by a calibration's name, at most the largest value seen; 0 where all was zero."""
        if not self.counts.any():
            return 0.0
        found = _percentile(self) if calibration == "percentile" else _least_divergence(self)
        return min(found, self.largest)

    def step(self, calibration: str) -> float:
        """Return the step of an activation under a calibration."""
        threshold = self.threshold(calibration)
        return max(threshold / LEVELS, _SMALLEST) if threshold > 0 else 1.0


def _percentile(seen: Histogram) -> float:
    """Return the upper edge of the bin in which the percentile falls."""
    total = seen.zeros + int(seen.counts.sum())
    inside = seen.zeros + np.cumsum(seen.counts)
    return float(np.searchsorted(inside, _PERCENTILE * total) + 1) * seen.width


def _least_divergence(seen: Histogram) -> float:
    """Return the range whose 128 levels lose least of the histogram (Migacz, 8-bit inference with TensorRT, 2017).

    For each candidate the values beyond it are counted in the last bin within; the divergence is from that to the same
    bins after each level's count was spread evenly over those of its bins that held something. Candidates hold at
    least half of the values: a tensor that never comes near zero would else be clipped whole, at no divergence.
    """
    used = int(np.flatnonzero(seen.counts)[-1]) + 1
    median = int(np.searchsorted(np.cumsum(seen.counts), seen.counts.sum() / 2)) + 1
    candidates = [*range(max(LEVELS, median), used, _STRIDE), used]
    divergences = [_divergence(seen.counts[:used], kept) for kept in candidates]
    return float(candidates[int(np.argmin(divergences))]) * seen.width


def _divergence(counts: NDArray[np.int64], kept: int) -> float:
    """Return the Kullback-Leibler divergence, in nats, of clipping at `kept` bins and rounding them to 128 levels."""
    inside = counts[:kept]
    held = inside > 0
    clipped = inside[held].astype(np.float64)
    clipped[-1] += counts[kept:].sum()
    edges = np.unique(np.arange(LEVELS) * kept // LEVELS)
    sums, holders = np.add.reduceat(inside, edges), np.add.reduceat(held.astype(np.int64), edges)
    spread = np.repeat(sums / np.maximum(holders, 1), np.diff(np.append(edges, kept)))[held]
    p, q = clipped / clipped.sum(), spread / spread.sum()
    return float(np.sum(p * np.log(p / q)))
