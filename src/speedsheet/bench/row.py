"""One row, end to end, from outside: prepare, choose, measure; each in a worker process of its own."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from speedsheet import __version__, plugins
from speedsheet.bench.choose import AUTO, TRIAL_S, Candidate, Choice, choose, engines_for, rejected, setups_for
from speedsheet.bench.job import Prepared, request_to_json
from speedsheet.bench.remembered import remembered
from speedsheet.bench.ruler import floor_at
from speedsheet.bench.shelf import found
from speedsheet.bench.supervise import Tell, call
from speedsheet.core.engine import EngineInfo, Setup
from speedsheet.core.errors import BudgetSpent, PrecisionRefused, RowFailed
from speedsheet.core.measurement import MOSTLY, Finding, Measurement, executed_kinds
from speedsheet.core.plan import LoadPlan
from speedsheet.core.request import AS_IS, TUNED, RowRequest
from speedsheet.core.samples import joined
from speedsheet.host.clocks import tuned
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.host.places import clocks_file
from speedsheet.records import store as records
from speedsheet.stats.estimates import MIN_BATCHES

#: A quick row: this window, longer only where that makes an interval within so many seconds.
_QUICK_S, _QUICK_ROUNDS_S = 3.0, 18.5
#: A steady state is sought for as long again as the window lasts, at least and at most for so many seconds in all.
_SOUGHT, _LEAST_SOUGHT_S, _MOST_SOUGHT_S = 2.0, 20.0, 60.0
_MB = 1_000_000
#: So many layers are named in a finding.
_NAMED = 3

#: The conditions that decide whether a row would be measured again; their hash is one more, `request_sha256`.
DECIDING = (
    "request", "artifact_sha256", "graph", "inputs_sha256", "labelled_sha256", "engines", "speedsheet", "cpu", "cores",
)  # fmt: skip

Work = Callable[[str, Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where records go, under which limits rows are measured, and where the clocks of the host are."""

    store: Path
    stall_limit_s: float
    resume: bool = False
    root: Path = Path("/")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one row may take. `window_s` stands for the request's own window where it is given.

    By `until_s` the row is to be done, and ends with what was reached; at `deadline_s` it is killed. Both are instants
    of the monotonic clock.
    """

    window_s: float | None = None
    until_s: float | None = None
    deadline_s: float | None = None


_NO_LIMITS = Limits()


def measure_row(request: RowRequest, desk: Desk, tell: Tell, limits: Limits = _NO_LIMITS) -> Measurement:
    """Measure one row and seal it. A row that fails says why, and is sealed too; UsageError alone goes up."""
    row = asked_row(request)
    conditions: dict[str, Any] = {"request": request_to_json(request), "host": host_facts()}

    def work(task: str, job: Mapping[str, Any]) -> dict[str, Any]:
        return call(task, job, tell=tell, stall_limit_s=desk.stall_limit_s, deadline_s=limits.deadline_s)

    try:
        prepared = Prepared.from_json(work("prepare", {"request": request_to_json(request)}))
        row = _described(row, request, prepared)
        engines = engines_for(request)
        conditions |= _conditions(request, prepared, engines)
        if desk.resume and (earlier := records.find(desk.store, conditions["request_sha256"])):
            taken = f"not measured again: taken from the record of {earlier.created_utc[:19]} UTC"
            return earlier.measurement.noting(Finding("resumed", taken))
        with _clocks(request, desk):
            return _measured(request, prepared, engines, row, _Bench(work, desk, conditions, limits))
    except BudgetSpent as error:
        return row.failed(str(error), "skipped")
    except RowFailed as error:
        return records.seal(desk.store, row.failed(str(error)), None, conditions)


@dataclass(frozen=True, slots=True)
class Ready:
    """What can be measured: the row as far as it is known, its worker's job, and its conditions."""

    row: Measurement
    job: Mapping[str, Any]
    conditions: Mapping[str, Any]


def readied(request: RowRequest, desk: Desk, tell: Tell) -> Ready:
    """Do all for a row but measure it: prepare, audit, choose. Raises RowFailed, and UsageError."""

    def work(task: str, job: Mapping[str, Any]) -> dict[str, Any]:
        return call(task, job, tell=tell, stall_limit_s=desk.stall_limit_s)

    prepared = Prepared.from_json(work("prepare", {"request": request_to_json(request)}))
    engines = engines_for(request)
    row = _described(asked_row(request), request, prepared)
    conditions = _conditions(request, prepared, engines)
    setups, lacking = setups_for(engines, request, row, allowed_cores())
    choice = _chosen(request, prepared, setups, row, _Bench(work, desk, conditions))
    row = _with_choice(row.noting(*lacking, *_free(choice.candidate, prepared)), choice, request, prepared)
    row = replace(row, floor=floor_at(row.thread_num, row.clocks, work))
    return Ready(row, _job(request, prepared, choice.candidate, row, planned(request, prepared)), conditions)


