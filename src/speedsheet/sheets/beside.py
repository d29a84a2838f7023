"""What may stand beside the rows of a sheet, in every format: modelled figures, published ones."""

from __future__ import annotations

from typing import Any, Protocol

from speedsheet.core.sheet import Column
from speedsheet.sheets.document import Document


class Beside(Protocol):
    """A table that goes with a measured sheet; `cli.twin_beside` and `cli.against` are two."""

    def table(self, document: Document, width: int) -> str:
        """Return a table for a terminal of so many cells."""

    def markdown(self, document: Document) -> str:
        """Return a table as Markdown."""

    def columns(self, document: Document) -> tuple[Column, ...]:
        """Return columns for CSV."""

    def content(self, document: Document) -> dict[str, Any]:
        """Return keys for JSON."""
