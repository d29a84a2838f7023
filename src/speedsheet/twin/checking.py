"""A published sheet held to its own arithmetic and to the limits of the device that it names: a verdict for each row.

Nothing here is fitted: Little's law and rounding (`published.arithmetic`), and what the device file alone bounds
(`ceilings`). What would have to be true for a row to hold is said with the number at which the verdict flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speedsheet.core.measurement import Finding
from speedsheet.published.arithmetic import InFlight, contradictions, in_flight, latency_is_derived
from speedsheet.published.row import PublishedRow, PublishedSheet
from speedsheet.twin.ceilings import Ceiling, Flip, above, ceiling, flips, narrower, written
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.pieces import row_piece

Verdict = Literal["consistent", "doubtful", "impossible"]
VERDICTS: tuple[Verdict, ...] = ("consistent", "doubtful", "impossible")
#: What no row that was measured can say.
_IMPOSSIBLE = frozenset({"p99_below_mean", "above_every_limit"})
#: What is to be known of a row and speaks not against it.
_NOTED = frozenset({"unstated_concurrency", "batch_without_effect"})
#: A row that needs so much of a limit hangs on it.
_NEARLY = 0.95


@dataclass(frozen=True, slots=True)
class RowCheck:
    """What is said of one printed row. `in_flight` is null where a figure for it is not printed.

    `share` is how much of the tightest limit of the device the row needs, null where the model or the device is not
    known; `flips` are the assumptions on which the verdict hangs.
    """

    row: PublishedRow
    in_flight: InFlight | None
    share: float | None
    binding: str
    flips: tuple[Flip, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """Consistent where nothing speaks against it; impossible where nothing could make it true."""
        codes = {finding.code for finding in self.findings} - _NOTED
        return "impossible" if codes & _IMPOSSIBLE else "doubtful" if codes else "consistent"


@dataclass(frozen=True, slots=True)
class SheetCheck:
    """A sheet with what is said of each of its rows; `derived` says that its latencies were computed, not measured."""

    sheet: PublishedSheet
    device: DeviceSpec | None
    derived: bool
    rows: tuple[RowCheck, ...]

    def count(self, verdict: Verdict) -> int:
        """How many rows have a verdict."""
        return sum(row.verdict == verdict for row in self.rows)


def check(sheet: PublishedSheet, device: DeviceSpec | None, cache: Path | None = None) -> SheetCheck:
    """Return what the rows of a sheet say of themselves and each other, and what the device says of them."""
    said = contradictions(sheet.rows)
    rows = tuple(_row(row, found, device, cache) for row, found in zip(sheet.rows, said, strict=True))
    return SheetCheck(sheet, device, latency_is_derived(sheet.rows), rows)


def _row(row: PublishedRow, said: Sequence[Finding], device: DeviceSpec | None, cache: Path | None) -> RowCheck:
    implied, figure = in_flight(row), row.throughput_samples_per_s
    piece = row_piece(row, cache) if device else None
    precision = (row.precision or "").lower()
    if device is None or piece is None or figure is None or precision not in device.precisions:
        return RowCheck(row, implied, None, "", (), tuple(said))
    limit = ceiling(piece, device, batch_size=row.batch_size, precision=precision)
    told = flips(piece, device, figure.low, batch_size=row.batch_size, precision=precision)
    impossible = any(
        above(figure.low, bound.widest * narrower(piece, precision, bound.resource)) for bound in limit.bounds
    )
    share = figure.low / limit.throughput
    hangs_on = tuple(flip for flip in told if flip.margin < 1 / _NEARLY)
    findings = (*said, *_limits(limit, share, impossible=impossible))
    return RowCheck(row, implied, share, limit.binding, hangs_on, findings)


def _limits(limit: Ceiling, share: float, *, impossible: bool) -> tuple[Finding, ...]:
    """Say how near to a limit of the device a row is."""
    needs = f"needs {written(share * 100)} % of the device's {_NAMES[limit.binding]}"
    if impossible:
        return (Finding("above_every_limit", f"{needs}, more than any source states"),)
    return (Finding("near_limit", f"{needs}"),) if share >= _NEARLY else ()


_NAMES = {"peak": "peak", "memory": "DDR bandwidth", "link_in": "host link", "link_out": "host link for outputs"}