def asked_row(request: RowRequest) -> Measurement:
    """Return the row as far as the request alone tells it."""
    workload = None if request.own else plugins.workload(request.model)
    return Measurement(
        model=request.model,
        framework=workload.framework if workload else "onnx",
        task=workload.task if workload else "own model",
        batch_size=request.batch_size or (workload.batch_size if workload else 1),
        thread_num=request.thread_num or (workload.thread_num if workload else 1),
        precision=request.precision or (workload.precisions[0] if workload else "fp32"),
        engine=None if request.engine == AUTO else request.engine,
        device=request.device,
        clocks=request.clocks,
    )


def _clocks(request: RowRequest, desk: Desk) -> AbstractContextManager[object]:
    """Hold the clocks as the row asks for, and put back what was. Raises ClocksRefused where they may not be set."""
    return tuned(desk.root, clocks_file()) if request.clocks == TUNED else nullcontext()


@dataclass(frozen=True, slots=True)
class _Bench:
    work: Work
    desk: Desk
    conditions: Mapping[str, Any]
    limits: Limits = _NO_LIMITS


def _measured(
    request: RowRequest, prepared: Prepared, engines: list[EngineInfo], row: Measurement, bench: _Bench
) -> Measurement:
    """Choose and measure; with `auto`, an engine that fails here gives way to the next one."""
    row = replace(row, floor=floor_at(row.thread_num, row.clocks, bench.work))
    setups, lost = setups_for(engines, request, row, allowed_cores())
    while True:
        choice = _chosen(request, prepared, setups, row, bench)
        this = _with_choice(row.noting(*lost, *_free(choice.candidate, prepared)), choice, request, prepared)
        try:
            job = _job(request, prepared, choice.candidate, this, planned(request, prepared, bench.limits.window_s))
            done = _in_processes(request.processes, job, bench)
        except RowFailed as error:
            if len(setups) == 1:
                return records.seal(bench.desk.store, this.failed(str(error)), None, bench.conditions)
            done = this.failed(str(error))
        if done.status == "ok" or len(setups) == 1:
            return done
        lost = (*lost, rejected(choice.candidate.info, done.error or "failed"))
        setups = [pair for pair in setups if pair[0].name != choice.candidate.info.name]


def _in_processes(processes: int, job: Mapping[str, Any], bench: _Bench) -> Measurement:
    """Measure in fresh processes one after the other, until the last has pooled them or one has failed its gate."""
    until_s = bench.limits.until_s
    sealing = {"store": str(bench.desk.store), "conditions": bench.conditions, "processes": processes}
    with TemporaryDirectory(prefix="speedsheet-") as shelf:
        crowd = 0  # from how many processes at once the clients ask is for the first in turn to decide
        for process in range(processes):
            now_s = time.monotonic()
            share_s = None if until_s is None else now_s + (until_s - now_s) / (processes - process)
            here = {"process": process, "shelf": shelf if processes > 1 else None, "until_s": share_s}
            here |= {"client_processes": crowd}
            try:
                done = Measurement.from_json(bench.work("measure", {**job, **sealing, **here}))
            except RowFailed as error:
                if not process:
                    raise
                taken = joined(found(Path(shelf), process)[0])  # what was measured before is kept
                row = Measurement.from_json(job["row"]).failed(f"process {process + 1} of {processes}: {error}")
                return records.seal(bench.desk.store, row, taken, bench.conditions)
            if done.status != "ok":
                break
            crowd = done.client_processes
    return done


def longest_s(request: RowRequest) -> float:
    """Return how long a row's windows last at most, were it neither unsteady nor disturbed."""
    window_s = min(request.window_s, _QUICK_S) if request.quick else request.window_s
    return window_s * request.processes


def planned(request: RowRequest, prepared: Prepared, window_s: float | None = None) -> LoadPlan:
    """Return the plan of a row; what is steady and what is disturbed is looked for in as much time again."""
    window_s = window_s or request.window_s
    plan = LoadPlan(prepared.thread_num, window_s, pool_batches=prepared.slots, targets=request.targets)
    if request.quick:
        window_s = min(window_s, _QUICK_S)
        plan = replace(
            plan, window_s=window_s, requests_per_client=1, rounds=MIN_BATCHES, rounds_within_s=_QUICK_ROUNDS_S
        )
        return replace(plan, steady_within_s=_SOUGHT * window_s, again_s=window_s)
    sought_s = min(max(_SOUGHT * window_s, _LEAST_SOUGHT_S), _MOST_SOUGHT_S)
    return replace(plan, steady_within_s=sought_s, again_s=window_s)


