"""Shares of samples that were answered right: their interval, and whether two of them differ."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

from speedsheet.stats.student import incomplete_beta


def wilson(right: int, samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share (Wilson 1927): it stays within 0 and 1, and holds for few samples.

    Of `right` out of `samples`, which must be at least one.
    """
    if not 0 <= right <= samples or samples < 1 or not 0 < confidence < 1:
        raise ValueError(f"no interval for {right} of {samples} at confidence {confidence}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = right / samples, z * z / samples
    centre = (share + spread / 2) / (1 + spread)
    half = z * sqrt(share * (1 - share) / samples + spread / samples / 4) / (1 + spread)
    # where all or none are right the formula ends there, but for rounding
    return (0.0 if right == 0 else centre - half), (1.0 if right == samples else centre + half)


def sign_test(lost: int, gained: int) -> float:
    """Return how probable a split at least so uneven is where either side is as likely: McNemar's exact test.

    Of samples that exactly one of two models answers right, `lost` are the first's and `gained` the second's.
    """
    changed, fewer = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    # the binomial tail is an incomplete beta function (DLMF 8.17.5)
    return min(1.0, 2 * incomplete_beta(changed - fewer, fewer + 1, 0.5))
