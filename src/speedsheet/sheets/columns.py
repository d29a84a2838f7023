"""The columns of a sheet, declared once for every format: the published ones first and as published, then ours."""

from __future__ import annotations

from collections.abc import Callable

from speedsheet.core.measurement import Gate, Measurement, executed_label
from speedsheet.core.sheet import Column, Sheet
from speedsheet.sheets.digits import fraction, rounded
from speedsheet.sheets.footnotes import Footnotes
from speedsheet.sheets.letters import BLANK, clean

LATENCY = Column("Latency(msec)", "ms", "lower", lambda row: row.latency_ms.mean)
THROUGHPUT = Column(
    "Throughput (samples per sec)", "samples/s", "higher", lambda row: row.throughput_samples_per_s.value
)
PUBLISHED = (
    Column("Model", "", "", lambda row: row.model),
    Column("Framework", "", "", lambda row: row.framework),
    Column("Batch size", "", "", lambda row: row.batch_size),
    LATENCY,
    THROUGHPUT,
    Column("Precision", "", "", lambda row: row.precision.upper()),
    Column("thread_num", "", "", lambda row: row.thread_num),
)
HALF_WIDTH = Column("±", "%", "lower", lambda row: _percent(row.throughput_samples_per_s.half_width))
PERCENTILES = (
    Column("p50", "ms", "lower", lambda row: row.latency_ms.p50),
    Column("p90", "ms", "lower", lambda row: row.latency_ms.p90),
    Column("p99", "ms", "lower", lambda row: row.latency_ms.p99),
)
ENGINE = Column("Engine", "", "", lambda row: row.engine)
EXECUTED = Column("Executed", "", "", lambda row: executed_label(row) or None)
OURS = (
    HALF_WIDTH,
    *PERCENTILES,
    ENGINE,
    EXECUTED,
    Column("Gate", "", "", lambda row: verdict(row.gate)),
)


def columns(findings: Callable[[Measurement], str | None]) -> tuple[Column, ...]:
    """Return every column; `findings` says how a format refers to what is doubtful about a row."""
    return (*PUBLISHED, *OURS, Column("Findings", "", "", findings))


def numbered(notes: Footnotes) -> tuple[Column, ...]:
    """Return every column, the findings as numbers of footnotes."""
    return columns(lambda row: ", ".join(map(str, notes.numbers(row))) or None)


def is_number(column: Column) -> bool:
    """Whether a column holds numbers, and is set to the right."""
    return bool(column.unit) or column.name in {"Batch size", "thread_num"}


def show(column: Column, row: Measurement) -> str:
    """Return the text of one cell, rounded as its interval allows; what was not measured is a dash.

    A row without a number says "failed" or "skipped" where its latency would stand.
    """
    value = column.value(row)
    if value is None:
        return row.status if column is LATENCY and row.status != "ok" else BLANK
    if isinstance(value, str):
        return clean(value) or BLANK
    if isinstance(value, int):
        return str(value)
    if column is HALF_WIDTH:
        return f"{rounded(value, usual=2)} %"
    return rounded(value, _half_width(column, row))


def verdict(gate: Gate) -> str | None:
    """Say what the gate found: ``pass, cosine .9993`` or ``FAIL, cosine .4100 < .9500``."""
    if gate.passed is None:
        return None
    word = "pass" if gate.passed else "FAIL"
    if gate.metric is None or gate.value is None:
        return word
    name = clean(gate.metric.replace("_", " ")).removeprefix("centred ")
    number = fraction if "cosine" in name else lambda value: rounded(value, usual=3)
    said = f"{word}, {name} {number(gate.value)}"
    if gate.passed or gate.limit is None:
        return said
    return f"{said} {'<' if gate.value < gate.limit else '>'} {number(gate.limit)}"


def host_line(sheet: Sheet) -> str:
    """Name the host that measured the rows, in one line."""
    host = sheet.host
    facts = [
        host.get("hostname"),
        host.get("cpu"),
        f"{host['cores_allowed']} cores" if host.get("cores_allowed") else None,
        f"{host['memory_gib']:.0f} GiB" if host.get("memory_gib") else None,
        host.get("os"),
        f"speedsheet {host['speedsheet']}" if host.get("speedsheet") else None,
    ]
    return clean(", ".join(str(fact) for fact in facts if fact))


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _half_width(column: Column, row: Measurement) -> float | None:
    if column is THROUGHPUT:
        share, value = row.throughput_samples_per_s.half_width, row.throughput_samples_per_s.value
        return share * value if share is not None and value is not None else None
    low, high = row.latency_ms.low, row.latency_ms.high
    return (high - low) / 2 if low is not None and high is not None else None