def _chosen(
    request: RowRequest, prepared: Prepared, setups: list[tuple[EngineInfo, Setup]], row: Measurement, bench: _Bench
) -> Choice:
    versions = {info.name: info.version for info, _ in setups}

    def audit(engine: str, setup: Setup) -> tuple[str, Mapping[str, float], float]:
        job = {"prepared": prepared.to_json(), "engine": engine, "setup": asdict(setup)}
        known = [prepared.artifact.sha256, prepared.artifact.graph_name, engine, asdict(setup), versions[engine]]
        found = remembered(known, lambda: bench.work("audit", job))
        return found["graph_name"], found["executed"], found["request_s"]

    def trial(candidate: Candidate, clients: int) -> Measurement:
        plan = LoadPlan(clients, TRIAL_S, requests_per_client=1, pool_batches=prepared.slots)
        job = _job(request, prepared, candidate, replace(row, thread_num=clients), plan)
        job["row"]["precision_executed"] = dict(candidate.executed) or None
        return Measurement.from_json(bench.work("measure", job))

    return choose(setups, row.precision, audit, trial)


def _job(
    request: RowRequest, prepared: Prepared, candidate: Candidate, row: Measurement, plan: LoadPlan
) -> dict[str, Any]:
    """Return a worker's job, alone and as a trial: nothing is sealed, and nobody is in a hurry."""
    artifact = replace(prepared.artifact, graph_name=candidate.graph_name)
    return {
        "prepared": replace(prepared, artifact=artifact).to_json(),
        "engine": candidate.info.name,
        "setup": asdict(candidate.setup),
        "row": row.to_json(),
        "plan": asdict(plan),
        "carry": dict(request.carry),
        "store": None,
        "conditions": {},
        "until_s": None,
        "process": 0,
        "processes": 1,
        "client_processes": 1,
        "shelf": None,
    }


def _described(row: Measurement, request: RowRequest, prepared: Prepared) -> Measurement:
    text = f"weights of {prepared.weights_source}, in place of the drawn ones"
    trained = (Finding("trained_weights", text),) if request.weights else ()
    return replace(
        row,
        framework=prepared.framework, task=prepared.task, batch_size=prepared.batch_size,
        thread_num=prepared.thread_num, precision=prepared.precision,
        artifact_mb=prepared.artifact.size_bytes / _MB, artifact_sha256=prepared.artifact.sha256,
        inputs_source=prepared.inputs_source, reference=prepared.reference, weights_source=prepared.weights_source,
    ).noting(*trained)  # fmt: skip


def _free(candidate: Candidate, prepared: Prepared) -> tuple[Finding, ...]:
    if candidate.graph_name == prepared.artifact.graph_name:
        return ()
    text = f"{candidate.info.name} refuses the model with these shapes written in, and runs it with free dimensions"
    return (Finding("free_dimensions", text),)


def _float_layers(prepared: Prepared) -> str:
    """Name the layers that the int8 graph leaves wide; where it leaves none, the engine does."""
    layers = prepared.quantisation["float_layers"]
    if not layers:
        return "the graph is quantised throughout, and the engine does not run all of it so"
    more = f" and {len(layers) - _NAMED} more" if len(layers) > _NAMED else ""
    return f"not quantised are {', '.join(layers[:_NAMED])}{more}"


def _with_choice(row: Measurement, choice: Choice, request: RowRequest, prepared: Prepared) -> Measurement:
    """Put the engine and what it executes on the row; raises PrecisionRefused where that is not enough."""
    candidate = choice.candidate
    row = replace(
        row,
        engine=candidate.info.name, engine_version=candidate.info.version, device=candidate.setup.device,
        engine_settings=dict(candidate.setup.settings), precision_executed=dict(candidate.executed) or None,
    ).noting(*choice.findings)  # fmt: skip
    asked = candidate.executed.get(row.precision, 0.0)
    if asked >= MOSTLY or row.precision == AS_IS:
        return row
    ran = executed_kinds(row.precision_executed)
    text = (
        f"asked {row.precision}, executed {ran}"
        if ran
        else f"asked {row.precision}, and the engine does not tell what ran"
    )
    if request.strict_precision:
        raise PrecisionRefused(
            f"{text} on {candidate.info.name}", do="leave --strict-precision, or choose another engine"
        )
    if row.precision == "int8":
        return row.noting(Finding("int8_share", f"{text}: {_float_layers(prepared)}"))
    if not ran:
        return row.noting(Finding("not_audited", text))
    return row.noting(Finding("precision", f"{text}: this engine and device have no more of it"))


def _conditions(request: RowRequest, prepared: Prepared, engines: list[EngineInfo]) -> dict[str, Any]:
    """Return what the row was measured under, with a hash of all that decides whether to measure it again."""
    deciding = {
        "request": {**request_to_json(request), "model": prepared.model},
        "artifact_sha256": prepared.artifact.sha256,
        "graph": prepared.artifact.graph_name,
        "inputs_sha256": prepared.inputs_sha256,
        "labelled_sha256": prepared.labelled.sha256 if prepared.labelled else None,
        "engines": {info.name: info.version for info in engines},
        "speedsheet": __version__,
        "cpu": host_facts()["cpu"],
        "cores": allowed_cores(),
    }
    assert tuple(deciding) == DECIDING
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
    made = {"input_shapes": dict(prepared.shapes), "quantisation": dict(prepared.quantisation)}
    return {**deciding, "request_sha256": digest, **made}
