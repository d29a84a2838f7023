"""What the command line needs of the bench: one function. Tests hand in another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # numpy comes with these types, and --help must not wait for it
    from speedsheet.core.measurement import Measurement
    from speedsheet.core.request import Listener, RowRequest
    from speedsheet.core.sheet import Sheet


class Measure(Protocol):
    """Measure rows and return them in the requests' order; `bench.sheet.measure_sheet` is one.

    `listen` hears of each stage, `finished` of each row. Raises UsageError before anything is built.
    """

    def __call__(
        self,
        requests: Sequence[RowRequest],
        *,
        store: Path,
        budget_s: float | None,
        refine: bool,
        resume: bool,
        stall_limit_s: float,
        listen: Listener,
        finished: Callable[[Measurement], None],
    ) -> Sheet:
        """Measure; see `bench.sheet.measure_sheet`."""


def bench() -> Measure:
    """Return the real one, imported when it is first needed."""
    from speedsheet.bench.sheet import measure_sheet

    return measure_sheet
