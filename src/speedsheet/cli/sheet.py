"""`speedsheet sheet`: measure a suite of rows and print the sheet."""

from __future__ import annotations

from typing import Any

import click

from speedsheet.cli.options import Options, measuring
from speedsheet.cli.seam import Measure


@click.command("sheet")
@click.option("--suite", default="stcp920", show_default=True, metavar="NAME|FILE.toml", help="The rows to measure.")
@measuring
@click.pass_obj
def verb(measure: Measure | None, /, suite: str, **given: Any) -> int:
    """Measure a suite of rows and print the sheet.

    Options override what the suite says, for every row. Where neither --quick nor --time is given, rows are measured
    until every half-width is at most 5 %, or the budget is spent: 30 minutes, unless you or the suite say otherwise.
    """
    from speedsheet.cli.measuring import measured
    from speedsheet.sheets.suite import load

    asked = load(suite)
    options = Options(**given).settled(refine=True, budget_s=asked.budget_s)
    front = asked.front_in(options.words.lang)
    return measured([options.over(request) for request in asked.requests], options, front, measure).code
