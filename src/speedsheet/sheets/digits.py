"""Numbers as people read them: as many digits as their interval supports, and never a false zero."""

from __future__ import annotations

from math import floor, log10

_LEAST, _USUAL, _MOST = 3, 4, 6


def rounded(value: float, half_width: float | None = None, usual: int = _USUAL) -> str:
    """Write `value` to two digits of its half-width, in at least 3 and at most 6 significant digits.

    Without a half-width: `usual` significant digits, whole digits all kept. 3 us in ms is 0.003000, not 0.00.
    """
    if value == 0:
        return "0"
    magnitude = floor(log10(abs(value)))
    if half_width:
        decimals = 1 - floor(log10(half_width))
        decimals = min(max(decimals, _LEAST - 1 - magnitude), _MOST - 1 - magnitude)
    else:
        decimals = max(usual - 1 - magnitude, 0)
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def fraction(value: float) -> str:
    """Write a similarity in [-1, 1] to four places: ``.9993``; what is not 1 is never written as 1."""
    if abs(value) < 1 and round(abs(value), 4) == 1:
        return ">.9999" if value > 0 else "<-.9999"
    return f"{value:.4f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.4f}"
