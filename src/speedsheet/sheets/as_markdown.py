"""A sheet as Markdown: one table, numbered notes, the host."""

from __future__ import annotations

import re

from speedsheet.core.sheet import Sheet
from speedsheet.sheets.columns import host_line, is_number, numbered, show
from speedsheet.sheets.footnotes import Footnotes
from speedsheet.sheets.letters import clean


def render(sheet: Sheet, title: str = "") -> str:
    """Return the sheet as GitHub-flavoured Markdown, numbers rounded as their intervals allow."""
    notes = Footnotes.of(sheet)
    columns = numbered(notes)
    table = [
        _line([escape(column.name) for column in columns]),
        _line(["---:" if is_number(column) else "---" for column in columns]),
        *(_line([escape(show(column, row)) for column in columns]) for row in sheet.rows),
    ]
    parts = [f"## {escape(title)}"] if clean(title) else []
    parts.append("\n".join(table))
    if notes.notes:
        parts.append(
            "\n".join(f"{n}. `{_code(note.code)}`: {escape(note.text)}" for n, note in enumerate(notes.notes, 1))
        )
    if host_line(sheet):
        parts.append(f"Host: {escape(host_line(sheet))}.")
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is: one line, no table bar, no HTML, no emphasis, no link.

    Underscores inside words stay bare: GitHub-flavoured Markdown takes them for letters.
    """
    one_line = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~#$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])", r"\\\g<0>", one_line)


def _code(text: str) -> str:
    return clean(text).replace("`", "'").replace("|", "/")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
