"""Estimates from samples: throughput, mean latency and percentiles, with the intervals that the data supports.

Requests of one run are not independent: on a shared host the interval of the i.i.d. formula is ten times too narrow.
So the undisturbed parts of the window are cut into rounds of `thread_num` completions, and each figure is the mean of a
series over rounds whose uncertainty is estimated with its autocorrelation (`longrun`): throughput of their durations,
mean latency of their latencies, a percentile of the share of their requests above it (`percentiles`).
`testing/coverage.py` counts how often these intervals hold, and `checked` says whether a run is of a kind that was
counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from speedsheet.core.measurement import Finding, Latency, Throughput
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_MS, NS_PER_S
from speedsheet.stats.checked import checked
from speedsheet.stats.figures import Data, Figure
from speedsheet.stats.longrun import MIN_ROUNDS
from speedsheet.stats.percentiles import PERCENTILES
from speedsheet.stats.spread import CONFIDENCE

#: Named on every record, and counts up when the same samples would be estimated otherwise.
ESTIMATOR = "cosines/4"
#: Fewer rounds have no interval.
MIN_BATCHES = MIN_ROUNDS
LITTLE_LIMIT = 0.02


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the samples say.

    `effective_n` is how many independent requests would know the mean latency as well, `tau_s` the time that one of
    them takes; null without an interval. `more_s` has, for each figure that is null or has no interval
    (``throughput``, ``mean``, ``p99``, ...), how many more seconds it takes, at the least.
    """

    throughput_samples_per_s: Throughput
    latency_ms: Latency
    requests: int
    window_s: float
    little_residual: float
    findings: tuple[Finding, ...]
    rounds: int = 0
    effective_n: float | None = None
    tau_s: float | None = None
    clients: int = 1
    processes: int = 1
    more_s: Mapping[str, float] = field(default_factory=dict)

    def checked(self, *, ended: bool = False) -> bool:
        """Whether these intervals were counted to hold for such runs; `ended` says that a target ended this one."""
        return checked(
            requests=self.requests, rounds=self.rounds, effective_n=self.effective_n, clients=self.clients,
            processes=self.processes, ended=ended,
        )  # fmt: skip


def estimate(samples: Samples, *, batch_size: int, thread_num: int) -> Estimates:
    """Estimate throughput and latency from the undisturbed requests of the window of one process.

    Raises ValueError where there is none: all was flagged, and counts only `with_flagged`.
    """
    return pooled([samples], batch_size=batch_size, thread_num=thread_num)


def pooled(runs: Sequence[Samples], *, batch_size: int, thread_num: int) -> Estimates:
    """Estimate from the runs of several processes, each measured alone; the spread between them enters every interval.

    Where they differ by more than the noise within them explains, the interval is Student's over their means, which
    holds whatever differs between them. Raises ValueError where no request is undisturbed.
    """
    data = Data.of(runs, thread_num).ordered()
    requests, window_s = data.latency_ns.size, data.window_s
    throughput, mean = data.throughput(), data.mean()
    percentiles = _outwards({name: data.percentile(quantile) for name, quantile in PERCENTILES.items()})
    assert throughput.value is not None
    assert mean.value is not None
    residual = 1.0 - throughput.value * mean.value / NS_PER_S / thread_num
    figures = {"throughput": throughput, "mean": mean, **percentiles}
    independent = None if mean.independent is None else min(mean.independent, requests)
    return Estimates(
        throughput_samples_per_s=_throughput(throughput, batch_size),
        latency_ms=_latency(mean, percentiles),
        requests=requests,
        window_s=window_s,
        little_residual=residual,
        findings=(
            *_no_interval(throughput, data),
            *_few_requests(percentiles, data.process_s),
            *_little(residual, requests, thread_num),
        ),
        rounds=data.rounds,
        effective_n=independent,
        tau_s=None if independent is None else window_s / independent,
        clients=thread_num,
        processes=len(data.cuts),
        more_s={name: figure.more_s for name, figure in figures.items() if figure.more_s > 0},
    )


def _outwards(percentiles: Mapping[str, Figure]) -> dict[str, Figure]:
    """Let a blank percentile ask for no less time than a blank one nearer the middle: what it lacks is told roughly."""
    asked, longest_s = dict(percentiles), 0.0
    for name, figure in percentiles.items():
        if figure.value is None:
            longest_s = max(longest_s, figure.more_s)
            asked[name] = replace(figure, more_s=longest_s)
    return asked


def _throughput(figure: Figure, batch_size: int) -> Throughput:
    low, high = (None if bound is None else bound * batch_size for bound in (figure.low, figure.high))
    assert figure.value is not None
    return Throughput(figure.value * batch_size, low, high, CONFIDENCE)


def _latency(mean: Figure, percentiles: Mapping[str, Figure]) -> Latency:
    def ms(value_ns: float | None) -> float | None:
        return None if value_ns is None else value_ns / NS_PER_MS

    bounds = {
        name: (figure.low / NS_PER_MS, figure.high / NS_PER_MS)
        for name, figure in percentiles.items()
        if figure.low is not None and figure.high is not None
    }
    values = {name: ms(figure.value) for name, figure in percentiles.items()}
    more_s = {name: figure.more_s for name, figure in percentiles.items() if figure.value is None}
    return Latency(
        mean=ms(mean.value), low=ms(mean.low), high=ms(mean.high), confidence=CONFIDENCE, bounds=bounds, more_s=more_s,
        **values,
    )  # fmt: skip


def _no_interval(throughput: Figure, data: Data) -> tuple[Finding, ...]:
    if throughput.low is not None:
        return ()
    longer_s = max(throughput.more_s, 1.0)
    do = f"measure {longer_s:.0f} s longer for an interval (--time {data.process_s + longer_s:.0f}s)"
    rounds, each = data.rounds // len(data.cuts), f"of {data.thread_num} clients in {data.process_s:.1f} s"
    if rounds < MIN_BATCHES:
        return (Finding("no_interval", f"{rounds} of {MIN_BATCHES} rounds {each}; {do}"),)
    return (Finding("no_interval", f"{rounds} rounds {each} change too slowly to be told from each other; {do}"),)


def _few_requests(percentiles: Mapping[str, Figure], process_s: float) -> tuple[Finding, ...]:
    blank = {
        name.replace("_", "."): max(figure.more_s, 1.0) for name, figure in percentiles.items() if figure.value is None
    }
    if not blank:
        return ()
    needs = (f"{name} needs {more_s:.0f} s longer (--time {process_s + more_s:.0f}s)" for name, more_s in blank.items())
    return (Finding("few_requests", f"too few independent requests: {', '.join(needs)}"),)


def _little(residual: float, requests: int, thread_num: int) -> tuple[Finding, ...]:
    if abs(residual) <= LITTLE_LIMIT:
        return ()
    few = requests < 50 * thread_num
    why = "few rounds, so the window's edges weigh; measure longer" if few else "time is spent outside requests"
    text = f"throughput x mean latency / (batch x clients) is {1 - residual:.3f}, not 1: {why}"
    return (Finding("littles_law", text),)
