"""A record held to its own raw samples: every hash taken again, every figure computed again, what does not fit named.

What cannot be computed again from a record is what it says of the host and of the time before the window (loading,
memory), of the outputs (only the gate's own arithmetic), and when the run was found steady.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np

from speedsheet.bench.figures import figured
from speedsheet.bench.row import DECIDING
from speedsheet.core.errors import RecordDamaged
from speedsheet.core.measurement import Gate, Latency, Measurement, Throughput
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, Samples
from speedsheet.records import store
from speedsheet.stats.estimates import ESTIMATOR
from speedsheet.stats.interference import flags

#: Sums in another order, by another version of a library, differ by less.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-12
#: What samples say in any version: values, without their intervals.
_VALUES = (
    "latency_ms.mean", "latency_ms.p50", "latency_ms.p90", "latency_ms.p99", "throughput_samples_per_s.value",
    "requests", "wall_s",
)  # fmt: skip
_FIGURES = (
    "latency_ms", "throughput_samples_per_s", "requests", "wall_s", "warmup_s", "targets", "effective_n", "tau_s",
    "coverage_checked", "processes", "interference", "with_flagged", "little_residual", "samples_per_joule",
)  # fmt: skip
#: Gates that want as much as the limit, and those that want at most it.
_AT_LEAST = frozenset({"centred_cosine", "agreement", "kept_outputs"})
_AT_MOST = frozenset({"relative_error", "absolute_error", "missing_output", "non_finite"})


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something in a record that does not follow from the rest of it."""

    what: str
    stated: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.what} is {_said(self.stated)}, and {_said(self.found)} by the samples"


@dataclass(frozen=True, slots=True)
class Verified:
    """One folder: its row where it can be read, why it is damaged, what does not fit, and what was not looked at."""

    folder: Path
    row: Measurement | None
    damage: str = ""
    misfits: tuple[Misfit, ...] = ()
    unseen: tuple[str, ...] = ()
    figures: int = 0

    @property
    def ok(self) -> bool:
        """Whether the record is whole, and all of it follows from its samples."""
        return not self.damage and not self.misfits


def verified(folder: Path) -> Verified:
    """Verify a record; never raises for what is in it."""
    try:
        record = store.verify(folder)
        samples = store.samples(folder) if record.samples else None
    except RecordDamaged as error:
        return Verified(folder, None, damage=error.what)
    try:
        return _held(record, samples)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        return Verified(folder, record.measurement, damage=f"holds what no row of ours does ({error})")


def _held(record: store.Record, samples: Samples | None) -> Verified:
    """Hold a record whose hashes match to its samples."""
    folder = record.folder
    row, misfits = record.measurement, [*_request(record.conditions), *_judged(record.measurement)]
    if samples is None and row.status == "ok":
        return Verified(folder, row, damage="the row has figures, and no samples that they follow from")
    if samples is None:
        return Verified(folder, row, misfits=tuple(misfits), unseen=("the row has no samples",))
    misfits += _columns(samples, row)
    if misfits and not samples.window.any():
        return Verified(folder, row, misfits=tuple(misfits))
    misfits += _windows(samples, record)
    stated, again, unseen = _figures(record, samples)
    misfits += [
        Misfit(name, stated.get(name), again.get(name))
        for name in sorted(stated.keys() | again.keys())
        if not _alike(stated.get(name), again.get(name))
    ]
    return Verified(folder, row, misfits=tuple(misfits), unseen=unseen, figures=len(again))


def _request(conditions: Mapping[str, Any]) -> Iterator[Misfit]:
    """The hash that decides whether a row is measured again, from what it was taken of."""
    stated = conditions.get("request_sha256")
    if stated is None or any(name not in conditions for name in DECIDING):
        return
    deciding = {name: conditions[name] for name in DECIDING}
    found = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
    if found != stated:
        yield Misfit("conditions.request_sha256", stated, found)


def _judged(row: Measurement) -> Iterator[Misfit]:
    """The gate's own arithmetic, and that a row which failed shows no speed."""
    gate = row.gate
    should = _passes(gate)
    if should is not None and should is not gate.passed:
        yield Misfit("gate.passed", gate.passed, should)
    if row.status == "ok" and gate.passed is False:
        yield Misfit("status", row.status, "failed")
    if row.status != "ok" and row.throughput_samples_per_s.value is not None:
        yield Misfit("throughput_samples_per_s.value", row.throughput_samples_per_s.value, None)


def _passes(gate: Gate) -> bool | None:
    """Return whether a gate should have passed; None where it does not say enough."""
    if gate.value is None or gate.limit is None:
        return None
    if gate.metric in _AT_LEAST:
        return gate.value >= gate.limit
    return gate.value <= gate.limit if gate.metric in _AT_MOST else None


