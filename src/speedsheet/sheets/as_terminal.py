"""A sheet for a terminal: as many columns as fit, the rest below each row; a card for each row where it is narrow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column
from speedsheet.sheets.columns import (
    ACCURACY,
    CLOCKS,
    COST,
    HALF_WIDTH,
    LATENCY,
    MODEL,
    PERCENTILES,
    PUBLISHED,
    THROUGHPUT,
    at_clocks,
    cost,
    executed,
    is_number,
    model_name,
    shares,
    show,
    verdict,
)
from speedsheet.sheets.document import Document
from speedsheet.sheets.letters import BLANK, clean, to_ascii
from speedsheet.sheets.words import ENGLISH
from speedsheet.sheets.wrapping import wrapped

_GAP = "  "
_MODEL_CELLS, _LEAST_MODEL_CELLS = 28, 12
#: So many of our signs are two letters in ASCII, on one line.
_LONGER_IN_ASCII = 2


@dataclass(frozen=True, slots=True)
class _Grid:
    """Columns with their widths in cells, `span` of them in all; the model's name gives way first."""

    document: Document
    columns: Sequence[Column]
    widths: Sequence[int]

    @classmethod
    def of(cls, columns: Sequence[Column], document: Document, width: int, least: int) -> _Grid:
        rows = document.sheet.rows
        natural = [
            max(
                cell_len(text)
                for text in (*_words(document.heading(column)), *(document.show(column, row) for row in rows))
            )
            for column in columns
        ]
        others = sum(natural[1:]) + len(_GAP) * (len(natural) - 1)
        return cls(document, columns, [min(natural[0], max(width - others, least), _MODEL_CELLS), *natural[1:]])

    @property
    def span(self) -> int:
        return sum(self.widths) + len(_GAP) * (len(self.widths) - 1)

    def head(self) -> list[Text]:
        """The names, broken over as many lines as they need, set on the rule below them."""
        names = [wrapped(" ".join(_words(self.document.heading(column))), size) for column, size in self._sized()]
        depth = max(len(name) for name in names)
        raised = [[""] * (depth - len(name)) + name for name in names]
        return [
            *(Text(self._joined(level), "bold") for level in zip(*raised, strict=True)),
            Text("─" * self.span, "dim"),
        ]

    def line(self, row: Measurement) -> Text:
        cells = [_fitted(self.document.show(column, row), size) for column, size in self._sized()]
        return _marked(self._joined(cells), row, self.document)

    def _sized(self) -> list[tuple[Column, int]]:
        return list(zip(self.columns, self.widths, strict=True))

    def _joined(self, cells: Iterable[str]) -> str:
        padded = []
        for (column, size), text in zip(self._sized(), cells, strict=True):
            space = " " * (size - cell_len(text))
            padded.append(space + text if is_number(column) else text + space)
        return _GAP.join(padded).rstrip()


def render(document: Document, width: int, *, ascii_only: bool = False, with_resources: bool = False) -> Text:
    """Return the sheet as styled text whose lines fit `width` cells; a style carries nothing that words do not.

    `with_resources` adds the table of what rows take of memory, disk and energy.
    """
    room = width - (_LONGER_IN_ASCII if ascii_only else 0)
    lines = _front(document, room)
    grid = _widest(document, room)
    for section in document.sections:
        if len(document.sections) > 1:
            lines += [Text(section.heading if grid else f"── {section.heading} ──", "bold"), Text()]
        lines += [*_rows(section.rows, document, grid, room), Text()]
    if with_resources:
        lines += _resources(document, room)
    lines += [*_notes(document, room), *(Text(part, "dim") for part in wrapped(document.host, room))]
    lines += [Text(part, "dim") for part in wrapped(document.held, room)]
    while lines and not lines[-1].plain:
        lines.pop()
    text = Text("\n").join(lines)
    return _in_ascii(text) if ascii_only else text


def summary(row: Measurement) -> str:
    """Return a finished row in a few words, for the live view."""
    if row.status != "ok":
        return f"{row.status}: {clean(row.error or 'no reason was given')}"
    half, speed = show(HALF_WIDTH, row, ENGLISH), f"{show(THROUGHPUT, row, ENGLISH)} samples/s"
    told = speed if half == BLANK else f"{speed} ±{half}"
    return " · ".join([*([clean(row.engine)] if row.engine else []), f"{show(LATENCY, row, ENGLISH)} ms", told])


def _front(document: Document, width: int) -> list[Text]:
    """The title, and below it what neither the columns nor the host line say, set small."""
    front = document.front
    beyond = [text for text in (front.tool, front.hardware) if clean(text or "") not in document.host]
    small = [front.publisher, front.version, front.date, front.software, *beyond, front.clock_note, document.price_line]
    return [
        *(Text(part, "bold") for part in wrapped(clean(front.title or ""), width)),
        *(Text(line, "dim") for line in _packed([clean(text) for text in small if text], " · ", width)),
        Text(),
    ]


def _widest(document: Document, width: int) -> _Grid | None:
    """Return the grid of the most columns, from the first on, that fit; None where the published ones do not.

    The model's name gives way only in the grids of all and of the published columns; percentiles stay together.
    """
    columns = document.columns
    for count in range(len(columns), len(PUBLISHED) - 1, -1):
        ends = count in {len(columns), len(PUBLISHED)}
        grid = _Grid.of(columns[:count], document, width, least=_LEAST_MODEL_CELLS if ends else _MODEL_CELLS)
        apart = columns[count - 1] in PERCENTILES[:-1]
        if grid.span <= width and not apart:
            return grid
    return None


