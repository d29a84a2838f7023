"""The modelled card's rows as JSON: the keys of a measured row, and beside them what only a model has."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from speedsheet.core.measurement import Latency, Measurement, Throughput
from speedsheet.twin.calibration import CONFIDENCE

if TYPE_CHECKING:
    from speedsheet.twin.claims import Judgement
    from speedsheet.twin.judging import Case

SCHEMA = "speedsheet.twin.claims/1"


def document(case: Case, *, extrapolate: bool = False) -> dict[str, Any]:
    """Return `schema`, `device`, `calibration`, `setting` and `rows`; every key is always there, nothing is rounded."""
    report = case.calibration.report if case.calibration else None
    return {
        "schema": SCHEMA,
        "device": {
            "name": case.device.name,
            "title": case.device.title,
            "clock_hz": case.device.set_clock_hz,
            "modelled": case.device.modelled,
        },
        "calibration": None
        if report is None or case.calibration is None
        else {
            "fitted_on": case.calibration.params.fitted_on,
            "rows": list(case.calibration.params.rows),
            "errors": asdict(report.model),
            "nested": asdict(report.nested),
        },
        "setting": asdict(case.setting),
        "published_sheet": case.sheet,
        "published_latency": case.latency or None,
        "unread": list(case.unread),
        "rows": [row(one, case, extrapolate=extrapolate) for one in case.judged],
    }


def row(one: Judgement, case: Case, *, extrapolate: bool = False) -> dict[str, Any]:
    """Return one row: `clock` is "modelled", and what nobody modelled is null."""
    predicted, spent = one.predicted, one.spent
    return modelled(one, case).to_json() | {
        "predicted": None
        if predicted is None
        else {"throughput": predicted.throughput, "low": predicted.low, "high": predicted.high,
              "confidence": CONFIDENCE, "left_out": predicted.left_out},
        "ceiling": {"throughput": one.ceiling.throughput, "binding": one.ceiling.binding,
                    "by_resource": dict(one.ceiling.by_resource)},
        "published": one.claim.published,
        "binding": one.binding,
        "verdict": one.verdict,
        "flips": [
            {"code": flip.code, "value": flip.value, "holds": flip.holds, "text": flip.text} for flip in one.flips
        ],
        "family": one.family,
        "nearest": one.nearest or None,
        "relation": one.relation,
        "breakdown_us": None if spent is None else dict(spent.breakdown_us),
        "operators_us": None if spent is None else dict(spent.operators_us),
        "thread_curve": _curve(one, case) if extrapolate else None,
    }  # fmt: skip


def modelled(one: Judgement, case: Case) -> Measurement:
    """Return the row under the keys of a measured one; its latency is the mean that its throughput implies."""
    claim, predicted = one.claim, one.predicted
    rate = Throughput(confidence=CONFIDENCE)
    latency = Latency(confidence=CONFIDENCE)
    if predicted is not None:
        rate = Throughput(predicted.throughput, predicted.low, predicted.high, CONFIDENCE)
        in_flight_ms = claim.batch_size * claim.thread_num * 1e3
        latency = Latency(mean=in_flight_ms / predicted.throughput, low=in_flight_ms / predicted.high,
                          high=in_flight_ms / predicted.low, confidence=CONFIDENCE)  # fmt: skip
    return Measurement(
        model=claim.model, framework=claim.framework, task=claim.task, batch_size=claim.batch_size,
        thread_num=claim.thread_num, precision=claim.precision, engine="twin", device=case.device.title,
        engine_settings={"schedule": case.setting.schedule, "cards": str(case.setting.cards)},
        latency_ms=latency, throughput_samples_per_s=rate, clock="modelled", findings=one.findings,
    )  # fmt: skip


def _curve(one: Judgement, case: Case) -> list[dict[str, Any]]:
    from speedsheet.twin.extrapolate import NOT_VALIDATED
    from speedsheet.twin.judging import thread_points

    return [asdict(point) | {"finding": asdict(NOT_VALIDATED)} for point in thread_points(one, case)]
