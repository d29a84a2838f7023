"""A sheet as a fragment of HTML, for notebooks: the tables and notes of Markdown, without scripts and styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column
from speedsheet.sheets.columns import is_number
from speedsheet.sheets.document import Document
from speedsheet.sheets.letters import clean


def render(document: Document) -> str:
    """Return title, front matter, a table for each precision, numbered notes and the host."""
    words = document.words
    title = escape(clean(document.front.title or words.title))
    parts = [f"<h3>{title}</h3>"]
    told = "".join(f"<li><b>{escape(label)}</b> {escape(text)}</li>" for label, text in document.lines)
    parts += [f"<ul>{told}</ul>"] if told else []
    for section in document.sections:
        parts += [f"<h4>{escape(section.heading)}</h4>", _table(document, document.columns, section.rows)]
    notes = "".join(f"<li>{''.join(_note(document, place))}</li>" for place in range(len(document.notes.notes)))
    parts += [f"<ol>{notes}</ol>"] if notes else []
    parts += [f"<p>{escape(text)}</p>" for text in (document.host, document.legend, document.held) if text]
    return "\n".join(parts)


def _table(document: Document, columns: Sequence[Column], rows: Sequence[Measurement]) -> str:
    style = ' style="text-align:right"'
    marks = [style if is_number(column) else "" for column in columns]
    head = "".join(
        f"<th{mark}>{escape(document.heading(column))}</th>" for column, mark in zip(columns, marks, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark}>{escape(document.show(column, row))}</td>" for column, mark in zip(columns, marks, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _note(document: Document, place: int) -> Iterator[str]:
    note = document.notes.notes[place]
    yield f"<code>{escape(clean(note.code))}</code> {escape(note.says)}"
    if note.by_row:
        yield "<ul>" + "".join(f"<li>{escape(rows)}: {escape(text)}</li>" for rows, text in note.by_row) + "</ul>"
