"""Two figures that were measured apart: their ratio with its interval, and whether they differ.

The interval comes from those of the two figures (MOVER: Zou and Donner 2008, Statistics in Medicine 27, Construction of
confidence limits about effect measures), in logarithms, so that B over A and A over B say the same. What two runs do
not share is not in it by itself: the process, for which there is an allowance, and the host's own mood at another time,
for which there is none. Where that matters, measure both sides in turn (`comparison`).
"""

from __future__ import annotations

from functools import cache
from math import exp, hypot, log

from speedsheet.core.comparison import VERDICT_CONFIDENCE, Outcome, Ratio, Verdict
from speedsheet.core.measurement import Throughput
from speedsheet.stats.student import t_quantile

CONFIDENCE = 0.95
#: Half of the 95 % interval of what differs between one process and the next, in logarithms: two processes of one
#: program differ by 0.5 to 1 % (standard deviation) on the hosts of docs/trust.md. Figures of three processes or more
#: hold it already.
ONE_PROCESS, _HELD_FROM = 0.02, 3
#: As few degrees of freedom as the interval of one process has.
_LEAST_DEGREES = 4


def ratio(a: Throughput, b: Throughput, processes: tuple[int, int] = (1, 1)) -> Ratio:
    """Return B over A with its 95 % interval, null where either figure has none.

    `processes` are how many worker processes each figure holds the spread of.
    """
    if not a.value or not b.value:
        return Ratio(confidence=CONFIDENCE)
    ends = _log_ends(a, b, processes)
    middle = log(b.value / a.value)
    if ends is None:
        return Ratio(exp(middle), confidence=CONFIDENCE)
    return Ratio(exp(middle), exp(middle - ends[0]), exp(middle + ends[1]), CONFIDENCE)


def verdict(a: Throughput, b: Throughput, processes: tuple[int, int] = (1, 1), allow: float = 0.0) -> Verdict | None:
    """Return whether B is faster or slower than A by more than the share `allow`, at 99 %; None without intervals."""
    ends = _log_ends(a, b, processes, VERDICT_CONFIDENCE)
    if ends is None or not a.value or not b.value:
        return None
    middle = log(b.value / a.value)
    low, high = exp(middle - ends[0]), exp(middle + ends[1])
    outcome: Outcome = "faster" if low > 1 + allow else "slower" if high < 1 - allow else "none"
    return Verdict(outcome, low, high)


def _log_ends(
    a: Throughput, b: Throughput, processes: tuple[int, int], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """Return how far the ends of the interval lie below and above the logarithm of the ratio."""
    sides = [_log_half_widths(one, count, confidence) for one, count in zip((a, b), processes, strict=True)]
    if sides[0] is None or sides[1] is None:
        return None
    (a_below, a_above), (b_below, b_above) = sides[0], sides[1]
    return hypot(b_below, a_above), hypot(b_above, a_below)


def _log_half_widths(figure: Throughput, processes: int, confidence: float) -> tuple[float, float] | None:
    """Return how far the ends of one figure's interval lie from it; None where it has none that is above nothing."""
    if not figure.value or not figure.low or not figure.high or min(figure.value, figure.low) <= 0:
        return None
    alone, wider = ONE_PROCESS if processes < _HELD_FROM else 0.0, _wider(processes, confidence)
    return (
        hypot(log(figure.value / figure.low), alone) * wider,
        hypot(log(figure.high / figure.value), alone) * wider,
    )


@cache
def _wider(processes: int, confidence: float) -> float:
    """Return how much wider an interval is at another confidence: of several processes, Student's over their means."""
    degrees = min(processes - 1, _LEAST_DEGREES) if processes > 1 else _LEAST_DEGREES
    return t_quantile(confidence, degrees) / t_quantile(CONFIDENCE, degrees)
