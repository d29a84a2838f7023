"""A against B, measured live: prepared and judged as rows are, measured in turn, compared, and kept."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from speedsheet.bench.match import SIDES, Match, SideFailed
from speedsheet.bench.reference import judge_version
from speedsheet.bench.row import Desk, Ready, asked_row, readied
from speedsheet.bench.ruler import near_floor
from speedsheet.bench.sheet import check
from speedsheet.bench.sides import named
from speedsheet.core.comparison import Comparison, Design, Ratios, Side
from speedsheet.core.errors import RowFailed
from speedsheet.core.measurement import Finding, Gate, Latency, Measurement, Throughput, executed_kinds
from speedsheet.core.request import Listener, Progress, RowRequest, silent
from speedsheet.core.units import NS_PER_S, format_duration
from speedsheet.host.facts import host_facts
from speedsheet.records.comparisons import seal
from speedsheet.stats.comparison import log_ratios, ratio, typical, verdict

#: Measuring that took so many times what was asked is a finding.
_LONGER = 1.5
_FIGURES = ("throughput_samples_per_s", "mean_ms", "p50_ms")


def compare_live(
    asked: tuple[RowRequest, RowRequest],
    *,
    store: Path,
    time_s: float = 60.0,
    target: float | None = None,
    seed: int = 920,
    stall_limit_s: float = 300.0,
    design: Design | None = None,
    listen: Listener = silent,
) -> Comparison:
    """Measure A and B in turn for `time_s`, or until the ratio's half-width is at most `target`, and compare them.

    `design` is laid out from the time and what the first blocks take, unless it is given.
    A side that cannot run, or whose outputs are wrong, says so on its row, and there is no ratio. Ctrl-C while blocks
    are measured ends with what there is, without a verdict. Raises UsageError where the requests are wrong, before
    anything is built where that can be known.
    """
    for request in asked:
        check(request)
    judge_version()
    rows, ready = _readied(asked, Desk(store, stall_limit_s), listen)
    blank = Comparison(named(*rows), rows[0], rows[1], seed=seed, target=target, host=host_facts())
    if len(ready) < len(SIDES):
        return seal(store, _failed(blank), (), None, {})
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".unfinished-") as folder:
        match = Match(ready, time_s, target, seed, stall_limit_s, Path(folder), design)
        found = played(match, blank, listen)
        conditions = {str(side): dict(one.conditions) for side, one in ready.items()}
        return seal(store, found, match.blocks, Path(folder), conditions)


def played(match: Match, blank: Comparison, listen: Listener = silent) -> Comparison:
    """Run the generations of a match, and return what it says."""
    began = time.monotonic()
    interrupted = False
    try:
        while not match.over:
            match.generation(lambda done, left_s: listen(_progress(match, blank, done, left_s)))
    except SideFailed as failed:
        row = getattr(blank, failed.side).failed(failed.reason)
        sides: Any = {failed.side: replace(row, gate=failed.gate or row.gate)}
        return _failed(replace(blank, **sides, wall_s=time.monotonic() - began))
    except KeyboardInterrupt:
        interrupted = True
    found = replace(said(match, blank), wall_s=time.monotonic() - began)
    if interrupted:
        text = f"ended by hand after {found.generations} of {match.generations or 'its'} starts"
        return replace(found, status="interrupted", error=text, verdict=None)
    return found.noting(*_target(match, found), *_time(match, found))


def said(match: Match, blank: Comparison) -> Comparison:
    """Return what the finished generations say."""
    ratios = [ratio(log_ratios(match.blocks, figure), looks=match.looks) for figure in _FIGURES]
    a, b = (_side(match, side) for side in SIDES)
    found = replace(
        blank, a=a, b=b, verdict=verdict(match.log_ratios, match.looks), ratio=Ratios(*ratios),
        design=match.design, generations=match.finished, measured_s=match.measured_s,
    )  # fmt: skip
    return found.noting(*_alike(a, b))


def _readied(
    asked: tuple[RowRequest, RowRequest], desk: Desk, listen: Listener
) -> tuple[list[Measurement], dict[Side, Ready]]:
    """Prepare both sides; one that is asked for twice is prepared, and its engine chosen, once."""
    rows: list[Measurement] = []
    ready: dict[Side, Ready] = {}
    for place, (side, request) in enumerate(zip(SIDES, asked, strict=True)):
        label = f"{side.upper()}, {Path(request.model).name}"

        tell = partial(_told, listen, Progress(place + 1, len(asked), label, ""))
        try:
            ready[side] = ready["a"] if request == asked[0] and "a" in ready else readied(request, desk, tell)
            rows.append(ready[side].row)
        except RowFailed as error:
            rows.append(asked_row(request).failed(str(error)))
    return rows, ready


def _told(
    listen: Listener, heading: Progress, stage: str, done: float | None, left_s: float | None, _reached: object
) -> None:
    listen(replace(heading, stage=stage, done=done, remaining_s=left_s))


def _failed(found: Comparison) -> Comparison:
    """Return a comparison without a ratio, which says which side failed and why."""
    sides = {"A": found.a, "B": found.b}
    text = "; ".join(f"{name} failed: {row.error}" for name, row in sides.items() if row.status != "ok")
    return replace(found, status="failed", error=text)


def _progress(match: Match, blank: Comparison, done: float, left_s: float | None) -> Progress:
    known = ratio(match.log_ratios)
    so_far = ""
    if known.value is not None:
        span = f" ({known.low:.3g} to {known.high:.3g})" if known.low and known.high else ""
        so_far = f"B / A {known.value:.3g}{span} so far"
    of = f" of {match.generations}" if match.design else ""
    names = "A against A" if blank.same else f"A is {blank.names[0]}, B is {blank.names[1]}"
    return Progress(0, 0, f"start {match.finished + 1}{of}", so_far or names, done, left_s)


def _side(match: Match, side: Side) -> Measurement:
    """Return a side's row with its own figures: what its generations say on average."""
    row, told = match.ready[side].row, match.told[side]
    blocks = [block for block in match.blocks if block.side == side]
    if not blocks:
        return row
    throughput, mean, p50 = (typical(blocks, side, figure) for figure in _FIGURES)
    first = {key: told[0][key] for key in ("engine_settings", "clock_state")}
    times = {key: median(one[key] for one in told) for key in ("load_ms", "compile_ms", "first_inference_ms")}
    residual = 1 - (throughput.value or 0) * (mean.value or 0) / 1000 / (row.batch_size * row.thread_num)
    findings = {finding["code"]: Finding(**finding) for one in told for finding in one["findings"]}
    row = replace(
        row, **first, **times,
        peak_rss_mb=max(one["peak_rss_mb"] for one in told), gate=Gate(**told[-1]["gate"]),
        throughput_samples_per_s=Throughput(throughput.value, throughput.low, throughput.high),
        latency_ms=Latency(mean=mean.value, low=mean.low, high=mean.high, p50=p50.value),
        requests=sum(block.requests for block in blocks), processes=len(told),
        wall_s=sum(block.close_ns - block.open_ns for block in blocks) / NS_PER_S, little_residual=residual,
    ).noting(*findings.values())  # fmt: skip
    return row.noting(*near_floor(row))


