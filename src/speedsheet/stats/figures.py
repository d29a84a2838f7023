"""The figures of a row, each with the interval that the rounds of its run support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_S
from speedsheet.stats.percentiles import Support, requests_needed, supported
from speedsheet.stats.rounds import Rounds, cut
from speedsheet.stats.spread import Spread, batch_skewness, spread, stretched, t_of

#: Processes that differ may leave a percentile so many times fewer independent requests than it needs.
_APART = 4.0


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
    """The rounds of each process, and the latencies (requests,) of all."""

    cuts: tuple[Rounds, ...]
    latency_ns: NDArray[np.int64]
    thread_num: int

    @classmethod
    def of(cls, runs: Sequence[Samples], thread_num: int) -> Data:
        """Cut the runs; raises ValueError where no request is undisturbed."""
        cuts = tuple(rounds for samples in runs if (rounds := cut(samples, thread_num)).latency_ns.size)
        if not cuts:
            raise ValueError("no request was served in an undisturbed part of the window")
        return cls(cuts, np.concatenate([rounds.latency_ns for rounds in cuts]), thread_num)

    def ordered(self) -> Data:
        """Return the same with latencies in ascending order, which is worth it where several percentiles are asked."""
        return replace(self, latency_ns=np.sort(self.latency_ns))

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
        """Return the requests per second.

        The interval is that of the mean time from a client's completion to its next, turned over, and widened to hold
        the value, which also depends on where the window happens to begin and end.
        """
        value = self.latency_ns.size / self.window_s
        cycles_ns = np.concatenate([rounds.cycle_ns.ravel() for rounds in self.cuts])
        known = self._spread([rounds.binned(rounds.cycle_ns) for rounds in self.cuts])
        if not known.degrees:
            return Figure(value, more_s=self._more_s(known))
        centre = float(cycles_ns.mean())
        below, above = self._ends(cycles_ns, known)
        if below >= centre:
            return Figure(value, more_s=self._more_s(known, (2 * below / centre) ** 2))
        per_s = self.thread_num * NS_PER_S
        return Figure(value, min(per_s / (centre + above), value), max(per_s / (centre - below), value))

    def mean(self) -> Figure:
        """Return the mean latency in nanoseconds; no interval of it reaches below nothing."""
        value = float(self.latency_ns.mean())
        known = self._spread([rounds.binned(rounds.in_rounds_ns) for rounds in self.cuts])
        if not known.degrees:
            return Figure(value, more_s=self._more_s(known))
        below, above = self._ends(self.latency_ns, known)
        return Figure(
            value, max(value - below, 0.0), value + above, self._independent(float(self.latency_ns.var()), known)
        )

    def percentile(self, quantile: float) -> Figure:
        """Return a percentile of the latency in nanoseconds, null where nothing tells how many requests support it."""
        value = float(np.quantile(self.latency_ns, quantile))
        above = [rounds.binned(rounds.in_rounds_ns > value) for rounds in self.cuts]
        known = self._spread(above)
        lacking = requests_needed(quantile) / self.latency_ns.size
        if not known.degrees:
            return Figure(None, more_s=self._more_s(known, lacking))
        share = float(np.mean([series.mean() for series in above]))
        skewness = batch_skewness(above)

        def supports(error: Spread) -> Support:
            independent = self._independent(share * (1 - share), error)
            return supported(quantile, self.latency_ns.size, independent, error.degrees, skewness)

        support = supports(known)
        short = support.lacking
        if known.noise:  # how far processes differ is no lack of requests, within bounds; the noise within them tells
            short = max(supports(known.noise).lacking, short / _APART)
        lacking = max(lacking, short)
        if lacking > 1:
            return Figure(None, independent=support.independent, more_s=self._more_s(known, lacking))
        low, high = np.quantile(self.latency_ns, support.levels, method="weibull")
        return Figure(value, min(float(low), value), max(float(high), value), support.independent)

    def _spread(self, series: Sequence[NDArray[np.float64]]) -> Spread:
        """Return how well the mean of a series of each process is known."""
        return spread(series, [rounds.count for rounds in self.cuts])

    def _independent(self, variance: float, known: Spread) -> float:
        """Return how many independent requests of `variance` would have a mean as uncertain."""
        requests = float(self.latency_ns.size)
        if variance <= 0 or known.error <= 0:
            return requests
        return variance / known.error**2

    def _ends(self, values_ns: NDArray[np.int64], known: Spread) -> tuple[float, float]:
        """Return how far the ends of the interval of the mean of all values lie below and above it, in nanoseconds."""
        from_mean = values_ns - values_ns.mean()
        squares = from_mean * from_mean
        variance = float(squares.mean())
        if variance <= 0:
            return known.half_width, known.half_width
        skewness = float(squares @ from_mean) / values_ns.size / variance**1.5
        independent = min(self._independent(variance, known), values_ns.size)
        below, above = stretched(t_of(known.degrees), skewness / sqrt(independent))
        return below * known.error, above * known.error

    def _more_s(self, known: Spread, lacking: float = 1.0) -> float:
        return self.process_s * (max(known.longer, lacking, 1.0) - 1.0)
