"""A sheet as CSV, for spreadsheets and scripts: one table in the suite's order, numbers as measured, not rounded."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column
from speedsheet.sheets.columns import (
    ACCURACY,
    CLOCKS,
    MORE_PERCENTILES,
    PUBLISHED,
    at_clocks,
    columns,
    heading,
    resources,
)
from speedsheet.sheets.document import Document
from speedsheet.sheets.letters import clean
from speedsheet.sheets.words import Words

_SHARES = ("top1", "low", "high", "n", "fp32_top1")
_FORMULA = ("=", "+", "-", "@")
#: Where a spreadsheet that parts cells by semicolons, as many do, would begin a cell with a formula.
_CELL_BEGINS = re.compile(r';(?=[\s"]*[=+\-@])')
_SIGNS = str.maketrans({"±": "+-", "≤": "<=", "≥": ">="})


def render(document: Document, *more: Column) -> str:
    """Return one line a row, published columns first; blank is unmeasured. Headings are in the document's language.

    Findings are their codes; Status and Error say why a row has no number.
    """
    words = document.words
    declared = (
        *columns(
            words, lambda row: " ".join(dict.fromkeys(note.code for note in row.findings)) or None, document.price
        ),
        *MORE_PERCENTILES,
        *resources(words),
        Column("Status", "", "", lambda row: row.status),
        Column("Error", "", "", lambda row: row.error),
    )
    if document.accuracy:
        declared += tuple(Column(f"{ACCURACY} {key}", "", "higher", _share(key)) for key in _SHARES)
    if document.clocks:
        declared += (Column(CLOCKS, "", "", lambda row: at_clocks(row, words)),)
    declared += more
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_header(column, words) for column in declared])
    writer.writerows([_cell(column, row) for column in declared] for row in document.sheet.rows)
    return text.getvalue()


def _share(key: str) -> Callable[[Measurement], float | None]:
    return lambda row: (row.task_accuracy or {}).get(key)


def neutral(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: an apostrophe goes before ``= + - @``; one line.

    So it does behind a semicolon within the text; tabs are none of a line (`letters.clean`).
    """
    one_line = _parted(clean(text))
    return f"'{one_line}" if one_line.startswith(_FORMULA) else one_line


def _parted(text: str) -> str:
    return _CELL_BEGINS.sub(";'", text)


def _header(column: Column, words: Words) -> str:
    name = heading(column, words).translate(_SIGNS)
    named = column in PUBLISHED or not column.unit or name.endswith(")")
    return _parted(name if named else f"{name} ({column.unit})")


def _cell(column: Column, row: Measurement) -> str:
    value = column.value(row)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if not isinstance(value, str):
        return repr(value)
    return neutral(value.translate(_SIGNS) if column.name == "Gate" else value)
