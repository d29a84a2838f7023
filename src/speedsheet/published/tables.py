"""Tables in CSV, Markdown and HTML as plain cells with their line numbers; nothing in them is believed or executed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser

MAX_CELL_CHARS, MAX_ROWS, MAX_COLUMNS = 1000, 20_000, 200
#: Of all tables in HTML together, where one cell may stand in millions of places.
MAX_CELLS = 1_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A heading row and the rows below it, each with its line; cells are text on one line, cut at 1 000 letters.

    `semicolons` says that these part its cells: where that is usual, decimals stand behind a comma.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    semicolons: bool = False


def tables(text: str, kind: str) -> list[Table]:
    """Return the tables of a text: `kind` is ``csv``, ``md`` or ``html``. Raises ValueError for what is too large."""
    found = {"csv": _csv, "md": _markdown, "html": _html}[kind](text)
    semicolons = kind == "csv" and _delimiter(text) == ";"
    return [_bounded(lines, semicolons) for lines in found if len(lines) > 1]


_Lines = list[tuple[int, Sequence[str]]]


def _bounded(lines: _Lines, semicolons: bool) -> Table:
    if len(lines) > MAX_ROWS or any(len(cells) > MAX_COLUMNS for _, cells in lines):
        raise ValueError(f"a table is larger than {MAX_ROWS} rows or {MAX_COLUMNS} columns")
    clean = [(line, tuple(" ".join(cell[:MAX_CELL_CHARS].split()) for cell in cells)) for line, cells in lines]
    return Table(clean[0][1], tuple(clean[1:]), semicolons)


def _csv(text: str) -> list[_Lines]:
    csv.field_size_limit(max(len(text), 1))  # a cell cannot be longer than the file, which is bounded
    reader = csv.reader(io.StringIO(text), delimiter=_delimiter(text))
    try:
        return [[(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _delimiter(text: str) -> str:
    sample = text[:4096].splitlines()[:1]
    return max(",;\t", key=sample[0].count) if sample else ","


def _markdown(text: str) -> list[_Lines]:
    found: list[_Lines] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("|"):
            found.append([])
            continue
        inside = line.strip().removeprefix("|").removesuffix("|")
        cells = [_unmarked(cell) for cell in re.split(r"(?<!\\)\|", inside)]
        if all(re.fullmatch(r"\s*:?-+:?\s*", cell) for cell in cells):
            continue
        found[-1].append((number, cells))
    return found


def _unmarked(cell: str) -> str:
    """Return a Markdown cell without emphasis, code marks and escapes."""
    return re.sub(r"\\(.)", r"\1", re.sub(r"(\*\*|__|`)", "", cell)).strip()


#: What stands in a cell for a tag.
_MARKS = {"br": " ", "sup": "^"}


def _html(text: str) -> list[_Lines]:
    parser = _Cells()
    parser.feed(text)
    parser.close()
    parser.handle_endtag("table")  # a file may end in the middle of one
    return parser.tables


class _Cells(HTMLParser):
    """Collects the text of cells; a cell that spans columns or rows stands in each of them.

    What is raised above a line is marked with ``^``: a footnote's number is no digit of the figure before it.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[_Lines] = []
        self._open: list[_Lines] = []
        self._row: list[str] | None = None
        self._cell: list[str] | None = None
        self._spans: dict[int, tuple[int, str]] = {}
        self._span = (1, 1)
        self._room = MAX_CELLS

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._end_row()  # of a table around this one
            self._spans = {}
            self._open.append([])
            self.tables.append(self._open[-1])
        elif tag == "tr" and self._open:
            self._end_row()
            self._row = []
        elif tag in {"td", "th"} and self._row is not None:
            self._end_cell()
            self._cell = []
            given = dict(attrs)
            self._span = _count(given.get("colspan"), MAX_COLUMNS), _count(given.get("rowspan"), MAX_ROWS)
        elif tag in _MARKS and self._cell is not None:
            self._cell.append(_MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._end_cell()
        elif tag in {"tr", "table"}:
            self._end_row()
        if tag == "table":
            self._spans = {}
            del self._open[-1:]

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)

    def _end_cell(self) -> None:
        if self._cell is None or self._row is None:
            return
        self._carry()
        text, (columns, rows) = "".join(self._cell), self._span
        for _ in range(min(columns, MAX_COLUMNS - len(self._row))):
            if rows > 1:
                self._spans[len(self._row)] = (rows - 1, text)
            self._row.append(text)
        self._cell = None

    def _end_row(self) -> None:
        self._end_cell()
        if self._row is not None:
            self._carry()
            self._room -= len(self._row)
            if self._room < 0:
                raise ValueError(f"its tables are larger than {MAX_CELLS} cells")
            if self._row:
                self._open[-1].append((self.getpos()[0], self._row))
        self._row = None

    def _carry(self) -> None:
        """Put in what spans down from the rows above."""
        assert self._row is not None
        for _ in self._still(len(self._row)):
            left, text = self._spans.pop(len(self._row))
            if left > 1:
                self._spans[len(self._row)] = (left - 1, text)
            self._row.append(text)

    def _still(self, column: int) -> Iterator[int]:
        while column in self._spans and column < MAX_COLUMNS:
            yield column
            column += 1


def _count(text: str | None, most: int) -> int:
    return min(int(text), most) if text and text.isdigit() and int(text) else 1
