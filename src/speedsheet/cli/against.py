# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""Published figures beside measured ones, each under its own label, and the ratio of the two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column
from speedsheet.history.sources import Run, of_published
from speedsheet.sheets.as_markdown import escape
from speedsheet.sheets.columns import LATENCY, THROUGHPUT, model_name
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.document import Document
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.sheets.listing import fitted
from speedsheet.sheets.wrapping import wrapped

_WORDS: Mapping[str, tuple[str, ...]] = {
    "en": ("Model", "Precision", "Batch", "thread_num", "Measured, samples/s", "Published, samples/s",
           "Measured / published", "Measured, ms", "Published, ms"),
    "zh": ("模型", "精度", "批大小", "线程数", "实测 样本/秒", "公布 样本/秒", "实测 / 公布", "实测 ms", "公布 ms"),
}  # fmt: skip
#: Headings of CSV.
_COLUMNS = {
    "en": ("Published by {name}", "Published latency by {name}", "Measured / published by {name}"),
    "zh": ("{name} 公布的吞吐量", "{name} 公布的延迟", "实测 / {name} 公布"),
}
_TITLE = {"en": "Against {name}, as published by {publisher}", "zh": "对照 {name}（{publisher} 公布）"}
_NOTE = {
    "en": "Published figures have no interval and are of other hardware; a ratio has the digits that the measured "
    "figure's ± supports.",
    "zh": "公布的数值没有区间，且来自其他硬件；比值的位数取自实测值的 ±。",
}
_RIGHT, _SPARED = frozenset(range(2, 9)), (8, 7, 3, 2, 1)


class Against:
    """A published sheet beside the measured rows; a row that it does not have is left blank."""

    def __init__(self, sheet: str) -> None:
        self.published: Run = of_published(sheet)

    def table(self, document: Document, width: int) -> str:
        """Return the table for a terminal."""
        lang = document.words.lang
        rows = [_cells(row, self._of(row), document) for row in document.sheet.rows]
        head = "\n".join(wrapped(self._title(lang), width))
        foot = "\n".join(wrapped(_NOTE[lang], width))
        return f"{head}\n{fitted(_WORDS[lang], rows, _RIGHT, _SPARED, width)}{foot}\n"

    def markdown(self, document: Document) -> str:
        """Return the table as Markdown."""
        lang = document.words.lang
        lines = [f"### {escape(self._title(lang))}", "", f"| {' | '.join(map(escape, _WORDS[lang]))} |"]
        lines.append("|---|---|" + "---:|" * (len(_WORDS[lang]) - 2))
        rows = (_cells(row, self._of(row), document) for row in document.sheet.rows)
        lines += [f"| {' | '.join(map(escape, cells))} |" for cells in rows]
        return "\n".join([*lines, "", escape(_NOTE[lang])]) + "\n"

    def columns(self, document: Document) -> tuple[Column, ...]:
        """Return columns for CSV: numbers as published and as measured, not rounded."""
        name = clean(self.published.name)
        rate, latency, ratio = (text.format(name=name) for text in _COLUMNS[document.words.lang])
        return (
            Column(rate, "samples/s", "", lambda row: _rate(self._of(row))),
            Column(latency, "ms", "", lambda row: _latency(self._of(row))),
            Column(ratio, "", "higher", lambda row: _ratio(row, self._of(row))),
        )

    def content(self, document: Document) -> dict[str, Any]:
        """Return the published rows for JSON, beside the measured ones by their order."""
        return {"against": {"sheet": self.published.name, "rows": list(self._json(document))}}

    def _json(self, document: Document) -> Iterator[dict[str, Any]]:
        for row in document.sheet.rows:
            found = self._of(row)
            yield {
                "model": row.model, "precision": row.precision, "published_samples_per_s": _rate(found),
                "published_latency_ms": _latency(found), "ratio": _ratio(row, found),
            }  # fmt: skip

    def _title(self, lang: str) -> str:
        publisher = clean(str(self.published.document.get("publisher", BLANK)))
        return _TITLE[lang].format(name=clean(self.published.name), publisher=publisher)

    def _of(self, row: Measurement) -> Measurement | None:
        """Return the published row of a measured one; what the sheet does not state fits anything."""
        for one in self.published.rows:
            stated = (
                one.batch_size or row.batch_size,
                one.thread_num or row.thread_num,
                one.precision or row.precision,
            )
            if one.model == row.model and stated == (row.batch_size, row.thread_num, row.precision):
                return one
        return None


def _cells(row: Measurement, found: Measurement | None, document: Document) -> list[str]:
    ratio, half = _ratio(row, found), row.throughput_samples_per_s.half_width
    published = [_rate(found), _latency(found)]
    rate, latency = (BLANK if value is None else rounded(value, usual=6) for value in published)
    return [
        clean(model_name(row)), clean(row.precision.upper()), str(row.batch_size), str(row.thread_num),
        document.show(THROUGHPUT, row), rate,
        BLANK if ratio is None else rounded(ratio, None if half is None else half * ratio, usual=3),
        document.show(LATENCY, row), latency,
    ]  # fmt: skip


def _rate(row: Measurement | None) -> float | None:
    return None if row is None else row.throughput_samples_per_s.value


def _latency(row: Measurement | None) -> float | None:
    return None if row is None else row.latency_ms.mean


def _ratio(row: Measurement, found: Measurement | None) -> float | None:
    published, measured = _rate(found), row.throughput_samples_per_s.value
    return None if not published or not measured else measured / published
