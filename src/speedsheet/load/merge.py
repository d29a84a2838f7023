"""Samples of clients that ran in several processes at once, as those of one loop: one clock, one window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.errors import RowFailed
from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, WINDOW, Samples, Window
from speedsheet.load.watch import least_varied
from speedsheet.stats.steady import LEAST_WINDOWS, steady_from


def merged(parts: Sequence[Samples], thread_num: int) -> Samples:
    """Return all requests of `parts` in order of completion, clients numbered through.

    The run is cut as the first part's was; what any part saw disturbed is flagged for all, unless nothing else would
    be left. The measured window opens on the completion by which all parts have opened theirs, or later, where the
    windows become steady; it closes on the completion that ends the last whole round (of `thread_num` completions)
    while every client of every part is busy. Raises RowFailed where they never were at once.
    """
    columns = _columns(parts)
    start_ns, end_ns = columns["start_ns"], columns["end_ns"]
    opened_ns, busy_ns = max(part.open_ns for part in parts), min(map(_busy_until_ns, parts))
    windows = [_seen_by_all(window, parts, end_ns, start_ns) for window in parts[0].windows]
    open_ns, steady = _steady([each for each in windows if opened_ns <= each.opened_ns < busy_ns], opened_ns)
    first, busy = np.searchsorted(end_ns, [open_ns, busy_ns], "right").tolist()
    after = first + (busy - first) // thread_num * thread_num
    if after <= first:
        raise RowFailed(f"the clients of {len(parts)} processes were never busy at once", do="measure longer (--time)")
    phase = np.full(end_ns.size, WINDOW, np.int8)
    phase[:first], phase[after:] = WARMUP, AFTER
    flagged = np.zeros(end_ns.size, np.bool_)
    for window in windows:
        flagged |= _within(window, end_ns) & bool(window.flags)
    rounds = flagged[first:after].reshape(-1, thread_num).any(axis=1)  # of a round that was disturbed, nothing counts
    if not rounds.all():  # then nothing else is left to measure by
        phase[first:after] = np.where(np.repeat(rounds, thread_num), FLAGGED, WINDOW)
    columns["phase"] = phase
    close_ns = int(end_ns[after - 1])
    return Samples(**columns, open_ns=open_ns, close_ns=close_ns, windows=tuple(windows), steady=steady)


def _steady(windows: Sequence[Window], opened_ns: int) -> tuple[int, bool | None]:
    """Return from when on the windows' medians are steady, and whether they are; null where there are too few."""
    calm = [window for window in windows if not window.flags]
    calm = calm if len(calm) > LEAST_WINDOWS else list(windows)
    medians = np.array([window.median_ns for window in calm])
    found = steady_from(medians)
    if found.verdict == "unknown":
        return opened_ns, None
    first = least_varied(medians) if found.first is None else found.first
    return calm[first].opened_ns, found.verdict == "steady"


def _columns(parts: Sequence[Samples]) -> dict[str, NDArray[Any]]:
    """Return the columns of all parts in order of completion, clients numbered through."""
    columns = {name: np.concatenate([part.columns()[name] for part in parts]) for name in parts[0].columns()}
    before = np.cumsum([0, *(int(part.client.max()) + 1 for part in parts[:-1])], dtype=np.int32)
    columns["client"] = np.concatenate([part.client + offset for part, offset in zip(parts, before, strict=True)])
    order = np.argsort(columns["end_ns"], kind="stable")
    return {name: column[order] for name, column in columns.items()}


def _busy_until_ns(part: Samples) -> int:
    """Return when the first of a part's clients completed its last request."""
    last_ns = np.zeros(int(part.client.max()) + 1, np.int64)
    np.maximum.at(last_ns, part.client, part.end_ns)
    return int(last_ns.min())


def _seen_by_all(
    window: Window, parts: Sequence[Samples], end_ns: NDArray[np.int64], start_ns: NDArray[np.int64]
) -> Window:
    """Return a window of the first part with the median of all requests, and the flags of all parts that overlap."""
    flags = {
        flag
        for part in parts
        for other in part.windows
        if other.opened_ns < window.closed_ns and window.opened_ns < other.closed_ns
        for flag in other.flags
    }
    inside = _within(window, end_ns)
    latency_ns = end_ns[inside] - start_ns[inside]
    median_ns = float(np.median(latency_ns)) if latency_ns.size else window.median_ns
    return replace(window, median_ns=median_ns, flags=tuple(sorted(flags)))


def _within(window: Window, end_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (end_ns > window.opened_ns) & (end_ns <= window.closed_ns)
    return inside
