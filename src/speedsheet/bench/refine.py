"""Time given to the rows that need it: measure again, and for longer, what is not known well enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from speedsheet.core.measurement import Measurement

_MS_PER_S = 1000

#: A row that missed twice is left: its noise is then not of a kind that a longer window averages out.
_ATTEMPTS = 2
_MARGIN = 1.3
_ROUNDS = 12
#: Starting a process, warming up and judging, beside loading and the window.
_AROUND_S = 5.0
#: What is left of a budget goes to a row that cannot reach its targets in it, where it is so much longer than before.
_WORTH = 1.5


def refined(
    rows: Mapping[int, Measurement],
    left_s: Callable[[], float],
    measure: Callable[[int, float], Measurement],
) -> Iterator[tuple[int, Measurement]]:
    """Measure rows that miss their targets again while time is left; yield each, with its index, that is then better.

    `measure(index, window_s)` measures one, and ends as soon as the targets are met. A second buys most where the
    fewest are needed, so these rows come first. When no further row can reach its targets in the time that is left, it
    goes to those that come nearest.
    """
    best = dict(rows)
    tried = dict.fromkeys(rows, 0)

    def again(index: int, window_s: float) -> Iterator[tuple[int, Measurement]]:
        tried[index] += 1
        row = measure(index, window_s)
        if row.status == "ok" and (reached(row) or (row.wall_s or 0.0) >= (best[index].wall_s or 0.0)):
            best[index] = row
            yield index, row

    def cheapest() -> tuple[int, float] | None:
        open_rows = [index for index, row in best.items() if not reached(row) and tried[index] < _ATTEMPTS]
        windows = [(needed_s(best[index]) * _MARGIN, index) for index in open_rows]
        if not windows:
            return None
        window_s, index = min(windows)
        return (index, window_s) if window_s + around_s(best[index]) <= left_s() else None

    while (chosen := cheapest()) is not None:
        yield from again(*chosen)
    for _, index in sorted((needed_s(row), index) for index, row in best.items() if not reached(row)):
        window_s = left_s() - around_s(best[index])
        if tried[index] < _ATTEMPTS and window_s >= _WORTH * (best[index].wall_s or 1.0):
            yield from again(index, window_s)


def reached(row: Measurement) -> bool:
    """Whether a row is known as well as asked; one that has no number will not be better known."""
    return row.status != "ok" or all(target.met for target in row.targets)


def around_s(row: Measurement) -> float:
    """Return how long measuring a row again takes beside its window."""
    return _AROUND_S + ((row.load_ms or 0.0) + (row.first_inference_ms or 0.0)) / _MS_PER_S


def needed_s(row: Measurement) -> float:
    """Return the window in which a row is likely to meet all its targets.

    A row that cannot tell gets the rounds for an interval.
    """
    wall_s = (row.wall_s or 1.0) / row.processes
    rounds_s = wall_s * row.processes * row.thread_num / (row.requests or 1) * _ROUNDS
    return max((rounds_s if t.more_s is None else wall_s + t.more_s for t in row.targets if not t.met), default=wall_s)
