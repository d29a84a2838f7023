"""What the clients of one process measure: load, bind, warm up, drive, judge."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from speedsheet import plugins
from speedsheet.bench.clients import Clients, bind
from speedsheet.bench.job import Meet, Prepared, Say
from speedsheet.bench.judge import DEFAULT_LIMITS, Kept, Verdict, check_finite, judge
from speedsheet.bench.reference import reference_outputs
from speedsheet.bench.shelf import Facts
from speedsheet.core.engine import Session, Setup
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_MS
from speedsheet.core.workload import Arrays
from speedsheet.host import signals
from speedsheet.load.collect import Host
from speedsheet.load.drive import drive

#: Of the time that is left for a row when its clients are ready, so much is for load; but for judging and sealing.
_SHARE_OF_LOAD, _JUDGING_S, _LEAST_LOAD_S = 0.9, 1.0, 0.5
#: Readings of the host are taken before loading, when every client has warmed up, and at the end of each window.
_FIRST_WINDOW = 2


@dataclass(frozen=True, slots=True)
class Taken:
    """What one process measured: its samples, what it took beside, and whether its outputs were right."""

    prepared: Prepared
    session: Session
    plan: LoadPlan
    samples: Samples
    facts: Facts
    verdict: Verdict
    before: signals.Reading
    settings: Mapping[str, str]


def taken(job: Mapping[str, Any], say: Say, meet: Meet = lambda: ()) -> Taken:
    """Load, drive and judge; between the two, `meet` waits for other processes of the row, and tells their ids."""
    prepared, setup = Prepared.from_json(job["prepared"]), Setup(**job["setup"])
    plan = LoadPlan.from_json(job["plan"])
    feeds, answers = prepared.feeds(), prepared.answers()
    say(f"loading on {job['engine']}", None, None)
    peaks_mb: list[float] = []
    ours = [os.getppid()]
    host = _host(setup, ours, peaks_mb)
    before = host.read()
    loaded = load(job["engine"], prepared, setup)
    clients = bind(loaded.session, plan, feeds, answers, job["carry"])
    say("first inference", None, None)
    first_ms = _elapsed_ms(clients.calls[0][0].request.run)
    say(f"warming up {job['engine']}{_turn(job)}", None, None)
    ours += meet()
    plan = _within(plan, job["until_s"])
    give_up = clients.giving_up()
    samples = _driven(plan, clients, host, job, say, give_up)
    say("judging the outputs", None, None)
    executed = job["row"]["precision_executed"]
    verdict = verdict_of(prepared, clients, samples, answers, setup, executed, gave_up=give_up is not None)
    # what follows the last reading is our own: samples are copied to be sorted, at checkpoints of targets too
    facts = Facts(loaded.load_ms, loaded.compile_ms, first_ms, peaks_mb[_FIRST_WINDOW if plan.targets else -1])
    settings = dict(loaded.session.settings)
    return Taken(prepared, loaded.session, plan, samples, facts, verdict, before, settings)


def _within(plan: LoadPlan, until_s: float | None) -> LoadPlan:
    """Let the load end so that judging and sealing are done at `until_s` on the monotonic clock."""
    if until_s is None:
        return plan
    return replace(plan, longest_s=max((until_s - time.monotonic()) * _SHARE_OF_LOAD - _JUDGING_S, _LEAST_LOAD_S))


def _host(setup: Setup, ours: Sequence[int], peaks_mb: list[float]) -> Host:
    """Ask for what this host tells; what `ours` do belongs to the run, and so does a graphics card's energy.

    The most memory that this process has had is put into `peaks_mb` at each reading.
    """
    gpus = "CPU" not in setup.device.upper()

    def read() -> signals.Reading:
        peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return signals.read(ours=ours, gpus=gpus)

    return Host(read, _told, os.cpu_count() or 1)


def _told(before: signals.Reading, after: signals.Reading) -> dict[str, float]:
    return {name: value for name, value in signals.between(before, after).items() if value is not None}


def _driven(
    plan: LoadPlan, clients: Clients, host: Host, job: Mapping[str, Any], say: Say, give_up: Callable[[], None] | None
) -> Samples:
    crowd = f" from {job['client_processes']} processes" if job["client_processes"] > 1 else ""
    runs = [[call.request.run for call in calls] for calls in clients.calls]
    stage = f"measuring on {job['engine']}{crowd}{_turn(job)}"
    return drive(plan, runs, lambda done, left, reached: say(stage, done, left, reached), host, give_up)


def _turn(job: Mapping[str, Any]) -> str:
    return f", process {job['process'] + 1} of {job['processes']}" if job["processes"] > 1 else ""


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
    executed: Mapping[str, float] | None, *, gave_up: bool = False,
) -> Verdict:  # fmt: skip
    """Judge what the clients' requests hold after the run that `samples` tells of."""
    shares = executed or {setup.precision: 1.0}
    # an int8 graph has int8's rounding in it, whatever type then computes with it
    precision = "int8" if prepared.quantisation else max(shares, key=shares.__getitem__)
    limit = prepared.limits.get(precision, DEFAULT_LIMITS[precision])
    if not clients.carried:
        return judge(clients.kept(samples, gave_up=gave_up), answers, precision, limit)
    # with carried state the right answer depends on the state that the last request read, which is still in place
    last = clients.last(samples)
    replayed = reference_outputs(prepared.right, [call.feed for _, call in last], setup.cores)
    check_finite(replayed)
    kept = [Kept(client, len(answers) + client, call.request.outputs()) for client, call in last]
    return judge(kept, [*answers, *replayed], precision, limit)
