"""`speedsheet verify RECORD...`: do the figures of records follow from their raw samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import DEBUG, LANGUAGE

if TYPE_CHECKING:
    from speedsheet.history.recompute import Verified
    from speedsheet.sheets.words import Words

VERIFY_SCHEMA = "speedsheet.verify/1"


@click.command("verify")
@click.argument("records", metavar="RECORD...", nargs=-1)
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the answer.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(records: tuple[str, ...], words: Words, as_json: bool) -> int:
    """Compute every figure of records again from their raw samples, and every hash; name what does not fit.

    A RECORD is a record's folder, a run (its rows), a whole store, or "latest"; without one it is the latest run.
    """
    from speedsheet.cli import screen
    from speedsheet.history.recompute import verified
    from speedsheet.sheets.letters import to_ascii

    out = screen.output()
    folders = list(dict.fromkeys(folder for name in records or ("latest",) for folder in _folders(name)))
    found = []
    for folder in folders:
        found.append(verified(folder))
        if not as_json:
            text = "".join(f"{line}\n" for line in _said(found[-1], words, out.line_width))
            out.write(to_ascii(text) if out.ascii_only else text)
            out.stream.flush()
    if as_json:
        out.write(json.dumps(_document(found), indent=1, allow_nan=False, default=str) + "\n")
    else:
        out.write(_foot(found, words))
    return 0 if found and all(one.ok for one in found) else 1


def _folders(name: str) -> Iterator[Path]:
    """Yield the records that are meant, damaged ones too: of a run or a store each that it names."""
    from speedsheet.core.errors import UsageError
    from speedsheet.core.folders import is_visible
    from speedsheet.history.sources import load
    from speedsheet.host.places import cache_folder, data_folder
    from speedsheet.records.store import ROW_FILE, SAMPLES_FILE

    for place in (Path(name).expanduser(), data_folder() / "records" / name):
        inside = place / "records" if (place / "records").is_dir() else place
        if (place / ROW_FILE).exists() or (place / SAMPLES_FILE).exists():
            yield place
            return
        if inside.is_dir() and any((path / ROW_FILE).exists() for path in inside.iterdir() if is_visible(path)):
            yield from sorted(path for path in inside.iterdir() if is_visible(path))
            return
    run = load(name, cache_folder())
    rows = [row for row in run.rows if row.record]
    if not rows:
        raise UsageError("names no record", where=name, do="give a record, a run or a store")
    yield from (Path(str(row.record)) for row in rows)


def _said(one: Verified, words: Words, width: int) -> Iterator[str]:
    from speedsheet.cli.history_words import HISTORY_WORDS
    from speedsheet.sheets.columns import model_name
    from speedsheet.sheets.letters import clean
    from speedsheet.sheets.wrapping import wrapped

    ours = HISTORY_WORDS[words.lang]
    row = one.row
    name = clean(one.folder.name) if row is None else f"{clean(model_name(row))} {clean(row.precision.upper())}"
    verdict = ours.fits.format(n=one.figures) if one.ok else ours.does_not_fit
    yield from wrapped(words.label.format(label=name, text=f"{verdict} ({clean(one.folder.name)})"), width, "", "  ")
    for text in (one.damage, *map(str, one.misfits)):
        if text:
            yield from wrapped(clean(text), width, "  - ", "    ")
    for text in one.unseen:
        yield from wrapped(clean(text), width, "  · ", "    ")


def _foot(found: Sequence[Verified], words: Words) -> str:
    from speedsheet.cli.history_words import HISTORY_WORDS

    good = sum(one.ok for one in found)
    return HISTORY_WORDS[words.lang].verified.format(good=good, of=len(found)) + "\n"


def _document(found: Sequence[Verified]) -> dict[str, Any]:
    from speedsheet.records.canonical import plain

    rows = [
        {
            "record": str(one.folder), "model": one.row.model if one.row else None, "ok": one.ok,
            "damage": one.damage or None, "figures": one.figures, "unseen": list(one.unseen),
            "misfits": [
                plain({"what": part.what, "stated": part.stated, "found": part.found}) for part in one.misfits
            ],
        }
        for one in found
    ]  # fmt: skip
    return {"schema": VERIFY_SCHEMA, "ok": all(one.ok for one in found), "records": rows}
