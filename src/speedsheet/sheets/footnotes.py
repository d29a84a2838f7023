"""Footnotes of a sheet: a number for each kind of finding, failure and blank, over the whole document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from speedsheet.core.measurement import Finding, Measurement
from speedsheet.core.units import format_duration
from speedsheet.sheets.columns import model_name
from speedsheet.sheets.letters import clean
from speedsheet.sheets.words import Words
from speedsheet.stats.percentiles import requests_needed

#: So many rows of one text are named; more are "the others".
_FEW_NAMES = 3
#: The finding of percentiles that are withheld.
_FEW = "few_requests"
#: A finding that gives the reason of a blank under another name.
_TELLS = {"no_interval": "interval_blank"}
_NEEDED = {name: requests_needed(share) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))}


@dataclass(frozen=True, slots=True)
class Note:
    """One numbered note: what it says, then, where its rows say different things, each text once with its rows."""

    code: str
    says: str
    by_row: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Footnotes:
    """What is to be said under a sheet, in the order in which its rows need it."""

    notes: tuple[Note, ...]

    @classmethod
    def of(cls, rows: Sequence[Measurement], words: Words) -> Footnotes:
        """Collect the notes of all rows: each code once, and under it each text once."""
        names = _names(rows)
        said: dict[str, dict[Finding, list[str]]] = {}
        for row, name in zip(rows, names, strict=True):
            for finding in _findings(row, words):
                rows_of = said.setdefault(clean(finding.code), {}).setdefault(finding, [])
                if name not in rows_of:
                    rows_of.append(name)
        return cls(tuple(_note(code, texts, words) for code, texts in said.items()))

    def numbers(self, row: Measurement, words: Words) -> tuple[int, ...]:
        """Return the numbers, from 1, of the notes that a row needs."""
        codes = [note.code for note in self.notes]
        return tuple(sorted({codes.index(clean(finding.code)) + 1 for finding in _findings(row, words)}))


def _note(code: str, texts: dict[Finding, list[str]], words: Words) -> Note:
    says = words.findings.get(code, "")
    if len(texts) == 1:
        text = clean(next(iter(texts)).text)
        alone = not says or text == clean(words.blanks.get(code, "").format(**_NEEDED))
        return Note(code, text if alone else words.aside.format(text=says, aside=text))
    commonest = max(texts, key=lambda finding: len(texts[finding]))
    rest = [commonest] if len(texts[commonest]) > _FEW_NAMES else []
    named = [(words.items.join(rows), clean(finding.text)) for finding, rows in texts.items() if finding not in rest]
    return Note(code, says, (*named, *((words.others, clean(finding.text)) for finding in rest)))


def _names(rows: Sequence[Measurement]) -> list[str]:
    """Name each row by as much as tells it from the others: model, then precision, then batch size and thread_num."""
    forms = [
        (clean(model_name(row)), f" {row.precision.upper()}", f" {row.batch_size} x {row.thread_num}", f" ({place})")
        for place, row in enumerate(rows, 1)
    ]
    names = []
    for parts in forms:
        most = next(n for n in range(1, len(parts) + 1) if [other[:n] for other in forms].count(parts[:n]) == 1)
        names.append("".join(parts[:most]))
    return names


def _findings(row: Measurement, words: Words) -> Iterator[Finding]:
    if row.status != "ok":
        yield Finding(row.status, row.error or words.no_reason)
    for finding in row.findings:
        if finding.code != _FEW:
            yield finding
        elif None in _printed(row):  # what is blank in JSON alone is told there
            yield Finding(_FEW, _needs(row, words) or finding.text)
    if row.status == "ok":
        yield from _blanks(row, words)


def _printed(row: Measurement) -> tuple[float | None, ...]:
    return tuple(getattr(row.latency_ms, name) for name in _NEEDED)


def _needs(row: Measurement, words: Words) -> str:
    """Say how much longer each blank percentile takes, to two digits."""
    more_s = {name: row.latency_ms.more_s[name] for name in _NEEDED if name in row.latency_ms.more_s}
    return words.listed(
        [words.needs.format(name=name, time=format_duration(float(f"{s:.2g}"))) for name, s in more_s.items()]
    )


def _blanks(row: Measurement, words: Words) -> Iterator[Finding]:
    """Why a cell of a measured row is blank, where no finding of the row says so."""
    why = [_FEW] if None in _printed(row) else []
    if row.throughput_samples_per_s.half_width is None:
        why.append("interval_blank")
    if row.gate.passed is None:
        why.append("not_judged")
    if not row.precision_executed:
        why.append("not_audited")
    if row.steady is None and row.interference is not None:
        why.append("steady_unknown")
    told = {_TELLS.get(finding.code, finding.code) for finding in row.findings}
    for code in why:
        if code not in told:
            yield Finding(code, words.blanks[code].format(**_NEEDED))
