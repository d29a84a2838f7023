"""From models, published sheets and measured rows to claims, and to what the modelled card says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from speedsheet.core.errors import UsageError
from speedsheet.core.measurement import Measurement
from speedsheet.core.workload import InputSpec
from speedsheet.host.places import cache_folder
from speedsheet.plugins import workload, workloads
from speedsheet.published.read import load as load_sheet
from speedsheet.published.row import PublishedRow, PublishedSheet
from speedsheet.twin import device as devices
from speedsheet.twin.calibration import Calibration, best
from speedsheet.twin.claims import Claim, Judgement, Setting, judge
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.families import family
from speedsheet.twin.network import card_network
from speedsheet.twin.pieces import row_piece, zoo_or_own, zoo_piece
from speedsheet.twin.types import Schedule, Workpiece

if TYPE_CHECKING:
    from speedsheet.twin.extrapolate import Point
    from speedsheet.twin.fit import FitRow

#: Clients that keep every cluster busy while the next request is on its way.
_CLIENTS_A_CLUSTER = 2
_CURVE = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Case:
    """What was judged, and on which device with which numbers.

    `latency` is what the sheet's publisher means by latency; `unread` names models that were asked for and of whose
    rows too little is known to judge them.
    """

    device: DeviceSpec
    calibration: Calibration | None
    setting: Setting
    judged: tuple[Judgement, ...]
    sheet: str | None = None
    latency: str = ""
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Changes:
    """What is to be other than the row has it."""

    precision: str | None
    batch: int | None
    threads: int | None
    claim: float | None

    def over(self, claim: Claim) -> Claim:
        """Return the claim with the changes; a published figure stands only for the row as published."""
        changed = replace(
            claim,
            precision=self.precision or claim.precision,
            batch_size=self.batch or claim.batch_size,
            thread_num=self.threads or claim.thread_num,
        )
        return replace(changed, published=self.claim or (claim.published if changed == claim else None))


def judged(
    models: Sequence[str], *, device_name: str, against: str | None, claim: float | None, precision: str | None,
    batch: int | None, threads: int | None, clock: float | None, cards: int, schedule: Schedule,
    inputs: Sequence[InputSpec], params: Path | None, extrapolate: bool,
) -> Case:  # fmt: skip
    """Judge what was asked for. Raises UsageError in one line."""
    device = devices.load(device_name)
    calibration = best(device, params) if device.modelled else None
    device = device if clock is None else device.at_clock(clock)
    sheet = against or device.published
    published = load_sheet(sheet) if sheet else None
    stated, unread = published_claims(published, device) if published else ([], ())
    changes = _Changes(precision, batch, threads, claim)
    if claim is not None and not models:
        raise UsageError("--claim is of no model", do="name the model that it is claimed for")
    if not models and not stated:
        raise _nothing_stated(sheet, device)
    chosen = _chosen(models, stated, changes, device, inputs)
    setting = Setting(schedule, cards, extrapolate)
    asked = [changes.over(one) for one in chosen]
    if not setting.usual:  # the published figure is of one card and its own compiler's schedule
        asked = [replace(one, published=claim) for one in asked]
    found = tuple(judge(one, device, calibration, setting) for one in asked)
    latency = published.said.get("latency", "") if published else ""
    unread = tuple(name for name in unread if not models or name in models)
    return Case(device, calibration, setting, found, sheet, latency, unread)


def published_claims(sheet: PublishedSheet, device: DeviceSpec) -> tuple[list[Claim], tuple[str, ...]]:
    """Return the claims of a published sheet, and the models whose rows are none.

    Of those neither a graph nor the work is known, or they state no throughput, no batch size, or a type that the
    device does not have.
    """
    claims, unread = [], []
    for row in sheet.rows:
        piece = row_piece(row, cache_folder())
        if piece is None or row.throughput_samples_per_s is None or row.batch_size is None:
            unread.append(row.model)
            continue
        precision = (row.precision or device.precisions[0]).lower()
        if precision not in device.precisions:
            unread.append(row.model)
            continue
        claims.append(_claim(row, piece, row.batch_size, precision, device))
    return claims, tuple(dict.fromkeys(unread))


def beside(rows: Sequence[Measurement], device_name: str) -> Case:
    """Return what the modelled card says of rows, with the published figures of the same rows.

    A row that states no batch size or no clients, as a published one may, is none that it can be asked of.
    """
    device = devices.load(device_name)
    calibration = best(device) if device.modelled else None
    published = load_sheet(device.published) if device.published else None
    claims, _ = published_claims(published, device) if published else ([], ())
    known = {_key(one): one for one in claims}
    found = []
    for row in rows:
        stated = row.batch_size and row.thread_num
        if not stated or row.precision not in device.precisions or row.model not in workloads():
            continue
        piece = zoo_piece(row.model, cache_folder())
        alone = Claim(row.model, piece, row.batch_size, row.thread_num, row.precision, None, row.framework, row.task)
        found.append(judge(known.get(_key(alone), alone), device, calibration))
    latency = published.said.get("latency", "") if published else ""
    return Case(device, calibration, Setting(), tuple(found), device.published, latency)


def _key(row: Claim | Measurement) -> tuple[str, str, int, int]:
    return row.model, row.precision, row.batch_size, row.thread_num


def fit_rows(sheet: str) -> list[FitRow]:
    """Return the rows of a sheet that a calibration reads. Raises UsageError where a column is missing."""
    from speedsheet.twin.fit import FitRow

    rows = []
    for row in load_sheet(sheet).rows:
        rate, piece = row.throughput_samples_per_s, row_piece(row, cache_folder())
        if rate is None or piece is None or not piece.input_bytes:
            continue
        if row.batch_size is None or row.thread_num is None or row.precision is None:
            what = f"line {row.line} names no batch size, precision or thread_num"
            raise UsageError(what, where=sheet, do="give all three columns, or a map beside the sheet")
        name = f"{row.model} {row.precision.upper()}"
        rows.append(
            FitRow(
                name, row.model, family(piece), piece, row.batch_size, row.precision.lower(), row.thread_num, rate.value
            )
        )
    return rows


def thread_points(one: Judgement, case: Case) -> tuple[Point, ...]:
    """Return the curve over clients of one claim."""
    from speedsheet.twin.extrapolate import thread_curve

    if one.spent is None or case.calibration is None:
        return ()
    params = case.calibration.params
    network = card_network(case.device, params, one.spent, cards=case.setting.cards)
    return thread_curve(network, _CURVE, batch_size=one.claim.batch_size, cv=params["service_cv"])


def _chosen(
    models: Sequence[str], stated: Sequence[Claim], changes: _Changes, device: DeviceSpec, inputs: Sequence[InputSpec]
) -> list[Claim]:
    """The rows that were asked for; a model that no row has stands for itself, with nothing claimed."""
    if not models:
        return [one for one in stated if changes.precision in {None, one.precision}] or list(stated)
    chosen: list[Claim] = []
    for model in models:
        rows = [one for one in stated if one.model == model]
        same = [one for one in rows if changes.precision in {None, one.precision}]
        chosen += same or rows[:1] or [_unclaimed(model, device, inputs)]
    return chosen


def _nothing_stated(sheet: str | None, device: DeviceSpec) -> UsageError:
    if sheet is None:
        return UsageError("there is no published sheet of this device", do="name a MODEL, or give --against SHEET")
    what = f"no row states a known model, its throughput, its batch size and a type of {device.title}"
    return UsageError(what, where=sheet, do="name a MODEL, or a sheet with models of: speedsheet models")


def _unclaimed(model: str, device: DeviceSpec, inputs: Sequence[InputSpec]) -> Claim:
    piece = zoo_or_own(model, inputs, cache_folder())
    clients = device.clusters * _CLIENTS_A_CLUSTER
    if model.endswith(".onnx"):
        return Claim(
            piece.name, piece, piece.samples, clients, device.precisions[0], framework="onnx", task="own model"
        )
    known = workload(model)
    return Claim(
        model, piece, known.batch_size, max(known.thread_num, clients), device.precisions[0],
        framework=known.framework, task=known.task,
    )  # fmt: skip


def _claim(row: PublishedRow, piece: Workpiece, batch_size: int, precision: str, device: DeviceSpec) -> Claim:
    known = workloads().get(row.model)
    rate = row.throughput_samples_per_s
    return Claim(
        row.model, piece, batch_size, row.thread_num or device.clusters * _CLIENTS_A_CLUSTER, precision,
        rate.value if rate else None, row.framework or "", known.task if known else "",
    )  # fmt: skip
