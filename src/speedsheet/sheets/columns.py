"""The columns of a sheet, declared once for every format: the published ones first and as published, then ours.

A column's name is English and names it everywhere; its heading is the language's.
"""

from __future__ import annotations

from collections.abc import Callable

from speedsheet.core.measurement import Gate, Measurement, executed_kinds
from speedsheet.core.sheet import Column
from speedsheet.sheets.cost import Price
from speedsheet.sheets.digits import against, rounded
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.sheets.words import Words

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
COST = "Cost per million samples"
_NUMBERS = frozenset({"Batch size", "thread_num", COST})


def columns(
    words: Words, findings: Callable[[Measurement], str | None], price: Price | None = None
) -> tuple[Column, ...]:
    """Return every column; `findings` says how a format refers to what is doubtful about a row."""
    return (
        *PUBLISHED,
        HALF_WIDTH,
        *PERCENTILES,
        *([cost(price)] if price else []),
        ENGINE,
        Column("Executed", "", "", lambda row: executed(row, words)),
        Column("Gate", "", "", lambda row: verdict(row.gate, words)),
        Column("Findings", "", "", findings),
    )


def cost(price: Price) -> Column:
    """Return the column of what a million samples cost at that price."""
    return Column(COST, price.currency, "lower", lambda row: price.of_million(row.throughput_samples_per_s).value)


def heading(column: Column, words: Words) -> str:
    """Return the heading of a column; that of cost names the currency."""
    name = words.heading(column.name)
    return f"{name} ({clean(column.unit)})" if column.name == COST and column.unit else name


def is_number(column: Column) -> bool:
    """Whether a column holds numbers, and is set to the right."""
    return bool(column.unit) or column.name in _NUMBERS


def show(column: Column, row: Measurement, words: Words) -> str:
    """Return the text of one cell, rounded as its interval allows; what was not measured is a dash.

    A row without a number says "failed" or "skipped" where its latency would stand.
    """
    value = column.value(row)
    if value is None:
        return words.statuses[row.status] if column is LATENCY and row.status != "ok" else BLANK
    if isinstance(value, str):
        return clean(value) or BLANK
    if isinstance(value, int):
        return str(value)
    if column is HALF_WIDTH:
        return f"{rounded(value, usual=2)} %"
    return rounded(value, _half_width(column, value, row))


def executed(row: Measurement, words: Words) -> str | None:
    """Say what ran in place of what was asked: ``fp32``, ``bf16 (asked fp16)``."""
    ran = executed_kinds(row.precision_executed)
    return (ran or None) if ran in {"", row.precision} else words.asked.format(ran=ran, asked=row.precision)


def verdict(gate: Gate, words: Words) -> str | None:
    """Say what the gate found: ``pass, cosine .9993 ≥ .95`` or ``FAIL, error 0.41 > 0.25``."""
    if gate.passed is None:
        return None
    word = words.passed if gate.passed else words.wrong
    if gate.metric is None or gate.value is None:
        return word
    name = words.metrics.get(gate.metric, clean(gate.metric.replace("_", " ")))
    more_is_better = gate.metric in {"centred_cosine", "agreement"}
    return words.listed([word, f"{name} {against(gate.value, gate.limit, more_is_better=more_is_better)}"])


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _half_width(column: Column, value: float, row: Measurement) -> float | None:
    if column is THROUGHPUT or column.name == COST:
        share = row.throughput_samples_per_s.half_width
        return None if share is None else share * value
    low, high = row.latency_ms.low, row.latency_ms.high
    return (high - low) / 2 if low is not None and high is not None else None
