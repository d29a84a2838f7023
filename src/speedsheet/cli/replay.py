"""`speedsheet replay RECORD`: measure a record's row again, as it was asked, and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from speedsheet.cli.options import COUNT, DEBUG, DURATION, LANGUAGE
from speedsheet.cli.seam import Measure

if TYPE_CHECKING:
    from speedsheet.sheets.words import Words

_STALL_S = 300.0


@click.command("replay")
@click.argument("record", metavar="RECORD")
@click.option("--model", type=click.Path(path_type=Path), metavar="FILE.onnx", help="Where your own model is now.")
@click.option("--time", "window_s", type=DURATION, metavar="10s", help="Measured window; the record's own by default.")
@click.option("--processes", type=COUNT, metavar="N", help="Worker processes, one after the other.")
@click.option("--across", is_flag=True, help="Say which is faster, though the hosts differ.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the new record goes.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the answer.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
@click.pass_obj
def verb(
    measure: Measure | None, /, record: str, model: Path | None, window_s: float | None, processes: int | None,
    across: bool, out: Path | None, words: Words, as_json: bool,
) -> int:  # fmt: skip
    """Measure a record again under the conditions that it holds, and compare: A is the record, B is now.

    RECORD is a record's folder, wherever it was copied to, or its name in your data folder. What differs between the
    two hosts comes first, and then no winner is called unless --across says so.
    """
    from dataclasses import replace

    from speedsheet.cli import screen
    from speedsheet.cli.compare_records import document, rendered
    from speedsheet.cli.measuring import writable
    from speedsheet.cli.seam import bench
    from speedsheet.cli.view import view
    from speedsheet.core.errors import UsageError
    from speedsheet.history.comparing import compare
    from speedsheet.history.replay import request_of, same_model
    from speedsheet.history.sources import Run, load
    from speedsheet.host.places import cache_folder, data_folder

    before = load(record, cache_folder())
    if before.kind != "record" or before.folder is None:
        raise UsageError(
            f"is a {before.kind}, not a record", where=record, do="give one record; a run: speedsheet guard"
        )
    request = request_of(before.folder, model)
    request = replace(request, window_s=window_s or request.window_s, processes=processes or request.processes)
    told, printed = screen.errors(), screen.output()
    with view(told, quiet=as_json) as watching:
        sheet = (measure or bench())(
            [request], store=writable(out or data_folder()) / "records", budget_s=None, refine=False, resume=False,
            stall_limit_s=_STALL_S, listen=watching.listen, finished=watching.finished,
        )  # fmt: skip
    now = Run("now", "record", sheet.rows, sheet.host)
    if sheet.ok and not same_model(before.rows[0], sheet.rows[0]):
        raise UsageError(
            "the model is not the one that was measured", where=request.model, do="give that: --model FILE"
        )
    compared = compare(before, now, across=across)
    text = (
        document(compared) if as_json else rendered(compared, words, printed.line_width, ascii_only=printed.ascii_only)
    )
    printed.write(text)
    return 0 if sheet.ok else 1
