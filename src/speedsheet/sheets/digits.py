"""Numbers as people read them: as many digits as their interval supports, and never a false zero."""

from __future__ import annotations

from math import floor, isfinite, log10

_LEAST, _USUAL, _MOST = 3, 4, 6
_EXACT = 17


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


def against(value: float, limit: float | None, *, more_is_better: bool) -> str:
    """Write a value beside the limit that it was held to: ``.9931 ≥ .95``, ``0.091 ≤ 0.25``, ``.41 < .95``.

    It gets the digits that it takes to be seen on its side of the limit; what is not 1 is never written as 1.
    """
    least = 4 if more_is_better else 2
    for digits in range(least, _EXACT + 1):
        said = _fraction(value, digits) if more_is_better else f"{value:.{digits}g}"
        if not isfinite(value) or said.startswith((">", "<")) or _same_side(float(said), value, limit):
            break
    if limit is None:
        return said
    if more_is_better:
        return f"{said} {'≥' if value >= limit else '<'} {_bare(f'{limit:g}')}"
    return f"{said} {'≤' if value <= limit else '>'} {limit:g}"


def _same_side(said: float, value: float, limit: float | None) -> bool:
    return limit is None or ((said > limit) - (said < limit)) == ((value > limit) - (value < limit))


def _fraction(value: float, places: int) -> str:
    """Write a similarity in [-1, 1] to so many places: ``.9993``; what is not 1 is never written as 1."""
    if abs(value) < 1 and round(abs(value), places) == 1:
        return f">.{'9' * places}" if value > 0 else f"<-.{'9' * places}"
    return _bare(f"{value:.{places}f}")


def _bare(number: str) -> str:
    """Leave out the zero before the point."""
    return number.replace("0.", ".", 1) if number.startswith(("0.", "-0.")) else number
