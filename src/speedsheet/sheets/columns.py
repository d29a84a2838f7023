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


def model_name(row: Measurement) -> str:
    """Name the model as a table has room for: an own one by its file, whose path JSON keeps."""
    return row.model.rpartition("/")[2] if row.model.endswith(".onnx") else row.model


MODEL = Column("Model", "", "", model_name)
LATENCY = Column("Latency(msec)", "ms", "lower", lambda row: row.latency_ms.mean)
THROUGHPUT = Column(
    "Throughput (samples per sec)", "samples/s", "higher", lambda row: row.throughput_samples_per_s.value
)
PRECISION = Column("Precision", "", "", lambda row: row.precision.upper())
PUBLISHED = (
    MODEL,
    Column("Framework", "", "", lambda row: row.framework),
    Column("Batch size", "", "", lambda row: row.batch_size),
    LATENCY,
    THROUGHPUT,
    PRECISION,
    Column("thread_num", "", "", lambda row: row.thread_num),
)
HALF_WIDTH = Column("±", "%", "lower", lambda row: _percent(row.throughput_samples_per_s.half_width))
PERCENTILES = (
    Column("p50", "ms", "lower", lambda row: row.latency_ms.p50),
    Column("p90", "ms", "lower", lambda row: row.latency_ms.p90),
    Column("p99", "ms", "lower", lambda row: row.latency_ms.p99),
)
#: Percentiles that would make a printed table too wide, and have their place in CSV and JSON.
MORE_PERCENTILES = (
    Column("p95", "ms", "lower", lambda row: row.latency_ms.p95),
    Column("p99.9", "ms", "lower", lambda row: row.latency_ms.p99_9),
)
#: How the state of locked clocks begins, before their frequency.
LOCKED = "locked at "
ENGINE = Column("Engine", "", "", lambda row: row.engine)
_MEGABYTES = "MB"
COST, ACCURACY, CLOCKS = "Cost per million samples", "Accuracy", "Clocks"
_PER_JOULE = "Samples per joule"
_NUMBERS = frozenset({"Batch size", "thread_num", COST, _PER_JOULE})
_NAME_UNITS = frozenset({COST, "Load", "Compile", "First inference", "Peak memory", "Artifact"})


def columns(
    words: Words,
    findings: Callable[[Measurement], str | None],
    price: Price | None = None,
    *,
    accuracy: bool = False,
    clocks: bool = False,
) -> tuple[Column, ...]:
    """Return every column of the main table; `findings` says how a format refers to what is doubtful about a row.

    `accuracy` adds the column of what labelled samples gave, `clocks` that of the clocks that a row was measured at.
    """
    return (
        *PUBLISHED,
        HALF_WIDTH,
        *PERCENTILES,
        *([cost(price)] if price else []),
        ENGINE,
        Column("Executed", "", "", lambda row: executed(row, words)),
        Column("Gate", "", "", lambda row: verdict(row.gate, words)),
        *([Column(CLOCKS, "", "", lambda row: at_clocks(row, words))] if clocks else []),
        *([Column(ACCURACY, "", "", lambda row: shares(row, words))] if accuracy else []),
        Column("Findings", "", "", findings),
    )


def resources(words: Words) -> tuple[Column, ...]:
    """Return the columns of what a row takes beside time: of loading, memory, disk and energy."""
    return (
        Column("Load", "ms", "lower", lambda row: row.load_ms),
        Column("Compile", "ms", "lower", lambda row: row.compile_ms),
        Column("First inference", "ms", "lower", lambda row: row.first_inference_ms),
        Column("Peak memory", _MEGABYTES, "lower", lambda row: row.peak_rss_mb),
        Column("Artifact", _MEGABYTES, "lower", lambda row: row.artifact_mb),
        Column(_PER_JOULE, "", "higher", lambda row: _per_joule(row, words)),
    )


def cost(price: Price) -> Column:
    """Return the column of what a million samples cost at that price."""
    return Column(COST, price.currency, "lower", lambda row: price.of_million(row.throughput_samples_per_s).value)


def heading(column: Column, words: Words) -> str:
    """Return the heading of a column; that of cost names the currency, those of resources their unit."""
    name = words.heading(column.name)
    return f"{name} ({clean(column.unit)})" if column.name in _NAME_UNITS and column.unit else name


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
    if column.unit == _MEGABYTES:
        return rounded(value, usual=3)
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


def at_clocks(row: Measurement, words: Words) -> str:
    """Say which clocks a row asked for, and at what they were held: ``tuned 2.6 GHz``."""
    asked = words.asked_clocks.get(row.clocks, clean(row.clocks))
    return f"{asked} {row.clock_state.removeprefix(LOCKED)}" if row.clock_state.startswith(LOCKED) else asked


def shares(row: Measurement, words: Words) -> str | None:
    """Say how many labelled samples were answered right: ``top-1 97.2 % (95.1 to 98.5), FP32 97.5 %, 400 samples``."""
    found = row.task_accuracy
    if not found:
        return None
    half_width = (found["high"] - found["low"]) * 50
    said = {
        name: rounded(found[key] * 100, half_width)
        for name, key in (("share", "top1"), ("low", "low"), ("high", "high"), ("wide", "fp32_top1"))
    }
    return words.accuracy.format(**said, n=int(found["n"]))


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def _per_joule(row: Measurement, words: Words) -> float | str | None:
    if row.samples_per_joule is None and row.status == "ok" and row.energy_source == "unavailable":
        return words.unavailable
    return row.samples_per_joule


def _half_width(column: Column, value: float, row: Measurement) -> float | None:
    """Return half the interval of what a column shows, where it has one; a percentile without borrows the mean's."""
    if column is THROUGHPUT or column.name == COST:
        share = row.throughput_samples_per_s.half_width
        return None if share is None else share * value
    if column is not LATENCY and column not in PERCENTILES:
        return None
    low, high = row.latency_ms.bounds.get(column.name.replace(".", "_"), (row.latency_ms.low, row.latency_ms.high))
    return (high - low) / 2 if low is not None and high is not None else None
