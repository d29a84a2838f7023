"""Measured, modelled and published throughput side by side, each under its own label."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rich.cells import cell_len

from speedsheet.cli.twin_json import row as modelled_row
from speedsheet.cli.twin_words import TWIN_WORDS, TwinWords
from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column
from speedsheet.sheets.as_markdown import escape
from speedsheet.sheets.columns import THROUGHPUT
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.document import Document
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.sheets.listing import aligned
from speedsheet.sheets.wrapping import wrapped
from speedsheet.twin.claims import Judgement
from speedsheet.twin.judging import Case, beside

_RIGHT = frozenset(range(1, 7)) - {1}
#: Columns by place, from all of them to those without which the table says nothing.
_KEPT = (tuple(range(10)), (0, 1, 2, 3, 4, 5, 6, 9), (0, 1, 4, 5, 6, 9), (0, 1, 4, 5, 6))
_ANY_WIDTH = 10_000
_HEADS = ("model", "precision", "batch_size", "thread_num")


class TwinBeside:
    """What a modelled card would do with the measured rows; a row that it cannot run is left blank."""

    def __init__(self, device_name: str) -> None:
        self.device_name = device_name

    def table(self, document: Document, width: int) -> str:
        """Return the table for a terminal: what says least gives way first; in a narrow one each row is a card."""
        case, words = self._case(document), TWIN_WORDS[document.words.lang]
        head, rows = _rows(document, case, words)
        title = "\n".join(wrapped(words.beside.format(device=clean(case.device.title)), width))
        for kept in _KEPT:
            right = frozenset(place for place, column in enumerate(kept) if column in _RIGHT)
            text = aligned([head[c] for c in kept], [[row[c] for c in kept] for row in rows], right, _ANY_WIDTH)
            if max(map(cell_len, text.splitlines())) <= width:
                return f"{title}\n\n{text}"
        cards = [line for row in rows for line in _card(head, row, width)]
        return "\n".join([title, "", *cards]) + "\n"

    def markdown(self, document: Document) -> str:
        """Return the table as Markdown."""
        case, words = self._case(document), TWIN_WORDS[document.words.lang]
        head, rows = _rows(document, case, words)
        marks = ["---:" if place in _RIGHT else "---" for place in range(len(head))]
        lines = [f"| {' | '.join(map(escape, cells))} |" for cells in (head, *rows)]
        title = escape(words.beside.format(device=clean(case.device.title)))
        return "\n".join([f"### {title}", "", lines[0], f"| {' | '.join(marks)} |", *lines[1:]]) + "\n"

    def columns(self, document: Document) -> tuple[Column, ...]:
        """Return what CSV has beside the measured columns, under labels that say whose it is."""
        case, words = self._case(document), TWIN_WORDS[document.words.lang]
        found = _by_row(case)
        title = clean(case.device.title)

        def value(of: Callable[[Judgement], float | str | None]) -> Callable[[Measurement], float | str | None]:
            return lambda row: None if (one := found.get(_key(row))) is None else of(one)

        modelled, stated = words.modelled.format(device=title), words.stated.format(device=title)
        low, high = (f"{modelled}{words.comma}{end}" for end in words.ends)
        return (
            *(
                Column(label, "samples/s", "", value(partial(_predicted, field)))
                for label, field in ((modelled, "throughput"), (low, "low"), (high, "high"))
            ),
            Column(stated, "samples/s", "", value(lambda one: one.claim.published)),
        )

    def content(self, document: Document) -> dict[str, Any]:
        """Return the modelled rows for JSON; their clock is "modelled"."""
        case = self._case(document)
        return {"modelled": [modelled_row(one, case) for one in case.judged]}

    def _case(self, document: Document) -> Case:
        return beside(document.sheet.rows, self.device_name)


def _predicted(field: str, one: Judgement) -> float | None:
    return None if one.predicted is None else float(getattr(one.predicted, field))


def _rows(document: Document, case: Case, words: TwinWords) -> tuple[list[str], list[list[str]]]:
    """Heading and cells; one line for each measured row, in the sheet's order."""
    title = clean(case.device.title)
    head = [words.headings[name] for name in _HEADS]
    head += [words.measured, words.modelled.format(device=title), words.stated.format(device=title),
             words.headings["band"], words.headings["binding"], words.headings["verdict"]]  # fmt: skip
    found, rows = _by_row(case), []
    for section in document.sections:
        for row in section.rows:
            one = found.get(_key(row))
            rows.append([
                clean(row.model), row.precision.upper(), str(row.batch_size), str(row.thread_num),
                document.show(THROUGHPUT, row), *(_cells(one, words) if one else [BLANK] * 5),
            ])  # fmt: skip
    return head, rows


def _card(head: list[str], row: list[str], width: int) -> list[str]:
    told = [f"{name} {text}" for name, text in zip(head[4:], row[4:], strict=True) if text != BLANK]
    return [*wrapped(f"{row[0]} · {row[1]}", width), *wrapped(" · ".join(told), width, "  ", "  ")]


def _cells(one: Judgement, words: TwinWords) -> list[str]:
    predicted, published = one.predicted, one.claim.published
    return [
        BLANK if predicted is None else rounded(predicted.throughput, usual=3),
        BLANK if published is None else rounded(published),
        BLANK if predicted is None else f"{rounded(predicted.low, usual=3)}..{rounded(predicted.high, usual=3)}",
        words.resources[one.binding],
        words.verdicts[one.verdict] if one.verdict else BLANK,
    ]


def _by_row(case: Case) -> dict[tuple[str, str, int, int], Judgement]:
    return {
        (one.claim.model, one.claim.precision, one.claim.batch_size, one.claim.thread_num): one for one in case.judged
    }


def _key(row: Measurement) -> tuple[str, str, int, int]:
    return row.model, row.precision, row.batch_size, row.thread_num
