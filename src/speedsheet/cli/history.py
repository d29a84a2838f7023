"""`speedsheet history`: the records of a store, and SQL over them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import COUNT, DEBUG, LANGUAGE, PRECISION

if TYPE_CHECKING:
    from speedsheet.history.store import History
    from speedsheet.sheets.words import Words

HISTORY_SCHEMA = "speedsheet.history/1"
_LIMIT = 40
#: Columns by place that a narrow terminal goes without, first the ones that the rest tells.
_RIGHT, _SPARED = frozenset({3, 4, 6, 7, 8}), (8, 7, 4, 9, 3, 5, 2, 0)


@click.command("history")
@click.argument("model", required=False)
@click.option("--engine", metavar="NAME", help="Rows of this engine.")
@click.option("--precision", type=PRECISION, metavar="NAME", help="Rows that asked for this precision.")
@click.option("--status", metavar="ok|failed", help="Rows that have a number, or have none.")
@click.option("--limit", type=COUNT, metavar="N", help=f"At most so many, newest first; {_LIMIT} by default.")
@click.option("--sql", metavar="QUERY", help="Ask in SQL of: records, samples, windows, skipped.")
@click.option("--store", metavar="DIR|URL", help="Where the records are; your data folder by default.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the answer.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(
    model: str | None, sql: str | None, store: str | None, limit: int | None, words: Words, as_json: bool, **wanted: Any
) -> int:
    r"""List what was measured, newest first; MODEL may be part of a name.

    \b
      speedsheet history resnet50 --engine openvino
      speedsheet history --sql "SELECT model, max(samples_per_s) FROM records GROUP BY model"
      speedsheet history --sql "SELECT folder, quantile_cont((end_ns - start_ns) / 1e6, 0.999) FROM samples GROUP BY 1"
    """
    from speedsheet.cli import screen
    from speedsheet.history.store import History
    from speedsheet.host.places import data_folder
    from speedsheet.sheets.letters import to_ascii

    out, told = screen.output(), screen.errors()
    history = History.of(store or _made(data_folder() / "records"), _progress(told) if told.terminal else _quiet)
    if sql is not None:
        names, values = history.fetched(sql)
        if as_json:
            rows = [{name: _finite(value) for name, value in zip(names, row, strict=True)} for row in values]
            out.write(json.dumps(rows, indent=1, allow_nan=False, default=str) + "\n")
        else:
            out.write(_listed(names, [[_cell(value) for value in row] for row in values], out.line_width))
        return 0
    where = {name: value for name, value in wanted.items() if value is not None}
    rows = history.rows(model, limit=limit or (None if as_json else _LIMIT), **where)
    if as_json:
        out.write(json.dumps(_document(history, rows), indent=1, allow_nan=False) + "\n")
        return 0
    text = _table(history, rows, words, out.line_width)
    out.write(to_ascii(text) if out.ascii_only else text)
    return 0


def _made(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def _progress(told: Any) -> Any:
    """Tell of a long first reading, on one line."""

    def tell(done: int, of: int) -> None:
        if of > 500 and done % 100 == 0:  # noqa: PLR2004  fewer are read in the blink of an eye
            told.write(f"\rreading records for the first time: {done} of {of}" + ("\r" if done + 100 >= of else ""))
            told.stream.flush()

    return tell


def _quiet(_done: int, _of: int) -> None:
    """Tell nobody."""


def _document(history: History, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    skipped = [{"folder": folder, "problem": problem} for folder, problem in history.skipped()]
    return {"schema": HISTORY_SCHEMA, "store": str(history.store), "records": list(rows), "skipped": skipped}


def _table(history: History, rows: Sequence[Mapping[str, Any]], words: Words, width: int) -> str:
    from speedsheet.cli.history_words import HISTORY_WORDS
    from speedsheet.sheets.listing import fitted
    from speedsheet.sheets.wrapping import wrapped

    ours = HISTORY_WORDS[words.lang]
    text = ""
    if rows:
        text = fitted(ours.history, [_row(row, words) for row in rows], _RIGHT, _SPARED, width)
    notes = [ours.shown.format(n=len(rows), of=history.count(), store=history.store)]
    notes += [ours.skipped.format(name=name, why=why) for name, why in history.skipped()[:5]]
    return text + "".join(f"{part}\n" for note in notes for part in wrapped(note, width))


def _row(row: Mapping[str, Any], words: Words) -> list[str]:
    from speedsheet.sheets.digits import rounded
    from speedsheet.sheets.letters import BLANK, clean

    value, low, high = (row[f"samples_per_s{end}"] for end in ("", "_low", "_high"))
    half = None if low is None or high is None else (high - low) / 2
    speed = words.statuses.get(row["status"], row["status"]) if value is None else rounded(value, half)
    return [
        (row["created_utc"] or "")[:16].replace("T", " "),
        clean(Path(row["model"] or "").name),
        (row["precision"] or "").upper(),
        str(row["batch_size"]),
        str(row["thread_num"]),
        clean(f"{row['engine'] or BLANK} {row['engine_version'] or ''}".strip()),
        speed,
        BLANK if half is None else f"{half / value * 100:.2g} %",
        BLANK if row["mean_ms"] is None else rounded(row["mean_ms"]),
        clean(row["folder"]),
    ]


def _finite(value: Any) -> Any:
    """Return null for what JSON has no number for."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _listed(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    from speedsheet.sheets.listing import aligned

    return aligned(names, rows, frozenset(), width)


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
