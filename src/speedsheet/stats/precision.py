"""How well a figure is known while a run goes on, and how much longer it takes to know it as well as asked."""

from __future__ import annotations

from speedsheet.core.samples import Samples
from speedsheet.stats.figures import Data, Figure
from speedsheet.stats.percentiles import PERCENTILES

#: A half-width is an estimate too: so much longer makes it likely that the target is then met.
_MARGIN = 1.1


def half_width(samples: Samples, *, thread_num: int, quantity: str = "throughput") -> float | None:
    """Return half the interval of a figure as a share of its value; null where there is no interval yet.

    `quantity` is ``throughput``, ``mean`` or a percentile such as ``p99``; raises ValueError for another. Takes 0.1 s
    for a million requests.
    """
    return _figure(samples, thread_num, quantity).half_width


def seconds_needed(samples: Samples, *, thread_num: int, target: float, quantity: str = "throughput") -> float:
    """Return how many more seconds the half-width of a figure takes to come down to `target`, a share of its value.

    It falls with the root of the time. Zero where it is reached; where there is no interval yet, the time to have one.
    """
    data = Data.of([samples], thread_num)
    figure = _of(data, quantity)
    reached = figure.half_width
    if reached is None:
        return max(figure.more_s, data.process_s / data.latency_ns.size * thread_num)
    if reached <= target:
        return 0.0
    return data.process_s * ((reached / target) ** 2 * _MARGIN - 1.0)


def _figure(samples: Samples, thread_num: int, quantity: str) -> Figure:
    return _of(Data.of([samples], thread_num), quantity)


def _of(data: Data, quantity: str) -> Figure:
    if quantity == "throughput":
        return data.throughput()
    if quantity == "mean":
        return data.mean()
    name = quantity.replace(".", "_")
    if name not in PERCENTILES:
        raise ValueError(f"no figure is called {quantity!r}; known: throughput, mean, {', '.join(PERCENTILES)}")
    return data.percentile(PERCENTILES[name])
