# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""An explanation as text: the kinds of steps first, then the costliest ones, the modelled card's beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from speedsheet.sheets.letters import BLANK, clean, to_ascii
from speedsheet.sheets.listing import fitted
from speedsheet.sheets.wrapping import wrapped

if TYPE_CHECKING:
    from speedsheet.history.explanations import Explanation
    from speedsheet.sheets.words import Words

_HEADS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "en": (("Kind", "Executed", "Steps", "ms", "Share"),
           ("ms", "Share", "Kind", "Executed", "GFLOP/s", "{card}, ms", "{card}, share", "Step")),
    "zh": (("类型", "执行精度", "步数", "ms", "占比"),
           ("ms", "占比", "类型", "执行精度", "GFLOP/s", "{card} ms", "{card} 占比", "步骤")),
}  # fmt: skip
_TITLE = {
    "en": "{model} {precision}, batch {batch}, on {engine}",
    "zh": "{model} {precision}，批大小 {batch}，引擎 {engine}",
}
_NOTE = {
    "en": "By the engine's own profiler over {runs} runs of one client; shares to look at, not latencies: nothing here "
    "was timed by speedsheet. GFLOP/s is of the graph's own multiply-accumulates.",
    "zh": "取自引擎自带的分析器，单客户端运行 {runs} 次；仅供看占比，不是延迟：均非 speedsheet 计时。"
    "GFLOP/s 按图中的乘加计。",
}  # fmt: skip
_CARD = {"en": "{card}: modelled, nothing of it was measured; blank where no node of its own answers to the step.",
         "zh": "{card}：为模拟，未经实测；没有对应节点的步骤留空。"}  # fmt: skip
_MORE = {"en": "and {n} more steps, {share} of the time (--all)", "zh": "另有 {n} 步，占 {share}（--all）"}
_US_PER_MS = 1000


def rendered(found: Explanation, words: Words, width: int, most: int, *, ascii_only: bool = False) -> str:
    """Return the answer as lines of at most `width` cells."""
    lang = words.lang
    kinds = _HEADS[lang][0]
    title = _TITLE[lang].format(
        model=clean(found.model.rpartition("/")[2]), precision=found.precision.upper(), batch=found.batch_size,
        engine=clean(found.engine),
    )  # fmt: skip
    lines = [*wrapped(title, width), ""]
    rows = [
        (clean(kind), ran.upper() or BLANK, str(count), f"{us / _US_PER_MS:.3f}", _share(share))
        for kind, count, us, share, ran in found.kinds
    ]
    lines += [*fitted(kinds, rows, frozenset({2, 3, 4}), (), width).splitlines(), ""]
    heads, cells = step_table(found, lang, most)
    spared = (4, 5, 6, 3, 0)
    lines += fitted(heads, cells, frozenset({0, 1, 4, 5, 6}), spared, width).splitlines()
    rest = found.steps[most:]
    lines += (
        wrapped(_MORE[lang].format(n=len(rest), share=_share(sum(one.share for one in rest))), width) if rest else []
    )
    notes = [_NOTE[lang].format(runs=found.runs)] + ([_CARD[lang].format(card=clean(found.card))] if found.card else [])
    lines += ["", *(part for note in notes for part in wrapped(note, width))]
    text = "\n".join(lines) + "\n"
    return to_ascii(text) if ascii_only else text


def step_table(found: Explanation, lang: str, most: int) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells of the costliest steps; the card's columns only where there is one."""
    heads = [head.format(card=clean(found.card)) for head in _HEADS[lang][1]]
    rows = []
    for one in found.steps[:most]:
        modelled = [BLANK, BLANK]
        if one.modelled_us is not None and one.modelled_share is not None:
            modelled = [f"{one.modelled_us / _US_PER_MS:.4f}", _share(one.modelled_share)]
        work = BLANK if one.gflop_per_s is None else f"{one.gflop_per_s:.1f}"
        rows.append([
            f"{one.time_us / _US_PER_MS:.3f}", _share(one.share), clean(one.kind), one.executed.upper() or BLANK, work,
            *modelled, clean(", ".join(one.nodes) or one.name),
        ])  # fmt: skip
    if not found.card:
        return heads[:5] + heads[7:], [row[:5] + row[7:] for row in rows]
    return heads, rows


def _share(share: float) -> str:
    return f"{share * 100:.1f} %"
