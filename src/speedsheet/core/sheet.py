"""A sheet: rows measured on one host, and the declaration of a column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from speedsheet.core.measurement import Measurement

SHEET_SCHEMA = "speedsheet.sheet/1"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows in the suite's order, with the facts of the host that measured them."""

    host: Mapping[str, Any]
    rows: tuple[Measurement, ...]

    @property
    def ok(self) -> bool:
        """Whether every row has its number."""
        return all(row.status == "ok" for row in self.rows)


@dataclass(frozen=True, slots=True)
class Column:
    """A column, declared once for every output format. `value` returns None for a blank."""

    name: str
    unit: str
    better: Literal["lower", "higher", ""]
    value: Callable[[Measurement], str | int | float | None]
