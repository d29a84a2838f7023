"""Student's t quantiles, so that the core needs no SciPy (140 MB) for one function."""

from __future__ import annotations

from math import exp, lgamma, log, log1p, sqrt


def t_quantile(confidence: float, degrees: float) -> float:
    """Return t such that a Student variable of `degrees` lies in [-t, t] with probability `confidence`.

    Inverts the regularised incomplete beta function by bisection; exact to 1e-9.
    """
    if degrees < 1 or not 0 < confidence < 1:
        raise ValueError(f"no t quantile at confidence {confidence} and {degrees} degrees of freedom")
    tail = 1.0 - confidence
    low, high = 0.0, 1.0  # bisect z = degrees / (degrees + t^2), whose distribution is Beta(degrees / 2, 1 / 2)
    for _ in range(200):
        middle = (low + high) / 2
        if incomplete_beta(degrees / 2, 0.5, middle) < tail:
            low = middle
        else:
            high = middle
    return sqrt(degrees * (1.0 - high) / high)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) (DLMF 8.17.22, the continued fraction)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1.0 / max(1.0 - (a + b) * x / (a + 1.0), tiny)
    value = d
    for m in range(1, 10_000):
        before = value
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _off_zero(1.0 + step * d, tiny)
            c = _off_zero(1.0 + step / c, tiny)
            value *= c * d
        if abs(value - before) < 1e-15 * abs(value):
            return value
    return value


def _off_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
