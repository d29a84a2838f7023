"""Which windows of a run were disturbed: told from signals of the host alone, never from latencies.

A run must not flag itself: many clients on few cores make run-queue wait, involuntary switches and processor pressure
of their own. So signals of what others do, or what the machine withholds, have limits of their own, which hold where
every window is disturbed; signals that the run's own load moves count only far outside the run's other windows (by
their median and its absolute deviation, the spread that half the windows cannot spoil: Hampel 1974), and only where two
of them agree: threads that come to share a core raise the pressure for seconds, and nobody else is there.
`python benchmarks/interference.py` counts what these limits find and what they flag in vain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from statistics import median

from speedsheet.core.measurement import Interference

Window = Mapping[str, float | None]

#: Others on the same machine: this share of its cores, since any of them may be one that the run needs. A run alone on
#: two cores shows up to 0.06 cores of interrupts and kernel threads; a process that is busy half of the time gets 0.09
#: beside 16 clients. At most a quarter of a core: a busy process gets more on any larger machine.
_OTHERS_SHARE, _OTHERS_CORES = 0.035, 0.25
#: Above these a window is disturbed, whatever its neighbours are like.
LIMITS: Mapping[str, float] = {
    "memory_pressure_share": 0.05,
    "io_pressure_share": 0.2,
    "throttled_share": 0.01,
    "steal_share": 0.05,
}
#: Below this distance from its own limit a processor slows itself down.
_HEADROOM_C = 2.0
#: So many windows tell what is usual in a run; so many robust standard deviations from it are not.
_USUAL_WINDOWS, _DEVIATIONS, _AGREE = 5, 6.0, 2
_NORMAL = 1.4826  # the standard deviation of a normal distribution whose median absolute deviation is one


@dataclass(frozen=True, slots=True)
class _Unusual:
    """A signal that the run's own load moves: its bad direction, and the least step that matters.

    The step is a share of the run's median, and at least `floor` in the signal's own unit.
    """

    worse: int
    share: float
    floor: float


_UNUSUAL: Mapping[str, _Unusual] = {
    "own_cpu_cores": _Unusual(-1, 0.1, 0.05),
    "run_queue_wait_share": _Unusual(1, 0.0, 0.1),
    "involuntary_switches_per_s": _Unusual(1, 1.0, 100.0),
    "cpu_pressure_share": _Unusual(1, 0.0, 0.2),
}
#: A clock is moved by heat and by other cores' work, and hardly by our own load: it counts alone.
_SLOWER = _Unusual(-1, 0.05, 0.0)


def flags(windows: Sequence[Window], cores: int) -> list[tuple[str, ...]]:
    """Return for each window the names of the signals that say it was disturbed; none where it was not.

    `windows` are what `host.signals.between` tells of consecutive windows of one run, `cores` the processors of the
    machine. A signal that is null says nothing.
    """
    unusual = {name: _far(windows, name, rule) for name, rule in _UNUSUAL.items()}
    slower = _far(windows, "clock_mhz", _SLOWER)
    limits = {**LIMITS, "others_cpu_cores": min(_OTHERS_SHARE * cores, _OTHERS_CORES)}
    found = []
    for place, window in enumerate(windows):
        over = [name for name, limit in limits.items() if (window.get(name) or 0.0) > limit]
        headroom_c = window.get("temperature_headroom_c")
        hot = ["temperature_headroom_c"] if headroom_c is not None and headroom_c < _HEADROOM_C else []
        slow = ["clock_mhz"] if place in slower else []
        far = [name for name, places in unusual.items() if place in places]
        found.append((*over, *hot, *slow, *(far if len(far) >= _AGREE else [])))
    return found


def ledger(flagged: Sequence[Sequence[str]], unavailable: Sequence[str], remeasured: int = 0) -> Interference:
    """Return what a row says of its run: windows, those flagged, and by which signals."""
    by_signal = Counter(name for names in flagged for name in names)
    disturbed = sum(1 for names in flagged if names)
    return Interference(len(flagged), disturbed, remeasured, dict(sorted(by_signal.items())), tuple(unavailable))


def _far(windows: Sequence[Window], name: str, rule: _Unusual) -> frozenset[int]:
    """Return which windows lie far on the bad side of what is usual in this run; a value that is null does not.

    Plain lists: for the windows of a run they are ten times faster than arrays, and clients may be waiting.
    """
    known = [(place, value) for place, window in enumerate(windows) if isfinite(value := _value(window, name))]
    if len(known) < _USUAL_WINDOWS:
        return frozenset()
    usual = median([value for _, value in known])
    deviation = _NORMAL * median([abs(value - usual) for _, value in known])
    step = max(_DEVIATIONS * deviation, rule.share * abs(usual), rule.floor)
    return frozenset(place for place, value in known if (value - usual) * rule.worse > step)


def _value(window: Window, name: str) -> float:
    value = window.get(name)
    return nan if value is None else value
