"""One row inside its worker: load, warm up, drive, judge, seal."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speedsheet import plugins
from speedsheet.bench.accuracy import task_accuracy
from speedsheet.bench.clients import Clients, bind
from speedsheet.bench.figures import figured
from speedsheet.bench.job import Prepared, Say
from speedsheet.bench.judge import DEFAULT_LIMITS, Kept, Verdict, judge
from speedsheet.bench.reference import reference_outputs
from speedsheet.bench.shelf import Facts, found, leave, together
from speedsheet.core.engine import Session, Setup
from speedsheet.core.measurement import Measurement
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples, joined
from speedsheet.core.units import NS_PER_MS, NS_PER_S
from speedsheet.core.workload import Arrays
from speedsheet.host import energy, signals
from speedsheet.host.facts import clock_state
from speedsheet.load.collect import Host
from speedsheet.load.drive import drive
from speedsheet.records.store import seal

#: Of the time that is left for a row when its clients are ready, so much is for load; but for judging and sealing.
_SHARE_OF_LOAD, _JUDGING_S, _LEAST_LOAD_S = 0.9, 1.0, 0.5
#: Readings of the host are taken before loading, when every client has warmed up, and at the end of each window.
_FIRST_WINDOW = 2


def measure(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: measure one row, seal it, and return it as JSON. Without a store it is a trial, and not sealed.

    One of several processes leaves its samples on the shelf, and the last seals them all; where the outputs of one are
    wrong, it seals the row at once.
    """
    taken = _taken(job, say)
    samples, facts, verdict, plan = taken.samples, taken.facts, taken.verdict, taken.plan
    settings = dict(taken.session.settings)
    row = replace(Measurement.from_json(job["row"]), engine_settings=settings, clock_state=clock_state())
    row = replace(row, gate=verdict.gate)
    shelf, process = job["shelf"], job["process"]
    if shelf and verdict.gate.passed and process + 1 < job["processes"]:
        leave(Path(shelf), process, samples, facts)
        return row.to_json()
    if shelf:
        before, told = found(Path(shelf), process)
        samples, facts = joined([*before, samples]), together([*told, facts])
    row = _judged(figured(facts.on(row), samples, plan, signals.unavailable(taken.before)), verdict)
    if row.samples_per_joule is not None:
        row = replace(row, energy_source=energy.spent([taken.before.energy] * 2).source)
    if job["store"] is None:
        return row.to_json()
    if taken.prepared.labelled:
        accuracy, doubts = task_accuracy(taken.prepared.labelled, taken.session, say)
        row = replace(row, task_accuracy=accuracy).noting(*doubts)
    say("sealing the record", None, None)
    of_the_run = {"plan": asdict(plan), "complete": _complete(row, samples, plan)}
    conditions = {**job["conditions"], "gate_by_output": verdict.by_output, **of_the_run}
    return seal(Path(job["store"]), row, samples, conditions).to_json()


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one process measured: its samples, what it took beside, and whether its outputs were right."""

    prepared: Prepared
    session: Session
    plan: LoadPlan
    samples: Samples
    facts: Facts
    verdict: Verdict
    before: signals.Reading


def _taken(job: Mapping[str, Any], say: Say) -> _Taken:
    """Load, drive and judge."""
    prepared, setup = Prepared.from_json(job["prepared"]), Setup(**job["setup"])
    plan = LoadPlan.from_json(job["plan"])
    feeds, answers = prepared.feeds(), prepared.answers()
    say(f"loading on {job['engine']}", None, None)
    peaks_mb: list[float] = []
    host = _host(setup, peaks_mb)
    before = host.read()
    loaded = load(job["engine"], prepared, setup)
    clients = bind(loaded.session, plan, feeds, answers, job["carry"])
    say("first inference", None, None)
    first_ms = _elapsed_ms(clients.calls[0][0].request.run)
    plan = _within(plan, job["until_s"])
    samples = _driven(plan, clients, host, job, say)
    say("judging the outputs", None, None)
    verdict = verdict_of(prepared, clients, samples, answers, setup, job["row"]["precision_executed"])
    # what follows the last reading is our own: samples are copied to be sorted, at checkpoints of targets too
    facts = Facts(loaded.load_ms, loaded.compile_ms, first_ms, peaks_mb[_FIRST_WINDOW if plan.targets else -1])
    return _Taken(prepared, loaded.session, plan, samples, facts, verdict, before)


def _within(plan: LoadPlan, until_s: float | None) -> LoadPlan:
    """Let the load end so that judging and sealing are done at `until_s` on the monotonic clock."""
    if until_s is None:
        return plan
    return replace(plan, longest_s=max((until_s - time.monotonic()) * _SHARE_OF_LOAD - _JUDGING_S, _LEAST_LOAD_S))


def _host(setup: Setup, peaks_mb: list[float]) -> Host:
    """Ask for what this host tells; what the parent does belongs to the run, and so does a graphics card's energy.

    The most memory that this process has had is put into `peaks_mb` at each reading.
    """
    ours, gpus = (os.getppid(),), "CPU" not in setup.device.upper()

    def read() -> signals.Reading:
        peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return signals.read(ours=ours, gpus=gpus)

    return Host(read, _told, os.cpu_count() or 1)


def _told(before: signals.Reading, after: signals.Reading) -> dict[str, float]:
    return {name: value for name, value in signals.between(before, after).items() if value is not None}


def _driven(plan: LoadPlan, clients: Clients, host: Host, job: Mapping[str, Any], say: Say) -> Samples:
    of = f", process {job['process'] + 1} of {job['processes']}" if job["processes"] > 1 else ""
    say(f"warming up {job['engine']}{of}", None, None)
    runs = [[call.request.run for call in calls] for calls in clients.calls]
    stage = f"measuring on {job['engine']}{of}"
    return drive(plan, runs, lambda done, left, reached: say(stage, done, left, reached), host)


def _complete(row: Measurement, samples: Samples, plan: LoadPlan) -> bool:
    """Whether the row was measured as it was to be, and not cut short by a budget."""
    last = samples.parts()[-1]
    offered_s = (int(last.end_ns.max()) - int(last.start_ns.min())) / NS_PER_S
    met = bool(row.targets) and all(target.met for target in row.targets)
    return met or plan.longest_s is None or offered_s < plan.longest_s


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session, and how long reading and compiling took."""

    session: Session
    load_ms: float
    compile_ms: float


