"""From requests to a printed sheet: refuse what can be refused, measure, print, keep."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.text import Text

from speedsheet.bench.ceiling import ceilings
from speedsheet.bench.running import Running
from speedsheet.bench.supervise import call
from speedsheet.cli import screen
from speedsheet.cli.options import Options
from speedsheet.cli.seam import Measure, bench
from speedsheet.cli.view import view
from speedsheet.core.errors import BadInput, BadModel, RecordDamaged, UsageError
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import Listener, Progress, RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.host.places import cache_folder, data_folder
from speedsheet.plugins import workload
from speedsheet.records import store
from speedsheet.records.remote import is_url, pushed
from speedsheet.sheets import as_csv, as_histogram, as_json, as_markdown, as_terminal, files
from speedsheet.sheets.beside import Beside
from speedsheet.sheets.columns import model_name
from speedsheet.sheets.document import Document
from speedsheet.sheets.front_matter import FrontMatter
from speedsheet.sheets.words import Words

_NS_PER_MS = 1e6
_STALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """A measured sheet as it was set, the format in which it was printed, and the exit code."""

    document: Document
    shape: str
    code: int


def measured(
    requests: Sequence[RowRequest],
    options: Options,
    front: FrontMatter,
    measure: Measure | None,
    beside: Sequence[Beside] = (),
) -> Done:
    """Measure the rows, print the sheet on standard output, and write it beside the records.

    Raises UsageError before anything is measured where the command can be known to be wrong.
    """
    out, told = screen.output(), screen.errors()
    shape = options.format_for(terminal=out.terminal)
    words, price, date = options.words, options.price, datetime.now(UTC).date().isoformat()
    if shape != "json" and not out.has(words.title):
        raise UsageError(
            f"standard output cannot write the letters of --lang {words.lang}", do="set PYTHONIOENCODING=utf-8"
        )
    away = options.out if options.out and is_url(options.out) else None
    folder = writable(Path(options.out) if options.out and away is None else data_folder())
    for request in requests:
        refuse(request)
    if options.html:
        check_html()
    asked = options.paired(requests)
    with view(told, quiet=shape == "json") as live:
        finished = partial(_kept, away, told, live.finished) if away else live.finished
        with Running(folder / "running", front.title or words.title, asked, live.listen, finished) as shown:
            sheet = (measure or bench())(
                asked,
                store=folder / "records",
                budget_s=options.budget_s,
                refine=options.refine,
                resume=options.resume,
                stall_limit_s=options.stall_limit_s,
                listen=shown.listen,
                finished=shown.finished,
            )
            if options.html and sheet.ok:
                sheet = replace(sheet, host={**sheet.host, "ceilings": _ceilings(sheet, live.listen)})
    document = Document.of(sheet, front, words=words, price=price, date=date)
    if told.terminal:
        told.write("\n")
    try:
        place = files.write(document, folder / "sheets", beside)
        kept = f"sheet: {place}\n" + (f"report: {_report(place, words)}\n" if options.html else "")
    except OSError as error:  # what was measured is printed all the same
        kept = f"speedsheet: the sheet was not written: {error}\n"
    _print(document, shape, out, beside, with_resources=options.resources)
    told.write(kept)
    return Done(document, shape, 0 if sheet.ok and kept.startswith("sheet") else 1)


def check_html() -> None:
    """Raise MissingExtra before anything is measured where no page can be made of it."""
    from speedsheet.pages.page import check_extra

    check_extra()


def _ceilings(sheet: Sheet, listen: Listener) -> dict[str, dict[str, float]]:
    """Return the roofs of the page's roofline: what the engines of this sheet reach on this host at their best."""

    def work(task: str, job: Mapping[str, Any]) -> dict[str, Any]:
        def tell(stage: str, done: float | None, left_s: float | None, _reached: object = None) -> None:
            listen(Progress(0, 0, "roofline", stage, done, left_s))

        return call(task, job, tell=tell, stall_limit_s=_STALL_S)

    return ceilings(sheet.rows, work)


def _report(place: Path, words: Words) -> Path:
    """Write the page of a sheet that was just written, beside it."""
    from speedsheet.history.sources import load
    from speedsheet.pages.page import render

    page = place / "sheet.html"
    page.write_text(render([load(str(place), cache_folder())], cache_folder(), lang=words.lang), encoding="utf-8")
    return page


def _kept(url: str, told: screen.Screen, finished: Callable[[Measurement], None], row: Measurement) -> None:
    """Copy a finished row's record to the store at a URL; where that fails it stays here, and the sheet goes on."""
    finished(row)
    if row.record is None:
        return
    try:
        told.write(f"record: {pushed(Path(row.record), url)}\n")
    except UsageError as error:
        told.write(f"speedsheet: the record stays in {row.record}: {error}\n")


def show_spread(document: Document) -> None:
    """Draw the latencies of each measured row from its record's raw samples."""
    out = screen.output()
    for row in document.sheet.rows:
        if row.status != "ok" or row.record is None:
            continue
        try:
            latency_ms = store.samples(Path(row.record)).latency_ns / _NS_PER_MS
        except RecordDamaged as error:
            screen.errors().write(f"speedsheet: no histogram: {error}\n")
            continue
        marks = {"p50": row.latency_ms.p50, "p90": row.latency_ms.p90, "p99": row.latency_ms.p99}
        name = " · ".join(part for part in (model_name(row), row.engine) if part)
        width, words = min(out.width, 100), document.words
        drawn = as_histogram.render(name, latency_ms, marks, width, words=words, ascii_only=out.ascii_only)
        out.show(Text(f"\n{drawn}"))


def _print(
    document: Document, shape: str, out: screen.Screen, beside: Sequence[Beside], *, with_resources: bool
) -> None:
    if shape == "table":
        out.show(as_terminal.render(document, out.width, ascii_only=out.ascii_only, with_resources=with_resources))
        for one in beside:
            out.write(f"\n{one.table(document, out.width)}")
    elif shape == "markdown":
        out.write(as_markdown.render(document, beside))
    elif shape == "csv":
        out.write(as_csv.render(document, *(column for one in beside for column in one.columns(document))))
    else:
        out.write(
            as_json.render(document, **{key: part for one in beside for key, part in one.content(document).items()})
        )
    out.stream.flush()


def writable(folder: Path) -> Path:
    """Return the folder, made where it is not there. Raises UsageError where it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot be made: {error.strerror}", where=str(folder), do="give another folder by --out"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError("cannot be written", where=str(folder), do="give another folder by --out")
    return folder.absolute()


def refuse(request: RowRequest) -> None:
    """Raise UsageError for models and files that are not there; what is in them is for the bench to judge."""
    if request.own:
        _file(Path(request.model), BadModel("no such file", where=request.model, do="give the path of an .onnx file"))
    elif os.sep in request.model or Path(request.model).suffix in _OTHER_MODELS:
        raise BadModel("is not an .onnx file", where=request.model, do="export the model to ONNX and give that file")
    else:
        workload(request.model)
    if request.reference is not None:
        missing = BadModel("no such file", where=str(request.reference), do="give the path of an .onnx file")
        _file(request.reference, missing)
    if request.data is not None:
        _file(request.data, BadInput("no such file", where=str(request.data), do="give the path of an .npz file"))


def _file(path: Path, missing: UsageError) -> None:
    if not path.is_file():
        raise missing


_OTHER_MODELS = frozenset(
    {".pb", ".pt", ".pth", ".h5", ".keras", ".tflite", ".xml", ".mlmodel", ".engine", ".safetensors"}
)
