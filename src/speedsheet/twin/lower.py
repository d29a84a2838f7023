"""Lowering: what a request of one batch asks of each unit of a cluster, operator by operator, before any time is known.

A batch is spread over the cores of a cluster, a sample to a core; a batch smaller than that splits its samples. What
does not depend on a fitted number is worked out here, once, as arrays: a fit then costs microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.errors import UsageError
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.types import Operator, Place, Schedule, Structure, Workpiece

Floats = NDArray[np.float64]

#: Bytes of an element on the card.
WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
#: A tap of a depthwise kernel occupies the vector unit for so many operations: a shifted load, a product, a sum, and
#: lanes left idle at edges. A guess; mobilenet_v2 alone can tell.
DEPTHWISE_OPS = 4.0
#: The unit of exp, division and root is an eighth as wide as the lanes. A guess; the width is not published.
SPECIAL_OPS = 8.0
#: In INT8 each accumulator is scaled, and rounded to eight bits, on the vector unit.
REQUANTISE_OPS = 2.0


@dataclass(frozen=True, slots=True)
class Lowered:
    """Work of one request on one cluster, an entry an operator; cycles are of the whole cluster.

    `dispatches` counts starts of the operator on the cores. `gate` is the operator whose end frees the room in the LLB
    that this one's weights are loaded into, -1 where there is room from the start. `spill_bytes` are activations that
    the schedule keeps in DDR.
    """

    matrix_cycles: Floats
    vector_cycles: Floats
    llb_bytes: Floats
    weight_bytes: Floats
    spill_bytes: Floats
    dispatches: Floats
    gathers: Floats
    gate: NDArray[np.int64]
    batch_size: int
    link_bytes_in: int
    link_bytes_out: int


def lower(
    piece: Workpiece,
    device: DeviceSpec,
    *,
    batch_size: int,
    precision: str,
    schedule: Schedule = "O3",
    structure: Structure | None = None,
) -> Lowered:
    """Return what a request of `batch_size` samples asks of one cluster.

    Raises UsageError for a device without arrays.
    """
    _check_precision(device, precision)
    shape = structure or Structure()
    executions = max(ceil(batch_size / piece.samples), 1)
    work = _Work(piece.operators, device, executions, WIDTHS[precision], precision)
    waves = work.waves(schedule)
    llb, spill = work.activations(schedule)
    weights = work.weight_bytes
    rereads = max(work.cores / executions, 1.0) if shape.split_rereads else 1.0
    return Lowered(
        matrix_cycles=work.matrix_cycles(tiles=shape.tiles),
        vector_cycles=work.vector_cycles(requantise=shape.requantises),
        llb_bytes=llb + weights * rereads,
        weight_bytes=weights,
        spill_bytes=spill,
        dispatches=waves * (work.parts if shape.dispatch_parts else np.ones(len(weights))),
        gathers=work.of("gathers") * executions,
        gate=_gates(weights, device["llb"]),
        batch_size=batch_size,
        link_bytes_in=piece.input_bytes * executions,
        link_bytes_out=piece.output_bytes * executions,
    )


def places(
    piece: Workpiece, device: DeviceSpec, *, batch_size: int, precision: str, schedule: Schedule
) -> tuple[Place, ...]:
    """Return where each operator reads and writes its activations under a schedule. Raises UsageError as `lower`."""
    _check_precision(device, precision)
    executions = max(ceil(batch_size / piece.samples), 1)
    llb, spill = _Work(piece.operators, device, executions, WIDTHS[precision], precision).activations(schedule)
    return tuple("ddr" if out else "llb" if near else "l1" for near, out in zip(llb, spill, strict=True))


def _check_precision(device: DeviceSpec, precision: str) -> None:
    if precision not in device.precisions:
        do = f"give one of {', '.join(device.precisions)}"
        raise UsageError(f"{device.title} has no {precision}", where="--precision", do=do)


class _Work:
    """The arrays of one workpiece at one batch and width."""

    def __init__(
        self, operators: tuple[Operator, ...], device: DeviceSpec, executions: int, width: int, precision: str
    ) -> None:
        self.operators, self.device, self.batch = operators, device, executions
        self.width, self.precision = width, precision
        self.cores = int(device["cores_per_cluster"])
        self.l1 = device["l1_data"]
        #: A core holds one sample, or its share of one.
        self.share = min(executions / self.cores, 1.0)
        self.traffic = (self.of("input_elements") + self.of("output_elements")) * width
        self.weight_bytes = self.of("weight_elements") * width
        self.depthwise = np.array([operator.kind == "depthwise" for operator in operators], bool)

    def of(self, field: str) -> Floats:
        return np.array([float(getattr(operator, field)) for operator in self.operators])

    @property
    def parts(self) -> Floats:
        """In how many parts a core's share of an operator passes through L1."""
        return np.maximum(np.ceil(self.traffic * self.share / self.l1), 1.0)

    def waves(self, schedule: Schedule) -> float:
        """How often the cores are started for each operator.

        O3 splits along the batch until the intermediates of the model stay in L1, a sample a core at the least; the
        others run an operator over its whole batch.
        """
        if schedule != "O3":
            return 1.0
        fits = max(floor(self.l1 / max(float(self.traffic.max(initial=1.0)), 1.0)), 1)
        return float(ceil(self.batch / (self.cores * fits)))

    def activations(self, schedule: Schedule) -> tuple[Floats, Floats]:
        """Return the bytes of activations that pass the LLB, and those that pass DDR.

        O0 keeps every tensor in DDR; O1 in the LLB where it fits; O2 in L1 where it fits; O3 the same with the batch
        split and attention fused. A sample that is split over cores meets its other parts in the LLB.
        """
        fused = self.traffic * self.batch
        whole = fused + 2 * self.of("inner_elements") * self.width * self.batch
        if schedule == "O0":
            return whole, whole
        if schedule == "O1":
            return whole, np.where(whole <= self.device["llb"], 0.0, whole)
        split = self.batch < self.cores
        if schedule == "O2":
            in_l1 = (whole <= self.l1 * self.cores) & (not split)
            return np.where(in_l1, 0.0, whole), np.where(in_l1 | (whole <= self.device["llb"]), 0.0, whole)
        in_l1 = (self.traffic <= self.l1) & (not split)
        return np.where(in_l1, 0.0, fused), np.zeros_like(fused)

    def matrix_cycles(self, *, tiles: bool) -> Floats:
        """Multiply-accumulates over those of a cycle, and over how much of the array they fill."""
        macs = np.array([float(operator.macs) for operator in self.operators]) * ~self.depthwise * self.batch
        clock = self.device["clock"] * self.device.clock_ratio("matrix")
        per_cycle = (self.device.peak_macs_per_s(self.precision) or 1.0) / self.device.clusters / clock
        cycles: Floats = macs / per_cycle / (self._filled() if tiles else 1.0)
        return cycles

    def _filled(self) -> Floats:
        """The share of a tile that rows and columns fill, with the better of both ways to lay them.

        A sample split over cores gives each a part of its rows, or of its columns.
        """
        rows, columns = self.device["matrix_rows"], self.device["matrix_columns"]
        m, n = np.maximum(self.of("m"), 1.0), np.maximum(self.of("n"), 1.0)
        if self.batch > self.cores:  # rows of several samples lie in one tile where a sample has few
            m = np.where(m < rows, m * ceil(self.batch / self.cores), m)
        if self.share < 1:
            return np.maximum(_fill(m * self.share, rows) * _fill(n, columns),
                              _fill(m, rows) * _fill(n * self.share, columns))  # fmt: skip
        return np.maximum(_fill(m, rows) * _fill(n, columns), _fill(n, rows) * _fill(m, columns))

    def vector_cycles(self, *, requantise: bool) -> Floats:
        """Element operations over lanes; depthwise products and the special unit's work count as so many of them."""
        macs = np.array([float(operator.macs) for operator in self.operators])
        made = self.of("m") * self.of("n") * self.of("groups")
        work = self.of("vector_ops") + SPECIAL_OPS * self.of("special_ops") + DEPTHWISE_OPS * macs * self.depthwise
        if requantise and self.precision == "int8":
            work = work + REQUANTISE_OPS * made
        cycles: Floats = work * self.batch / (self.device["vector_lanes"] * self.cores)
        return cycles


def _fill(size: Floats, tile: float) -> Floats:
    filled: Floats = size / (np.ceil(size / tile) * tile)
    return filled


def _gates(weights: Floats, room: float) -> NDArray[np.int64]:
    """For each operator, the one whose end leaves its weights room; they load in order and are dropped after use."""
    loaded = np.cumsum(weights)
    before = loaded - weights
    excess = np.minimum(loaded - room, before)
    gate = np.searchsorted(loaded, excess, side="left")
    places = np.arange(len(weights))
    return np.where(excess > 0, np.minimum(gate, places - 1), -1)