def _rows(rows: Sequence[Measurement], document: Document, grid: _Grid | None, width: int) -> Iterator[Text]:
    if grid is None:
        for place, row in enumerate(rows):
            yield from (*([Text()] if place else []), *_card(row, document, width))
        return
    yield from grid.head()
    shown = {column.name for column in grid.columns}
    for row in rows:
        yield from (grid.line(row), *_flow(_details(row, document, shown), width, document))


def _details(row: Measurement, document: Document, shown: Collection[str] = ()) -> list[str]:
    """What a row tells beyond the columns `shown`, in pieces that are not broken; blanks are left to the notes."""
    words, price = document.words, document.price
    half, numbers = document.show(HALF_WIDTH, row), ", ".join(map(str, document.numbers(row)))
    spread = _GAP.join(f"{c.name} {document.show(c, row)}" for c in PERCENTILES if c.value(row) is not None)
    amount = document.show(cost(price), row) if price else BLANK
    currency = clean(price.currency) if price else ""
    gate = verdict(row.gate, words)
    pieces = {
        HALF_WIDTH.name: f"±{half}" if half != BLANK else "",
        PERCENTILES[0].name: f"{spread} ms" if spread else "",
        COST: words.cost.format(amount=f"{amount} {currency}".rstrip()) if amount != BLANK else "",
        "Engine": clean(row.engine or ""),
        "Executed": executed(row, words) or "",
        "Gate": words.gate.format(verdict=gate) if gate else "",
        CLOCKS: at_clocks(row, words) if document.clocks else "",
        ACCURACY: shares(row, words) or "",
        "Findings": words.notes.format(numbers=numbers) if numbers else "",
    }
    return [text for name, text in pieces.items() if text and name not in shown]


def _card(row: Measurement, document: Document, width: int) -> list[Text]:
    words = document.words
    asked = [
        row.framework,
        row.precision.upper(),
        words.batch.format(n=row.batch_size),
        words.thread_num.format(n=row.thread_num),
    ]
    speed = f"{document.show(LATENCY, row)} ms, {document.show(THROUGHPUT, row)} samples/s"
    return [
        Text(_fitted(clean(model_name(row)) or BLANK, width), "bold"),
        *_flow([clean(text) for text in asked], width, document),
        _marked(_GAP + (speed if row.status == "ok" else words.statuses[row.status]), row, document),
        *_flow(_details(row, document), width, document),
    ]


def _resources(document: Document, width: int) -> list[Text]:
    """The second table, or where it does not fit a few lines for each row."""
    words, rows = document.words, document.resources
    if not rows:
        return []
    lines = [Text(words.resources, "bold"), Text()]
    grid = _Grid.of((MODEL, *document.resource_columns), document, width, _LEAST_MODEL_CELLS)
    if grid.span <= width:
        return [*lines, *grid.head(), *(grid.line(row) for row in rows), Text()]
    for row in rows:
        named = zip(document.resource_columns, (document.show(c, row) for c in document.resource_columns), strict=True)
        pieces = [f"{document.heading(column)} {text}" for column, text in named if text != BLANK]
        lines += [Text(_fitted(clean(model_name(row)) or BLANK, width), "bold"), *_flow(pieces, width, document)]
    return [*lines, Text()]


def _notes(document: Document, width: int) -> list[Text]:
    """The footnotes: the code, what it says, and indented below it what its rows say apart."""
    notes, form = document.notes.notes, document.words.label
    digits, lines = len(str(len(notes))), []
    for number, note in enumerate(notes, 1):
        label = f"{number:>{digits}} "
        indent = " " * len(label)
        lines += wrapped(form.format(label=note.code, text=note.says).rstrip(), width, label, indent)
        for rows, text in note.by_row:
            said = form.format(label=rows, text=text)
            lines += wrapped(said, width, f"{indent}{_GAP}", f"{indent}{_GAP * 2}")
    return [*(Text(line) for line in lines), *([Text()] if lines else [])]


def _fitted(text: str, cells: int) -> str:
    """Cut a name to so many cells; the end of a path tells more than its beginning."""
    if cell_len(text) <= cells:
        return text
    while cell_len(text) > cells - 1:
        text = text[1:]
    return f"…{text}"


def _words(name: str) -> list[str]:
    return name.replace("(", " (").split()


def _flow(pieces: Sequence[str], width: int, document: Document) -> list[Text]:
    """Set pieces side by side, indented, on as many lines as they need."""
    lines = _packed(pieces, _GAP, width - len(_GAP))
    return [_warned(Text(_GAP + line, "dim"), document) for line in lines]


def _packed(pieces: Sequence[str], between: str, width: int) -> list[str]:
    """Set pieces side by side on lines that end between them; a piece that is longer than a line is wrapped."""
    lines: list[str] = []
    for piece in pieces:
        if lines and cell_len(lines[-1] + between + piece) <= width:
            lines[-1] += between + piece
        else:
            lines += wrapped(piece, width)
    return lines


def _marked(line: str, row: Measurement, document: Document) -> Text:
    text = Text(line)
    if row.status != "ok":
        style = "bold red" if row.status == "failed" else "yellow"
        text.highlight_regex(rf"(?<!\w){re.escape(document.words.statuses[row.status])}(?!\w)", style)
    return _warned(text, document)


def _warned(text: Text, document: Document) -> Text:
    text.highlight_regex(rf"{re.escape(document.words.wrong)}(?!\w)", "bold red")
    return text


def _in_ascii(text: Text) -> Text:
    return Text("\n").join(
        Text(to_ascii(line.plain), spans=[] if len(to_ascii(line.plain)) != len(line.plain) else list(line.spans))
        for line in text.split("\n", allow_blank=True)
    )
