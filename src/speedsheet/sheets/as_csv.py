"""A sheet as CSV, for spreadsheets and scripts: numbers as measured, not rounded."""

from __future__ import annotations

import csv
import io
import math

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column, Sheet
from speedsheet.sheets.columns import PUBLISHED, columns
from speedsheet.sheets.letters import clean

_FORMULA = ("=", "+", "-", "@")


def render(sheet: Sheet) -> str:
    """Return one line a row, published columns first under their published names; blank is unmeasured.

    Findings are their codes; Status and Error say why a row has no number.
    """
    declared = (
        *columns(lambda row: " ".join(dict.fromkeys(note.code for note in row.findings)) or None),
        Column("Status", "", "", lambda row: row.status),
        Column("Error", "", "", lambda row: row.error),
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_header(column) for column in declared])
    writer.writerows([_cell(column, row) for column in declared] for row in sheet.rows)
    return text.getvalue()


def neutral(text: str) -> str:
    """Return text that no spreadsheet takes for a formula: an apostrophe goes before ``= + - @``; one line."""
    one_line = clean(text)
    return f"'{one_line}" if one_line.startswith(_FORMULA) else one_line


def _header(column: Column) -> str:
    name = column.name.replace("±", "+-")
    return f"{name} ({column.unit})" if column.unit and column not in PUBLISHED else name


def _cell(column: Column, row: Measurement) -> str:
    value = column.value(row)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return neutral(value) if isinstance(value, str) else repr(value)
