"""A published sheet as data: figures as printed, nothing filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """A printed number in the sheet's base unit, with half of its last printed digit: `value` +- `rounding`."""

    value: float
    rounding: float = 0.0

    @property
    def low(self) -> float:
        """The least number that prints so."""
        return self.value - self.rounding

    @property
    def high(self) -> float:
        """The largest number that prints so."""
        return self.value + self.rounding


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One printed row; null is not printed. `line` is its line in the file.

    Times are milliseconds, throughput is samples a second, work is GMAC a sample, parameters are millions.
    """

    line: int
    model: str
    framework: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    thread_num: int | None = None
    latency_ms: Figure | None = None
    p99_ms: Figure | None = None
    throughput_samples_per_s: Figure | None = None
    gmac_per_sample: Figure | None = None
    params_millions: Figure | None = None

    @property
    def name(self) -> str:
        """Name the row as a reader would: model, precision, batch size."""
        parts = [self.model, self.precision, f"batch {self.batch_size}" if self.batch_size else None]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class PublishedSheet:
    """Rows as printed, with what the publisher says of them; `unread` holds lines that are no rows, with the reason."""

    name: str
    rows: tuple[PublishedRow, ...]
    said: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    unread: tuple[tuple[int, str], ...] = ()
