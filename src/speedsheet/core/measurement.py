"""A measurement: everything that entitles one row of a sheet. Its fields are the row of `--json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

#: A type that ran this share of the work names the row; the rest are first and last layers.
MOSTLY = 0.9
Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something doubtful, as data: a stable code, and one sentence that says what it is and what to do."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of one request in milliseconds; `low` and `high` bound the mean at `confidence`.

    A percentile is null where there are too few requests for it.
    """

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95


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
    clock: str = "wall"
    clock_state: str = "unknown"
    load_ms: float | None = None
    compile_ms: float | None = None
    first_inference_ms: float | None = None
    peak_rss_mb: float | None = None
    artifact_mb: float | None = None
    artifact_sha256: str | None = None
    inputs_source: str | None = None
    reference: str | None = None
    gate: Gate = Gate()
    little_residual: float | None = None
    findings: tuple[Finding, ...] = ()
    status: Status = "ok"
    error: str | None = None
    record: str | None = None

    def failed(self, error: str, status: Status = "failed") -> Measurement:
        """Return the row without its speed: what is wrong stands in its place."""
        return replace(self, status=status, error=error, latency_ms=Latency(), throughput_samples_per_s=Throughput())

    def noting(self, *findings: Finding) -> Measurement:
        """Return the row with more findings."""
        return replace(self, findings=(*self.findings, *findings))

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON-ready data, every key present."""
        row = asdict(self)
        row["findings"] = list(row["findings"])
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Measurement:
        """Read a row; keys that this version does not know are left out."""
        known: dict[str, Any] = {f.name: row[f.name] for f in fields(cls) if f.name in row}
        known["latency_ms"] = Latency(**known.get("latency_ms", {}))
        known["throughput_samples_per_s"] = Throughput(**known.get("throughput_samples_per_s", {}))
        known["gate"] = Gate(**known.get("gate", {}))
        known["findings"] = tuple(Finding(**finding) for finding in known.get("findings", ()))
        return cls(**known)


def executed_kinds(shares: Mapping[str, float] | None) -> str:
    """Say what ran: ``bf16``, or ``bf16 71 % + fp32 29 %`` where no type has nine tenths of the work."""
    ranked = sorted(((share, kind) for kind, share in (shares or {}).items() if share > 0), reverse=True)
    if not ranked or ranked[0][0] >= MOSTLY:
        return ranked[0][1] if ranked else ""
    return " + ".join(f"{kind} {share * 100:.0f} %" for share, kind in ranked)
