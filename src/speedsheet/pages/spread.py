"""How the latencies of a row are spread, and how they went over time: from raw samples to what fits on a page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import AFTER, WARMUP, Samples
from speedsheet.core.units import NS_PER_MS, NS_PER_S

_BINS, _INSTANTS = 60, 160
#: Where the highest latency is so many medians, bins are logarithmic.
_HEAVY_TAIL = 4.0


@dataclass(frozen=True, slots=True)
class Bin:
    """So many requests of the window took from `low_ms` to `high_ms`."""

    low_ms: float
    high_ms: float
    requests: int


@dataclass(frozen=True, slots=True)
class Instant:
    """What completed in a stretch of the run: its middle in seconds, the median latency and the highest.

    `phase` is ``warm-up``, ``window`` or ``after``.
    """

    at_s: float
    p50_ms: float
    most_ms: float
    phase: str


@dataclass(frozen=True, slots=True)
class Disturbed:
    """A window that was flagged, in seconds of the run, with the signals that flagged it."""

    from_s: float
    to_s: float
    signals: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Latencies of one row; `logarithmic` says how the bins were cut."""

    bins: tuple[Bin, ...]
    course: tuple[Instant, ...]
    disturbed: tuple[Disturbed, ...]
    requests: int
    logarithmic: bool = False


def spread(samples: Samples) -> Spread:
    """Return what the page shows of a run; half a second for a million requests."""
    latency_ms = samples.latency_ns / NS_PER_MS
    edges, logarithmic = _edges(latency_ms)
    counts, _ = np.histogram(latency_ms, edges)
    pairs = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    began_ns = int(samples.start_ns.min()) if samples.start_ns.size else 0
    return Spread(
        bins=tuple(Bin(low, high, count) for low, high, count in pairs),
        course=_course(samples, began_ns),
        disturbed=tuple(
            Disturbed(_since(window.opened_ns, began_ns), _since(window.closed_ns, began_ns), ", ".join(window.flags))
            for window in samples.windows
            if window.flags
        ),
        requests=int(latency_ms.size),
        logarithmic=logarithmic,
    )


def _edges(latency_ms: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    if not latency_ms.size:
        return np.zeros(1), False
    low, high = float(latency_ms.min()), float(latency_ms.max())
    if not low < high:
        return np.array([low, np.nextafter(high, np.inf) if high else 1e-9]), False
    bins = int(min(_BINS, max(5, 2 * np.sqrt(latency_ms.size))))
    if low > 0 and high > _HEAVY_TAIL * float(np.median(latency_ms)):
        edges = np.geomspace(low, high, bins + 1)
        edges[0], edges[-1] = low, high  # so that rounding leaves neither end out
        return edges, True
    return np.linspace(low, high, bins + 1), False


def _course(samples: Samples, began_ns: int) -> tuple[Instant, ...]:
    """Cut the whole run into equal stretches; where there are fewer requests than that, each is one."""
    size = samples.end_ns.size
    if not size:
        return ()
    order = np.argsort(samples.end_ns, kind="stable")  # a stranger's record may hold them in any order
    end_ns, phase = samples.end_ns[order], samples.phase[order]
    latency_ms = (end_ns - samples.scheduled_ns[order]) / NS_PER_MS
    edges = np.linspace(began_ns, int(end_ns[-1]), min(_INSTANTS, size) + 1)
    places = np.searchsorted(end_ns, edges, "right")
    places[0] = 0
    found = []
    for number in range(len(edges) - 1):
        first, after = int(places[number]), int(places[number + 1])
        if after <= first:
            continue
        here = latency_ms[first:after]
        middle_ns = (edges[number] + edges[number + 1]) / 2
        said = _PHASES.get(int(np.median(phase[first:after])), "window")
        found.append(Instant(_since(middle_ns, began_ns), float(np.median(here)), float(here.max()), said))
    return tuple(found)


_PHASES = {WARMUP: "warm-up", AFTER: "after"}


def _since(instant_ns: float, began_ns: int) -> float:
    return (instant_ns - began_ns) / NS_PER_S
