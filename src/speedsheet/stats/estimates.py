"""Estimates from samples: throughput, mean latency and percentiles, with the intervals that the data supports.

Requests of one run are not independent: on a shared host the interval of the i.i.d. formula is ten times too narrow.
So the window is cut into consecutive batches of whole rounds (a round is `thread_num` completions), and the interval
is Student's over the batch means (Law and Kelton, Simulation Modeling and Analysis, section 9.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.measurement import Finding, Latency, Throughput
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_MS, NS_PER_S
from speedsheet.stats.student import t_quantile

CONFIDENCE = 0.95
MIN_BATCHES, MAX_BATCHES = 5, 10
LITTLE_LIMIT = 0.02


@dataclass(frozen=True, slots=True)
class Estimates:
    """What one run of samples says."""

    throughput_samples_per_s: Throughput
    latency_ms: Latency
    requests: int
    window_s: float
    little_residual: float
    findings: tuple[Finding, ...]


def estimate(samples: Samples, *, batch_size: int, thread_num: int) -> Estimates:
    """Estimate throughput and latency from the requests that completed in the window."""
    order = np.argsort(samples.end_ns[samples.window], kind="stable")
    latency_ns = samples.latency_ns[order]
    end_ns = samples.end_ns[samples.window][order]
    window_s = (samples.close_ns - samples.open_ns) / NS_PER_S
    value = latency_ns.size * batch_size / window_s
    mean_ms = float(latency_ns.mean()) / NS_PER_MS
    edges = round_edges(latency_ns.size, thread_num)
    residual = 1.0 - value * mean_ms / 1000 / (batch_size * thread_num)
    return Estimates(
        throughput_samples_per_s=_throughput(value, edges, samples.open_ns, end_ns, batch_size),
        latency_ms=_latency(mean_ms, edges, latency_ns),
        requests=int(latency_ns.size),
        window_s=window_s,
        little_residual=residual,
        findings=(
            *_too_few_rounds(edges, latency_ns.size, thread_num, window_s),
            *_little(residual, latency_ns.size, thread_num),
        ),
    )


def round_edges(requests: int, thread_num: int) -> NDArray[np.int64]:
    """Cut `requests` completions into equal batches of whole rounds; return their edges, empty where too few.

    What does not fill a batch is left out at the beginning, where the run is youngest.
    """
    rounds = requests // thread_num
    batches = min(rounds, MAX_BATCHES)
    if batches < MIN_BATCHES:
        return np.empty(0, np.int64)
    length = rounds // batches * thread_num
    return np.arange(requests - batches * length, requests + 1, length, dtype=np.int64)


def batch_interval(means: NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of the mean of equally long batches: mean +- t s / sqrt(k)."""
    half = t_quantile(confidence, means.size - 1) * float(means.std(ddof=1)) / sqrt(means.size)
    centre = float(means.mean())
    return centre - half, centre + half


def requests_needed(quantile: float, doubt: float = 0.01) -> int:
    """Return how many requests a percentile needs before it is printed.

    The fewest n of which at most one lies above the percentile with probability at most `doubt`: 11 for p50, 64 for
    p90, 662 for p99, 6 636 for p99.9 (the early-stopping rule of MLPerf LoadGen at 99 %).
    """
    n = 2
    while sum(comb(n, k) * quantile ** (n - k) * (1 - quantile) ** k for k in (0, 1)) > doubt:
        n += 1
    return n


_NEEDED = {quantile: requests_needed(quantile) for quantile in (0.5, 0.9, 0.99)}


def _throughput(
    value: float, edges: NDArray[np.int64], open_ns: int, end_ns: NDArray[np.int64], batch_size: int
) -> Throughput:
    if not edges.size:
        return Throughput(value)
    boundaries = np.concatenate([[open_ns], end_ns])[edges]
    seconds_per_request = np.diff(boundaries) / NS_PER_S / np.diff(edges)
    low_s, high_s = batch_interval(seconds_per_request)
    if low_s <= 0:
        return Throughput(value)
    # the interval of the mean time per request, turned over, and widened to hold the value of the whole window
    return Throughput(value, min(batch_size / high_s, value), max(batch_size / low_s, value))


def _latency(mean_ms: float, edges: NDArray[np.int64], latency_ns: NDArray[np.int64]) -> Latency:
    low = high = None
    if edges.size:
        sums = np.add.reduceat(latency_ns[edges[0] :], edges[:-1] - edges[0])
        low_ns, high_ns = batch_interval(sums / np.diff(edges))
        low, high = min(low_ns / NS_PER_MS, mean_ms), max(high_ns / NS_PER_MS, mean_ms)
    percentiles = {
        f"p{quantile * 100:.0f}": float(np.quantile(latency_ns, quantile)) / NS_PER_MS
        for quantile, needed in _NEEDED.items()
        if latency_ns.size >= needed
    }
    return Latency(mean=mean_ms, low=low, high=high, **percentiles)


def _too_few_rounds(edges: NDArray[np.int64], requests: int, thread_num: int, window_s: float) -> tuple[Finding, ...]:
    if edges.size:
        return ()
    enough_s = window_s * (MIN_BATCHES + 1) * thread_num / requests
    return (
        Finding(
            "no_interval",
            f"{requests // thread_num} of {MIN_BATCHES} rounds of {thread_num} clients in {window_s:.1f} s; "
            f"measure {enough_s - window_s:.0f} s longer for an interval (--time {enough_s:.0f}s)",
        ),
    )


def _little(residual: float, requests: int, thread_num: int) -> tuple[Finding, ...]:
    if abs(residual) <= LITTLE_LIMIT:
        return ()
    few = requests < 50 * thread_num
    why = "few rounds, so the window's edges weigh; measure longer" if few else "time is spent outside requests"
    text = f"throughput x mean latency / (batch x clients) is {1 - residual:.3f}, not 1: {why}"
    return (Finding("littles_law", text),)
