"""Calibration: fit a sheet's rows, and say how well what was fitted predicts rows, models and families unseen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.errors import UsageError
from speedsheet.stats.student import t_quantile
from speedsheet.twin import params as parameters
from speedsheet.twin.baselines import baselines, by_ratio
from speedsheet.twin.calibration import CONFIDENCE, WIDEST, Apart, Calibration, Errors, Report, RowReport
from speedsheet.twin.cost import cost, shares
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.families import CALIBRATED
from speedsheet.twin.fit import STARTS, Fit, FitRow, Stack, fit, predict
from speedsheet.twin.folds import SPLITS, Candidates, crossed, mean_error, nested, worst_error
from speedsheet.twin.network import binding_of, card_network, closed_form
from speedsheet.twin.types import Structure, TwinParams

Floats = NDArray[np.float64]
#: Fewer rows than this say nothing of five parameters.
LEAST_ROWS = 8
#: Guesses that a fit does not move; the report halves and doubles each.
GUESSES = ("gather_us", "request_us", "vector_overlap", "llb_overlap")
_NARROWER = {"vector_overlap": (0.0, 1.0), "llb_overlap": (0.7, 1.0)}


def calibrate(rows: Sequence[FitRow], device: DeviceSpec, source: str) -> Calibration:
    """Fit the rows of calibrated families and report on all. Raises UsageError for too few, MissingExtra for SciPy."""
    used = [row for row in rows if row.family in CALIBRATED]
    if len(used) < LEAST_ROWS:
        what = f"has {len(used)} rows of convolutional networks or transformers"
        raise UsageError(what, where=source, do=f"give a sheet of at least {LEAST_ROWS}")
    start, free = parameters.priors(device), parameters.FREE
    candidates = Candidates.of(used, device, start)
    structure, _ = candidates.choose(free)
    stack = candidates.stacks[structure]
    found = fit(stack, free, starts=STARTS)
    fitted = replace(
        parameters.moved(start, found.values, found.spreads),
        structure=structure, fitted_on=source, rows=tuple(row.name for row in used),
    )  # fmt: skip
    report = _report(rows, used, candidates, stack, found, fitted, device)
    return Calibration(fitted, report, tuple(dict.fromkeys(row.family for row in used)))


def _report(
    rows: Sequence[FitRow], used: Sequence[FitRow], candidates: Candidates, stack: Stack, found: Fit,
    fitted: TwinParams, device: DeviceSpec,
) -> Report:  # fmt: skip
    free = parameters.FREE
    left = {name: crossed(stack, free, split) for name, split in SPLITS.items()}
    chosen = {name: nested(candidates, free, split) for name, split in SPLITS.items() if name != "leave_model_out"}
    band_unseen = _unseen(chosen["leave_family_out"], [row.family for row in used])
    bands = [_band(np.delete(left["leave_one_out"], place)) for place in range(len(used))]
    return Report(
        rows=tuple(
            _row(row, place, found, left, chosen["leave_one_out"], bands[place], fitted, device)
            for place, row in enumerate(used)
        ),
        apart=tuple(_apart(row, fitted, device) for row in rows if row.family not in CALIBRATED),
        model=_errors("the model", len(free), found.residuals, left),
        nested=_errors("the model, its structure chosen in each fold", len(free), None, chosen),
        baselines=baselines(used, device),
        terms=_terms(used, candidates, stack, device),
        int8_from_fp16=_int8(stack),
        int8_by_ratio=by_ratio(used),
        band_known=_band(left["leave_one_out"]),
        band_unseen=band_unseen,
    )


def _band(errors: Floats) -> float:
    """Return the factor that bounds a new row at 80 %, from the errors of rows left out."""
    spread = float(np.sqrt(np.mean(errors**2)))
    return float(np.exp(t_quantile(CONFIDENCE, len(errors) - 1) * spread))


def _unseen(errors: Floats, families: Sequence[str]) -> float:
    """As `_band`, for a family never seen: errors within one go together, so there are as many as families."""
    degrees = max(len(set(families)) - 1, 1)
    spread = float(np.sqrt(np.mean(errors**2)))
    return min(float(np.exp(t_quantile(CONFIDENCE, degrees) * spread)), WIDEST)


def _row(
    row: FitRow, place: int, found: Fit, left: Mapping[str, Floats], chosen: Floats, band: float,
    fitted: TwinParams, device: DeviceSpec,
) -> RowReport:  # fmt: skip
    def at(error: float) -> float:
        return float(row.throughput * np.exp(error))

    predicted = at(left["leave_one_out"][place])
    spent = cost(row.piece, device, fitted, batch_size=row.batch_size, precision=row.precision)
    return RowReport(
        row.name, row.model, row.precision, row.batch_size, row.thread_num, row.family, row.throughput,
        in_sample=at(found.residuals[place]), leave_one_out=predicted,
        leave_model_out=at(left["leave_model_out"][place]), leave_family_out=at(left["leave_family_out"][place]),
        nested=at(chosen[place]), low=predicted / band, high=predicted * band,
        held=predicted / band <= row.throughput <= predicted * band,
        binding=binding_of(spent, closed_form(card_network(device, fitted, spent), row.thread_num)),
        shares=shares(spent.breakdown_us),
    )  # fmt: skip


def _apart(row: FitRow, fitted: TwinParams, device: DeviceSpec) -> Apart:
    stack = Stack([row], device, fitted, fitted.structure)
    free = {name: fitted[name] for name in parameters.FREE}
    predicted = float(np.exp(predict(stack, free)[0]))
    low, high = predicted / WIDEST, predicted * WIDEST
    return Apart(
        row.name, row.model, row.precision, row.batch_size, row.thread_num, row.family, row.throughput,
        predicted, low, high, low <= row.throughput <= high,
    )  # fmt: skip


def _errors(name: str, free: int, inside: Floats | None, left: Mapping[str, Floats]) -> Errors:
    def mean(split: str) -> float | None:
        return mean_error(left[split]) if split in left else None

    return Errors(
        name, free, None if inside is None else mean_error(inside), mean("leave_one_out"),
        worst_error(left["leave_one_out"]), mean("leave_model_out"), mean("leave_family_out"),
    )  # fmt: skip


def _int8(stack: Stack) -> float | None:
    """Return the error of INT8 rows from a fit of the wider ones alone; None where a sheet has only one type."""
    wide = [place for place, row in enumerate(stack.rows) if row.precision != "int8"]
    narrow = [place for place, row in enumerate(stack.rows) if row.precision == "int8"]
    if not wide or not narrow:
        return None
    found = fit(stack, parameters.FREE, wide, starts=STARTS)
    return mean_error((predict(stack, found.values) - stack.observed)[narrow])


def _terms(used: Sequence[FitRow], candidates: Candidates, stack: Stack, device: DeviceSpec) -> tuple[Errors, ...]:
    """The model with one effect the other way, one parameter held at its prior, one guess moved."""
    free, here = parameters.FREE, candidates.of_stack(stack)
    told = []
    for effect in ("tiles", "requantises", "split_rereads", "dispatch_parts"):
        other = replace(here, **{effect: not getattr(here, effect)})
        word = "without" if getattr(here, effect) else "with"
        told.append(_judged(f"{word} {effect}", candidates.stacks[other], free))
    told += [_judged(f"{name} at its prior", stack, [other for other in free if other != name]) for name in free]
    start = parameters.priors(device)
    for name in GUESSES:
        value = start[name]
        for moved in _NARROWER.get(name, (value / 2, value * 2)):
            told.append(
                _judged(f"{name} {moved:g} for {value:g}", _guessed(used, device, start, here, name, moved), free)
            )
    return tuple(told)


def _guessed(
    used: Sequence[FitRow], device: DeviceSpec, start: TwinParams, structure: Structure, name: str, value: float
) -> Stack:
    moved = replace(start.parameters[name], value=value, prior=value)
    return Stack(used, device, replace(start, parameters={**start.parameters, name: moved}), structure)


def _judged(name: str, stack: Stack, free: Sequence[str]) -> Errors:
    """Errors of a variant; rows left out by leverage, which one fit tells."""
    found = fit(stack, free)
    left = {
        "leave_one_out": found.left_out,
        "leave_family_out": crossed(stack, free, SPLITS["leave_family_out"], starts=1),
    }
    return _errors(name, len(free), found.residuals, left)
