"""How often the intervals of the product hold the truth, counted over simulated runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import AFTER, Samples
from speedsheet.core.units import NS_PER_MS
from speedsheet.stats.estimates import Estimates, estimate
from speedsheet.stats.percentiles import PERCENTILES
from speedsheet.stats.precision import half_width
from speedsheet.testing.simulated import Process, simulate

#: The figures whose intervals are counted.
QUANTITIES = ("throughput", "mean", "p50", "p90", "p99")
#: Checkpoints of a stop rule are so far apart.
_FACTOR = 1.25

Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of run: its process, how many clients, how many requests, the share that was flagged as disturbed."""

    process: Process
    clients: int
    requests: int
    flagged: float = 0.0


@dataclass(frozen=True, slots=True)
class Count:
    """How often the interval of one figure held, of so many `runs`; `printed` had one, the others withheld it.

    `high` counts intervals that lay above the truth. `effective_n` is the true one: how many independent requests
    would spread as little as the figures of these runs do. `checked` runs called themselves `coverage_checked`.
    """

    runs: int
    printed: int
    held: int
    high: int
    effective_n: float
    checked: int
    checked_held: int

    @property
    def coverage(self) -> float:
        """The share of the printed intervals that held."""
        return self.held / self.printed if self.printed else float("nan")

    @property
    def withheld(self) -> float:
        """The share of runs without an interval."""
        return 1 - self.printed / self.runs


Ends = Callable[[Samples, int], Sequence[Interval]]


def truth(cell: Cell) -> list[float]:
    """Return the true figures of a cell, in the order of `QUANTITIES`: per second, and ms."""
    percentiles = [cell.process.percentile_ns(PERCENTILES[name]) / NS_PER_MS for name in QUANTITIES[2:]]
    return [cell.process.requests_per_s(cell.clients), cell.process.mean_ns / NS_PER_MS, *percentiles]


def intervals(said: Estimates) -> list[Interval]:
    """Return the intervals of a run, in the order of `QUANTITIES`; null where withheld."""
    throughput, latency = said.throughput_samples_per_s, said.latency_ms
    pairs = ((throughput.low, throughput.high), (latency.low, latency.high))
    known: list[Interval] = [None if low is None or high is None else (low, high) for low, high in pairs]
    return [*known, *(latency.bounds.get(name) for name in QUANTITIES[2:])]


def count(cell: Cell, runs: int, seed: int = 0) -> dict[str, Count]:
    """Simulate a cell and count, for each figure, how often its interval held."""
    true = truth(cell)
    outcomes = np.zeros((runs, len(QUANTITIES), 4), np.bool_)  # printed, held, high, checked
    shares = np.zeros((runs, len(QUANTITIES)))
    for run in range(runs):
        samples = simulate(
            cell.process, clients=cell.clients, requests=cell.requests, seed=seed + run, flagged=cell.flagged
        )
        said = estimate(samples, batch_size=1, thread_num=cell.clients)
        for index, found in enumerate(intervals(said)):
            if found is not None:
                held, high = found[0] <= true[index] <= found[1], found[0] > true[index]
                outcomes[run, index] = True, held, high, said.coverage_checked
        shares[run] = _shares(samples.latency_ns, said, true)
    effective = _effective(cell, shares)
    totals = outcomes.sum(axis=0)
    checked_held = (outcomes[:, :, 1] & outcomes[:, :, 3]).sum(axis=0)
    return {
        name: Count(
            runs, int(total[0]), int(total[1]), int(total[2]), effective[index], int(total[3]), int(checked_held[index])
        )
        for index, (name, total) in enumerate(zip(QUANTITIES, totals, strict=True))
    }


def _shares(latency_ns: NDArray[np.int64], said: Estimates, true: Sequence[float]) -> list[float]:
    """Return what a run's figures rest on: throughput, mean, and the shares of requests below the true percentiles."""
    assert said.throughput_samples_per_s.value is not None
    assert said.latency_ms.mean is not None
    below = [float(np.mean(latency_ns <= percentile * NS_PER_MS)) for percentile in true[2:]]
    return [said.throughput_samples_per_s.value / true[0], said.latency_ms.mean / true[1], *below]


def _effective(cell: Cell, shares: NDArray[np.float64]) -> list[float]:
    latency = cell.process.draw(np.random.default_rng(0), 1_000_000) / cell.process.mean_ns
    one = [float(latency.var())] * 2 + [PERCENTILES[name] * (1 - PERCENTILES[name]) for name in QUANTITIES[2:]]
    spread: list[float] = (np.array(one) / shares.var(axis=0, ddof=1)).tolist()
    return spread


def count_stopped(
    cell: Cell, runs: int, *, target: float, quantity: str = "throughput", first: int = 0, seed: int = 0
) -> tuple[Count, float]:
    """Count for runs that end at the first checkpoint at which the half-width of `quantity` is at most `target`.

    Checkpoints begin at `first` requests, by default 20 rounds, and are 1.25 times apart, up to the requests of the
    cell. Returns the count for the figure stopped on, of the runs that reached the target, and their mean length in
    requests.
    """
    true, index = truth(cell)[QUANTITIES.index(quantity)], QUANTITIES.index(quantity)
    printed = held = high = 0
    lengths = []
    for run in range(runs):
        samples = simulate(cell.process, clients=cell.clients, requests=cell.requests, seed=seed + run)
        length = first or 20 * cell.clients
        while length <= cell.requests:
            part = shortened(samples, length, cell.clients)
            reached = half_width(part, thread_num=cell.clients, quantity=quantity)
            if reached is not None and reached <= target:
                break
            length = int(length * _FACTOR)
        else:
            continue
        found = intervals(estimate(part, batch_size=1, thread_num=cell.clients))[index]
        assert found is not None
        printed, held, high = printed + 1, held + (found[0] <= true <= found[1]), high + (found[0] > true)
        lengths.append(length)
    return Count(runs, printed, held, high, float("nan"), 0, 0), float(np.mean(lengths)) if lengths else float("nan")


def shortened(samples: Samples, requests: int, clients: int) -> Samples:
    """Return a run as if its window had closed after so many requests, in whole rounds."""
    first, _, _ = samples.segments()[0]
    after = first + requests // clients * clients
    phase = samples.phase[:after].copy()
    assert not (phase == AFTER).any()
    columns = {name: column[:after] for name, column in samples.columns().items()}
    return replace(samples, **{**columns, "phase": phase, "close_ns": int(samples.end_ns[after - 1])})  # type: ignore[arg-type]
