"""From work to time: what each operator takes on a cluster, what it waits for its weights, what a request costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.lower import Floats, Lowered, lower
from speedsheet.twin.types import RequestCost, Schedule, TwinParams, Workpiece

#: What the time of a request is shared among.
CAUSES = ("matrix", "vector", "llb", "ddr", "dispatch", "gather", "link", "request")
_US = 1e6


@dataclass(frozen=True, slots=True)
class Spent:
    """Microseconds of each operator by cause, and what the stream of weights makes it wait."""

    matrix: Floats
    vector: Floats
    llb: Floats
    spill: Floats
    dispatch: Floats
    gather: Floats
    wait: Floats

    @property
    def operators_us(self) -> Floats:
        """The time of each operator, its wait included."""
        return self.matrix + self.vector + self.llb + self.spill + self.dispatch + self.gather + self.wait


def cost(
    piece: Workpiece,
    device: DeviceSpec,
    params: TwinParams,
    *,
    batch_size: int,
    precision: str,
    schedule: Schedule = "O3",
) -> RequestCost:
    """Return what one request costs each station of the device. Raises UsageError for a device without arrays."""
    work = lower(
        piece, device, batch_size=batch_size, precision=precision, schedule=schedule, structure=params.structure
    )
    spent = spend(work, device, params)
    link_us = link_time_us(work, device)
    held_us = params["link_share"] * link_us
    breakdown = {
        "matrix": spent.matrix.sum(), "vector": spent.vector.sum(), "llb": spent.llb.sum(),
        "ddr": spent.wait.sum() + spent.spill.sum(), "dispatch": spent.dispatch.sum(), "gather": spent.gather.sum(),
        "link": held_us, "request": params["request_us"],
    }  # fmt: skip
    names = [operator.name for operator in piece.operators]
    return RequestCost(
        batch_size=batch_size,
        cluster_us=float(sum(breakdown.values())),
        host_us=params["host_us"],
        link_us=link_us,
        link_bytes_in=work.link_bytes_in,
        link_bytes_out=work.link_bytes_out,
        weight_bytes=int(work.weight_bytes.sum()),
        breakdown_us={cause: float(breakdown[cause]) for cause in CAUSES},
        operators_us=dict(zip(names, spent.operators_us.tolist(), strict=True)),
        unknown_operators=tuple(operator.name for operator in piece.operators if operator.unknown),
    )


def spend(work: Lowered, device: DeviceSpec, params: TwinParams) -> Spent:
    """Return the time of each operator by cause.

    Of two units that work at once the longer counts whole, the shorter as far as it does not overlap; each is charged
    with what it adds. The matrix and the vector unit share a core; the core and its LLB share an operator.
    """
    matrix = work.matrix_cycles / clock_hz(device, params, "matrix") * _US
    vector = work.vector_cycles / clock_hz(device, params, "vector") * _US
    llb = work.llb_bytes / (params["llb_gb_per_s"] * 1e3) / device.clock_ratio("llb")
    apart_vector, apart_llb = 1 - params["vector_overlap"], 1 - params["llb_overlap"]
    first = matrix >= vector
    matrix_us, vector_us = (
        np.where(first, matrix, apart_vector * matrix),
        np.where(first, apart_vector * vector, vector),
    )
    core = matrix_us + vector_us
    bound = llb >= core
    scale = np.where(bound, apart_llb, 1.0)
    dispatch = params["dispatch_us"] * work.dispatches
    gather = params["gather_us"] * work.gathers
    ddr = params["ddr_gb_per_s"] * 1e3
    spill = work.spill_bytes / ddr
    busy = core * scale + llb * np.where(bound, 1.0, apart_llb) + dispatch + gather + spill
    wait = waits(busy, work.weight_bytes / ddr, work.gate)
    return Spent(
        matrix_us * scale, vector_us * scale, llb * np.where(bound, 1.0, apart_llb), spill, dispatch, gather, wait
    )


def waits(busy: Floats, load: Floats, gate: NDArray[np.int64]) -> Floats:
    """Return how long each operator waits for its weights, which one engine streams in order as room comes free."""
    ends, wait = [0.0] * len(busy), np.zeros(len(busy))
    loaded = now = 0.0
    for place, (work_us, load_us, free) in enumerate(zip(busy.tolist(), load.tolist(), gate.tolist(), strict=True)):
        loaded = max(loaded, ends[free] if free >= 0 else 0.0) + load_us if load_us else loaded
        start = max(now, loaded if load_us else now)
        wait[place] = start - now
        now = start + work_us
        ends[place] = now
    return wait


def clock_hz(device: DeviceSpec, params: TwinParams, domain: str) -> float:
    """Return the clock that is set for a domain, or else the one that the fit found or the prior supposes."""
    if device.set_clock_hz and domain in device.clocked:
        return device.set_clock_hz
    return params["clock_ghz"] * 1e9


def link_time_us(work: Lowered, device: DeviceSpec) -> float:
    """Return the time of one request's inputs and outputs on the host link; its two directions run at once."""
    out = device.get("link_out") or device["link_in"]
    return max(work.link_bytes_in / device["link_in"], work.link_bytes_out / out) * _US


def shares(breakdown_us: Mapping[str, float]) -> dict[str, float]:
    """Return a breakdown as shares of its sum."""
    total = sum(breakdown_us.values()) or 1.0
    return {cause: value / total for cause, value in breakdown_us.items()}
