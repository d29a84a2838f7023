"""`speedsheet check`: does a published sheet agree with itself, and with the device that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import DEBUG, LANGUAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from speedsheet.published.row import PublishedSheet
    from speedsheet.sheets.words import Words
    from speedsheet.twin.checking import RowCheck, SheetCheck

CHECK_SCHEMA, LIST_SCHEMA = "speedsheet.check/1", "speedsheet.check.list/1"
#: Cells of a line where nobody is looking.
_FILE_WIDTH = 120


@click.command("check")
@click.argument("sheet", metavar="SHEET", required=False)
@click.option("--device", "device_name", metavar="NAME|FILE.toml", help="The card; the one that the sheet's map names.")
@click.option("--map", "map_file", type=click.Path(path_type=Path), metavar="FILE.toml", help="What its columns are.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the answer.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(sheet: str | None, device_name: str | None, map_file: Path | None, words: Words, as_json: bool) -> int:
    """Check a published sheet: its arithmetic, its rows against each other, and the limits of its device.

    SHEET is a CSV, Markdown or HTML file, or one that ships; without it, those are listed. A map FILE.toml beside the
    sheet, or given by --map, names columns and device where the headings do not.
    """
    from speedsheet.cli import screen
    from speedsheet.cli.check_view import rendered, shipped_list
    from speedsheet.cli.check_words import CHECK_WORDS
    from speedsheet.host.places import cache_folder
    from speedsheet.published.read import load, shipped
    from speedsheet.twin import device as devices
    from speedsheet.twin.checking import check

    out = screen.output()
    width = out.width if out.terminal else _FILE_WIDTH
    if sheet is None:
        known = [load(name) for name in shipped()]
        out.write(_listing(known) if as_json else shipped_list(known, CHECK_WORDS[words.lang], width))
        return 0
    found = load(sheet, map_file)
    name = device_name or found.device
    checked = check(found, devices.load(name) if name else None, cache_folder())
    if as_json:
        out.write(json.dumps(_document(checked), indent=2, allow_nan=False) + "\n")
    elif out.terminal:
        out.show(rendered(checked, CHECK_WORDS[words.lang], width, ascii_only=out.ascii_only))
    else:
        out.write(rendered(checked, CHECK_WORDS[words.lang], width, ascii_only=out.ascii_only).plain + "\n")
    return 0


def _listing(sheets: Sequence[PublishedSheet]) -> str:
    """Return the sheets that ship as JSON text; what they do not say is null."""
    rows = [
        {"name": sheet.name, "publisher": sheet.said.get("publisher"), "rows": len(sheet.rows),
         "title": sheet.said.get("title")}
        for sheet in sheets
    ]  # fmt: skip
    return json.dumps({"schema": LIST_SCHEMA, "sheets": rows}, indent=2, allow_nan=False) + "\n"


def _document(checked: SheetCheck) -> dict[str, Any]:
    from speedsheet.twin.checking import VERDICTS

    return {
        "schema": CHECK_SCHEMA,
        "sheet": checked.sheet.name,
        "said": dict(checked.sheet.said),
        "device": checked.device.name if checked.device else None,
        "latency_is_derived": checked.derived,
        "counts": {verdict: checked.count(verdict) for verdict in VERDICTS},
        "rows": [_row(row) for row in checked.rows],
        "unread": [{"line": line, "why": why} for line, why in checked.sheet.unread],
    }


def _row(checked: RowCheck) -> dict[str, Any]:
    row, implied = checked.row, checked.in_flight
    figures = {
        name: None if figure is None else figure.value
        for name, figure in (
            ("latency_ms", row.latency_ms), ("p99_ms", row.p99_ms),
            ("throughput_samples_per_s", row.throughput_samples_per_s),
        )
    }  # fmt: skip
    return {
        "line": row.line, "model": row.model, "framework": row.framework, "precision": row.precision,
        "batch_size": row.batch_size, "thread_num": row.thread_num, **figures,
        "in_flight": None if implied is None else {
            "value": implied.value, "low": implied.low, "high": implied.high, "clients": implied.clients,
            "stated": implied.stated, "lost_share": implied.lost_share,
        },
        "limit_share": checked.share, "binding": checked.binding or None, "verdict": checked.verdict,
        "findings": [{"code": finding.code, "text": finding.text} for finding in checked.findings],
        "flips": [{"code": flip.code, "value": flip.value, "text": flip.text} for flip in checked.flips],
    }  # fmt: skip
