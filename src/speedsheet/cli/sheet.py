"""`speedsheet sheet`: measure a suite of rows and print the sheet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import Options, printing_sheets
from speedsheet.cli.seam import Measure

if TYPE_CHECKING:
    from speedsheet.core.request import RowRequest
    from speedsheet.sheets.beside import Beside


#: The card whose published sheet the default suite has the rows of.
_CARD = "stcp920"


@click.command("sheet")
@click.option("--suite", default="stcp920", show_default=True, metavar="NAME|FILE.toml", help="The rows to measure.")
@click.option(
    "--weights",
    metavar="NAME|FILE",
    help="Trained weights: imagenet, where a row has them, or one model's file.",
)
@click.option("--with-twin", is_flag=True, help="What a modelled card would do, and what is published, beside it.")
@click.option("--against", metavar="SHEET", help="A published sheet's figures beside ours, and the ratio: stcp920.")
@printing_sheets
@click.pass_obj
def verb(
    measure: Measure | None, /, suite: str, weights: str | None, with_twin: bool, against: str | None, **given: Any
) -> int:
    """Measure a suite of rows and print the sheet.

    Options override what the suite says, for every row. Where neither --quick nor --time is given, rows are measured
    until the ± of every throughput is at most 5 %, or the budget is spent: 30 minutes, unless you or the suite say
    otherwise.
    """
    from speedsheet.cli.measuring import measured
    from speedsheet.sheets.suite import load

    asked = load(suite)
    options = Options(**given).settled(refine=True, budget_s=asked.budget_s)
    front = asked.front_in(options.words.lang)
    requests = [options.over(request) for request in asked.requests]
    beside: list[Beside] = []
    if against:
        from speedsheet.cli.against import Against

        beside.append(Against(against))
    if with_twin:
        from speedsheet.cli.twin_beside import TwinBeside

        beside.append(TwinBeside(_CARD))
    return measured(_weighted(requests, weights) if weights else requests, options, front, measure, beside).code


def _weighted(requests: list[RowRequest], weights: str) -> list[RowRequest]:
    """Give weights to the rows that can take them; a file is of one model, and a name of those that are offered it."""
    from speedsheet.convert.shipping.trained import offered
    from speedsheet.core.errors import UsageError

    models = {request.model for request in requests if not request.own}
    named = {model for model in models if weights in offered(model)}
    taking = named or (models if len(models) == 1 else set())
    if not taking:
        what = f"no row has weights called {weights!r}, and a file is of one model: the suite has {len(models)}"
        raise UsageError(what, where="--weights", do='write weights = "FILE" into the rows of a suite, or: imagenet')
    return [replace(request, weights=weights) if request.model in taking else request for request in requests]
