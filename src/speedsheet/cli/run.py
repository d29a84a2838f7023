"""`speedsheet run MODEL...`: measure models, and show how their latencies are spread."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from speedsheet.cli.options import INPUT, PAIR, Options, mapping, printing_sheets
from speedsheet.cli.seam import Measure


@click.command("run")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option(
    "--input", "inputs", type=INPUT, multiple=True, metavar="NAME=SHAPE:DTYPE[:LOW:HIGH]",
    help="An input of your own model, once per input: ids=1x128:int64:0:30000.",
)  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs by name, samples first.")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FILE.onnx",
    help="The FP32 model that yours was quantised from: its outputs are the right ones.",
)
@click.option(
    "--labels", metavar="FILE.npy|NAME", help="The right class of each sample of --data: prints accuracy on the row."
)
@click.option(
    "--weights", metavar="FILE|NAME", help="Trained weights of a shipped model: a file, or what is offered: imagenet."
)
@click.option("--carry", type=PAIR, multiple=True, metavar="OUT=IN", help="An output that is the next request's input.")
@printing_sheets
@click.pass_obj
def verb(
    measure: Measure | None,
    /,
    models: tuple[str, ...],
    inputs: tuple[Any, ...],
    data: Path | None,
    reference: Path | None,
    labels: str | None,
    weights: str | None,
    carry: tuple[tuple[str, str], ...],
    **given: Any,
) -> int:
    """Measure models: shipped ones by name (see: speedsheet models), your own by the path of an .onnx file."""
    from speedsheet.cli.measuring import measured, show_spread
    from speedsheet.core.errors import UsageError
    from speedsheet.core.request import RowRequest
    from speedsheet.sheets.front_matter import FrontMatter

    options = Options(**given).settled()
    names = [spec.name for spec in inputs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{name} is given twice", where="--input", do="give each input once")
    carried = mapping("--carry", carry)
    asked = RowRequest("", inputs=inputs, data=data, reference=reference, labels=labels, weights=weights, carry=carried)
    requests = [options.over(replace(asked, model=model)) for model in models]
    done = measured(requests, options, FrontMatter(), measure)
    if done.shape == "table":
        show_spread(done.document)
    return done.code
