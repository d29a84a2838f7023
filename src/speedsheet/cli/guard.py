"""`speedsheet guard --baseline RUN --allow 5%`: exit 1 where a slowdown beyond the allowance is established."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import DEBUG, LANGUAGE, SHARE, Options, measuring
from speedsheet.cli.seam import Measure

if TYPE_CHECKING:
    from speedsheet.core.measurement import Measurement
    from speedsheet.core.request import RowRequest
    from speedsheet.history.sources import Run

PASSED, SLOWER, UNJUDGED = 0, 1, 3
_FORMATS = ("table", "markdown", "json")


@click.command("guard")
@click.argument("run", required=False)
@click.option("--baseline", required=True, metavar="RUN", help="What is to be held: a run, a record, a store.")
@click.option("--allow", type=SHARE, required=True, metavar="5%", help="A slowdown of so much is allowed.")
@click.option("--across", is_flag=True, help="Judge although host or clocks differ from the baseline's.")
@click.option("--summary", type=click.Path(path_type=Path), metavar="FILE.md",
              help="Append the Markdown summary here; $GITHUB_STEP_SUMMARY by default.")  # fmt: skip
@measuring
@click.option("--out", metavar="DIR", help="Where the records of what is measured now go; your data folder by default.")
@click.option("--format", "shape", type=click.Choice(_FORMATS), help="Default: table in a terminal, else markdown.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the answer.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@DEBUG
@click.pass_obj
def verb(
    measure: Measure | None, /, run: str | None, baseline: str, allow: float, across: bool, summary: Path | None,
    **given: Any,
) -> int:  # fmt: skip
    r"""Hold rows to a baseline. Without RUN the baseline's rows are measured now, as they were then.

    \b
    exit 0  no slowdown beyond the allowance is established
         1  one is: at 99 %, and again when the row was measured once more in three fresh processes
         3  none is, and some row could not be judged: it failed, its interval is too wide to tell a halving, or host or
            clocks differ (--across judges anyway); or something went wrong
         2  the command was wrong

    Options of measuring change what is measured now, for every row.
    """
    from speedsheet.cli import screen
    from speedsheet.cli.guard_view import as_json, as_markdown, as_table
    from speedsheet.history.comparing import compare
    from speedsheet.history.guard import guarded
    from speedsheet.history.sources import load
    from speedsheet.host.places import cache_folder

    options = Options(**given).settled()
    before = load(baseline, cache_folder())
    if run is None:
        now, again = _measured(before, options, measure)
    else:
        now, again = load(run, cache_folder()), None
    compared = compare(before, now, across=across, allow=allow)
    rows = guarded(compared, allow, again)
    out, words = screen.output(), options.words
    shape = options.format_for(terminal=out.terminal)
    if shape == "json":
        out.write(json.dumps(as_json(rows, compared, allow), indent=1, allow_nan=False) + "\n")
    elif shape == "table":
        out.write(as_table(rows, compared, allow, words, out.line_width, ascii_only=out.ascii_only))
    else:
        out.write(as_markdown(rows, compared, allow, words))
    out.stream.flush()
    place = summary or (Path(os.environ["GITHUB_STEP_SUMMARY"]) if os.environ.get("GITHUB_STEP_SUMMARY") else None)
    try:
        if place:
            with place.open("a", encoding="utf-8") as stream:
                stream.write(as_markdown(rows, compared, allow, words))
    except OSError as error:  # the answer is printed, and the exit code says it
        screen.errors().write(f"speedsheet: no summary was written to {place}: {error.strerror}\n")
    states = {row.state for row in rows}
    return SLOWER if "slower" in states else UNJUDGED if "unjudged" in states or not rows else PASSED


def _measured(
    before: Run, options: Options, measure: Measure | None
) -> tuple[Run, Callable[[Sequence[Measurement]], Sequence[Measurement]]]:
    """Measure the baseline's rows now; return them, and what measures some of them again in fresh processes."""
    from speedsheet.cli import screen
    from speedsheet.cli.measuring import writable
    from speedsheet.cli.seam import bench
    from speedsheet.cli.view import view
    from speedsheet.core.errors import UsageError
    from speedsheet.history.guard import CONFIRMING_PROCESSES
    from speedsheet.history.sources import Run
    from speedsheet.host.places import data_folder
    from speedsheet.records.remote import is_url

    if options.out and is_url(options.out):
        raise UsageError("is a URL", where="--out", do="give a folder")
    store = writable(Path(options.out) if options.out else data_folder()) / "records"
    asked = _requests(before, options)
    told = screen.errors()

    def run(requests: Sequence[RowRequest]) -> Run:
        with view(told, quiet=options.as_json) as watching:
            sheet = (measure or bench())(
                list(requests), store=store, budget_s=options.budget_s, refine=options.refine,
                resume=False,
                stall_limit_s=options.stall_limit_s, listen=watching.listen, finished=watching.finished,
            )  # fmt: skip
        return Run("now", "run", sheet.rows, sheet.host)

    now = run(asked)
    request_of_row = {id(row): request for row, request in zip(now.rows, asked, strict=True)}

    def again(rows: Sequence[Measurement]) -> Sequence[Measurement]:
        told.write(f"measuring {len(rows)} again, in {CONFIRMING_PROCESSES} processes each\n")
        return run([replace(request_of_row[id(row)], processes=CONFIRMING_PROCESSES) for row in rows]).rows

    return now, again


def _requests(before: Run, options: Options) -> list[RowRequest]:
    """Return what measures each row of the baseline again, with what was given on the command line in its place."""
    from speedsheet.core.errors import UsageError
    from speedsheet.history.replay import request_of

    rows = [row for row in before.rows if row.status == "ok"]
    if not rows:
        raise UsageError("no row of it has a number", where="--baseline", do="give a run that has")
    requests = []
    for row in rows:
        if row.record is None or not Path(row.record).is_dir():
            do = "give a run whose records are there, or the run to compare with: speedsheet guard RUN --baseline ..."
            raise UsageError(
                f"{row.model} has no record, so that it cannot be measured again", where="--baseline", do=do
            )
        request = request_of(Path(row.record))
        if options.engine not in {None, request.engine}:  # another engine has other settings
            request = replace(request, settings={}, device=None)
        requests.append(options.over(request))
    return requests
