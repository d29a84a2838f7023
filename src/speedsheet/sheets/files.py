"""A sheet on disk: one folder with the three formats, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from speedsheet.core.folders import publish
from speedsheet.sheets import as_csv, as_json, as_markdown
from speedsheet.sheets.beside import Beside
from speedsheet.sheets.document import Document


def write(document: Document, folder: Path, beside: Sequence[Beside] = ()) -> Path:
    """Write sheet.md, sheet.csv and sheet.json into a new folder of `folder` named by the time; return it.

    What stands `beside` the rows is in all three.

    CSV that is not ASCII begins with a byte order mark: spreadsheets take it for something else without one.
    Raises OSError where it cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    tries = count(1)

    def name() -> str:
        turn = next(tries)
        return stamp if turn == 1 else f"{stamp}-{turn}"

    def fill(hidden: Path) -> None:
        table = as_csv.render(document, *(column for one in beside for column in one.columns(document)))
        more = {key: part for one in beside for key, part in one.content(document).items()}
        (hidden / "sheet.md").write_text(as_markdown.render(document, beside), encoding="utf-8")
        (hidden / "sheet.csv").write_text(table, encoding="utf-8" if table.isascii() else "utf-8-sig", newline="")
        (hidden / "sheet.json").write_text(as_json.render(document, **more), encoding="utf-8")

    return publish(folder, name, fill)
