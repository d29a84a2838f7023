"""From requests to a printed sheet: refuse what can be refused, measure, print, keep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from rich.text import Text

from speedsheet.cli import screen
from speedsheet.cli.options import Options
from speedsheet.cli.seam import Measure, bench
from speedsheet.cli.view import view
from speedsheet.core.errors import BadInput, BadModel, RecordDamaged, UsageError
from speedsheet.core.request import RowRequest
from speedsheet.core.sheet import Column
from speedsheet.host.places import data_folder
from speedsheet.plugins import workload
from speedsheet.records import store
from speedsheet.sheets import as_csv, as_histogram, as_json, as_markdown, as_terminal, files
from speedsheet.sheets.columns import model_name
from speedsheet.sheets.document import Document
from speedsheet.sheets.front_matter import FrontMatter

_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class Done:
    """A measured sheet as it was set, the format in which it was printed, and the exit code."""

    document: Document
    shape: str
    code: int


class Beside(Protocol):
    """What is printed with a measured sheet beside its rows; `cli.twin_beside` is one."""

    def table(self, document: Document, width: int) -> str:
        """Return a table for a terminal of so many cells."""

    def markdown(self, document: Document) -> str:
        """Return a table as Markdown."""

    def columns(self, document: Document) -> tuple[Column, ...]:
        """Return columns for CSV."""

    def content(self, document: Document) -> dict[str, Any]:
        """Return keys for JSON."""


def measured(
    requests: Sequence[RowRequest],
    options: Options,
    front: FrontMatter,
    measure: Measure | None,
    beside: Beside | None = None,
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
    folder = writable(options.out or data_folder())
    for request in requests:
        refuse(request)
    with view(told, quiet=shape == "json") as live:
        sheet = (measure or bench())(
            options.paired(requests),
            store=folder / "records",
            budget_s=options.budget_s,
            refine=options.refine,
            resume=options.resume,
            stall_limit_s=options.stall_limit_s,
            listen=live.listen,
            finished=live.finished,
        )
    document = Document.of(sheet, front, words=words, price=price, date=date)
    if told.terminal:
        told.write("\n")
    try:
        kept = f"sheet: {files.write(document, folder / 'sheets')}"
    except OSError as error:  # what was measured is printed all the same
        kept = f"speedsheet: the sheet was not written: {error}"
    _print(document, shape, out, beside, with_resources=options.resources)
    told.write(kept + "\n")
    return Done(document, shape, 0 if sheet.ok and kept.startswith("sheet") else 1)


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


def _print(document: Document, shape: str, out: screen.Screen, beside: Beside | None, *, with_resources: bool) -> None:
    if shape == "table":
        out.show(as_terminal.render(document, out.width, ascii_only=out.ascii_only, with_resources=with_resources))
        out.write(f"\n{beside.table(document, out.width)}" if beside else "")
    elif shape == "markdown":
        out.write(as_markdown.render(document))
        out.write(f"\n{beside.markdown(document)}" if beside else "")
    elif shape == "csv":
        out.write(as_csv.render(document, *(beside.columns(document) if beside else ())))
    else:
        out.write(as_json.render(document, **(beside.content(document) if beside else {})))
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
