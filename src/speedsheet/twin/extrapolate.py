"""What no published row validates: percentiles, loads that leave the card idle, and thread curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from speedsheet.core.measurement import Finding, Latency
from speedsheet.core.plan import LoadPlan
from speedsheet.stats.estimates import estimate
from speedsheet.twin.network import Network, closed_form
from speedsheet.twin.simulate import simulate

#: Goes with every figure of this file, wherever it is printed.
NOT_VALIDATED = Finding(
    "not_validated",
    "not validated by any published row: every published row is saturated and its latency is derived; "
    "measure on the card before you rely on it",
)
_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Point:
    """What `thread_num` clients get: throughput in closed form, latencies simulated, and what binds."""

    thread_num: int
    throughput_samples_per_s: float
    latency_ms: Latency
    binding: str


def thread_curve(
    network: Network,
    thread_nums: Sequence[int],
    *,
    batch_size: int,
    cv: float = 0.0,
    requests: int = 10_000,
    seed: int = 920,
) -> tuple[Point, ...]:
    """Return a point for each number of clients; each carries `NOT_VALIDATED` wherever it goes."""
    points = []
    for thread_num in thread_nums:
        flow = closed_form(network, thread_num, cv=cv)
        plan = LoadPlan(thread_num, window_s=0.0, warmup_requests=_WARM_UP)
        samples = simulate(network, plan, requests=requests, cv=cv, seed=seed)
        latency_ms = estimate(samples, batch_size=batch_size, thread_num=thread_num).latency_ms
        points.append(Point(thread_num, flow.requests_per_s * batch_size, latency_ms, flow.binding))
    return tuple(points)
