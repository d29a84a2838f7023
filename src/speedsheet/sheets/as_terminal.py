"""A sheet for a terminal: one line a row where it is wide, two where it is not, a card a row where it is narrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len
from rich.text import Text

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column, Sheet
from speedsheet.sheets.columns import (
    ENGINE,
    EXECUTED,
    HALF_WIDTH,
    LATENCY,
    PERCENTILES,
    PUBLISHED,
    THROUGHPUT,
    host_line,
    is_number,
    numbered,
    show,
    verdict,
)
from speedsheet.sheets.footnotes import Footnotes
from speedsheet.sheets.letters import BLANK, clean, to_ascii

_GAP = "  "
_MODEL_CELLS, _LEAST_MODEL_CELLS = 28, 12


@dataclass(frozen=True, slots=True)
class _Grid:
    """Columns with their widths in cells, `span` of them in all; the model's name gives way first."""

    columns: Sequence[Column]
    widths: Sequence[int]

    @classmethod
    def of(cls, columns: Sequence[Column], sheet: Sheet, width: int, least: int) -> _Grid:
        natural = [
            max(cell_len(text) for text in (*_words(column.name), *(show(column, row) for row in sheet.rows)))
            for column in columns
        ]
        others = sum(natural[1:]) + len(_GAP) * (len(natural) - 1)
        return cls(columns, [min(natural[0], max(width - others, least), _MODEL_CELLS), *natural[1:]])

    @property
    def span(self) -> int:
        return sum(self.widths) + len(_GAP) * (len(self.widths) - 1)

    def head(self) -> list[Text]:
        """The names, broken over as many lines as they need, set on the rule below them."""
        names = [wrap(" ".join(_words(column.name)), size) for column, size in self._sized()]
        depth = max(len(name) for name in names)
        raised = [[""] * (depth - len(name)) + name for name in names]
        return [
            *(Text(self._joined(level), "bold") for level in zip(*raised, strict=True)),
            Text("─" * self.span, "dim"),
        ]

    def line(self, row: Measurement) -> Text:
        return _marked(self._joined([_fitted(show(column, row), size) for column, size in self._sized()]), row)

    def _sized(self) -> list[tuple[Column, int]]:
        return list(zip(self.columns, self.widths, strict=True))

    def _joined(self, cells: Iterable[str]) -> str:
        padded = []
        for (column, size), text in zip(self._sized(), cells, strict=True):
            space = " " * (size - cell_len(text))
            padded.append(space + text if is_number(column) else text + space)
        return _GAP.join(padded).rstrip()


def render(sheet: Sheet, width: int, title: str = "", *, ascii_only: bool = False) -> Text:
    """Return the sheet as styled text whose lines fit `width` cells; a style carries nothing that words do not."""
    notes = Footnotes.of(sheet)
    room = width - ascii_only  # the stand-in of ± is one letter longer
    wide = _Grid.of(numbered(notes), sheet, room, least=_LEAST_MODEL_CELLS)
    narrow = _Grid.of(PUBLISHED, sheet, room, least=_LEAST_MODEL_CELLS)
    lines = [Text(clean(title), "bold"), Text()] if clean(title) else []
    if wide.span <= room:
        lines += [*wide.head(), *(wide.line(row) for row in sheet.rows)]
    elif narrow.span <= room:
        lines += narrow.head()
        for row in sheet.rows:
            lines += [narrow.line(row), *_flow(_details(row, notes), room)]
    else:
        for place, row in enumerate(sheet.rows):
            lines += [*([Text()] if place else []), *_card(row, notes, room)]
    lines += _foot(sheet, notes, room)
    text = Text("\n").join(lines)
    return _in_ascii(text) if ascii_only else text


def summary(row: Measurement) -> str:
    """Return a finished row in a few words, for the live view."""
    if row.status != "ok":
        return f"{row.status}: {clean(row.error or 'no reason was given')}"
    return " · ".join([*([clean(row.engine)] if row.engine else []), f"{show(LATENCY, row)} ms", _speed(row)])


def _details(row: Measurement, notes: Footnotes) -> list[str]:
    """What a row tells beyond the published columns, in pieces that are not broken; blanks are left to the notes."""
    half, gate, numbers = show(HALF_WIDTH, row), verdict(row.gate), notes.numbers(row)
    spread = _GAP.join(f"{column.name} {show(column, row)}" for column in PERCENTILES if column.value(row) is not None)
    return [
        *([f"±{half}"] if half != BLANK else []),
        *([f"{spread} ms"] if spread else []),
        *(text for text in (show(ENGINE, row), show(EXECUTED, row)) if text != BLANK),
        *([f"gate {gate}"] if gate else []),
        *(["notes " + ", ".join(map(str, numbers))] if numbers else []),
    ]


def _card(row: Measurement, notes: Footnotes, width: int) -> list[Text]:
    asked = [row.framework, row.precision.upper(), f"batch {row.batch_size}", f"thread_num {row.thread_num}"]
    speed = f"{show(LATENCY, row)} ms, {show(THROUGHPUT, row)} samples/s" if row.status == "ok" else row.status
    return [
        Text(_fitted(clean(row.model) or BLANK, width), "bold"),
        *_flow([clean(text) for text in asked], width),
        _marked(f"{_GAP}{speed}", row),
        *_flow(_details(row, notes), width),
    ]


def _foot(sheet: Sheet, notes: Footnotes, width: int) -> list[Text]:
    lines = [Text()] if notes.notes else []
    digits = len(str(len(notes.notes)))
    for number, note in enumerate(notes.notes, 1):
        label = f"{number:>{digits}} "
        indent = " " * len(label)
        said = f"{clean(note.code)}: {clean(note.text)}"
        lines += [Text(part) for part in wrap(said, width, initial_indent=label, subsequent_indent=indent)]
    host = [Text(part, "dim") for part in wrap(host_line(sheet), width)]
    return [*lines, Text(), *host] if host else lines


def _speed(row: Measurement) -> str:
    half = show(HALF_WIDTH, row)
    return f"{show(THROUGHPUT, row)} samples/s" + ("" if half == BLANK else f" ±{half}")


def _fitted(text: str, cells: int) -> str:
    """Cut a name to so many cells; the end of a path tells more than its beginning."""
    if cell_len(text) <= cells:
        return text
    while cell_len(text) > cells - 1:
        text = text[1:]
    return f"…{text}"


def _words(name: str) -> list[str]:
    return name.replace("(", " (").split()


def _flow(pieces: Sequence[str], width: int) -> list[Text]:
    """Set pieces side by side, indented, on as many lines as they need."""
    lines = [_GAP]
    for piece in pieces:
        joined = lines[-1] + (_GAP if lines[-1].strip() else "") + piece
        if cell_len(joined) > width and lines[-1].strip():
            lines.append(_GAP + piece)
        else:
            lines[-1] = joined
    return [_warned(Text(line, "dim")) for line in lines if line.strip()]


def _marked(line: str, row: Measurement) -> Text:
    text = Text(line)
    text.highlight_regex(r"\bfailed\b", "bold red" if row.status == "failed" else "")
    text.highlight_regex(r"\bskipped\b", "yellow" if row.status == "skipped" else "")
    return _warned(text)


def _warned(text: Text) -> Text:
    text.highlight_regex(r"\bFAIL\b[^,]*", "bold red")
    return text


def _in_ascii(text: Text) -> Text:
    return Text("\n").join(
        Text(to_ascii(line.plain), spans=[] if len(to_ascii(line.plain)) != len(line.plain) else list(line.spans))
        for line in text.split("\n", allow_blank=True)
    )
