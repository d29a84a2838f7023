"""A measurement: everything that entitles one row of a sheet. Its fields are the row of `--json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from speedsheet.core.plan import Reached

#: A type that ran this share of the work names the row; the rest are first and last layers.
MOSTLY = 0.9
#: Findings that quote what was timed: they go with the figures of a row that has failed.
TIMED_FINDINGS = frozenset(
    {"client_processes", "few_requests", "littles_law", "near_floor", "no_interval", "not_steady", "wide_interval"}
)
Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something doubtful, as data: a stable code, and one sentence that says what it is and what to do."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of one request in milliseconds; `low` and `high` bound the mean at `confidence`.

    A percentile is null where the effective number of requests does not support it, and `more_s` has how many more
    seconds it takes at the least; `bounds` holds the interval of each percentile that is not null. Both by its name.
    """

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    more_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Throughput:
    """Samples per second with its interval; `low` and `high` are null where there are too few batches for one."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95

    @property
    def half_width(self) -> float | None:
        """Half the interval as a share of the value."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the outputs were right: the `metric` that decided, its `value`, and the `limit` that it was held to."""

    passed: bool | None = None
    metric: str | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Interference:
    """What disturbed the run: windows looked at, those flagged by a signal, those measured in their place.

    `by_signal` counts flagged windows by the signal that flagged them; `unavailable` names the signals that this host
    does not tell.
    """

    windows: int = 0
    flagged: int = 0
    remeasured: int = 0
    by_signal: Mapping[str, int] = field(default_factory=dict)
    unavailable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WithFlagged:
    """The same figures with the flagged windows counted in, kept beside those without them."""

    throughput_samples_per_s: Throughput = Throughput()
    latency_ms: Latency = Latency()


@dataclass(frozen=True, slots=True)
class Floor:
    """The ruler: what a request of the empty engine takes at this thread_num, and how many calls are still exact.

    `exact_calls_per_s` is null where the host was too disturbed to tell.
    """

    p50_us: float
    p99_us: float
    exact_calls_per_s: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row: asked, executed, measured, judged. Null is unmeasured; nothing is rounded."""

    model: str
    framework: str
    task: str
    batch_size: int
    thread_num: int
    precision: str
    engine: str | None = None
    engine_version: str | None = None
    device: str | None = None
    engine_settings: Mapping[str, str] = field(default_factory=dict)
    precision_executed: Mapping[str, float] | None = None
    latency_ms: Latency = Latency()
    throughput_samples_per_s: Throughput = Throughput()
    requests: int | None = None
    wall_s: float | None = None
    warmup_s: float | None = None
    steady: bool | None = None
    targets: tuple[Reached, ...] = ()
    effective_n: float | None = None
    tau_s: float | None = None
    coverage_checked: bool | None = None
    processes: int = 1
    client_processes: int = 1
    interference: Interference | None = None
    with_flagged: WithFlagged | None = None
    floor: Floor | None = None
    clock: str = "wall"
    clocks: str = "default"
    clock_state: str = "unknown"
    load_ms: float | None = None
    compile_ms: float | None = None
    first_inference_ms: float | None = None
    peak_rss_mb: float | None = None
    artifact_mb: float | None = None
    samples_per_joule: float | None = None
    energy_source: str = "unavailable"
    task_accuracy: Mapping[str, float] | None = None
    artifact_sha256: str | None = None
    weights_source: str | None = None
    inputs_source: str | None = None
    reference: str | None = None
    gate: Gate = Gate()
    little_residual: float | None = None
    findings: tuple[Finding, ...] = ()
    status: Status = "ok"
    error: str | None = None
    record: str | None = None

    def failed(self, error: str, status: Status = "failed") -> Measurement:
        """Return the row without its speed, nor anything that tells of it: what is wrong stands in its place."""
        return replace(
            self, status=status, error=error, latency_ms=Latency(), throughput_samples_per_s=Throughput(),
            with_flagged=None, requests=None, wall_s=None, first_inference_ms=None, targets=(), effective_n=None,
            tau_s=None, coverage_checked=None, samples_per_joule=None, little_residual=None,
            findings=tuple(finding for finding in self.findings if finding.code not in TIMED_FINDINGS),
        )  # fmt: skip

    def noting(self, *findings: Finding) -> Measurement:
        """Return the row with more findings."""
        return replace(self, findings=(*self.findings, *findings))

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON-ready data, every key present."""
        row = asdict(self)
        row["findings"], row["targets"] = list(row["findings"]), list(row["targets"])
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measurement:
        """Read a row; keys that this version does not know are left out."""
        known: dict[str, Any] = {f.name: row[f.name] for f in fields(cls) if f.name in row}
        known["latency_ms"] = _latency(known.get("latency_ms", {}))
        known["throughput_samples_per_s"] = Throughput(**known.get("throughput_samples_per_s", {}))
        for name, read in _PARTS.items():
            known[name] = None if known.get(name) is None else read(known[name])
        known["targets"] = tuple(Reached(**reached) for reached in known.get("targets", ()))
        known["gate"] = Gate(**known.get("gate", {}))
        known["findings"] = tuple(Finding(**finding) for finding in known.get("findings", ()))
        return cls(**known)


def _latency(data: Mapping[str, Any]) -> Latency:
    return Latency(**{**data, "bounds": {name: tuple(pair) for name, pair in data.get("bounds", {}).items()}})


def _interference(data: Mapping[str, Any]) -> Interference:
    return Interference(**{**data, "unavailable": tuple(data["unavailable"])})


def _with_flagged(data: Mapping[str, Any]) -> WithFlagged:
    return WithFlagged(Throughput(**data["throughput_samples_per_s"]), _latency(data["latency_ms"]))


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "interference": _interference,
    "with_flagged": _with_flagged,
    "floor": lambda data: Floor(**data),
}


def executed_kinds(shares: Mapping[str, float] | None) -> str:
    """Say what ran: ``bf16``, or ``bf16 71 % + fp32 29 %`` where no type has nine tenths of the work."""
    ranked = sorted(((share, kind) for kind, share in (shares or {}).items() if share > 0), reverse=True)
    if not ranked or ranked[0][0] >= MOSTLY:
        return ranked[0][1] if ranked else ""
    return " + ".join(f"{kind} {share * 100:.0f} %" for share, kind in ranked)
