"""What samples cost on a machine of a given price: derived from throughput, and as uncertain as it."""

from __future__ import annotations

from dataclasses import dataclass

from speedsheet.core.measurement import Throughput

_SAMPLES, _S_PER_HOUR = 1_000_000, 3600


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a million samples; `low` and `high` are the throughput's interval turned over, null where it has none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Price:
    """What the machine costs an hour, in a currency that is printed as it was given."""

    per_hour: float
    currency: str = ""

    def of_million(self, throughput: Throughput) -> Cost:
        """Return what a million samples cost at that throughput."""

        def cost(samples_per_s: float | None) -> float | None:
            return self.per_hour / _S_PER_HOUR * _SAMPLES / samples_per_s if samples_per_s else None

        return Cost(cost(throughput.value), cost(throughput.high), cost(throughput.low), throughput.confidence)

    def __str__(self) -> str:
        return f"{self.per_hour:g} {self.currency}".strip()