def _columns(samples: Samples, row: Measurement) -> Iterator[Misfit]:
    """What a closed loop of thread_num clients cannot have recorded."""
    broken = {
        "requests that end before they start": samples.end_ns < samples.start_ns,
        "requests that start before they are scheduled": samples.start_ns < samples.scheduled_ns,
        "requests of no client": (samples.client < 0) | (samples.client >= row.thread_num),
        "requests of no phase": (samples.phase < WARMUP) | (samples.phase > FLAGGED),
        "requests that failed and are counted": samples.failed & (samples.phase != WARMUP) & (samples.phase != AFTER),
        "clients that ask before they were answered": _overlapping(samples),
    }
    for what, rows in broken.items():
        if rows.any():
            yield Misfit(what, 0, int(rows.sum()))
    measured = (samples.phase != WARMUP) & (samples.phase != AFTER)
    first, last = (
        (int(samples.end_ns[measured].min()), int(samples.end_ns[measured].max())) if measured.any() else (0, 0)
    )
    if measured.any() and not samples.open_ns < first <= last <= samples.close_ns:
        yield Misfit("the measured window", (samples.open_ns, samples.close_ns), (first, last))


def _overlapping(samples: Samples) -> Any:
    """Which requests, but for the order, start before their client's last one ended."""
    order = np.lexsort((samples.start_ns, samples.client, samples.process))
    same = (np.diff(samples.client[order]) == 0) & (np.diff(samples.process[order]) == 0)
    return same & (samples.start_ns[order][1:] < samples.end_ns[order][:-1])


def _windows(samples: Samples, record: store.Record) -> Iterator[Misfit]:
    """The median of each window, and the flags that its signals give.

    Of clients in several processes at once, one process's signals are kept, and the flags of all.
    """
    latency_ns, host = samples.end_ns - samples.scheduled_ns, record.conditions.get("host", {})
    alone = record.measurement.client_processes == 1
    cores = int(host.get("cores_logical") or 1) if isinstance(host, Mapping) else 1
    for number in np.unique(samples.process).tolist():
        mine, windows = samples.process == number, [one for one in samples.windows if one.process == number]
        ends_ns, taken_ns = samples.end_ns[mine], latency_ns[mine]
        flagged = flags([window.signals for window in windows], cores)
        for place, (window, names) in enumerate(zip(windows, flagged, strict=True)):
            first, after = np.searchsorted(ends_ns, (window.opened_ns, window.closed_ns), "right").tolist()
            median_ns = float(np.median(taken_ns[first:after])) if after > first else float("nan")
            if not _alike(window.median_ns, median_ns):
                yield Misfit(f"the median of window {place + 1}, ns", window.median_ns, median_ns)
            if set(window.flags) != set(names) if alone else not set(names) <= set(window.flags):
                yield Misfit(f"the flags of window {place + 1}", window.flags, names)


def _figures(record: store.Record, samples: Samples) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
    """Return the figures as stated and as found, by name, and what of them could not be held to the samples."""
    row, plan = record.measurement, record.conditions.get("plan")
    if row.status != "ok":
        return {}, {}, ("the row failed, and has no figures",)
    blank = replace(row, latency_ms=Latency(), throughput_samples_per_s=Throughput(), findings=())
    theirs = record.conditions.get("estimator", ESTIMATOR)
    whole = LoadPlan.from_json(plan) if plan else LoadPlan(row.thread_num, row.wall_s or 1.0)
    unavailable = row.interference.unavailable if row.interference else ()
    found = figured(blank, samples, whole, unavailable)
    stated, again = (_flat({name: one.to_json()[name] for name in _FIGURES}) for one in (row, found))
    if plan and theirs == ESTIMATOR:
        stated |= {"findings": sorted({note.code for note in row.findings} & {note.code for note in found.findings})}
        again |= {"findings": sorted({note.code for note in found.findings})}
        return stated, again, ()
    # an earlier estimator gives other intervals, and withholds other percentiles
    names = [name for name in _VALUES if stated.get(name) is not None and again.get(name) is not None]
    why = f"intervals are of estimator {record.conditions.get('estimator', 'unknown')}, this is {ESTIMATOR}"
    return {name: stated[name] for name in names}, {name: again[name] for name in names}, (why,)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return a tree of mappings and lists as one mapping of dotted names."""
    if isinstance(value, Mapping):
        parts = [_flat(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        parts = [_flat(item, f"{name}.{place}") for place, item in enumerate(value)]
    else:
        return {name: value}
    return {key: item for part in parts for key, item in part.items()}


def _alike(stated: Any, found: Any) -> bool:
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (stated, found)]
    if all(numbers):
        return isclose(stated, found, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return bool(stated == found)


def _said(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else "nothing" if value is None else str(value)
