"""A sheet as Markdown: front matter, a table for each precision, numbered notes, the host, how to read it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column
from speedsheet.sheets.beside import Beside
from speedsheet.sheets.columns import MODEL, is_number
from speedsheet.sheets.document import Document
from speedsheet.sheets.footnotes import Note
from speedsheet.sheets.letters import clean


def render(document: Document, beside: Sequence[Beside] = ()) -> str:
    """Return the sheet as GitHub-flavoured Markdown, numbers rounded as their intervals allow.

    What stands `beside` its rows comes last.
    """
    words = document.words
    parts = [f"## {escape(document.front.title or words.title)}"]
    told = [words.label.format(label=f"**{label}**", text=escape(text)) for label, text in document.lines]
    parts += ["\n".join(f"- {line}" for line in told)] if told else []
    for section in document.sections:
        parts += [f"### {escape(section.heading)}", _table(document, document.columns, section.rows)]
    if document.resources:
        columns = (MODEL, *document.resource_columns)
        parts += [f"### {escape(words.resources)}", _table(document, columns, document.resources)]
    notes = [line for n, note in enumerate(document.notes.notes, 1) for line in _note(n, note, document)]
    parts += ["\n".join(notes)] if notes else []
    parts += [words.host.format(line=escape(document.host))] if document.host else []
    parts += [escape(text) for text in (document.legend, document.held) if text]
    parts += [one.markdown(document).rstrip("\n") for one in beside]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is: one line, no table bar, no HTML, no emphasis, no link.

    Underscores inside words stay bare: GitHub-flavoured Markdown takes them for letters.
    """
    one_line = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|~#$])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])", r"\\\g<0>", one_line)


def _table(document: Document, columns: Sequence[Column], rows: Sequence[Measurement]) -> str:
    return "\n".join(
        [
            _line([escape(document.heading(column)) for column in columns]),
            _line(["---:" if is_number(column) else "---" for column in columns]),
            *(_line([escape(document.show(column, row)) for column in columns]) for row in rows),
        ]
    )


def _note(number: int, note: Note, document: Document) -> Iterator[str]:
    """Set a note as an item of a list, what its rows say apart as items within."""
    label, mark = document.words.label, f"{number}. "
    yield mark + label.format(label=f"`{_code(note.code)}`", text=escape(note.says)).rstrip()
    for rows, text in note.by_row:
        yield " " * len(mark) + "- " + label.format(label=escape(rows), text=escape(text))


def _code(text: str) -> str:
    return clean(text).replace("`", "'").replace("|", "/")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
