"""What a device cannot exceed, from its file alone: nothing here is fitted.

Roofs (Williams, Waterman and Patterson, Roofline, CACM 52, 2009, with the host link beside the memory): the peak of the
arrays, weights that must come from DDR for each request, and what a sample brings and takes over the host link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from speedsheet.core.errors import UsageError
from speedsheet.twin.device import DeviceSpec, Fact
from speedsheet.twin.lower import WIDTHS
from speedsheet.twin.types import Workpiece

PEAK, MEMORY, LINK_IN, LINK_OUT = "peak", "memory", "link_in", "link_out"
#: Bytes of an input as graphs declare them, unless they say otherwise.
_FP32_BYTES = 4
#: A figure that prints within this share of a ceiling is not above it.
_PRINTED = 1e-3


@dataclass(frozen=True, slots=True)
class Bound:
    """One ceiling: `throughput` at the fact that the device file uses, `widest` at the most generous of its sources."""

    resource: str
    throughput: float
    widest: float


@dataclass(frozen=True, slots=True)
class Flip:
    """What must be true for a figure to hold: a `code` with its number, said in English by `text`.

    `margin` is the ceiling over the figure: below 1 it is not true of what the device file and the graph state.
    """

    code: str
    value: float
    text: str
    margin: float

    @property
    def holds(self) -> bool:
        """Whether it is true of what is stated."""
        return self.margin * (1 + _PRINTED) >= 1


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The least of the bounds, and which it is; samples per second of so many cards."""

    throughput: float
    binding: str
    bounds: tuple[Bound, ...]

    @property
    def by_resource(self) -> Mapping[str, float]:
        """Every bound by its resource."""
        return {bound.resource: bound.throughput for bound in self.bounds}


def ceiling(piece: Workpiece, device: DeviceSpec, *, batch_size: int | None, precision: str, cards: int = 1) -> Ceiling:
    """Return what the device cannot exceed on a model. Raises UsageError for a type that it does not have.

    Where the clock is not set, arrays are taken at the highest that can be: a published clock is often not stated.
    Where nobody states the batch size, among how many samples weights are shared is not known, and they bound nothing.
    """
    peak = device.peak_macs_per_s(precision)
    if peak is None:
        known = ", ".join(device.precisions)
        raise UsageError(f"{device.title} has no {precision}", where="--precision", do=f"give one of {known}")
    highest = peak if device.set_clock_hz else peak * _overclock(device)
    found = [_bound(PEAK, highest, highest, piece.macs / piece.samples)]
    weights = max(piece.weight_elements * WIDTHS[precision] - _kept_bytes(device), 0.0)
    shared = inf if batch_size is None else max(batch_size, piece.samples)
    for resource, quantity, per_sample in (
        (MEMORY, "ddr_bandwidth", weights / shared),
        (LINK_IN, "link_in", piece.input_bytes / piece.samples),
        (LINK_OUT, "link_out", piece.output_bytes / piece.samples),
    ):
        fact = device.facts.get(quantity)
        if fact is not None and per_sample > 0:
            found.append(_bound(resource, fact.value, _widest(fact), per_sample))
    bounds = tuple(Bound(bound.resource, bound.throughput * cards, bound.widest * cards) for bound in found)
    least = min(bounds, key=lambda bound: bound.throughput)
    return Ceiling(least.throughput, least.resource, bounds)


def written(value: float) -> str:
    """Write a figure to three digits, and all that stand before the point: ``3.76``, ``158``, ``1065``."""
    return f"{value:.0f}" if value >= 999.5 else f"{value:.3g}"  # noqa: PLR2004  what rounds to four digits


def above(published: float, at: float) -> bool:
    """Whether a figure exceeds a ceiling by more than its printing may hide."""
    return published > at * (1 + _PRINTED)


def narrower(piece: Workpiece, precision: str, resource: str) -> float:
    """Return how many times more samples a resource carries if inputs come in the device's own type."""
    width = piece.input_bytes / max(piece.input_elements, 1)
    return max(width / WIDTHS[precision], 1.0) if resource == LINK_IN else 1.0


def flips(
    piece: Workpiece, device: DeviceSpec, published: float, *, batch_size: int | None, precision: str, cards: int = 1
) -> tuple[Flip, ...]:
    """Return what each resource must be for a figure to hold, the tightest first."""
    limit = ceiling(piece, device, batch_size=batch_size, precision=precision)
    each = published / cards
    ordered = sorted(limit.bounds, key=lambda bound: bound.throughput)
    return tuple(flip for bound in ordered for flip in _flips(bound, piece, device, each, precision))


def _flips(bound: Bound, piece: Workpiece, device: DeviceSpec, published: float, precision: str) -> list[Flip]:
    margin = bound.throughput / published
    if bound.resource == LINK_IN:
        return _link_flips(piece, device, published, margin)
    if bound.resource == MEMORY:
        needed = device["ddr_bandwidth"] / margin / 1e9
        return [Flip("ddr_gb_per_s", needed, f"needs {written(needed)} GB/s of DDR", margin)]
    if bound.resource == LINK_OUT:
        needed = device["link_out"] / margin / 1e9
        return [Flip("link_out_gb_per_s", needed, f"needs {written(needed)} GB/s of host link for outputs", margin)]
    share = published * piece.macs / piece.samples / (device.peak_macs_per_s(precision) or inf)
    if device.get("clock") is None:
        return [Flip("peak_percent", share * 100, f"needs {written(share * 100)} % of the peak", margin)]
    clock = share * device.clock_hz / 1e9
    return [Flip("clock_ghz", clock, f"needs {written(clock)} GHz with every multiplier busy", margin)]


def _link_flips(piece: Workpiece, device: DeviceSpec, published: float, margin: float) -> list[Flip]:
    """How many inputs the link carries at that rate, how wide they may be, and how fast the link must be."""
    link = device["link_in"]
    fp32 = int(link * (1 + _PRINTED) / published / _FP32_BYTES)
    elements = piece.input_elements / piece.samples
    said = f"holds only with at most {fp32} FP32 inputs per sample (it has {elements:.0f})"
    wide = link / published / max(elements, 1)
    rate = published * piece.input_bytes / piece.samples / 1e9
    return [
        Flip("fp32_inputs", fp32, said, margin),
        Flip("input_bytes", wide, f"or with inputs of at most {written(wide)} bytes an element", margin),
        Flip("link_gb_per_s", rate, f"or with {written(rate)} GB/s of host link", margin),
    ]


def _overclock(device: DeviceSpec) -> float:
    """How far above its base clock the arrays can be set."""
    base, highest = device.get("clock"), device.get("clock_highest")
    return max(highest / base, 1.0) if base and highest and "matrix" in device.clocked else 1.0


def _kept_bytes(device: DeviceSpec) -> float:
    """Weights that the cards' own memories may keep from one request to the next: all of LLB and L1 at the most."""
    cores = (device.get("cores_per_cluster") or 0.0) * (
        (device.get("l1_data") or 0.0) + (device.get("l1_weight") or 0.0)
    )
    return (device.get("llb") or 0.0) + cores


def _bound(resource: str, rate: float, widest: float, per_sample: float) -> Bound:
    return Bound(resource, rate / max(per_sample, 1e-9), widest / max(per_sample, 1e-9))


def _widest(fact: Fact) -> float:
    return max(fact.value, *(value for value, _ in fact.alternatives)) if fact.alternatives else fact.value
