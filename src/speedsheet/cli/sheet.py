"""`speedsheet sheet`: measure a suite of rows and print the sheet."""

from __future__ import annotations

from typing import Any

import click

from speedsheet.cli.options import Options, measuring
from speedsheet.cli.seam import Measure


@click.command("sheet")
@click.option("--suite", default="first", show_default=True, metavar="NAME|FILE.toml", help="The rows to measure.")
@measuring
@click.pass_obj
def verb(measure: Measure | None, /, suite: str, **given: Any) -> int:
    """Measure a suite of rows and print the sheet.

    Options override what the suite says, for every row.
    """
    from dataclasses import replace

    from speedsheet.cli.measuring import measured
    from speedsheet.sheets.suite import load

    options = Options(**given)
    asked = load(suite)
    if options.budget_s is None:
        options = replace(options, budget_s=asked.budget_s)
    front = asked.front_in(options.words.lang)
    return measured([options.over(request) for request in asked.requests], options, front, measure).code
