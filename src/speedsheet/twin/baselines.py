"""What simpler ways to predict reach on the same rows, fitted the same way and judged by the same folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from speedsheet.twin.calibration import Errors
from speedsheet.twin.cost import link_time_us
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.fit import FitRow
from speedsheet.twin.folds import SPLITS, mean_error, worst_error
from speedsheet.twin.lower import WIDTHS, lower

Floats = NDArray[np.float64]
#: What an INT8 row is often taken for.
USUAL_RATIO = 1.5


def baselines(rows: Sequence[FitRow], device: DeviceSpec) -> tuple[Errors, ...]:
    """Return the errors of a constant utilisation, a roofline, and a roofline by precision, each with fitted shares."""
    observed = np.log([row.throughput for row in rows])
    peak = np.log([_peak_rate(row, device) for row in rows])
    roof = np.log([_roof_rate(row, device) for row in rows])
    precision = [row.precision for row in rows]
    return (
        _errors("constant utilisation", peak, ["all"] * len(rows), observed, rows),
        _errors("roofline", roof, ["all"] * len(rows), observed, rows),
        _errors("roofline x efficiency per precision", roof, precision, observed, rows),
    )


def by_ratio(rows: Sequence[FitRow]) -> float | None:
    """Return the error of INT8 rows taken as 1.5 x the FP16 row of the same model; None without such pairs."""
    wide = {row.model: row.throughput for row in rows if row.precision == "fp16"}
    pairs = [(wide[row.model], row.throughput) for row in rows if row.precision == "int8" and row.model in wide]
    if not pairs:
        return None
    return mean_error(np.log([USUAL_RATIO * fp16 / int8 for fp16, int8 in pairs]))


def _errors(name: str, bound: Floats, groups: Sequence[str], observed: Floats, rows: Sequence[FitRow]) -> Errors:
    gaps = observed - bound

    def predicted(inside: Sequence[int], place: int) -> float:
        """The mean gap of the rows of the same group; of all rows where the group is left out whole."""
        same = [gaps[other] for other in inside if groups[other] == groups[place]]
        return float(np.mean(same or [gaps[other] for other in inside]))

    def crossed(split: Callable[[FitRow], object]) -> Floats | None:
        """Return the errors of rows left out; None where that leaves none to predict from."""
        errors = np.zeros(len(rows))
        for place, row in enumerate(rows):
            inside = [n for n, other in enumerate(rows) if split(other) != split(row)]
            if not inside:
                return None
            errors[place] = predicted(inside, place) - gaps[place]
        return errors

    found = {split: crossed(by) for split, by in SPLITS.items()}
    within = np.array([predicted(range(len(rows)), place) for place in range(len(rows))]) - gaps
    mean = {split: None if errors is None else mean_error(errors) for split, errors in found.items()}
    alone = found["leave_one_out"]
    return Errors(
        name, len(set(groups)), mean_error(within), mean["leave_one_out"],
        None if alone is None else worst_error(alone), mean["leave_model_out"], mean["leave_family_out"],
    )  # fmt: skip


def _peak_rate(row: FitRow, device: DeviceSpec) -> float:
    return (device.peak_macs_per_s(row.precision) or 1.0) / row.piece.macs


def _roof_rate(row: FitRow, device: DeviceSpec) -> float:
    """The roofline of a request on one cluster at the published rates: arrays, LLB, DDR; and the host link of all."""
    work = lower(row.piece, device, batch_size=row.batch_size, precision=row.precision)
    activations = sum(operator.input_elements + operator.output_elements for operator in row.piece.operators)
    moved = activations * WIDTHS[row.precision] * row.batch_size + work.weight_bytes.sum()
    cluster_s = max(
        row.batch_size / _peak_rate(row, device) * device.clusters,
        moved / device["llb_bandwidth"],
        float(work.weight_bytes.sum()) / device["ddr_bandwidth"] * device.clusters,
    )
    return float(row.batch_size / max(cluster_s / device.clusters, link_time_us(work, device) / 1e6))
