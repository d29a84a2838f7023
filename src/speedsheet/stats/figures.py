"""The figures of a row, each with the interval that the rounds of its run support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_S
from speedsheet.stats.percentiles import requests_needed, supported
from speedsheet.stats.rounds import Rounds, cut
from speedsheet.stats.spread import Spread, spread, stretched, t_of


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with its interval, both null where the samples do not support them.

    `more_s` is how many more seconds it takes, at the least, to have what is null; `independent` how many independent
    requests the figure rests on.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    independent: float | None = None
    more_s: float = 0.0

    @property
    def half_width(self) -> float | None:
        """Half the interval as a share of the value."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value


@dataclass(frozen=True, slots=True)
class Data:
    """The rounds of each process, and the latencies (requests,) of all in ascending order."""

    cuts: tuple[Rounds, ...]
    sorted_ns: NDArray[np.int64]
    thread_num: int

    @classmethod
    def of(cls, runs: Sequence[Samples], thread_num: int) -> Data:
        """Cut the runs; raises ValueError where no request is undisturbed."""
        cuts = tuple(rounds for samples in runs if (rounds := cut(samples, thread_num)).latency_ns.size)
        if not cuts:
            raise ValueError("no request was served in an undisturbed part of the window")
        return cls(cuts, np.sort(np.concatenate([rounds.latency_ns for rounds in cuts])), thread_num)

    @property
    def rounds(self) -> int:
        """How many whole rounds there are."""
        return sum(rounds.count for rounds in self.cuts)

    @property
    def window_s(self) -> float:
        """The time of the undisturbed parts, in seconds."""
        return sum(rounds.kept_ns for rounds in self.cuts) / NS_PER_S

    @property
    def process_s(self) -> float:
        """The time of the undisturbed parts of one process, on average, in seconds."""
        return self.window_s / len(self.cuts)

    def throughput(self) -> Figure:
        """Return the requests per second: the interval of the mean duration of a round, turned over."""
        value = self.sorted_ns.size / self.window_s
        mean_ns = self.thread_num / value * NS_PER_S
        cycles = [rounds.binned(rounds.cycle_ns) for rounds in self.cuts]
        known = spread(cycles, [rounds.edge_variance for rounds in self.cuts])
        if not known.degrees:
            return Figure(value, more_s=self._more_s(known))
        below, above = self._ends(known)
        if below >= mean_ns:
            return Figure(value, more_s=self._more_s(known, (2 * below / mean_ns) ** 2))
        per_s = self.thread_num * NS_PER_S
        return Figure(value, per_s / (mean_ns + above), per_s / (mean_ns - below))

    def mean(self) -> Figure:
        """Return the mean latency in nanoseconds."""
        value = float(self.sorted_ns.mean())
        known = spread([rounds.binned(rounds.in_rounds_ns) for rounds in self.cuts])
        if not known.degrees:
            return Figure(value, more_s=self._more_s(known))
        below, above = self._ends(known)
        return Figure(value, value - below, value + above, self._independent(float(self.sorted_ns.var()), known))

    def percentile(self, quantile: float) -> Figure:
        """Return a percentile of the latency in nanoseconds."""
        value = float(np.quantile(self.sorted_ns, quantile))
        above = [rounds.binned(rounds.in_rounds_ns > value) for rounds in self.cuts]
        known = spread(above)
        lacking = requests_needed(quantile) / self.sorted_ns.size
        if not known.degrees:
            return Figure(value if lacking <= 1 else None, more_s=self._more_s(known, lacking))
        share = float(np.mean([series.mean() for series in above]))
        support = supported(quantile, self.sorted_ns.size, self._independent(share * (1 - share), known), known.degrees)
        lacking = max(lacking, support.lacking)
        if lacking > 1:
            return Figure(None, independent=support.independent, more_s=self._more_s(known, lacking))
        low, high = np.quantile(self.sorted_ns, support.levels, method="weibull")
        return Figure(value, min(float(low), value), max(float(high), value), support.independent)

    def _independent(self, variance: float, known: Spread) -> float:
        """Return how many independent requests of `variance` would have a mean as uncertain."""
        requests = float(self.sorted_ns.size)
        if variance <= 0 or known.error <= 0:
            return requests
        return variance / known.error**2

    def _ends(self, known: Spread) -> tuple[float, float]:
        """Return how far the ends of the interval of a mean latency lie below and above it, in nanoseconds."""
        from_mean = self.sorted_ns - self.sorted_ns.mean()
        variance = float(np.mean(from_mean**2))
        if variance <= 0:
            return known.half_width, known.half_width
        skewness = (
            float(np.mean(from_mean**3)) / variance**1.5 / sqrt(min(self._independent(variance, known), from_mean.size))
        )
        below, above = stretched(t_of(known.degrees), skewness)
        return below * known.error, above * known.error

    def _more_s(self, known: Spread, lacking: float = 1.0) -> float:
        return self.process_s * (max(known.longer, lacking, 1.0) - 1.0)
