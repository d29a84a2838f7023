"""Durations and sizes as people type and read them. Nanoseconds inside, scaled only at the edge."""

from __future__ import annotations

import re

from speedsheet.core.errors import UsageError

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
_LONGEST_S = 100 * 86_400
#: Up to here a number of seconds, or of minutes, is read at a glance.
_AT_A_GLANCE = 100
_KHZ = {"khz": 1.0, "mhz": 1e3, "ghz": 1e6}
_FASTEST_KHZ = 100_000_000
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "": 1.0}


def parse_duration_s(text: str | float) -> float:
    """Read ``10s``, ``250ms``, ``2m``, ``1.5h`` or a bare number of seconds; must be above zero."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([a-z]*)\s*", str(text))
    if match is None or match[2] not in _SECONDS:
        raise UsageError(f"{text!r} is not a duration", do="write a number and a unit: 250ms, 10s, 2m, 1h")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds < _LONGEST_S:
        raise UsageError(f"a duration of {text!r} is out of range", do="give more than zero and at most 100 days")
    return seconds


def format_duration(seconds: float) -> str:
    """Write seconds as people say them: ``8 s``, ``1 min 20 s``, ``350 ms``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    whole = round(seconds)
    if whole < _AT_A_GLANCE:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < _AT_A_GLANCE:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def parse_frequency_khz(text: str) -> int:
    """Read ``2.4GHz``, ``1400 MHz`` or ``2400000kHz``, in either case, as kilohertz above zero."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmg]hz)\s*", text.lower())
    if match is None:
        raise UsageError(f"{text!r} is not a frequency", do="write a number and a unit: 2.4GHz, 1400MHz")
    khz = round(float(match[1]) * _KHZ[match[2]])
    if not 0 < khz <= _FASTEST_KHZ:
        raise UsageError(f"a frequency of {text!r} is out of range", do="give more than zero and at most 100 GHz")
    return khz


def format_frequency(khz: int) -> str:
    """Write kilohertz as people say them: ``2.4 GHz``, ``800 MHz``."""
    return f"{khz / 1e6:g} GHz" if khz >= _KHZ["ghz"] else f"{khz / 1e3:g} MHz"
