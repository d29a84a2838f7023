"""Closed loops whose truth is known: what an engine under some disturbance would have recorded, without running it.

A `Process` says how latencies come about, and what their mean and percentiles are in truth. `simulate` lets clients
send request after request with them and returns `Samples` as `load.drive` would. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import erf, exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, WINDOW, Samples
from speedsheet.core.units import NS_PER_MS, NS_PER_S

#: The middle latency of every process.
_TYPICAL_NS = 1.0 * NS_PER_MS
_BLOCK = 128
_WARMUP_REQUESTS = 3
#: Clients keep going until after the window; the slowest may fall so many requests behind, and if not, more.
_SPARE = 16

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Process:
    """How latencies come about. `draw(generator, n)` are n latencies (n,) in ns, in the order of requests.

    `mean_ns` is their mean and `below(latency_ns)` their distribution function, both exact. `tau` is the integrated
    autocorrelation time of what makes them correlated, in requests.
    """

    name: str
    tau: float
    draw: Draw
    mean_ns: float
    below: Callable[[float], float]

    def percentile_ns(self, quantile: float) -> float:
        """Return a percentile by bisection of the distribution function."""
        low, high = 0.0, 2.0 * self.mean_ns
        while self.below(high) < quantile:
            high *= 2
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self.below(middle) < quantile else (low, middle)
        return (low + high) / 2

    def requests_per_s(self, clients: int) -> float:
        """Return the throughput of a closed loop: each client sends as many requests as fit."""
        return clients * NS_PER_S / self.mean_ns


def lognormal(sigma: float = 0.2) -> Process:
    """Return independent latencies."""
    return Process(
        "independent", 1.0, lambda draw, n: _TYPICAL_NS * np.exp(sigma * draw.standard_normal(n)),
        _TYPICAL_NS * exp(sigma**2 / 2), lambda latency: _lognormal_below(latency, sigma),
    )  # fmt: skip


def autoregressive(tau: float, sigma: float = 0.2) -> Process:
    """Return latencies whose logarithm is a first-order autoregression of integrated autocorrelation time `tau`."""
    rho = (tau - 1) / (tau + 1)
    return Process(
        f"autoregressive, tau {tau:g}", tau,
        lambda draw, n: _TYPICAL_NS * np.exp(sigma * autoregression(draw.standard_normal(n), rho)),
        _TYPICAL_NS * exp(sigma**2 / 2), lambda latency: _lognormal_below(latency, sigma),
    )  # fmt: skip


def regimes(slow: float = 1.5, away: float = 150.0, there: float = 50.0, sigma: float = 0.1) -> Process:
    """Return latencies that are `slow` times longer while a neighbour is there.

    It comes after `away` requests on average, and stays for `there`, both geometric.
    """
    share = there / (away + there)
    return Process(
        "a neighbour comes and goes", 2 / (1 / away + 1 / there) - 1,
        lambda draw, n: (
            _TYPICAL_NS * np.exp(sigma * draw.standard_normal(n)) * np.where(_presence(draw, n, away, there), slow, 1.0)
        ),
        _TYPICAL_NS * exp(sigma**2 / 2) * (1 + share * (slow - 1)),
        lambda latency: (
            (1 - share) * _lognormal_below(latency, sigma) + share * _lognormal_below(latency / slow, sigma)
        ),
    )  # fmt: skip


def heavy_tail(alpha: float = 2.5, scale: float = 0.2) -> Process:
    """Return independent latencies with a Pareto tail of index `alpha`: of 2.5, a variance and no skewness."""
    return Process(
        "heavy tail", 1.0, lambda draw, n: _TYPICAL_NS * (1 + scale * draw.pareto(alpha, n)),
        _TYPICAL_NS * (1 + scale / (alpha - 1)),
        lambda latency: 1 - (1 + max(latency / _TYPICAL_NS - 1, 0.0) / scale) ** -alpha,
    )  # fmt: skip


def scaled(process: Process, factor: float) -> Process:
    """Return a process whose latencies all take `factor` times as long."""
    if factor == 1.0:
        return process
    return replace(
        process, draw=lambda draw, n: factor * process.draw(draw, n), mean_ns=factor * process.mean_ns,
        below=lambda latency: process.below(latency / factor),
    )  # fmt: skip


#: The processes of the coverage study, by name.
PROCESSES: Mapping[str, Process] = {
    process.name: process for process in (lognormal(), autoregressive(30), autoregressive(300), regimes(), heavy_tail())
}


def simulate(
    process: Process, *, clients: int, requests: int, seed: int, slow_first: int = 0, slow: float = 3.0,
    flagged: float = 0.0, together: bool = False,
) -> Samples:  # fmt: skip
    """Return a closed loop of `clients` with a window of at least `requests` completions, in whole rounds.

    The first `slow_first` requests take `slow` times as long. Of the window, stretches of whole rounds that make up
    `flagged` of it on average are marked as disturbed, whatever the latencies in them. Clients start `together`, or
    spread over one request as clients that have run for long are.
    """
    draw, marks = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    rounds = -(-requests // clients)
    spare = _SPARE + rounds // 8
    offsets = np.zeros(clients) if together or clients == 1 else draw.uniform(0, process.mean_ns, clients)
    state = draw.bit_generator.state
    while True:
        draw.bit_generator.state = state
        latency = process.draw(draw, (_WARMUP_REQUESTS + rounds + spare) * clients)
        latency[:slow_first] *= slow
        samples = _closed_loop(latency.reshape(-1, clients), offsets, rounds)
        if samples is not None:
            break
        spare *= 4
    if flagged:
        samples.phase[samples.phase == WINDOW] = _marked(marks, rounds, clients, flagged)
    return samples


def _closed_loop(latency: NDArray[np.float64], offsets: NDArray[np.float64], rounds: int) -> Samples | None:
    """Let each client send its column (requests, clients) without a pause; None where one ends before the window."""
    clients = offsets.size
    ends = (np.cumsum(latency, axis=0) + offsets).astype(np.int64) + 1
    open_ns = int(ends[_WARMUP_REQUESTS - 1].max())
    starts = np.vstack([offsets.astype(np.int64) + 1, ends[:-1]])
    busy_ns = int(ends[-1].min())
    end_ns = ends.ravel()
    order = np.arange(end_ns.size) if clients == 1 else np.argsort(end_ns, kind="stable")
    end_ns, start_ns = end_ns[order], starts.ravel()[order]
    first = int(np.searchsorted(end_ns, open_ns, side="right"))
    after = first + rounds * clients
    if after > end_ns.size or end_ns[after - 1] > busy_ns:
        return None
    phase = np.full(end_ns.size, AFTER, np.int8)
    phase[:first], phase[first:after] = WARMUP, WINDOW
    client = (order % clients).astype(np.int32)
    return Samples(
        client=client, slot=client % 8, scheduled_ns=start_ns, start_ns=start_ns, end_ns=end_ns, phase=phase,
        failed=np.zeros(end_ns.size, np.bool_), open_ns=open_ns, close_ns=int(end_ns[after - 1]),
    )  # fmt: skip


def _marked(marks: np.random.Generator, rounds: int, clients: int, share: float) -> NDArray[np.int8]:
    """Return the phases of a window, parts of it flagged: twenty stretches to a window, at least two rounds each."""
    stretch = max(rounds // 20, 2)
    flags = np.repeat(marks.random(-(-rounds // stretch)) < share, stretch)[:rounds]
    if flags.all():
        flags[-1] = False
    return np.where(np.repeat(flags, clients), FLAGGED, WINDOW).astype(np.int8)


def autoregression(noise: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    """Return x[t] = rho x[t - 1] + sqrt(1 - rho^2) noise[t] (n,), stationary and of unit variance."""
    driven = noise * sqrt(1 - rho**2)
    driven[0] = noise[0]
    return _accumulated(driven, rho)


def _accumulated(driven: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    """Return x[t] = rho x[t - 1] + driven[t]: within blocks by a matrix, between blocks by the same again."""
    n = driven.size
    if n == 1 or rho == 0.0:
        return driven
    steps = np.arange(_BLOCK)
    kernel = np.tril(rho ** np.maximum(steps[:, None] - steps, 0))
    inside: NDArray[np.float64] = np.pad(driven, (0, -n % _BLOCK)).reshape(-1, _BLOCK) @ kernel.T
    if len(inside) > 1:
        carried = _accumulated(inside[:-1, -1].copy(), rho**_BLOCK)
        inside[1:] += carried[:, None] * rho ** (steps + 1)
    return inside.ravel()[:n]


def _presence(draw: np.random.Generator, n: int, away: float, there: float) -> NDArray[np.bool_]:
    """Return whether the neighbour is there at each of n requests: a Markov chain of two states, stationary."""
    first = int(draw.random() < there / (away + there))  # geometric stays have no memory: the first is like the others
    pairs = int(n / (away + there) * 1.5) + 50
    stays = np.column_stack([draw.geometric(1 / away, pairs), draw.geometric(1 / there, pairs)]).ravel()[first:]
    present = np.repeat((np.arange(stays.size) + first) % 2 == 1, stays)
    assert present.size >= n
    return np.asarray(present[:n], np.bool_)


def _lognormal_below(latency_ns: float, sigma: float) -> float:
    return 0.5 * (1 + erf(log(latency_ns / _TYPICAL_NS) / sigma / sqrt(2))) if latency_ns > 0 else 0.0
