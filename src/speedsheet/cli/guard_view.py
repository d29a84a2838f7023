"""What a guard found: a table for terminals, Markdown for the summary of a CI run, JSON for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from speedsheet.cli.compare_records import pair_to_json, ratio_text
from speedsheet.cli.history_words import HISTORY_WORDS
from speedsheet.core.comparison import Ratio
from speedsheet.sheets.as_markdown import escape
from speedsheet.sheets.columns import THROUGHPUT, model_name, show
from speedsheet.sheets.letters import clean, to_ascii
from speedsheet.sheets.listing import fitted
from speedsheet.sheets.wrapping import wrapped

if TYPE_CHECKING:
    from speedsheet.history.comparing import Compared
    from speedsheet.history.guard import Guarded
    from speedsheet.sheets.words import Words

GUARD_SCHEMA = "speedsheet.guard/1"
_RIGHT, _SPARED = frozenset(range(2, 8)), (3, 2, 7, 4, 5, 1)
_STATES = ("slower", "within", "unjudged")
_MARKS = {
    "slower": "\N{CROSS MARK}",
    "within": "\N{WHITE HEAVY CHECK MARK}",
    "unjudged": "\N{WHITE QUESTION MARK ORNAMENT}",
}


def as_table(
    rows: Sequence[Guarded], compared: Compared, allow: float, words: Words, width: int, *, ascii_only: bool = False
) -> str:
    """Return the answer for a terminal of so many cells: what decides first."""
    ours = HISTORY_WORDS[words.lang]
    lines = wrapped(_verdict(rows, allow, words), width)
    lines += fitted(ours.guard, [_cells(row, words) for row in rows], _RIGHT, _SPARED, width).splitlines()
    for row in rows:
        if row.why:
            lines += wrapped(f"{_name(row)}: {clean(ours.reason(row.why))}", width, "  ", "    ")
    lines += wrapped(_counted(rows, compared, allow, words), width)
    text = "\n".join(lines) + "\n"
    return to_ascii(text) if ascii_only else text


def as_markdown(rows: Sequence[Guarded], compared: Compared, allow: float, words: Words) -> str:
    """Return the answer as GitHub-flavoured Markdown."""
    ours = HISTORY_WORDS[words.lang]
    lines = [f"### speedsheet guard: {escape(_verdict(rows, allow, words))}", ""]
    lines += [f"| {' | '.join(map(escape, ours.guard))} |", "|---|---|---:|---:|---:|---:|---:|---|---|"]
    for row in rows:
        *cells, state = map(escape, _cells(row, words))
        lines.append(f"| {' | '.join(cells)} | {_MARKS[row.state]} {state} |")
    lines += ["", escape(_counted(rows, compared, allow, words))]
    lines += [f"- {escape(_name(row))}: {escape(ours.reason(row.why))}" for row in rows if row.why]
    lines += [
        f"- {escape(ours.differs.format(what=ours.thing(one.what), a=one.a, b=one.b))}" for one in compared.differences
    ]
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Guarded], compared: Compared, allow: float) -> dict[str, Any]:
    """Return the answer for scripts."""
    return {
        "schema": GUARD_SCHEMA, "baseline": compared.a.name, "allow": allow, "across": compared.across,
        "counts": {state: sum(row.state == state for row in rows) for state in _STATES},
        "rows": [
            {**pair_to_json(row.pair), "state": row.state, "measured": row.measured, "why": row.why or None}
            for row in rows
        ],
    }  # fmt: skip


def _verdict(rows: Sequence[Guarded], allow: float, words: Words) -> str:
    ours, states = HISTORY_WORDS[words.lang], {row.state for row in rows}
    said = (ours.failed if "slower" in states else ours.passed).format(allow=f"{allow * 100:g} %")
    return words.comma.join([said, ours.unjudged]) if "unjudged" in states else said


def _counted(rows: Sequence[Guarded], compared: Compared, allow: float, words: Words) -> str:
    counts = {state: sum(row.state == state for row in rows) for state in _STATES}
    return HISTORY_WORDS[words.lang].guarded.format(
        n=len(rows), baseline=clean(compared.a.name), allow=f"{allow * 100:g} %", **counts
    )


def _name(row: Guarded) -> str:
    return f"{clean(model_name(row.pair.a))} {row.pair.a.precision.upper()}"


def _cells(row: Guarded, words: Words) -> list[str]:
    pair, found = row.pair, row.pair.verdict
    wide = Ratio(pair.throughput.value, found.low, found.high) if found else Ratio(pair.throughput.value)
    return [
        clean(model_name(pair.a)), pair.a.precision.upper(), str(pair.a.batch_size), str(pair.a.thread_num),
        show(THROUGHPUT, pair.a, words), show(THROUGHPUT, pair.b, words), ratio_text(pair.throughput)[0],
        ratio_text(wide)[1], HISTORY_WORDS[words.lang].states[row.state],
    ]  # fmt: skip
