"""`speedsheet explain RECORD|MODEL`: where the time goes on the measured engine, beside the modelled card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import COUNT, DEBUG, LANGUAGE, PAIR, PRECISION, mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from speedsheet.core.measurement import Measurement
    from speedsheet.core.request import RowRequest
    from speedsheet.sheets.words import Words

_CARD, _NO_CARD = "stcp920", "none"
_MOST = 20
_STALL_S = 300.0


@click.command("explain")
@click.argument("what", metavar="RECORD|MODEL")
@click.option("--engine", metavar="auto|NAME", help="Engine to run on; a record's own by default.")
@click.option("--precision", type=PRECISION, metavar="NAME", help="fp32, fp16, bf16, int8; as-is: the file's own.")
@click.option("--batch", type=COUNT, metavar="N", help="Samples in a request.")
@click.option("--threads", type=COUNT, metavar="N", help="Clients that the engine is set up for.")
@click.option("--set", "settings", type=PAIR, multiple=True, metavar="KEY=VALUE", help="A setting of the engine.")
@click.option("--device", "card", default=_CARD, metavar="NAME|FILE.toml|none", help="The modelled card beside it.")
@click.option("--all", "everything", is_flag=True, help=f"Every step, not only the {_MOST} costliest.")
@click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh", help="Language of the answer.")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(what: str, card: str, everything: bool, words: Words, as_json: bool, **given: Any) -> int:
    """Say where the time of a row goes: by step of the engine, with the type that executed and the work that it did.

    The engine's own profiler is asked, on a session of its own that nobody times: what it prints are shares to look at,
    not latencies. Of a record, as it was measured, the answer is kept for its page (speedsheet report).
    """
    from tempfile import TemporaryDirectory

    from speedsheet.bench.row import Desk, readied
    from speedsheet.bench.supervise import call
    from speedsheet.cli import screen
    from speedsheet.cli.view import view
    from speedsheet.core.request import Progress
    from speedsheet.history.explanations import EXPLANATION_SCHEMA, explained, keep
    from speedsheet.host.places import data_folder
    from speedsheet.sheets.as_explanation import rendered
    from speedsheet.twin import device as devices

    record, request = _asked(what, given)
    if card != _NO_CARD:
        devices.load(card)  # refused before anything runs
    told, out = screen.errors(), screen.output()
    with view(told, quiet=as_json) as watching, TemporaryDirectory(prefix="speedsheet-") as folder:

        def tell(stage: str, done: float | None, left_s: float | None, _reached: object = None) -> None:
            watching.listen(Progress(0, 0, Path(request.model).name, stage, done, left_s))

        ready = readied(request, Desk(Path(folder), _STALL_S), tell)
        found = call("explain", ready.job, tell=tell, stall_limit_s=_STALL_S)
    row = ready.row
    title, times = _modelled(row, card)
    engine = " ".join(part for part in (row.engine, row.engine_version, row.device) if part)
    answer = explained(found, model=row.model, engine=engine, precision=row.precision, card=title, modelled_us=times)
    if record is not None:  # of the record as it is, not of one that was asked otherwise
        keep(data_folder() / "explanations", record.name, answer)
    if as_json:
        out.write(json.dumps({"schema": EXPLANATION_SCHEMA, **asdict(answer)}, indent=1, allow_nan=False) + "\n")
    else:
        most = len(answer.steps) if everything else _MOST
        out.write(rendered(answer, words, out.line_width, most, ascii_only=out.ascii_only))
    return 0


def _asked(what: str, given: Mapping[str, Any]) -> tuple[Path | None, RowRequest]:
    """Return the record that is meant, null where none is or it is to be run otherwise, and what to run."""
    from dataclasses import replace

    from speedsheet.cli.measuring import refuse
    from speedsheet.core.request import RowRequest
    from speedsheet.history.replay import request_of
    from speedsheet.history.sources import load
    from speedsheet.host.places import cache_folder, data_folder
    from speedsheet.plugins import workloads
    from speedsheet.records.store import ROW_FILE

    places = (Path(what).expanduser(), data_folder() / "records" / what)
    record = next((place for place in places if (place / ROW_FILE).is_file()), None)
    if record is not None:
        record, request = record.resolve(), request_of(record)
    elif what in workloads() or what.endswith(".onnx"):
        request = RowRequest(what)
        refuse(request)
    else:
        load(what, cache_folder())  # says what is known under that name
        from speedsheet.core.errors import UsageError

        raise UsageError("is no record and no model", where=what, do="give one: speedsheet explain resnet50")
    named = {"engine": given["engine"], "precision": given["precision"], "batch_size": given["batch"],
             "thread_num": given["threads"]}  # fmt: skip
    changes: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    if given["engine"] not in {None, request.engine}:  # another engine has other devices and settings
        changes |= {"device": None, "settings": {}}
    asked = replace(request, **changes)
    asked = replace(asked, settings={**asked.settings, **mapping("--set", given["settings"])})
    return record if asked == request else None, asked


def _modelled(row: Measurement, card: str) -> tuple[str, Mapping[str, float]]:
    """Return the card's title and what each of its operators takes, by the graph's node; nothing where it cannot."""
    if card == _NO_CARD:
        return "", {}
    from speedsheet.twin.judging import beside

    case = beside([row], card)
    spent = next((one.spent for one in case.judged if one.spent), None)
    return (case.device.title, spent.operators_us) if spent else ("", {})
