"""A whole sheet: requests in, rows out, cheapest first; what ends early ends with what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from speedsheet import plugins
from speedsheet.bench.choose import engines_for
from speedsheet.bench.labelled import check_labels
from speedsheet.bench.reference import judge_version
from speedsheet.bench.refine import refined
from speedsheet.bench.row import Desk, Limits, asked_row, longest_s, measure_row
from speedsheet.convert.data import data_pool
from speedsheet.convert.graph.file import read_model
from speedsheet.convert.graph.walk import skeleton
from speedsheet.convert.own.artifact import request_macs
from speedsheet.convert.own.workload import own_workload
from speedsheet.convert.quantise import quantiser
from speedsheet.convert.shipping.recipe import shipped
from speedsheet.convert.shipping.trained import check_weights
from speedsheet.core.errors import BadInput, UsageError
from speedsheet.core.measurement import Finding, Measurement, Throughput, executed_kinds
from speedsheet.core.plan import Reached
from speedsheet.core.request import AS_IS, PRECISIONS, Listener, Progress, RowRequest, silent
from speedsheet.core.sheet import Sheet
from speedsheet.core.units import format_duration
from speedsheet.host.facts import allowed_cores, host_facts

#: No processor core of today multiplies faster: the bound that refuses budgets in which no request can end.
_MACS_PER_CORE_S = 2.5e12
#: What preparing, auditing and judging take around a window, as a first guess.
_AROUND_S = 8.0


def measure_sheet(
    requests: Sequence[RowRequest],
    *,
    store: Path,
    budget_s: float | None = None,
    refine: bool = False,
    resume: bool = False,
    stall_limit_s: float = 300.0,
    listen: Listener = silent,
    finished: Callable[[Measurement], None] = lambda _row: None,
) -> Sheet:
    """Measure every request and return the rows in the order asked.

    With `refine`, rows that miss their targets are measured again for longer, until they meet them or `budget_s` is
    spent. Wrong requests raise UsageError, before anything is built where that can be known, and never once a row is
    done. `finished` is told each row as it ends, and a row that was measured again, and is better known, once more. On
    Ctrl-C, or when the budget is spent, the rows not measured are returned as skipped.
    """
    macs = [check(request, budget_s) for request in requests]
    judge_version()
    run = _Run(Desk(store, stall_limit_s, resume), listen, time.monotonic(), budget_s, refine=refine)
    rows: dict[int, Measurement] = {}
    order = sorted(range(len(requests)), key=macs.__getitem__)
    with suppress(KeyboardInterrupt):
        for position, index in enumerate(order):
            later = [requests[index] for index in order[position:]]
            try:
                rows[index] = run.first(later, position, len(order))
            except UsageError as error:
                if not rows:  # nothing is lost by saying that the command was wrong
                    raise
                rows[index] = asked_row(requests[index]).failed(str(error))
            finished(rows[index])
        if refine:
            for index, better in refined(rows, run.left, partial(run.again, requests, order)):
                rows[index] = better
                finished(better)
    missing = {i: asked_row(requests[i]).failed("interrupted", "skipped") for i in order if i not in rows}
    ordered = [(rows | missing)[index] for index in range(len(requests))]
    return Sheet(host_facts(), tuple(compared(ordered)))


@dataclass(frozen=True, slots=True)
class _Run:
    """One sheet under way: where it keeps its rows, whom it tells, and until when it may go on."""

    desk: Desk
    listen: Listener
    began: float
    budget_s: float | None
    refine: bool = False

    def left(self) -> float:
        """Return the seconds that are left of the budget."""
        return float("inf") if self.budget_s is None else self.began + self.budget_s - time.monotonic()

    def first(self, later: Sequence[RowRequest], position: int, rows: int) -> Measurement:
        """Measure the first of the rows that are left, or skip it where the budget is spent."""
        request = later[0]
        if self.left() <= 0:
            return asked_row(request).failed(
                f"the budget of {format_duration(self.budget_s or 0)} was spent", "skipped"
            )
        guess_s = _left_s(later, time.monotonic() - self.began, position)
        # one row alone need not leave time for others: it goes on until it is known well enough
        window_s = max(self.left(), request.window_s) if self.refine and rows == 1 and self.budget_s else None
        return self.measure(request, position + 1, rows, guess_s, self._limits(window_s, len(later)))

    def again(self, requests: Sequence[RowRequest], order: Sequence[int], index: int, window_s: float) -> Measurement:
        """Measure a row once more, for longer, under the number that it had; one that cannot be is a failed row."""
        fresh = replace(self, desk=replace(self.desk, resume=False))
        guess_s = min(self.left(), window_s + _AROUND_S)
        number, limits = order.index(index) + 1, self._limits(window_s, 1)
        try:
            return fresh.measure(requests[index], number, len(requests), guess_s, limits)
        except (UsageError, OSError) as error:  # what is known of the row stays
            return asked_row(requests[index]).failed(str(error))

    def measure(self, request: RowRequest, row: int, rows: int, guess_s: float, limits: Limits) -> Measurement:
        """Measure one row, telling of it, and of the time that is left for the sheet."""
        until = time.monotonic() + guess_s

        def tell(stage: str, done: float | None, left_s: float | None, reached: Reached | None = None) -> None:
            sheet_left_s = max(0.0, until - time.monotonic())
            self.listen(Progress(row, rows, request.model, stage, done, left_s, sheet_left_s, reached))

        return measure_row(request, self.desk, tell, limits)

    def _limits(self, window_s: float | None, rows_left: int) -> Limits:
        """Let a row end in its share of what is left of the budget."""
        if self.budget_s is None:
            return Limits(window_s)
        return Limits(window_s, time.monotonic() + self.left() / rows_left, self.began + self.budget_s)


def compared(rows: Sequence[Measurement]) -> list[Measurement]:
    """Return the rows, those in int8 that are not faster than the same row in a wider type with a finding."""
    return [row.noting(*_slower(row, rows)) if row.precision == "int8" else row for row in rows]


def _slower(row: Measurement, rows: Sequence[Measurement]) -> list[Finding]:
    same = [
        other
        for other in rows
        if (other.model, other.batch_size, other.device, other.clocks)
        == (row.model, row.batch_size, row.device, row.clocks)
        and other.precision != "int8"
    ]
    return [
        Finding(
            "int8_slower",
            f"int8{_at(row, other)} gives {share:.2f} x the throughput of "
            f"{executed_kinds(other.precision_executed) or other.precision}{_at(other, row)} on {other.engine}",
        )
        for other in same
        if (share := _lower(row.throughput_samples_per_s, other.throughput_samples_per_s))
    ]


def _lower(one: Throughput, other: Throughput) -> float | None:
    """Return which share of another figure this one is, where it is less: by both intervals where there are two."""
    if not one.value or not other.value or one.value >= other.value:
        return None
    if one.high is not None and other.low is not None and one.high >= other.low:
        return None
    return one.value / other.value


def _at(row: Measurement, other: Measurement) -> str:
    """Name the clients of a row where another has not as many."""
    return "" if row.thread_num == other.thread_num else f" at thread_num {row.thread_num}"


def _left_s(requests: Sequence[RowRequest], passed_s: float, rows_done: int) -> float:
    """Guess how long these rows take: their windows, and around each what a row took on average until now."""
    window_s = sum(longest_s(request) for request in requests)
    around_s = _AROUND_S if not rows_done else max(0.0, passed_s / rows_done - window_s / len(requests))
    return window_s + around_s * len(requests)


def check(request: RowRequest, budget_s: float | None = None) -> float:
    """Refuse what cannot be measured, before anything is built; return the row's work in multiply-accumulates."""
    if request.precision not in {None, AS_IS, *PRECISIONS}:
        raise UsageError(f"no precision is called {request.precision!r}", do=f"known: {', '.join(PRECISIONS)}")
    row = asked_row(request)
    if request.own:
        if request.weights:
            raise BadInput(f"{request.model} has its own weights", do="--weights are for shipped models")
        own = own_workload(
            Path(request.model), inputs=request.inputs, batch_size=request.batch_size, carry=request.carry
        )
        workload, batch_size = own.workload, own.workload.batch_size
        macs_per_request = request_macs(skeleton(read_model(Path(request.model))), own) or 0
    else:
        if request.inputs or request.carry or request.reference:
            what = f"{request.model} has its own inputs and reference"
            raise BadInput(what, do="--input, --carry and --reference are for .onnx files")
        if request.weights:
            check_weights(request.model, request.weights)
        workload, batch_size = plugins.workload(request.model), row.batch_size
        macs_per_request = shipped(request.model).macs_per_sample * row.batch_size
    check_labels(request, workload, batch_size)
    if request.data and not request.labels:
        data_pool(request.data, workload, batch_size, 1)
    engines_for(request)
    if row.precision == "int8":
        quantiser()
    fastest_s = macs_per_request / _MACS_PER_CORE_S / allowed_cores()
    if budget_s is not None and budget_s < fastest_s:
        raise UsageError(
            f"one request of {request.model} at batch {row.batch_size} takes at least {format_duration(fastest_s)} "
            f"on {allowed_cores()} cores, and the budget is {format_duration(budget_s)}",
            do="give a longer --budget or a smaller --batch",
        )
    return macs_per_request * row.thread_num