def load(engine: str, prepared: Prepared, setup: Setup) -> Loaded:
    """Load with the product's own stopwatch; the library is imported before it starts."""
    plugins.probe(engine)
    marks: list[int] = []
    began = time.perf_counter_ns()
    session = plugins.engine(engine).load(prepared.artifact, setup, lambda: marks.append(time.perf_counter_ns()))
    ended = time.perf_counter_ns()
    return Loaded(session, (ended - began) / NS_PER_MS, (ended - (marks or [began])[-1]) / NS_PER_MS)


def _elapsed_ms(call: Any) -> float:
    began = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - began) / NS_PER_MS


def verdict_of(
    prepared: Prepared, clients: Clients, samples: Samples, answers: Sequence[Arrays], setup: Setup,
    executed: Mapping[str, float] | None,
) -> Verdict:  # fmt: skip
    """Judge what the clients' requests hold after the run that `samples` tells of."""
    shares = executed or {setup.precision: 1.0}
    # an int8 graph has int8's rounding in it, whatever type then computes with it
    precision = "int8" if prepared.quantisation else max(shares, key=shares.__getitem__)
    limit = prepared.limits.get(precision, DEFAULT_LIMITS[precision])
    if not clients.carried:
        return judge(clients.kept(samples), answers, precision, limit)
    # with carried state the right answer depends on the state that the last request read, which is still in place
    last = clients.last(samples)
    replayed = reference_outputs(prepared.right, [call.feed for _, call in last], setup.cores)
    kept = [Kept(client, len(answers) + client, call.request.outputs()) for client, call in last]
    return judge(kept, [*answers, *replayed], precision, limit)


def _judged(row: Measurement, verdict: Verdict) -> Measurement:
    row = row.noting(*verdict.findings)
    if verdict.gate.passed:
        return row
    gate = verdict.gate
    return row.failed(f"the outputs are wrong: {gate.metric} {gate.value:.4g}, allowed {gate.limit:.4g}")
