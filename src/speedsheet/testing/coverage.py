"""How often the intervals of the product hold the truth, counted over simulated runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import AFTER, Samples
from speedsheet.core.units import NS_PER_MS
from speedsheet.load.watch import Look, known
from speedsheet.stats.estimates import Estimates, pooled
from speedsheet.stats.percentiles import PERCENTILES
from speedsheet.stats.precision import half_width
from speedsheet.testing.simulated import Process, scaled, simulate

#: The figures whose intervals are counted.
QUANTITIES = ("throughput", "mean", "p50", "p90", "p99", "p99_9")
#: Of runs that a target ends: the requests of a simulated second, the seconds until the first look and at most, and how
#: far apart looks are.
_SECOND, _FIRST_S, _LONGEST_S, _FACTOR = 200, 6, 80, 1.25

Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of run: its process, how many clients, how many requests, the share that was flagged as disturbed.

    Of several worker `processes`, one after the other, each sends that share of the requests, and is faster or slower
    than the others by a factor whose logarithm has the standard deviation `offset`.
    """

    process: Process
    clients: int
    requests: int
    flagged: float = 0.0
    processes: int = 1
    offset: float = 0.0

    def runs(self, seed: int) -> list[Samples]:
        """Simulate one run: the samples of each worker process."""
        each = self.requests // self.processes
        offsets = np.exp(self.offset * np.random.default_rng([seed, self.processes]).standard_normal(self.processes))
        return [
            simulate(
                scaled(self.process, factor), clients=self.clients, requests=each, seed=seed * self.processes + turn,
                flagged=self.flagged,
            )
            for turn, factor in enumerate(offsets.tolist())
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Count:
    """How often the interval of one figure held, of so many `runs`; `printed` had one, the others withheld it.

    `high` counts intervals that lay above the truth. `effective_n` is the true one: how many independent requests
    would spread as little as the figures of these runs do. `checked` of those with an interval are of the kind that a
    row calls `coverage_checked`.
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
        taken = cell.runs(seed + run)
        said = pooled(taken, batch_size=1, thread_num=cell.clients)
        for index, found in enumerate(intervals(said)):
            if found is not None:
                held, high = found[0] <= true[index] <= found[1], found[0] > true[index]
                outcomes[run, index] = True, held, high, said.checked()
        shares[run] = _shares(np.concatenate([one.latency_ns for one in taken]), said, true)
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


@dataclass(frozen=True, slots=True)
class Ended:
    """How often the interval of throughput held in runs that a target ended: `ended` of `runs`, after `requests`.

    `checked` of them are of the kind that a row calls `coverage_checked`.
    """

    process: str
    clients: int
    target: float
    runs: int
    ended: int
    requests: float
    held: int
    checked: int
    checked_held: int


def count_ended(process: Process, clients: int, target: float, runs: int, seed: int = 0) -> Ended:
    """Count for runs that end as the product ends them: when throughput's half-width is at most `target`.

    A simulated second is `_SECOND` requests; looks begin after six of them and are a quarter of the run apart.
    """
    true, held, checked, both, lengths = process.requests_per_s(clients), 0, 0, 0, []
    for run in range(runs):
        said = _ended(process, clients, target, seed + run)
        if said is None:
            continue
        found = intervals(said)[0]
        assert found is not None
        holds, inside = found[0] <= true <= found[1], said.checked(ended=True)
        held, checked, both = held + holds, checked + inside, both + (holds and inside)
        lengths.append(said.requests)
    mean = float(np.mean(lengths)) if lengths else float("nan")
    return Ended(process.name, clients, target, runs, len(lengths), mean, held, checked, both)


def _ended(process: Process, clients: int, target: float, seed: int) -> Estimates | None:
    """Return what a run says when its target ended it; null where that did not happen in its longest time."""
    whole = simulate(process, clients=clients, requests=_LONGEST_S * _SECOND, seed=seed)
    requests, looks = _FIRST_S * _SECOND, list[Look]()
    while requests <= _LONGEST_S * _SECOND:
        run = shortened(whole, requests, clients)
        looks.append(Look(requests, (half_width(run, thread_num=clients),)))
        if known(looks, [target]):
            return pooled([run], batch_size=1, thread_num=clients)
        requests = int(requests * _FACTOR)
    return None


def shortened(samples: Samples, requests: int, clients: int) -> Samples:
    """Return a run as if its window had closed after so many requests, in whole rounds."""
    first, _, _ = samples.segments()[0]
    after = first + requests // clients * clients
    phase = samples.phase[:after].copy()
    assert not (phase == AFTER).any()
    columns = {name: column[:after] for name, column in samples.columns().items()}
    return replace(samples, **{**columns, "phase": phase, "close_ns": int(samples.end_ns[after - 1])})  # type: ignore[arg-type]
