"""speedsheet from Python: measure, look back, and print; the command's own parts under short names.

import speedsheet

sheet = speedsheet.measure("resnet50", precision="bf16", window_s=5)
print(sheet)                                   # as in a terminal; in a notebook it shows itself as a table
sheet.rows[0].throughput_samples_per_s         # a frozen Measurement: the keys of --json
speedsheet.load("latest")                      # a run, a record, or a published sheet
speedsheet.History.of().sql("SELECT model, samples_per_s FROM records").fetchall()
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedsheet.bench.sheet import measure_sheet
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import Listener, RowRequest, silent
from speedsheet.core.sheet import Sheet
from speedsheet.history import sources
from speedsheet.history.store import History
from speedsheet.host.places import cache_folder, data_folder
from speedsheet.sheets import as_html, as_json, as_markdown, as_terminal
from speedsheet.sheets.document import Document
from speedsheet.sheets.front_matter import FrontMatter

__all__ = ["History", "PrintedSheet", "load", "measure"]

_WIDTH = 140


@dataclass(frozen=True, slots=True)
class PrintedSheet:
    """A sheet that prints itself: as text, in a notebook as HTML, as Markdown and as the data of `--json`."""

    document: Document

    @property
    def rows(self) -> tuple[Measurement, ...]:
        """The rows, in the order asked."""
        return self.document.sheet.rows

    def __str__(self) -> str:
        return as_terminal.render(self.document, shutil.get_terminal_size((_WIDTH, 50)).columns).plain

    def _repr_html_(self) -> str:
        return as_html.render(self.document)

    def to_markdown(self) -> str:
        """Return GitHub-flavoured Markdown."""
        return as_markdown.render(self.document)

    def to_json(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return as_json.content(self.document)


def measure(
    *models: str | RowRequest, store: str | Path | None = None, listen: Listener = silent, **asked: Any
) -> PrintedSheet:
    """Measure models by name or file, or whole requests, and return their sheet; every row is sealed in `store`.

    `asked` are fields of `RowRequest` for models that are given by name: ``engine``, ``precision``, ``batch_size``,
    ``thread_num``, ``window_s``, ... Raises UsageError where a request is wrong; a row that fails says why.
    """
    requests = [model if isinstance(model, RowRequest) else RowRequest(model, **asked) for model in models]
    folder = Path(store).expanduser() if store else data_folder() / sources.RECORDS
    return printed(measure_sheet(requests, store=folder, listen=listen))


def load(name: str = "latest") -> PrintedSheet:
    """Return a run, a record, a store or a published sheet, by what `speedsheet compare` takes. Raises UsageError."""
    run = sources.load(name, cache_folder())
    known = {field: str(text) for field in FrontMatter.__slots__ if (text := run.document.get(field))}
    return printed(Sheet(run.host, run.rows), FrontMatter(**known))


def printed(sheet: Sheet, front: FrontMatter | None = None) -> PrintedSheet:
    """Set a sheet."""
    return PrintedSheet(Document.of(sheet, front))
