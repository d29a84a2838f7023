"""What a calibration is once it is written: parameters, and an error report from which bands are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from speedsheet.core.errors import UsageError
from speedsheet.twin import params
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.types import TwinParams

#: Without rows, or for work that no row tells of, a prediction is good to a factor of two, and no better.
WIDEST = 2.0
CONFIDENCE = 0.8


@dataclass(frozen=True, slots=True)
class RowReport:
    """One row and what was predicted for it, in samples per second; a prediction is named by what had been left out.

    `low` and `high` bound `leave_one_out` at 80 %, from the other rows' errors; `held` says whether they hold the
    published figure. `shares` is where its time goes, by cause.
    """

    name: str
    model: str
    precision: str
    batch_size: int
    thread_num: int
    family: str
    published: float
    in_sample: float
    leave_one_out: float
    leave_model_out: float
    leave_family_out: float
    nested: float
    low: float
    high: float
    held: bool
    binding: str
    shares: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Apart:
    """A row of which the software or the shapes are unknown: predicted, reported, and in no figure."""

    name: str
    model: str
    precision: str
    batch_size: int
    thread_num: int
    family: str
    published: float
    predicted: float
    low: float
    high: float
    held: bool


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean absolute errors of throughput, as shares, of one way to predict; null where it has no such figure."""

    name: str
    free: int
    in_sample: float | None
    leave_one_out: float | None
    worst_left_out: float | None
    leave_model_out: float | None
    leave_family_out: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """How well a calibration predicts. `terms` is the model without each effect, or with a guess halved and doubled."""

    rows: tuple[RowReport, ...]
    apart: tuple[Apart, ...]
    model: Errors
    nested: Errors
    baselines: tuple[Errors, ...]
    terms: tuple[Errors, ...]
    int8_from_fp16: float | None
    int8_by_ratio: float | None
    band_known: float
    band_unseen: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Parameters with their report; the report is null for priors."""

    params: TwinParams
    report: Report | None = None
    families: tuple[str, ...] = field(default_factory=tuple)

    def band(self, family: str) -> float:
        """Return the factor that bounds a prediction either way at 80 %."""
        if self.report is None or family not in self.families:
            return WIDEST
        return self.report.band_known

    def left_out(self, model: str, precision: str, batch_size: int, thread_num: int) -> RowReport | None:
        """Return the row of the calibration that is asked for, whose prediction without itself is on record."""
        asked = (model, precision, batch_size, thread_num)
        rows = self.report.rows if self.report else ()
        return next((row for row in rows if (row.model, row.precision, row.batch_size, row.thread_num) == asked), None)


def to_json(calibration: Calibration) -> str:
    """Return a calibration as JSON text."""
    report = asdict(calibration.report) if calibration.report else None
    return json.dumps(params.to_json(calibration.params) | {"report": report}, indent=1, allow_nan=False) + "\n"


def read(text: str, device: DeviceSpec, *, where: str) -> Calibration:
    """Return what `to_json` wrote. Raises UsageError for another device's, or for what is none."""
    found = params.read(text, device, where=where)
    try:
        data = json.loads(text)["report"]
        report = _report(data) if data else None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"is no calibration: {error}", where=where, do="write it again: speedsheet twin calibrate"
        ) from error
    families = tuple(dict.fromkeys(row.family for row in report.rows)) if report else ()
    return Calibration(found, report, families)


def best(device: DeviceSpec, path: Path | None = None) -> Calibration:
    """Return the calibration of a file, or the one that ships for the device, or its priors. Raises UsageError."""
    if path is not None:
        try:
            return read(path.read_text(encoding="utf-8"), device, where=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot be read: {error}", where=str(path), do="give what calibrate wrote") from error
    shipped = resources.files("speedsheet") / "data" / "devices" / f"{device.name}.fit.json"
    if not shipped.is_file():
        return Calibration(params.priors(device))
    return read(shipped.read_text(encoding="utf-8"), device, where=shipped.name)


def _report(data: Mapping[str, Any]) -> Report:
    return Report(
        rows=tuple(RowReport(**row) for row in data["rows"]),
        apart=tuple(Apart(**row) for row in data["apart"]),
        model=Errors(**data["model"]),
        nested=Errors(**data["nested"]),
        baselines=tuple(Errors(**row) for row in data["baselines"]),
        terms=tuple(Errors(**row) for row in data["terms"]),
        **{name: data[name] for name in ("int8_from_fp16", "int8_by_ratio", "band_known", "band_unseen")},
    )
