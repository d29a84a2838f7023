"""Two runs side by side: what differs between them first, then a line for each row, then what that comes to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from speedsheet.cli.history_words import HISTORY_WORDS, HistoryWords
from speedsheet.sheets.columns import THROUGHPUT, model_name, show
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.letters import BLANK, clean, to_ascii
from speedsheet.sheets.listing import fitted
from speedsheet.sheets.wrapping import wrapped

if TYPE_CHECKING:
    from speedsheet.core.comparison import Ratio
    from speedsheet.core.measurement import Measurement
    from speedsheet.history.comparing import Compared, Difference, Pair
    from speedsheet.sheets.words import Words

COMPARED_SCHEMA = "speedsheet.compare-records/1"
_RIGHT = frozenset(range(2, 9))
#: Columns by place that a narrow terminal goes without, first the ones that the rest tells.
_SPARED = (8, 3, 2, 7, 4, 5, 1)


def rendered(compared: Compared, words: Words, width: int, *, ascii_only: bool = False) -> str:
    """Return the answer as lines of at most `width` cells."""
    ours = HISTORY_WORDS[words.lang]
    lines = [*_named(compared, words, width), *_differences(compared, ours, width), ""]
    if compared.pairs:
        rows = [_row(pair, words) for pair in compared.pairs]
        lines += fitted(ours.compare, rows, _RIGHT, _SPARED, width).splitlines()
        lines += [line for pair in compared.pairs for line in _said(pair, ours, width)]
        lines.append("")
    foot = [ours.counts.format(n=len(compared.pairs), **compared.counts)]
    foot += [_only(side, rows, ours) for side, rows in (("A", compared.only_a), ("B", compared.only_b)) if rows]
    foot += [ours.across] if compared.across else []
    lines += [part for text in (*foot, ours.legend) for part in wrapped(text, width)]
    text = "\n".join(lines) + "\n"
    return to_ascii(text) if ascii_only else text


def document(compared: Compared) -> str:
    """Return the comparison as JSON: every key always there, nothing rounded."""
    content = {
        "schema": COMPARED_SCHEMA,
        "a": {"name": compared.a.name, "kind": compared.a.kind, "measured_utc": compared.a.created_utc or None},
        "b": {"name": compared.b.name, "kind": compared.b.kind, "measured_utc": compared.b.created_utc or None},
        "across": compared.across,
        "differences": [_difference(one) for one in compared.differences],
        "counts": dict(compared.counts),
        "rows": [pair_to_json(pair) for pair in compared.pairs],
        "only_a": [_key(row) for row in compared.only_a],
        "only_b": [_key(row) for row in compared.only_b],
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def pair_to_json(pair: Pair) -> dict[str, Any]:
    """Return one row of a comparison, JSON-ready."""
    sides = {
        side: {
            "samples_per_s": row.throughput_samples_per_s.value, "low": row.throughput_samples_per_s.low,
            "high": row.throughput_samples_per_s.high, "mean_ms": row.latency_ms.mean, "clock": row.clock,
            "record": row.record,
        }
        for side, row in (("a", pair.a), ("b", pair.b))
    }  # fmt: skip
    return {
        **_key(pair.a), **sides,
        "throughput": _ratio_json(pair.throughput), "mean_latency": _ratio_json(pair.mean_latency),
        "outcome": pair.outcome, "why": pair.why or None, "differ": [_difference(one) for one in pair.differ],
        "verdict": None if pair.verdict is None else {
            "low": pair.verdict.low, "high": pair.verdict.high, "confidence": pair.verdict.confidence,
        },
    }  # fmt: skip


def ratio_text(ratio: Ratio) -> tuple[str, str]:
    """Write a ratio, and its interval."""
    if ratio.value is None:
        return BLANK, BLANK
    half = None if ratio.low is None or ratio.high is None else (ratio.high - ratio.low) / 2
    value = rounded(ratio.value, half, usual=3)
    if half is None or ratio.low is None or ratio.high is None:
        return value, BLANK
    return value, f"{rounded(ratio.low, half)} .. {rounded(ratio.high, half)}"


def _named(compared: Compared, words: Words, width: int) -> Iterator[str]:
    for side, run in (("A", compared.a), ("B", compared.b)):
        when = f", {run.created_utc[:16].replace('T', ' ')} UTC" if run.created_utc else ""
        text = words.label.format(label=side, text=f"{clean(run.name)} ({run.kind}{when})")
        yield from wrapped(text, width, "", "   ")


def _differences(compared: Compared, ours: HistoryWords, width: int) -> Iterator[str]:
    if not compared.differences:
        yield from wrapped(ours.same, width)
    for one in compared.differences:
        yield from wrapped(_differs(one, ours), width, "  ", "    ")
    if any(one.decides for one in compared.differences) and not compared.across:
        yield from wrapped(ours.decides, width, "  ", "    ")


def _differs(one: Difference, ours: HistoryWords) -> str:
    return ("! " if one.decides else "  ") + ours.differs.format(
        what=ours.thing(one.what), a=clean(one.a), b=clean(one.b)
    )


def _row(pair: Pair, words: Words) -> list[str]:
    ours = HISTORY_WORDS[words.lang]
    return [
        clean(model_name(pair.a)), pair.a.precision.upper(), str(pair.a.batch_size), str(pair.a.thread_num),
        show(THROUGHPUT, pair.a, words), show(THROUGHPUT, pair.b, words), *ratio_text(pair.throughput),
        ratio_text(pair.mean_latency)[0], ours.outcomes[pair.outcome],
    ]  # fmt: skip


def _said(pair: Pair, ours: HistoryWords, width: int) -> Iterator[str]:
    told = [ours.row_differs.format(what=ours.thing(one.what), a=clean(one.a), b=clean(one.b)) for one in pair.differ]
    texts = ([ours.withheld.format(why=clean(ours.reason(pair.why)))] if pair.why else []) + (
        ["; ".join(told)] if told else []
    )
    for text in texts:
        yield from wrapped(f"{clean(model_name(pair.a))} {pair.a.precision.upper()}: {text}", width, "  ", "    ")


def _only(side: str, rows: Sequence[Measurement], ours: HistoryWords) -> str:
    return ours.only.format(
        side=side, rows=", ".join(f"{clean(model_name(row))} {row.precision.upper()}" for row in rows)
    )


def _key(row: Measurement) -> dict[str, Any]:
    return {
        "model": row.model, "precision": row.precision, "batch_size": row.batch_size, "thread_num": row.thread_num,
        "clocks": row.clocks,
    }  # fmt: skip


def _ratio_json(ratio: Ratio) -> dict[str, Any]:
    return {"value": ratio.value, "low": ratio.low, "high": ratio.high, "confidence": ratio.confidence}


def _difference(one: Difference) -> dict[str, Any]:
    return {"what": one.what, "a": one.a, "b": one.b, "decides": one.decides}
