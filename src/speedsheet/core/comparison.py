"""A against B: the blocks that were measured, the ratio that they give, and the verdict. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from speedsheet.core.measurement import Finding, Measurement

COMPARE_SCHEMA = "speedsheet.compare/1"
#: Verdicts are given at this confidence; intervals are shown at 95 %.
VERDICT_CONFIDENCE = 0.99

Side = Literal["a", "b"]
Outcome = Literal["faster", "slower", "none"]
Status = Literal["ok", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Design:
    """How a comparison is laid out: both sides are started `generations` times, each time for `rounds` pairs of blocks.

    `block_s` is the length of a block, its first part, which is warm-up, included.
    """

    generations: int
    rounds: int
    block_s: float

    @property
    def measured_s(self) -> float:
        """The time of all blocks."""
        return self.generations * self.rounds * 2 * self.block_s


@dataclass(frozen=True, slots=True)
class Block:
    """One block of one side. Times are nanoseconds of the clock that its raw samples have.

    `first` says that it was the first of its pair. What completed after `open_ns` and until `close_ns` is counted:
    `requests`, in samples per second, with their mean latency and its median.
    """

    side: Side
    generation: int
    round: int
    first: bool
    open_ns: int
    close_ns: int
    requests: int
    throughput_samples_per_s: float
    mean_ms: float
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """What B has over what A has; `low` and `high` are null where there are too few generations for an interval."""

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
class Ratios:
    """The ratios B over A of throughput, mean latency and median latency."""

    throughput: Ratio = Ratio()
    mean_latency: Ratio = Ratio()
    p50_latency: Ratio = Ratio()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether B's throughput differs from A's, at `confidence`, with the interval that decides."""

    outcome: Outcome
    low: float
    high: float
    confidence: float = VERDICT_CONFIDENCE


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B. `names` say in what the sides differ; a side's row holds its own figures, gate and findings.

    `verdict` is null where there is none to give: a side failed, or the comparison was ended by hand.
    """

    names: tuple[str, str]
    a: Measurement
    b: Measurement
    ratio: Ratios = Ratios()
    verdict: Verdict | None = None
    design: Design | None = None
    generations: int = 0
    measured_s: float = 0.0
    wall_s: float = 0.0
    seed: int = 920
    target: float | None = None
    host: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    status: Status = "ok"
    error: str | None = None
    record: str | None = None

    @property
    def same(self) -> bool:
        """Whether both sides were asked for the same."""
        return self.names == ("A", "B")

    def noting(self, *findings: Finding) -> Comparison:
        """Return the comparison with more findings."""
        return replace(self, findings=(*self.findings, *findings))

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON-ready data, every key present."""
        data = {"schema": COMPARE_SCHEMA, **asdict(self)}
        names = dict(zip(("a", "b"), data.pop("names"), strict=True))
        rows = {"a": self.a.to_json(), "b": self.b.to_json()}
        return {**data, **rows, "names": names, "same": self.same, "findings": list(data["findings"])}
