"""One row inside its worker: load, warm up, drive, judge, seal."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from speedsheet import plugins
from speedsheet.bench.accuracy import task_accuracy
from speedsheet.bench.clients import Clients, bind
from speedsheet.bench.job import Prepared, Say
from speedsheet.bench.judge import DEFAULT_LIMITS, Kept, Verdict, judge
from speedsheet.bench.reference import reference_outputs
from speedsheet.core.engine import Session, Setup
from speedsheet.core.measurement import Measurement
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_MS
from speedsheet.core.workload import Arrays
from speedsheet.host.facts import clock_state
from speedsheet.load.drive import drive
from speedsheet.records.store import seal
from speedsheet.stats.estimates import estimate


def measure(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: measure one row, seal it, and return it as JSON. Without a store it is a trial, and not sealed."""
    prepared, setup = Prepared.from_json(job["prepared"]), Setup(**job["setup"])
    plan = LoadPlan(**job["plan"])
    feeds, answers = prepared.feeds(), prepared.answers()
    say(f"loading on {job['engine']}", None, None)
    loaded = load(job["engine"], prepared, setup)
    clients = bind(loaded.session, plan, feeds, answers, job["carry"])
    say("first inference", None, None)
    first_ms = _elapsed_ms(clients.calls[0][0].request.run)
    say(f"warming up {job['engine']}", None, None)
    runs = [[call.request.run for call in calls] for calls in clients.calls]
    samples = drive(plan, runs, lambda done, left: say(f"measuring on {job['engine']}", done, left))
    peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say("judging the outputs", None, None)
    verdict = verdict_of(prepared, clients, samples, answers, setup, job["row"]["precision_executed"])
    row = replace(
        Measurement.from_json(job["row"]),
        engine_settings=dict(loaded.session.settings), load_ms=loaded.load_ms, compile_ms=loaded.compile_ms,
        first_inference_ms=first_ms, peak_rss_mb=peak_rss_mb, clock_state=clock_state(),
    )  # fmt: skip
    row = _estimated(row, samples, verdict)
    if job["store"] is None:
        return row.to_json()
    if prepared.labelled:
        accuracy, doubts = task_accuracy(prepared.labelled, loaded.session, say)
        row = replace(row, task_accuracy=accuracy).noting(*doubts)
    say("sealing the record", None, None)
    conditions = {**job["conditions"], "gate_by_output": verdict.by_output, "plan": asdict(plan)}
    return seal(Path(job["store"]), row, samples, conditions).to_json()


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


def _estimated(row: Measurement, samples: Samples, verdict: Verdict) -> Measurement:
    said = estimate(samples, batch_size=row.batch_size, thread_num=row.thread_num)
    row = replace(
        row, latency_ms=said.latency_ms, throughput_samples_per_s=said.throughput_samples_per_s,
        requests=said.requests, wall_s=said.window_s, little_residual=said.little_residual, gate=verdict.gate,
    ).noting(*said.findings, *verdict.findings)  # fmt: skip
    if verdict.gate.passed:
        return row
    gate = verdict.gate
    return row.failed(f"the outputs are wrong: {gate.metric} {gate.value:.4g}, allowed {gate.limit:.4g}")
