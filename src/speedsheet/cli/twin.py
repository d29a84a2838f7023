"""`speedsheet twin`: is a published figure plausible on a described card, what bounds it, and what would change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import COUNT, DEBUG, INPUT, LANGUAGE, PRECISION, RATE, Read

if TYPE_CHECKING:
    from speedsheet.cli.screen import Screen
    from speedsheet.sheets.words import Words
    from speedsheet.twin.judging import Case


def read_clock(text: str) -> float:
    """Read ``1.2GHz`` or ``1200MHz`` as hertz."""
    from speedsheet.core.errors import UsageError

    number, unit = text.strip().lower()[:-3], text.strip().lower()[-3:]
    try:
        value = float(number) * {"ghz": 1e9, "mhz": 1e6}[unit]
    except (ValueError, KeyError):
        value = 0.0
    if not 0 < value < 1e11:  # noqa: PLR2004  100 GHz
        raise UsageError(f"{text!r} is not a clock", do="write 1.2GHz or 1200MHz")
    return value


class _Twin(click.Group):
    """Judges claims; `calibrate` is the one word that is not a model."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] in (["calibrate"], ["judge"]) else ["judge", *args])


@click.group("twin", cls=_Twin)
def verb() -> None:
    """Judge published figures on a modelled card."""


@verb.command("judge")
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@click.option(
    "--device",
    "device_name",
    default="stcp920",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The card: one that ships, or your own file.",
)
@click.option("--against", metavar="SHEET", help="The published sheet; the device's own by default.")
@click.option("--claim", type=RATE, metavar="X", help="A throughput to judge, samples/s.")
@click.option("--precision", type=PRECISION, metavar="NAME", help="What if: another precision.")
@click.option("--batch", type=COUNT, metavar="N", help="What if: another batch size.")
@click.option("--threads", type=COUNT, metavar="N", help="What if: other clients at once (thread_num).")
@click.option(
    "--clock",
    type=Read("clock", read_clock),
    metavar="1.2GHz",
    help="What if: arrays at this clock; DDR and host link stay.",
)
@click.option("--cards", type=COUNT, default=1, metavar="N", help="What if: so many cards.")
@click.option(
    "--schedule",
    type=click.Choice(["O0", "O1", "O2", "O3"]),
    default="O3",
    show_default=True,
    help="Where intermediates live: DDR, LLB, L1, L1 with the batch split.",
)
@click.option(
    "--input",
    "inputs",
    type=INPUT,
    multiple=True,
    metavar="NAME=SHAPE:DTYPE",
    help="Shape of an input of your own .onnx.",
)
@click.option("--explain", is_flag=True, help="Where the time goes: causes, and the ten costliest operators.")
@click.option(
    "--extrapolate",
    is_flag=True,
    help="Idle cards too, and percentiles over thread_num; no published row validates them.",
)
@click.option("--params", type=click.Path(path_type=Path), metavar="FILE", help="What calibrate wrote.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the table.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def judge(models: tuple[str, ...], words: Words, as_json: bool, explain: bool, extrapolate: bool, **given: Any) -> int:
    """Judge published figures: their ceiling, what is to be expected, what binds, and what must be true.

    MODEL is a row of the sheet, a shipped model, or an .onnx file; without one, every row of the sheet is judged.
    `speedsheet twin calibrate SHEET` fits the card's model to a sheet and reports its error.
    """
    from speedsheet.cli import screen
    from speedsheet.cli.twin_json import document
    from speedsheet.twin.judging import judged

    case = judged(models, extrapolate=extrapolate, **given)
    out = screen.output()
    if as_json:
        out.write(json.dumps(document(case, extrapolate=extrapolate), indent=2, allow_nan=False) + "\n")
    else:
        _show(case, out, words, explain=explain, extrapolate=extrapolate)
    return 0


@verb.command("calibrate")
@click.argument("sheet", metavar="SHEET")
@click.option(
    "--device",
    "device_name",
    default="stcp920",
    show_default=True,
    metavar="NAME|FILE.toml",
    help="The card that the sheet was measured on.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("twin.fit.json"),
    show_default=True,
    metavar="FILE",
    help="Parameters and report, for --params.",
)
@click.option("--report", type=click.Path(path_type=Path), metavar="FILE.md", help="The report as Markdown too.")
@DEBUG
def calibrate(sheet: str, device_name: str, out: Path, report: Path | None) -> int:
    """Fit the card's model to a sheet in the published columns, and write parameters and an error report.

    SHEET is a shipped one by name, or a CSV, Markdown or HTML file. Needs SciPy: pip install ".[calibrate]".
    """
    from speedsheet.cli import screen
    from speedsheet.cli.measuring import writable
    from speedsheet.twin import calibration
    from speedsheet.twin.calibrate import calibrate as fit
    from speedsheet.twin.device import load
    from speedsheet.twin.judging import fit_rows
    from speedsheet.twin.report import markdown, summary

    device = load(device_name)
    rows = fit_rows(sheet)
    for path in filter(None, (out, report)):
        writable(path.parent)
    found = fit(rows, device, sheet)
    out.write_text(calibration.to_json(found), encoding="utf-8")
    if report is not None:
        report.write_text(markdown(found, device), encoding="utf-8")
    told = screen.output()
    told.write(summary(found))
    told.write(f"written: {out}{f', {report}' if report else ''}\n")
    return 0


def _show(case: Case, out: Screen, words: Words, *, explain: bool, extrapolate: bool) -> None:
    """Print the table of claims, and below it what was asked for beside it."""
    from rich.text import Text

    from speedsheet.cli import twin_view
    from speedsheet.cli.twin_words import TWIN_WORDS

    said, width = TWIN_WORDS[words.lang], out.line_width
    parts = [twin_view.claims(case, said, width, ascii_only=out.ascii_only)]
    modelled = [one for one in case.judged if one.spent is not None]
    if explain:
        parts += [twin_view.explanation(one, said, width, ascii_only=out.ascii_only) for one in modelled]
    if extrapolate:
        parts += [twin_view.curve(one, case, said, width, ascii_only=out.ascii_only) for one in modelled]
    whole = Text("\n\n").join(parts)
    if out.terminal:
        out.show(whole)
    else:
        out.write(whole.plain + "\n")
