"""`speedsheet plan MODEL`: how many cards serve a rate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import COUNT, DEBUG, INPUT, LANGUAGE, PRECISION, RATE

if TYPE_CHECKING:
    from speedsheet.cli.plan_words import PlanWords
    from speedsheet.sheets.words import Words
    from speedsheet.twin.calibration import Calibration
    from speedsheet.twin.device import DeviceSpec
    from speedsheet.twin.model import Model
    from speedsheet.twin.plan import Option, Plan

SCHEMA = "speedsheet.plan/1"
#: Below this share a whole percentage says too little.
_WHOLE = 0.1


@click.command("plan")
@click.argument("model_name", metavar="MODEL")
@click.option("--qps", type=RATE, required=True, metavar="N", help="Samples to serve in a second.")
@click.option(
    "--device",
    "device_name",
    default="stcp920",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The card: one that ships, or your own file.",
)
@click.option("--precision", type=PRECISION, default="fp16", show_default=True, metavar="NAME", help="fp16 or int8.")
@click.option("--batch", type=COUNT, metavar="N", help="This batch size; else those up to the usual one are tried.")
@click.option(
    "--input",
    "inputs",
    type=INPUT,
    multiple=True,
    metavar="NAME=SHAPE:DTYPE",
    help="Shape of an input of your own .onnx.",
)
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the table.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(words: Words, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Say how many modelled cards serve a rate: batch and thread_num by mean throughput, the margin, and what binds.

    MODEL is a shipped model or an .onnx file. Nothing is measured: the card is described by its published facts.
    """
    from speedsheet.cli import screen
    from speedsheet.cli.plan_words import PLAN_WORDS

    case = planned(**given)
    out = screen.output()
    if as_json:
        out.write(json.dumps(content(case), indent=2, allow_nan=False) + "\n")
    else:
        out.write(_text(case, words, PLAN_WORDS[words.lang], out.line_width))


@dataclass(frozen=True, slots=True)
class Case:
    """A plan, and for what on what it was made."""

    name: str
    model: Model
    device: DeviceSpec
    calibration: Calibration
    precision: str
    plan: Plan

    @property
    def band(self) -> float:
        """The factor that bounds a prediction either way at 80 %."""
        from speedsheet.twin.families import family

        return self.calibration.band(family(self.model.piece))


def planned(
    *, model_name: str, qps: float, device_name: str, precision: str, batch: int | None, inputs: tuple[Any, ...]
) -> Case:
    """Make the plan. Raises UsageError with the binding resource where no number of cards serves the rate."""
    from speedsheet.host.places import cache_folder
    from speedsheet.twin.calibration import best
    from speedsheet.twin.cost import cost
    from speedsheet.twin.device import load
    from speedsheet.twin.families import family
    from speedsheet.twin.model import find
    from speedsheet.twin.plan import batches, check_memory, check_modelled, plan

    device = load(device_name)
    check_modelled(device)
    calibration = best(device)
    model = find(model_name, inputs, cache_folder())
    usual = model.request_samples(batch)
    tried = batches(usual) if model.free and batch is None else [usual]
    params = calibration.params
    costs = {size: cost(model.piece, device, params, batch_size=size, precision=precision) for size in tried}
    check_memory(model.parameters, device, precision)
    low = 1 / calibration.band(family(model.piece))
    made = plan(costs, device, params, qps, usual=usual, low=low)
    return Case(model_name, model, device, calibration, precision, made)


def content(case: Case) -> dict[str, Any]:
    """Return what a script is told; every key is always there."""
    from speedsheet.twin.extrapolate import NOT_VALIDATED

    return {
        "schema": SCHEMA,
        "clock": "modelled",
        "model": case.name,
        "device": case.device.name,
        "precision": case.precision,
        "qps": case.plan.qps,
        "band": case.band,
        "fitted_on": case.calibration.params.fitted_on or None,
        "chosen": asdict(case.plan.chosen),
        "options": [asdict(option) for option in case.plan.options],
        "assumptions": list(case.model.assumptions),
        "findings": [asdict(NOT_VALIDATED)],
    }


def _text(case: Case, words: Words, said: PlanWords, width: int) -> str:
    from speedsheet.cli.twin_words import TWIN_WORDS
    from speedsheet.sheets.digits import rounded
    from speedsheet.sheets.letters import clean
    from speedsheet.sheets.listing import aligned
    from speedsheet.sheets.wrapping import wrapped

    chosen = case.plan.chosen
    title = said.title.format(
        model=clean(case.name), precision=case.precision.upper(), device=clean(case.device.title),
        qps=rounded(case.plan.qps),
    )  # fmt: skip
    taken = said.chosen.format(
        cards=chosen.cards, batch=chosen.batch_size, threads=chosen.thread_num, each=chosen.thread_num // chosen.cards,
        rate=rounded(chosen.throughput_samples_per_s), margin=_percent(chosen.margin),
        binding=TWIN_WORDS[words.lang].resources[chosen.binding],
    )  # fmt: skip
    cautious = said.never_at_low if chosen.cards_at_low is None else said.at_low
    low = cautious.format(cards=chosen.cards_at_low, share=f"{100 / case.band:.0f}")
    columns = ("batch_size", "cards", "cards_at_low", "thread_num", "throughput", "margin", "latency", "binding")
    resources = TWIN_WORDS[words.lang].resources
    rows = [_row(option, option == chosen, resources[option.binding]) for option in case.plan.options]
    table = aligned(("", *(said.headings[name] for name in columns)), rows, frozenset(range(1, 8)), 1000)
    above = [*wrapped(title, width), *wrapped(taken, width, "  ", "  "), *wrapped(low, width, "  ", "  ")]
    below = [part for line in _below(case, words, said) for part in wrapped(line, width)]
    return "\n".join([*above, "", table, *below]) + "\n"


def _below(case: Case, words: Words, said: PlanWords) -> list[str]:
    from speedsheet.sheets.letters import clean
    from speedsheet.twin.extrapolate import NOT_VALIDATED

    sheet = case.calibration.params.fitted_on
    lines = [said.fitted.format(sheet=clean(sheet)) if sheet else said.priors]
    lines += [said.assumed.format(text=clean(text)) for text in case.model.assumptions]
    return [*lines, said.beyond_rows.format(note=words.findings.get(NOT_VALIDATED.code, NOT_VALIDATED.text))]


def _row(option: Option, chosen: bool, resource: str) -> tuple[str, ...]:
    from speedsheet.sheets.digits import rounded
    from speedsheet.sheets.letters import BLANK

    return (
        "*" if chosen else "",
        str(option.batch_size),
        str(option.cards),
        BLANK if option.cards_at_low is None else str(option.cards_at_low),
        str(option.thread_num),
        rounded(option.throughput_samples_per_s),
        f"{_percent(option.margin)} %",
        rounded(option.latency_ms),
        resource,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= _WHOLE else f"{100 * share:.1f}"
