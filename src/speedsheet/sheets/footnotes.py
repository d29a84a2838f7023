"""Footnotes of a sheet: each finding, each failure and each blank's reason once, with a number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from speedsheet.core.measurement import Finding, Measurement
from speedsheet.core.sheet import Sheet
from speedsheet.stats.estimates import requests_needed

_NEEDED = ", ".join(
    f"{requests_needed(share)} for {name}" for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
)
_FEW = Finding("few_requests", f"a percentile is blank below so many requests: {_NEEDED}; measure longer (--time)")


@dataclass(frozen=True, slots=True)
class Footnotes:
    """What is to be said under a sheet, in the order in which its rows need it."""

    notes: tuple[Finding, ...]

    @classmethod
    def of(cls, sheet: Sheet) -> Footnotes:
        """Collect the notes of all rows, each once."""
        return cls(tuple(dict.fromkeys(note for row in sheet.rows for note in _notes(row))))

    def numbers(self, row: Measurement) -> tuple[int, ...]:
        """Return the numbers, from 1, of the notes that a row needs."""
        return tuple(sorted({self.notes.index(note) + 1 for note in _notes(row)}))


def _notes(row: Measurement) -> Iterator[Finding]:
    if row.status != "ok":
        yield Finding(row.status, row.error or "no reason was given")
    yield from row.findings
    if row.status == "ok":
        yield from _blanks(row)


def _blanks(row: Measurement) -> Iterator[Finding]:
    """Why a cell of a measured row is blank, where no finding of the row says so."""
    if None in {row.latency_ms.p50, row.latency_ms.p90, row.latency_ms.p99}:
        yield _FEW
    if row.throughput_samples_per_s.half_width is None and all(note.code != "no_interval" for note in row.findings):
        yield Finding("no_interval", "± is blank: too few rounds for an interval; measure longer (--time)")
    if row.gate.passed is None:
        yield Finding("not_judged", "Gate is blank: the outputs of this row were not judged")
    if not row.precision_executed:
        yield Finding("not_audited", "Executed is blank: what precision ran was not audited")
