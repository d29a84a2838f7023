"""Which engine measures a row, and at which precision: what executes nearest to what was asked, then what is faster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from speedsheet import plugins
from speedsheet.core.engine import FALLBACK, EngineInfo, EngineUnavailable, Setup, grant
from speedsheet.core.errors import BadInput, MissingExtra, RowFailed, UsageError
from speedsheet.core.measurement import MOSTLY, Finding, Measurement
from speedsheet.core.request import AS_IS, RowRequest

AUTO = "auto"
#: A trial decides between engines of equal precision; it lasts this long, and at least one request of each client.
TRIAL_S = 1.0
#: Shares that differ by less are the same precision.
_SAME_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine with the setup it would measure the row with, the graph it loads, and what an audit saw.

    That is what it executed, and how long the first request took.
    """

    info: EngineInfo
    setup: Setup
    graph_name: str
    executed: Mapping[str, float]
    request_s: float

    def distance(self, asked: str) -> float:
        """Return how far what executed is from what was asked: 0 is all of it, 1 a step of the fallback, and so on.

        What an engine does not tell is farthest. Of a model as it is no type was asked, so none is nearer.
        """
        ladder = FALLBACK[asked]
        if not self.executed:
            return float(len(ladder))
        if asked == AS_IS:
            return 0.0
        steps = {kind: step for step, kind in enumerate(ladder)}
        most = max(self.executed, key=self.executed.__getitem__)
        if self.executed[most] >= MOSTLY:  # the rest are first and last layers
            return float(steps.get(most, len(ladder)))
        return sum(share * steps.get(kind, len(ladder)) for kind, share in self.executed.items())


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine chosen, and what was rejected, by how much."""

    candidate: Candidate
    findings: tuple[Finding, ...] = ()


#: Returns the graph that the engine loads, what it executed, and the seconds of the first request.
Audit = Callable[[str, Setup], tuple[str, Mapping[str, float], float]]
#: Measures a candidate for a moment with so many clients.
Trial = Callable[[Candidate, int], Measurement]


def engines_for(request: RowRequest) -> list[EngineInfo]:
    """Return the engines that may measure a request; raises MissingExtra or UnknownName before anything is built."""
    if request.engine != AUTO:
        info = plugins.probe(request.engine)
        if isinstance(info, EngineUnavailable):
            raise MissingExtra(info.reason, do=info.do)
        return _with_device([info], request.device)
    probed = [plugins.probe(name) for name in plugins.engine_names()]
    able = [info for info in probed if isinstance(info, EngineInfo)]
    if not able:
        reasons = "; ".join(info.reason for info in probed if isinstance(info, EngineUnavailable))
        raise MissingExtra(f"no engine is installed ({reasons})", do='pip install "speedsheet[engines]"')
    return _with_device(able, request.device)


def _with_device(engines: list[EngineInfo], device: str | None) -> list[EngineInfo]:
    able = [info for info in engines if device is None or info.has(device)]
    if not able:
        known = "; ".join(f"{info.name} has {', '.join(info.devices)}" for info in engines)
        raise BadInput(f"no device is called {device!r} here", do=f"{known}; see: speedsheet engines")
    return able


def setup_for(
    info: EngineInfo, request: RowRequest, *, asked: str, batch_size: int, thread_num: int, cores: int
) -> Setup:
    """Return how `info` would load the row: its device, and the precision that the device grants."""
    device = request.device or info.default_device
    precision = grant(asked, info.precisions_on(device))
    return Setup(device, precision, batch_size, thread_num, cores, dict(request.settings))


def setups_for(
    engines: Sequence[EngineInfo], request: RowRequest, row: Measurement, cores: int
) -> tuple[list[tuple[EngineInfo, Setup]], tuple[Finding, ...]]:
    """Return how each engine would load the row; one that lacks the precision is rejected where others have it.

    Raises UsageError where none has it.
    """
    able: list[tuple[EngineInfo, Setup]] = []
    refused: list[tuple[EngineInfo, UsageError]] = []
    for info in engines:
        try:
            setup = setup_for(
                info, request, asked=row.precision, batch_size=row.batch_size, thread_num=row.thread_num, cores=cores
            )
            able.append((info, setup))
        except UsageError as error:
            refused.append((info, error))
    if not able:
        raise refused[0][1]
    return able, tuple(rejected(info, str(error)) for info, error in refused)


def choose(candidates: Sequence[tuple[EngineInfo, Setup]], asked: str, audit: Audit, trial: Trial) -> Choice:
    """Audit every candidate, keep the nearest to what was asked, and let short trials decide between equals.

    An engine that cannot load the model, that does not know a setting, or whose trial fails its gate, is rejected with
    its reason. Raises RowFailed where none is left, BadInput where none takes what was given, and BudgetSpent.
    """
    findings: list[Finding] = []
    audited: list[Candidate] = []
    refused: list[RowFailed | BadInput] = []
    for info, setup in candidates:
        try:
            audited.append(Candidate(info, setup, *audit(info.name, setup)))
        except (RowFailed, BadInput) as error:
            if len(candidates) == 1:
                raise
            refused.append(error)
            findings.append(rejected(info, str(error)))
    if not audited and all(isinstance(error, BadInput) for error in refused):
        raise refused[0]
    while audited:
        best = min(candidate.distance(asked) for candidate in audited)
        near = [candidate for candidate in audited if candidate.distance(asked) <= best + _SAME_SHARE]
        far = [candidate for candidate in audited if candidate not in near]
        winner = _fastest(near, trial, findings)
        if winner:
            findings += [rejected(other.info, _further(other, winner, asked)) for other in far]
            return Choice(winner, tuple(findings))
        audited = far
    raise RowFailed("no engine measures this row: " + "; ".join(finding.text for finding in findings))


def _fastest(near: Sequence[Candidate], trial: Trial, findings: list[Finding]) -> Candidate | None:
    """Try each alone for a moment, with the same clients; note what loses, and by how much."""
    if len(near) == 1:
        return near[0]
    clients = min(_clients(candidate) for candidate in near)
    speeds: list[tuple[float, Candidate]] = []
    for candidate in near:
        try:
            row = trial(candidate, clients)
        except RowFailed as error:
            findings.append(rejected(candidate.info, str(error)))
            continue
        if row.status == "ok" and row.throughput_samples_per_s.value:
            speeds.append((row.throughput_samples_per_s.value, candidate))
        else:
            findings.append(rejected(candidate.info, row.error or "its trial gave no number"))
    if not speeds:
        return None
    speeds.sort(key=lambda pair: pair[0], reverse=True)
    fastest, winner = speeds[0]
    findings += [
        rejected(other.info, f"{speed / fastest:.2f} x the throughput of {winner.info.name} in a short solo trial")
        for speed, other in speeds[1:]
    ]
    return winner


def _clients(candidate: Candidate) -> int:
    """Return how many clients try an engine: all, or as many as keep the cores busy where a round of all is long."""
    setup = candidate.setup
    busy = min(setup.thread_num, setup.cores)
    return setup.thread_num if candidate.request_s * setup.thread_num / busy <= TRIAL_S else busy


def _further(other: Candidate, winner: Candidate, asked: str) -> str:
    runs, instead = (_share(candidate) for candidate in (other, winner))
    return f"executes {runs} where {winner.info.name} executes {instead} (asked {asked})"


def _share(candidate: Candidate) -> str:
    """Say what a candidate executes; by how much only where it is not all."""
    if not candidate.executed:
        return "what it does not tell"
    kind = max(candidate.executed, key=candidate.executed.__getitem__)
    share = candidate.executed[kind]
    return kind if share == 1 else f"{kind} on {share * 100:.0f} %"


def rejected(info: EngineInfo, why: str) -> Finding:
    """Say that an engine was not chosen, and by how much."""
    return Finding("engine_rejected", f"{info.name} {info.version} rejected: {why}")
