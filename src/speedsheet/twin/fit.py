"""Fitting the free parameters to rows: least squares on the logarithm of throughput, held by priors.

Gelman et al., Bayesian Data Analysis, chapter 4: the mode under normal priors on logarithms, and the curvature there as
spread. A fit is a few milliseconds, since all rows and all perturbed parameters are costed in one pass over operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.core import draws
from speedsheet.core.errors import MissingExtra
from speedsheet.twin.cost import link_time_us
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.lower import lower
from speedsheet.twin.types import Structure, TwinParams, Workpiece

Floats = NDArray[np.float64]

#: How far a row is believed to lie from a right model, in log units: a compiler does not serve all networks alike.
ROW_SPREAD = 0.06
STARTS = 4
_STEP = 1e-5
_US = 1e6


@dataclass(frozen=True, slots=True)
class FitRow:
    """One published row with the work of its model."""

    name: str
    model: str
    family: str
    piece: Workpiece
    batch_size: int
    precision: str
    thread_num: int
    throughput: float


class Stack:
    """Rows side by side as arrays (operators, rows), padded with operators that take no time."""

    def __init__(self, rows: Sequence[FitRow], device: DeviceSpec, params: TwinParams, structure: Structure) -> None:
        self.rows, self.device, self.params = tuple(rows), device, params
        works = [
            lower(row.piece, device, batch_size=row.batch_size, precision=row.precision, structure=structure)
            for row in rows
        ]
        depth = max(len(work.gate) for work in works)
        self.matrix, self.vector, self.llb, self.weights, self.dispatches, self.gathers = (
            _padded([getattr(work, name) for work in works], depth)
            for name in ("matrix_cycles", "vector_cycles", "llb_bytes", "weight_bytes", "dispatches", "gathers")
        )
        self.gate = _padded([work.gate.astype(float) for work in works], depth, fill=-1.0).astype(np.int64)
        self.link_us = np.array([link_time_us(work, device) for work in works])
        self.batch = np.array([float(row.batch_size) for row in rows])
        self.threads = np.array([float(row.thread_num) for row in rows])
        self.observed = np.log(np.array([row.throughput for row in rows]))

    def log_throughput(self, values: dict[str, Floats], chosen: NDArray[np.int64]) -> Floats:
        """Return log samples/s as (rows, sets) for sets of parameters, each an array over sets, of the chosen rows."""
        cluster = self._cluster_us(values, chosen)
        link = self.link_us[chosen, None]
        alone = cluster + link + values["host_us"]
        slowest = np.maximum.reduce([
            cluster / self.device.clusters,
            np.broadcast_to(link, cluster.shape),
            values["host_us"] / self.device["host_threads"] + 0 * cluster,
            alone / self.threads[chosen, None],
        ])  # fmt: skip
        found: Floats = np.log(self.batch[chosen, None] / slowest * _US)
        return found

    def _cluster_us(self, values: dict[str, Floats], chosen: NDArray[np.int64]) -> Floats:
        """As `cost.spend` does, of many rows and sets at once; a test holds the two together."""
        at = (slice(None), chosen, None)
        clock = values["clock_ghz"] * 1e3
        matrix, vector = self.matrix[at] / clock, self.vector[at] / clock
        llb = self.llb[at] / (values["llb_gb_per_s"] * 1e3)
        apart_vector, apart_llb = 1 - values["vector_overlap"], 1 - values["llb_overlap"]
        core = np.maximum(matrix, vector) + apart_vector * np.minimum(matrix, vector)
        busy = np.maximum(core, llb) + apart_llb * np.minimum(core, llb)
        busy = busy + values["dispatch_us"] * self.dispatches[at] + values["gather_us"] * self.gathers[at]
        load = self.weights[at] / (values["ddr_gb_per_s"] * 1e3)
        streamed = _streamed(busy, load, self.gate[:, chosen])
        held: Floats = streamed + values["request_us"] + values["link_share"] * self.link_us[chosen, None]
        return held


@dataclass(frozen=True, slots=True)
class Fit:
    """What a fit found: values and spreads by name, residuals of its rows, and each row as if it had been left out.

    `left_out` is the residual over one minus the leverage (Allen's PRESS): exact for a linear model.
    """

    values: dict[str, float]
    spreads: dict[str, float]
    residuals: Floats
    left_out: Floats
    covariance: Floats


def fit(
    stack: Stack, free: Sequence[str], chosen: Sequence[int] | None = None, *, starts: int = 1, seed: int = 920
) -> Fit:
    """Return the mode over the chosen rows. Raises MissingExtra where SciPy is not installed."""
    rows = np.arange(len(stack.rows)) if chosen is None else np.array(chosen, np.int64)
    known = stack.params.parameters
    prior = np.log([known[name].prior for name in free])
    spread = np.array([known[name].prior_spread for name in free])
    fixed = {name: np.array([one.prior]) for name, one in known.items()}

    def residuals(at: Floats) -> Floats:
        """Residuals as (rows and priors, sets) at sets of log values (sets, free)."""
        values = fixed | {name: np.exp(at[:, place]) for place, name in enumerate(free)}
        data = (stack.log_throughput(values, rows) - stack.observed[rows, None]) / ROW_SPREAD
        held: Floats = np.concatenate([data, ((at - prior) / spread).T])
        return held

    def slopes(at: Floats) -> Floats:
        sets = np.concatenate([at[None], at[None] + _STEP * np.eye(len(free))])
        found = residuals(sets)
        jacobian: Floats = (found[:, 1:] - found[:, :1]) / _STEP
        return jacobian

    best = _least(residuals, slopes, _starts(prior, spread, starts, seed))
    jacobian = slopes(best)
    covariance: Floats = np.linalg.inv(jacobian.T @ jacobian).astype(float)
    data = jacobian[: len(rows)]
    leverage = np.einsum("ij,jk,ik->i", data, covariance, data)
    left = residuals(best[None])[: len(rows), 0] * ROW_SPREAD
    return Fit(
        dict(zip(free, np.exp(best).tolist(), strict=True)),
        dict(zip(free, np.sqrt(np.diag(covariance)).tolist(), strict=True)),
        left,
        left / np.maximum(1 - leverage, 1e-3),
        covariance,
    )


def predict(stack: Stack, values: dict[str, float]) -> Floats:
    """Return the log throughput of every row at these values, the others at their priors."""
    known = {name: np.array([one.prior]) for name, one in stack.params.parameters.items()}
    moved = known | {name: np.array([value]) for name, value in values.items()}
    found: Floats = stack.log_throughput(moved, np.arange(len(stack.rows)))[:, 0]
    return found


def _least(residuals: Any, slopes: Any, starts: Floats) -> Floats:
    try:
        from scipy.optimize import least_squares
    except ImportError as error:
        raise MissingExtra("calibration needs SciPy", do='pip install "speedsheet[calibrate]"') from error
    found: list[Any] = [least_squares(lambda at: residuals(at[None])[:, 0], at, slopes, method="lm") for at in starts]
    best: Floats = min(found, key=lambda one: float(one.cost)).x
    return best


def _starts(prior: Floats, spread: Floats, starts: int, seed: int) -> Floats:
    """The prior first, then points drawn from it."""
    drawn = draws.normal(seed, "twin/starts", starts * len(prior)).reshape(starts, len(prior))
    drawn[0] = 0.0
    points: Floats = prior + drawn * spread
    return points


def _streamed(busy: Floats, load: Floats, gate: NDArray[np.int64]) -> Floats:
    """As `cost.waits`, of (operators, rows, sets); returns when the last operator ends, as (rows, sets).

    What carries no weights is never earlier than what was loaded before it, so it needs no case of its own.
    """
    depth, rows, sets = np.broadcast_shapes(busy.shape, load.shape)
    ends = np.zeros((depth + 1, rows, sets))
    loaded, each = np.zeros((rows, sets)), np.arange(rows)
    gated = [bool((row >= 0).any()) for row in gate]
    for place in range(depth):
        if gated[place]:
            np.maximum(loaded, ends[gate[place] + 1, each], out=loaded)
        loaded += load[place]
        np.maximum(ends[place], loaded, out=ends[place + 1])
        ends[place + 1] += busy[place]
    last: Floats = ends[depth]
    return last


def _padded(columns: Sequence[Floats], depth: int, fill: float = 0.0) -> Floats:
    table = np.full((depth, len(columns)), fill)
    for place, column in enumerate(columns):
        table[: len(column), place] = column
    return table
