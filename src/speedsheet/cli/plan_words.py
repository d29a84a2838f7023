# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The words of a plan in one language; one that lacks a phrase does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlanWords:
    """Every phrase that a plan prints; texts in braces are filled in."""

    headings: Mapping[str, str]
    title: str
    chosen: str
    at_low: str
    never_at_low: str
    priors: str
    fitted: str
    assumed: str
    beyond_rows: str


ENGLISH = PlanWords(
    headings={
        "batch_size": "Batch size", "cards": "Cards", "cards_at_low": "Cards at low end", "thread_num": "thread_num",
        "throughput": "Throughput (samples per sec)", "margin": "Margin", "latency": "Latency(msec)",
        "binding": "Binds",
    },
    title="{model}, {precision}, on {device}, modelled: nothing here was measured. Asked: {qps} samples/s",
    chosen="cards: {cards}; batch size: {batch}; thread_num: {threads}, {each} to a card. That is {rate} samples/s, a "
    "margin of {margin} %; what binds: {binding}",
    at_low="at the low end of the 80 % band, {share} % of what is expected: {cards} cards",
    never_at_low="at the low end of the 80 % band, {share} % of what is expected: no number of cards",
    priors="not calibrated: priors are used, good to a factor of two",
    fitted="calibrated on {sheet}",
    assumed="assumed: {text}",
    beyond_rows="Batch sizes and thread_num other than a published row's: {note}.",
)  # fmt: skip

CHINESE = PlanWords(
    headings={
        "batch_size": "批大小", "cards": "卡数", "cards_at_low": "按下限所需卡数", "thread_num": "线程数(thread_num)",
        "throughput": "吞吐量(samples per sec)", "margin": "余量", "latency": "延迟(msec)", "binding": "瓶颈",
    },
    title="{model}，{precision}，{device}，模型推算：以下均非实测。要求 {qps} 样本/秒",
    chosen="卡数 {cards}；批大小 {batch}；线程数 {threads}，每卡 {each}。"
    "可达 {rate} 样本/秒，余量 {margin} %；瓶颈：{binding}",
    at_low="若只达到 80 % 区间的下限（预期的 {share} %）：需要 {cards} 张卡",
    never_at_low="若只达到 80 % 区间的下限（预期的 {share} %）：再多的卡也不够",
    priors="未校准：采用先验值，误差可达两倍",
    fitted="以 {sheet} 校准",
    assumed="假设：{text}",
    beyond_rows="批大小或线程数与公布的行不同时：{note}。",
)  # fmt: skip

PLAN_WORDS: Mapping[str, PlanWords] = {"en": ENGLISH, "zh": CHINESE}
