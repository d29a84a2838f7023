"""Time given to the rows that need it: measure again, and for longer, what is not known well enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from speedsheet.core.measurement import Finding, Measurement

#: A row that missed twice is left: its noise is then not of a kind that a longer window averages out.
_ATTEMPTS = 2
_MARGIN = 1.3
_ROUNDS = 12
#: Loading, warming up and judging, beside the window.
_AROUND_S = 10.0


def refined(
    rows: Mapping[int, Measurement],
    target: float,
    left_s: Callable[[], float],
    measure: Callable[[int, float], Measurement],
) -> dict[int, Measurement]:
    """Return the rows, those whose half-width of throughput is above `target` measured again while time is left.

    `measure(index, window_s)` measures one. Cheap rows come first. What does not reach the target keeps its widest
    window, with a finding that says how long it would take.
    """
    best = dict(rows)
    for _ in range(_ATTEMPTS):
        wide = {index: needed_s(row, target) for index, row in best.items() if not reached(row, target)}
        for index, window_s in sorted(wide.items(), key=lambda pair: pair[1]):
            if window_s + _AROUND_S > left_s():
                continue
            again = measure(index, window_s)
            if again.status == "ok":
                best[index] = again
    return {index: row if reached(row, target) else _unreached(row, target) for index, row in best.items()}


def reached(row: Measurement, target: float) -> bool:
    """Whether a row is known as well as asked; one that has no number will not be better known."""
    half = row.throughput_samples_per_s.half_width
    return row.status != "ok" or (half is not None and half <= target)


def needed_s(row: Measurement, target: float) -> float:
    """Return the window in which a row's half-width comes down to `target`: it falls with the root of the window.

    A row without an interval gets the rounds for one.
    """
    wall_s, half = row.wall_s or 1.0, row.throughput_samples_per_s.half_width
    if half is None:
        return wall_s * row.thread_num / (row.requests or 1) * _ROUNDS
    return wall_s * max((half / target) ** 2, 1.0) * _MARGIN


def _unreached(row: Measurement, target: float) -> Measurement:
    text = (
        f"the half-width did not come down to {target * 100:g} % within the budget; "
        f"--time {needed_s(row, target):.0f}s may"
    )
    return row.noting(Finding("wide_interval", text))
