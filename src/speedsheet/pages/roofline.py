"""The roofline of a sheet: how much work each row does for each byte that must move, and how much of it a second.

Williams, Waterman and Patterson, Roofline, CACM 52, 2009. The bytes are compulsory traffic: the weights once for each
request, and what the samples of its batch bring and take, in the executed type; intermediates that do not fit a cache
come on top, so the true intensity is at most this. Roofs are of a described card, from its published facts, and of the
host that measured, from what its engines reach on a large product and a large sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedsheet.core.measurement import Measurement, executed_kinds
from speedsheet.plugins import workloads
from speedsheet.sheets.letters import clean
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.lower import WIDTHS
from speedsheet.twin.pieces import zoo_piece

_FLOP_PER_MAC = 2


@dataclass(frozen=True, slots=True)
class Point:
    """A row on the roofline; `clock` says who its figure is of: "wall", "modelled" or "published"."""

    model: str
    precision: str
    clock: str
    flop_per_byte: float
    flop_per_s: float


@dataclass(frozen=True, slots=True)
class Roof:
    """What a device cannot exceed at one precision."""

    device: str
    precision: str
    flop_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """The intensity from which on the arrays bind, and not the memory."""
        return self.flop_per_s / self.bytes_per_s


def point(row: Measurement, cache: Path, samples_per_s: float | None, clock: str) -> Point | None:
    """Return a row's place, null where its work is not known or it has no figure."""
    if row.model not in workloads() or not samples_per_s:
        return None
    piece = zoo_piece(row.model, cache)
    kind = _kind(row) if clock == "wall" else row.precision
    width = WIDTHS.get(kind, WIDTHS["fp32"])
    request_bytes = piece.weight_elements * width + row.batch_size * (piece.input_bytes + piece.output_bytes)
    work = _FLOP_PER_MAC * piece.macs
    if not work or not request_bytes:
        return None
    intensity = work * row.batch_size / request_bytes
    return Point(row.model, row.precision, clock, intensity, work * samples_per_s)


def roofs(device: DeviceSpec, precisions: Sequence[str]) -> list[Roof]:
    """Return the device's roofs at those of the precisions that it has; none where its file states no memory."""
    memory = device.get("ddr_bandwidth")
    found = []
    for precision in precisions:
        peak = device.peak_macs_per_s(precision) if precision in device.precisions else None
        if peak and memory:
            found.append(Roof(device.title, precision, peak * _FLOP_PER_MAC, memory))
    return found


def measured_roofs(host: Mapping[str, Any]) -> list[Roof]:
    """Return what engines reached on a run's host (`bench.ceiling`); none where that was not measured."""
    found = []
    told = host.get("ceilings")
    for name, reached in told.items() if isinstance(told, Mapping) else ():
        with suppress(TypeError, KeyError, ValueError):
            flop_per_s, bytes_per_s = float(reached["flop_per_s"]), float(reached["bytes_per_s"])
            if flop_per_s > 0 and bytes_per_s > 0:
                found.append(Roof(clean(str(name)), "", flop_per_s, bytes_per_s))
    return found


def _kind(row: Measurement) -> str:
    return executed_kinds(row.precision_executed).partition(" ")[0] or row.precision
