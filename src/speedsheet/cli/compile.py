"""`speedsheet compile MODEL --target DEVICE`: what compiling for a modelled card would do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import COUNT, DEBUG, INPUT, LANGUAGE, PRECISION, SEED

if TYPE_CHECKING:
    from speedsheet.sheets.words import Words
    from speedsheet.twin.compile import Case
    from speedsheet.twin.device import DeviceSpec
    from speedsheet.twin.model import Model
    from speedsheet.twin.types import Schedule

SCHEMA = "speedsheet.compile/1"


@click.command("compile")
@click.argument("model_name", metavar="MODEL")
@click.option(
    "--target",
    default="stcp920",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The card: one that ships, or your own file.",
)
@click.option(
    "--schedule",
    type=click.Choice(["O0", "O1", "O2", "O3"]),
    default="O3",
    show_default=True,
    help="Where intermediates live: DDR, LLB, L1, L1 with the batch split; all four are counted.",
)
@click.option(
    "--precision",
    type=PRECISION,
    default="fp16",
    show_default=True,
    metavar="NAME",
    help="What the schedule is for: fp16 or int8.",
)
@click.option("--batch", type=COUNT, metavar="N", help="Samples in a request.")
@click.option(
    "--input",
    "inputs",
    type=INPUT,
    multiple=True,
    metavar="NAME=SHAPE:DTYPE[:LOW:HIGH]",
    help="An input of your own .onnx.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Samples to calibrate and judge INT8 on, by input name.",
)
@click.option("--samples", type=COUNT, metavar="N", help="How many to calibrate on, and to judge on as many others.")
@click.option("--seed", type=SEED, default=920, metavar="N", help="Seed of synthetic inputs.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the text.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(words: Words, as_json: bool, **given: Any) -> None:
    """Say what compiling for a modelled card would do: operators that it lacks, what INT8 costs, and the schedule.

    MODEL is a shipped model or an .onnx file. INT8 is computed on the CPU as the card's quantiser rounds, with no
    engine; the card is described by its published facts, and nothing is measured on one.
    """
    from speedsheet.cli import screen
    from speedsheet.cli.compile_view import text
    from speedsheet.cli.compile_words import COMPILE_WORDS

    case = compiled_case(**given)
    out = screen.output()
    if as_json:
        out.write(json.dumps(content(case), indent=2, allow_nan=False) + "\n")
    else:
        out.write(text(case, COMPILE_WORDS[words.lang], out.line_width))


def compiled_case(
    *, model_name: str, target: str, schedule: Schedule, precision: str, batch: int | None, inputs: tuple[Any, ...],
    data: Path | None, samples: int | None, seed: int,
) -> Case:  # fmt: skip
    """Compile. Raises UsageError for the device, the model, its shapes or its data."""
    from speedsheet.core.errors import BadInput
    from speedsheet.host.places import cache_folder
    from speedsheet.twin.compile import Case, Wish, compiled
    from speedsheet.twin.device import load
    from speedsheet.twin.model import find
    from speedsheet.twin.plan import check_modelled

    device = load(target)
    check_modelled(device)
    if data is not None and not data.is_file():
        raise BadInput("no such file", where=str(data), do="give the path of an .npz file")
    model = find(model_name, inputs, cache_folder())
    wish = Wish(model.request_samples(batch), precision, samples, data, seed)
    return Case(model_name, model, device, schedule, wish, compiled(model, device, wish, _weights(model, device)))


def _weights(model: Model, device: DeviceSpec) -> Path | None:
    """Return the folder of the weights, drawn now where they are a zoo model's; None where nobody asks for them."""
    from speedsheet.cli import screen
    from speedsheet.convert.shipping.assemble import assemble
    from speedsheet.host.places import cache_folder

    if "int8" not in device.precisions:
        return None
    if model.own is not None:
        return model.own.parent
    told = screen.errors()
    if told.terminal:
        told.write(f"{model.workload.name}: weights are drawn once, then INT8 is computed\n")
    return assemble(model.workload.name, cache_folder()).folder


def content(case: Case) -> dict[str, Any]:
    """Return what a script is told; every key is always there, null where not computed."""
    made = case.made
    return {
        "schema": SCHEMA,
        "clock": "modelled",
        "model": case.name,
        "target": case.device.name,
        "batch_size": case.wish.batch_size,
        "precision": case.wish.precision,
        "schedule": case.schedule,
        "unsupported": [asdict(one) for one in made.unsupported],
        "int8": None if made.int8 is None else _finite(asdict(made.int8)) | {"inputs": made.inputs or None},
        "schedules": {name: [asdict(one) for one in placed] for name, placed in made.schedules.items()},
        "assumptions": list(case.model.assumptions),
    }


def _finite(data: dict[str, Any]) -> dict[str, Any]:
    """Make infinite ratios null: where nothing was lost there is none."""
    from speedsheet.records.canonical import plain

    made: dict[str, Any] = plain(data)
    return made
