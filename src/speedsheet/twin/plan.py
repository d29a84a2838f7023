"""How many cards serve a rate: batch and thread_num by mean throughput, the margin, and what binds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf

from speedsheet.core.errors import UsageError
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.lower import WIDTHS
from speedsheet.twin.network import CLIENTS, CLUSTERS, HOST, Flow, Network, card_network, closed_form, limits
from speedsheet.twin.types import RequestCost, TwinParams

#: Clients are added until throughput is within this share of what no number of clients exceeds.
_SATURATED = 0.99
_US_PER_S = 1e6
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True)
class Option:
    """One way to serve the rate: `thread_num` clients in all, over `cards`; `margin` is throughput over rate, less one.

    `binding` is ``host``, ``link``, or the cause on which clusters spend most time. `cards_at_low` is how many cards it
    takes where the model is as far too high as its band allows; null without a band, or where no number does.
    """

    batch_size: int
    cards: int
    thread_num: int
    throughput_samples_per_s: float
    margin: float
    latency_ms: float
    binding: str
    utilisation: Mapping[str, float]
    cards_at_low: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The option to take, and what the others would be, by batch size."""

    qps: float
    chosen: Option
    options: tuple[Option, ...]


def batches(usual: int) -> list[int]:
    """Return the batch sizes that a plan tries: powers of two up to the usual one, which published rows have."""
    return sorted({usual, *(1 << power for power in range(usual.bit_length()))})


def plan(
    costs: Mapping[int, RequestCost],
    device: DeviceSpec,
    params: TwinParams,
    qps: float,
    *,
    usual: int,
    low: float | None = None,
) -> Plan:
    """Choose the fewest cards that serve `qps` samples per second; `costs` is a request's by batch size.

    Among batch sizes that take as few cards the usual one wins, since the published rows have it, else the one with
    the least latency. `low` is the low end of the model's band as a share of its value. Raises UsageError with the
    binding resource where no number of cards serves the rate.
    """
    networks = {batch: card_network(device, params, cost) for batch, cost in sorted(costs.items())}
    found = [_option(costs[batch], network, params["service_cv"], qps, low) for batch, network in networks.items()]
    options = tuple(option for option in found if option is not None)
    if not options:
        raise _out_of_reach(networks, qps)
    fewest = min(option.cards for option in options)
    near = [option for option in options if option.cards == fewest]
    chosen = min(near, key=lambda option: (option.batch_size != usual, option.latency_ms))
    return Plan(qps, chosen, options)


def check_modelled(device: DeviceSpec) -> None:
    """Raise UsageError for a device of which only ceilings are known."""
    if not device.modelled:
        raise UsageError(
            "states no arrays, so that nothing but its ceilings is known",
            where=device.name,
            do="name a device that does, such as stcp920; or complete its file",
        )


def check_memory(parameters: int, device: DeviceSpec, precision: str) -> None:
    """Raise UsageError where the weights do not fit the DDR of one cluster: no number of cards changes that."""
    ddr = device.get("ddr")
    held = parameters * WIDTHS[precision]
    if ddr is not None and held > ddr / device.clusters:
        raise UsageError(
            f"no number of cards holds it: DDR binds, {held / 1e9:.3g} GB of weights in {precision} against "
            f"{ddr / device.clusters / 1e9:.3g} GB of a cluster",
            do="give a smaller model" if precision == "int8" else "give a smaller model, or --precision int8",
        )


def _option(cost: RequestCost, network: Network, cv: float, qps: float, low: float | None) -> Option | None:
    """Return the way to serve the rate with this batch size; None where more cards do not help.

    Cards are alike and work apart: what they share, the host, caps them all.
    """
    batch, reach_per_s = cost.batch_size, _host_per_s(network)
    if qps / batch > reach_per_s:
        return None
    threads, one = _saturated(network, cv)
    cards = ceil(qps / batch / one.requests_per_s)
    per_s = min(cards * one.requests_per_s, reach_per_s)
    cautious = None if low is None or qps / low / batch > reach_per_s else ceil(qps / low / batch / one.requests_per_s)
    busy = {name: share * per_s / one.requests_per_s / (1 if name == HOST else cards)
            for name, share in one.utilisation.items()}  # fmt: skip
    return Option(
        batch_size=batch,
        cards=cards,
        thread_num=threads * cards,
        throughput_samples_per_s=per_s * batch,
        margin=per_s * batch / qps - 1,
        latency_ms=threads * cards / per_s * 1000,
        binding=HOST if per_s < cards * one.requests_per_s else _resource(cost, network),
        utilisation=busy,
        cards_at_low=cautious,
    )


def _resource(cost: RequestCost, network: Network) -> str:
    """Return the station with the least to give; of clusters, what they spend most of their time on."""
    stations = {name: us for name, us in limits(network, 1).items() if name != CLIENTS}
    busiest = max(stations, key=lambda name: stations[name])
    causes = cost.breakdown_us
    return max(causes, key=lambda cause: causes[cause]) if busiest == CLUSTERS and causes else busiest


def _host_per_s(network: Network) -> float:
    """Return the requests per second that the host allows, however many cards there are."""
    station_us = limits(network, 1)[HOST]
    return _US_PER_S / station_us if station_us else inf


def _saturated(network: Network, cv: float) -> tuple[int, Flow]:
    """Return the fewest clients of one card that come within a hundredth of what no number of them exceeds."""
    least_us = max(us for name, us in limits(network, 1).items() if name != CLIENTS)
    for threads in range(1, _MOST_THREADS):
        flow = closed_form(network, threads, cv=cv)
        if flow.requests_per_s * least_us >= _SATURATED * _US_PER_S:
            return threads, flow
    return _MOST_THREADS, closed_form(network, _MOST_THREADS, cv=cv)


def _out_of_reach(networks: Mapping[int, Network], qps: float) -> UsageError:
    best, batch = max((_host_per_s(network) * batch, batch) for batch, network in networks.items())
    threads = next(station.servers for station in networks[batch].stations if station.name == HOST)
    return UsageError(
        f"no number of cards serves {qps:g} samples/s: the host's {threads} threads bind, at {best:.4g} samples/s "
        f"(batch {batch})",
        do=f"ask for at most {0.99 * best:.3g}, or share the rate among hosts",
    )
