"""One row inside its worker: what its clients measured, from one process or several, as figures; sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from speedsheet.bench.accuracy import task_accuracy
from speedsheet.bench.crowd import crowded, moved, processes_for
from speedsheet.bench.figures import figured
from speedsheet.bench.job import Say
from speedsheet.bench.judge import Verdict
from speedsheet.bench.ruler import near_floor
from speedsheet.bench.shelf import found, leave, together
from speedsheet.bench.taken import taken
from speedsheet.core.measurement import Measurement
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples, joined
from speedsheet.core.units import NS_PER_S
from speedsheet.host import energy, signals
from speedsheet.host.facts import clock_state
from speedsheet.records.store import seal
from speedsheet.stats.estimates import ESTIMATOR


def measure(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: measure one row, seal it, and return it as JSON. Without a store it is a trial, and not sealed.

    One of several processes leaves its samples on the shelf, and the last seals them all; where the outputs of one are
    wrong, it seals the row at once. Clients that make more calls than are exact are measured again from several
    processes at once; the first process in turn decides for all.
    """
    row, took = Measurement.from_json(job["row"]), taken(job, say)
    crowd = job["client_processes"] or processes_for(took.samples, row.floor, job["setup"])
    if crowd > 1 and took.verdict.gate.passed:
        row, took = row.noting(moved(took.samples, row, crowd)), crowded(job, crowd, took, say)
    samples, facts, verdict, plan = took.samples, took.facts, took.verdict, took.plan
    row = replace(row, engine_settings=dict(took.settings), clock_state=clock_state(), gate=verdict.gate)
    row = replace(row, client_processes=crowd)
    shelf, process = job["shelf"], job["process"]
    if shelf and verdict.gate.passed and process + 1 < job["processes"]:
        leave(Path(shelf), process, samples, facts)
        return row.to_json()
    if shelf:
        before, told = found(Path(shelf), process)
        samples, facts = joined([*before, samples]), together([*told, facts])
    row = _judged(figured(facts.on(row), samples, plan, signals.unavailable(took.before)), verdict)
    if row.samples_per_joule is not None:
        row = replace(row, energy_source=energy.spent([took.before.energy] * 2).source)
    row = row.noting(*near_floor(row))
    if job["store"] is None:
        return row.to_json()
    if took.prepared.labelled:
        accuracy, doubts = task_accuracy(took.prepared.labelled, took.session, say)
        row = replace(row, task_accuracy=accuracy).noting(*doubts)
    say("sealing the record", None, None)
    of_the_run = {"plan": asdict(plan), "complete": _complete(row, samples, plan), "estimator": ESTIMATOR}
    conditions = {**job["conditions"], "gate_by_output": verdict.by_output, **of_the_run}
    return seal(Path(job["store"]), row, samples, conditions).to_json()


def _complete(row: Measurement, samples: Samples, plan: LoadPlan) -> bool:
    """Whether the row was measured as it was to be, and not cut short by a budget."""
    last = samples.parts()[-1]
    offered_s = (int(last.end_ns.max()) - int(last.start_ns.min())) / NS_PER_S
    met = bool(row.targets) and all(target.met for target in row.targets)
    return met or plan.longest_s is None or offered_s < plan.longest_s


def _judged(row: Measurement, verdict: Verdict) -> Measurement:
    row = row.noting(*verdict.findings)
    if verdict.gate.passed:
        return row
    gate = verdict.gate
    return row.failed(f"the outputs are wrong: {gate.metric} {gate.value:.4g}, allowed {gate.limit:.4g}")
