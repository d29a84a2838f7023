"""A sheet on disk: one folder with the three formats, whole or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from speedsheet.core.folders import publish
from speedsheet.core.sheet import Sheet
from speedsheet.sheets import as_csv, as_json, as_markdown


def write(sheet: Sheet, folder: Path, title: str = "") -> Path:
    """Write sheet.md, sheet.csv and sheet.json into a new folder of `folder` named by the time; return it.

    Raises OSError where it cannot be written.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    tries = count(1)

    def name() -> str:
        turn = next(tries)
        return stamp if turn == 1 else f"{stamp}-{turn}"

    def fill(hidden: Path) -> None:
        (hidden / "sheet.md").write_text(as_markdown.render(sheet, title), encoding="utf-8")
        (hidden / "sheet.csv").write_text(as_csv.render(sheet), encoding="utf-8", newline="")
        (hidden / "sheet.json").write_text(as_json.render(sheet), encoding="utf-8")

    return publish(folder, name, fill)
