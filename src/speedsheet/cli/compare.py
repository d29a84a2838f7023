"""`speedsheet compare A B`: which of two is faster, by how much, and how sure that is; of records, or measured now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import (
    COUNT,
    DEBUG,
    DURATION,
    INPUT,
    LANGUAGE,
    PAIR,
    PRECISION,
    SEED,
    SHARE,
    mapping,
)

if TYPE_CHECKING:
    from speedsheet.core.comparison import Comparison
    from speedsheet.sheets.words import Words

_INTERRUPTED = 130
_HELP = """Say whether B is faster than A, by how much, and how sure that is.

A and B are what was measured before: records, runs or sheets, by their folders or files, "latest" for the newest run
and "latest~1" for the one before it, or a published sheet. What differs between them comes first; no winner is called
across hosts or clocks unless --across says so.

\b
  speedsheet compare latest~1 latest
  speedsheet compare latest stcp920

With --live both are measured now, in turn. A and B are then models, and behind an @ what is particular: an engine, a
precision, or KEY=VALUE (engine, device, precision, batch, threads; any other key is a setting of the engine). B without
a model is A with that changed.

\b
  speedsheet compare --live resnet50@openvino,fp32 @bf16
  speedsheet compare --live resnet50@openvino @onnxruntime
  speedsheet compare --live old.onnx new.onnx --batch 1
  speedsheet compare --live bert_128@openvino @NUM_STREAMS=1
"""


@click.command("compare", help=_HELP)
@click.argument("sides", metavar="A B", nargs=-1)
@click.option("--live", is_flag=True, help="Measure both sides now, in turn.")
@click.option("--across", is_flag=True, help="Of records: call winners across hosts and clocks too.")
@click.option("--time", "time_s", type=DURATION, default=60.0, metavar="60s", help="Measuring in all; 60s by default.")
@click.option("--precision-target", "target", type=SHARE, metavar="1%", help="End as soon as the ratio's ± is this.")
@click.option("--engine", metavar="auto|NAME", help="Engine of both sides; auto takes the best for each.")
@click.option("--device", metavar="NAME", help="A device of that engine.")
@click.option("--set", "settings", type=PAIR, multiple=True, metavar="KEY=VALUE", help="A setting of the engine.")
@click.option("--precision", type=PRECISION, metavar="NAME", help="fp32, fp16, bf16, int8; as-is: the file's own.")
@click.option("--strict-precision", is_flag=True, help="Fail a side where another precision ran than was asked.")
@click.option("--batch", type=COUNT, metavar="N", help="Samples in a request.")
@click.option("--threads", type=COUNT, metavar="N", help="Clients that ask at once (thread_num).")
@click.option("--seed", type=SEED, default=920, metavar="N", help="Seed of the order of blocks and of the inputs.")
@click.option("--input", "inputs", type=INPUT, multiple=True, metavar="NAME=SHAPE:DTYPE[:LOW:HIGH]",
              help="An input of your own models, once per input.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), metavar="FILE.npz", help="Inputs by name, samples first.")
@click.option("--reference", type=click.Path(path_type=Path), metavar="FILE.onnx",
              help="The FP32 model whose outputs are the right ones.")  # fmt: skip
@click.option("--carry", type=PAIR, multiple=True, metavar="OUT=IN", help="An output that is the next request's input.")
@click.option("--stall-limit", "stall_limit_s", type=DURATION, default=300.0, metavar="300s",
              help="A side that says nothing for so long is ended; 300s by default.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the comparison is kept.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Of records: the language.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(sides: tuple[str, ...], live: bool, across: bool, words: Words, **given: Any) -> int:
    """Read the sides, compare or measure, print."""
    if live:
        return _compared(sides, given)
    return _of_records(sides, across, words, as_json=given["as_json"])


def _of_records(sides: tuple[str, ...], across: bool, words: Words, *, as_json: bool) -> int:
    """Compare what was measured before; the exit code tells of no verdict."""
    from speedsheet.cli import screen
    from speedsheet.cli.compare_records import document, rendered
    from speedsheet.cli.sides import EXAMPLE
    from speedsheet.core.errors import UsageError
    from speedsheet.history.comparing import compare
    from speedsheet.history.sources import load
    from speedsheet.host.places import cache_folder

    if len(sides) != 2:  # noqa: PLR2004  A and B
        do = f"give two: speedsheet compare latest~1 latest; or measure both now: {EXAMPLE}"
        raise UsageError(f"a comparison is of two sides, and {len(sides)} are given", do=do)
    a, b = (load(side, cache_folder()) for side in sides)
    compared, out = compare(a, b, across=across), screen.output()
    if not compared.pairs:
        raise UsageError("no row is in both", where=" and ".join(sides), do="compare runs of the same suite")
    if as_json:
        out.write(document(compared))
    else:
        out.write(rendered(compared, words, out.line_width, ascii_only=out.ascii_only))
    return 0


def _compared(sides: tuple[str, ...], given: dict[str, Any]) -> int:
    from speedsheet.bench.live import compare_live
    from speedsheet.cli import screen
    from speedsheet.cli.measuring import refuse, writable
    from speedsheet.cli.sides import read_sides
    from speedsheet.cli.view import view
    from speedsheet.core.request import RowRequest
    from speedsheet.host.places import data_folder

    base = RowRequest(
        "",
        given["engine"] or "auto", given["device"], given["precision"], given["batch"], given["threads"],
        settings=mapping("--set", given["settings"]), inputs=given["inputs"], data=given["data"],
        reference=given["reference"], carry=mapping("--carry", given["carry"]),
        strict_precision=given["strict_precision"], seed=given["seed"],
    )  # fmt: skip
    asked = read_sides(sides, base)
    for request in asked:
        refuse(request)
    folder = writable(given["out"] or data_folder())
    told = screen.errors()
    with view(told, quiet=given["as_json"]) as watching:
        found = compare_live(
            asked, store=folder / "comparisons", time_s=given["time_s"], target=given["target"], seed=given["seed"],
            stall_limit_s=given["stall_limit_s"], listen=watching.listen,
        )  # fmt: skip
    _print(found, as_json=given["as_json"])
    return {"ok": 0, "failed": 1, "interrupted": _INTERRUPTED}[found.status]


def _print(found: Comparison, *, as_json: bool) -> None:
    from rich.text import Text

    from speedsheet.cli import screen
    from speedsheet.sheets import as_comparison
    from speedsheet.sheets.letters import to_ascii

    out = screen.output()
    if as_json:
        out.write(as_comparison.render_json(found))
        return
    said, _, rest = as_comparison.render(found, out.width).partition("\n\n")
    out.show(Text(to_ascii(said) if out.ascii_only else said, "bold"))
    out.write(f"\n{rest}\n")
