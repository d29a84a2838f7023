"""A whole sheet: requests in, rows out, cheapest first; what ends early ends with what is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from speedsheet.bench.choose import engines_for
from speedsheet.bench.reference import judge_version
from speedsheet.bench.row import Desk, asked_row, measure_row
from speedsheet.convert.data import data_pool
from speedsheet.convert.onnx_file import read_model
from speedsheet.convert.onnx_graph import skeleton
from speedsheet.convert.own import own_workload
from speedsheet.convert.own_artifact import request_macs
from speedsheet.convert.recipe import shipped
from speedsheet.core.errors import BadInput, UsageError
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import PRECISIONS, Listener, Progress, RowRequest, silent
from speedsheet.core.sheet import Sheet
from speedsheet.core.units import format_duration
from speedsheet.records.host import allowed_cores, host_facts

#: No processor core of today multiplies faster: the bound that refuses budgets in which no request can end.
_MACS_PER_CORE_S = 2.5e12
#: What preparing, auditing and judging take around a window, as a first guess.
_AROUND_S = 8.0


def measure_sheet(
    requests: Sequence[RowRequest],
    *,
    store: Path,
    budget_s: float | None = None,
    resume: bool = False,
    stall_limit_s: float = 300.0,
    listen: Listener = silent,
    finished: Callable[[Measurement], None] = lambda _row: None,
) -> Sheet:
    """Measure every request and return the rows in the order asked.

    Wrong requests raise UsageError, before anything is built where that can be known, and never once a row is done.
    `finished` is told each row as it ends. On Ctrl-C, or when `budget_s` is spent, the rows not measured are returned
    as skipped.
    """
    macs = [_check(request, budget_s) for request in requests]
    judge_version()
    desk, began = Desk(store, stall_limit_s, resume), time.monotonic()
    rows: dict[int, Measurement] = {}
    order = sorted(range(len(requests)), key=macs.__getitem__)
    try:
        for position, index in enumerate(order):
            request = requests[index]
            left_s = _left_s([requests[later] for later in order[position:]], time.monotonic() - began, position)
            told = partial(_tell, listen, request, position + 1, len(requests), time.monotonic() + left_s)
            try:
                rows[index] = _one(request, desk, told, began, budget_s, len(order) - position)
            except UsageError as error:
                if not rows:  # nothing is lost by saying that the command was wrong
                    raise
                rows[index] = asked_row(request).failed(str(error))
            finished(rows[index])
    except KeyboardInterrupt:
        pass
    missing = {i: asked_row(requests[i]).failed("interrupted", "skipped") for i in order if i not in rows}
    return Sheet(host_facts(), tuple((rows | missing)[index] for index in range(len(requests))))


def _one(
    request: RowRequest,
    desk: Desk,
    tell: Callable[[str, float | None, float | None], None],
    began: float,
    budget_s: float | None,
    rows_left: int,
) -> Measurement:
    if budget_s is None:
        return measure_row(request, desk, tell)
    left_s = began + budget_s - time.monotonic()
    if left_s <= 0:
        return asked_row(request).failed(f"the budget of {format_duration(budget_s)} was spent", "skipped")
    # half of a row's share is for loading, preparing and judging it
    window_s = min(request.window_s, left_s / rows_left / 2)
    return measure_row(replace(request, window_s=window_s), desk, tell, began + budget_s)


def _left_s(requests: Sequence[RowRequest], passed_s: float, rows_done: int) -> float:
    """Guess how long these rows take: their windows, and around each what a row took on average until now."""
    window_s = sum(request.window_s for request in requests)
    around_s = _AROUND_S if not rows_done else max(0.0, passed_s / rows_done - window_s / len(requests))
    return window_s + around_s * len(requests)


def _tell(
    listen: Listener,
    request: RowRequest,
    row: int,
    rows: int,
    until: float,
    stage: str,
    done: float | None,
    left_s: float | None,
) -> None:
    listen(Progress(row, rows, request.model, stage, done, left_s, max(0.0, until - time.monotonic())))


def _check(request: RowRequest, budget_s: float | None) -> float:
    """Refuse what cannot be measured, before anything is built; return the row's work in multiply-accumulates."""
    if request.precision == "int8":
        raise UsageError("int8 needs a quantised model, which this version does not make", do="ask fp32, fp16 or bf16")
    if request.precision not in {None, *PRECISIONS}:
        raise UsageError(f"no precision is called {request.precision!r}", do=f"known: {', '.join(PRECISIONS)}")
    row = asked_row(request)
    if request.own:
        own = own_workload(
            Path(request.model), inputs=request.inputs, batch_size=request.batch_size, carry=request.carry
        )
        if request.data:
            data_pool(request.data, own.workload, own.workload.batch_size, 1)
        macs_per_request = request_macs(skeleton(read_model(Path(request.model))), own) or 0
    else:
        if request.inputs or request.carry:
            raise BadInput(f"{request.model} has its own inputs", do="--input and --carry are for .onnx files")
        macs_per_request = shipped(request.model).macs_per_sample * row.batch_size
    engines_for(request)
    fastest_s = macs_per_request / _MACS_PER_CORE_S / allowed_cores()
    if budget_s is not None and budget_s < fastest_s:
        raise UsageError(
            f"one request of {request.model} at batch {row.batch_size} takes at least {format_duration(fastest_s)} "
            f"on {allowed_cores()} cores, and the budget is {format_duration(budget_s)}",
            do="give a longer --budget or a smaller --batch",
        )
    return macs_per_request * row.thread_num