def _alike(a: Measurement, b: Measurement) -> tuple[Finding, ...]:
    """Say where sides that were asked for different precisions executed the same."""
    ran = executed_kinds(a.precision_executed)
    if a.precision == b.precision or not ran or ran != executed_kinds(b.precision_executed):
        return ()
    return (Finding("same_execution", f"asked {a.precision} and {b.precision}, both sides executed {ran}"),)


def _target(match: Match, found: Comparison) -> tuple[Finding, ...]:
    half = found.ratio.throughput.half_width
    if match.target is None or half is None or half <= match.target:
        return ()
    needed_s = found.measured_s * (half / match.target) ** 2
    text = (
        f"the ratio's half-width came down to {half * 100:.2g} %, not to {match.target * 100:g} %; "
        f"--time {needed_s:.0f}s may be enough"
    )
    return (Finding("wide_interval", text),)


def _time(match: Match, found: Comparison) -> tuple[Finding, ...]:
    """Say why it took longer than asked."""
    if found.measured_s <= match.time_s * _LONGER or found.design is None:
        return ()
    text = (
        f"{format_duration(match.time_s)} were asked and {format_duration(found.measured_s)} measured: an interval "
        f"takes {match.generations} starts with blocks of {found.design.block_s:.2g} s"
    )
    return (Finding("longer_than_asked", text),)
