"""Whether the intervals of a run are of a kind that was counted to hold.

`benchmarks/coverage.py` counts, on simulated runs whose truth is known, how often intervals hold, and writes
docs/coverage.md. What a run tells of itself (its requests, rounds, effective n) says whether it is like the runs of
that table in which they did. A run cannot tell of what it never saw: a neighbour who comes once in a thousand requests
is not in a hundred of them. So short runs are not checked, however quiet they look.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """The runs of the table in which intervals were counted to hold. `tau` is in requests; bounds are inclusive."""

    requests: tuple[int, int]
    least_rounds: int
    least_effective_n: float
    most_tau: float
    most_clients: int
    most_processes: int

    def holds(self, *, requests: int, rounds: int, effective_n: float, clients: int, processes: int) -> bool:
        """Whether a run lies within it."""
        return (
            self.requests[0] <= requests <= self.requests[1]
            and rounds >= self.least_rounds
            and effective_n >= self.least_effective_n
            and requests / effective_n <= self.most_tau
            and clients <= self.most_clients
            and processes <= self.most_processes
        )


#: Runs whose length was decided before they began.
FIXED = Range((1_600, 1_638_400), 100, 50.0, 300.0, 16, 3)
#: Runs that a target ended: whoever stops when an interval looks narrow stops on narrow ones.
ENDED = Range((1_600, 1_638_400), 100, 150.0, 50.0, 16, 1)


def checked(
    *, requests: int, rounds: int, effective_n: float | None, clients: int, processes: int, ended: bool = False
) -> bool:
    """Return whether a run is of a kind in which 95 % intervals were counted to hold; `ended` says by a target."""
    if effective_n is None:
        return False
    within = ENDED if ended else FIXED
    return within.holds(requests=requests, rounds=rounds, effective_n=effective_n, clients=clients, processes=processes)
