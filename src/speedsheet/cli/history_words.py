# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The words of what looks back (history, verify, replay, compare, guard) in one language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HistoryWords:
    """Every phrase that these verbs print of their own; a language that lacks one does not type-check."""

    lang: str
    history: tuple[str, ...]
    shown: str
    skipped: str
    fits: str
    does_not_fit: str
    verified: str
    compare: tuple[str, ...]
    outcomes: Mapping[str, str]
    differs: str
    decides: str
    same: str
    counts: str
    only: str
    withheld: str
    row_differs: str
    legend: str
    across: str
    guard: tuple[str, ...]
    states: Mapping[str, str]
    guarded: str
    passed: str
    failed: str
    unjudged: str
    baseline: str
    things: Mapping[str, str]
    reasons: Mapping[str, str]

    def thing(self, what: str) -> str:
        """Return what differs between two sides, in this language."""
        return self.things.get(what, what)

    def reason(self, why: str) -> str:
        """Return why nothing is said of a row, in this language as far as it is our own reason."""
        for ours, theirs in self.reasons.items():
            if found := re.fullmatch(ours, why, re.DOTALL):
                return theirs.format(*map(self.reason, found.groups()))
        return self.thing(why)


ENGLISH = HistoryWords(
    lang="en",
    history=("Measured (UTC)", "Model", "Precision", "Batch", "thread_num", "Engine", "Samples/s", "±", "Latency ms",
             "Record"),
    shown="{n} of {of} records in {store}",
    skipped="passed over: {name}, {why}",
    fits="verified, {n} figures computed again",
    does_not_fit="DOES NOT FIT",
    verified="{good} of {of} records verify",
    compare=("Model", "Precision", "Batch", "thread_num", "A, samples/s", "B, samples/s", "B / A", "95 %",
             "Latency B / A", "Verdict"),
    outcomes={"faster": "B faster", "slower": "B slower", "none": "no difference established",
              "withheld": "not judged"},
    differs="{what}: A {a}; B {b}",
    decides="no winner is called across this (--across calls one all the same)",
    same="A and B were measured on the same host with the same software.",
    counts="{n} rows in both: B is faster in {faster}, slower in {slower}; no difference is established in {none}; "
    "{withheld} not judged",
    only="only in {side}: {rows}",
    withheld="not judged: {why}",
    row_differs="{what} {a} -> {b}",
    legend="Verdicts are at 99 %. Rows of one process each allow 2 % for what differs between processes; what the host "
    "itself did between the two runs is in no interval: compare --live measures both in turn.",
    across="Winners are called across hosts, as asked.",
    guard=("Model", "Precision", "Batch", "thread_num", "Baseline", "Now", "Now / baseline", "99 %", "State"),
    states={"slower": "SLOWER", "within": "within", "unjudged": "not judged"},
    guarded="{n} rows against {baseline}: {slower} slower by more than {allow}, {within} within, {unjudged} not judged",
    passed="no slowdown beyond {allow} is established",
    failed="a slowdown beyond {allow} is established",
    unjudged="some rows could not be judged",
    baseline="baseline",
    things={},
    reasons={},
)  # fmt: skip

CHINESE = HistoryWords(
    lang="zh",
    history=("测量时间 (UTC)", "模型", "精度", "批大小", "线程数", "引擎", "样本/秒", "±", "延迟 ms", "记录"),
    shown="{store} 中的 {of} 条记录，显示 {n} 条",
    skipped="跳过：{name}，{why}",
    fits="核对无误，重新计算了 {n} 个数值",
    does_not_fit="不相符",
    verified="{of} 条记录中 {good} 条核对无误",
    compare=("模型", "精度", "批大小", "线程数", "A 样本/秒", "B 样本/秒", "B / A", "95 %", "延迟 B / A", "结论"),
    outcomes={"faster": "B 更快", "slower": "B 更慢", "none": "未证实有差异", "withheld": "不作判断"},
    differs="{what}：A {a}；B {b}",
    decides="因此不判断快慢（--across 仍作判断）",
    same="A 与 B 在同一主机、以相同软件测得。",
    counts="两边共有 {n} 行：B 更快 {faster} 行，更慢 {slower} 行，未证实有差异 {none} 行，不作判断 {withheld} 行",
    only="仅在 {side} 中：{rows}",
    withheld="不作判断：{why}",
    row_differs="{what} {a} -> {b}",
    legend="结论的置信度为 99 %。各以单进程测得的行，为进程间差异留出 2 %；两次运行之间主机自身的变化不在任何区间内："
    "compare --live 会交替测量两者。",
    across="按要求跨主机判断快慢。",
    guard=("模型", "精度", "批大小", "线程数", "基线", "现在", "现在 / 基线", "99 %", "状态"),
    states={"slower": "变慢", "within": "未超出", "unjudged": "不作判断"},
    guarded="共 {n} 行，对照 {baseline}：变慢超过 {allow} 的 {slower} 行，未超出 {within} 行，不作判断 {unjudged} 行",
    passed="未证实有超过 {allow} 的变慢",
    failed="已证实有超过 {allow} 的变慢",
    unjudged="有的行无法判断",
    baseline="基线",
    things={
        "hostname": "主机名", "cpu": "处理器", "cores_allowed": "可用核数", "memory_gib": "内存 GiB",
        "virtualisation": "虚拟化", "governor": "调频策略", "clock_state": "时钟状态", "kernel": "内核",
        "os": "操作系统", "python": "Python", "speedsheet": "speedsheet", "engines": "引擎", "title": "标题",
        "publisher": "发布者", "version": "版本", "date": "日期", "tool": "测试工具", "software": "软件环境",
        "hardware": "硬件环境", "clock_note": "时钟说明", "model": "模型", "precision": "精度", "batch": "批大小",
        "thread_num": "线程数", "clock": "时钟", "engine": "引擎", "device": "设备", "executed": "执行精度",
        "settings": "引擎设置", "artifact": "模型文件", "weights": "权重", "inputs": "输入",
        "speed of the host itself (an empty request)": "主机自身的速度（空请求）",
        "slower at first, and not when it was measured again": "初测变慢，重测未再变慢",
        "it may be less than half as fast as is allowed: its interval is that wide":
        "区间过宽，速度可能不足允许值的一半",
        "this row was not measured now": "此行这次没有测量", "it was not printed": "没有印出", "published": "公布的",
        "modelled": "模型推算的",
    },
    reasons={
        "(another .*); (another .*)": "{}；{}",
        "another (.*)": "{} 不同",
        "([AB]) has no number: (.*)": "{} 没有数值：{}",
        "([AB]) has no interval: its figures are (.*)": "{} 没有区间：其数值是{}",
        "([AB]) has no interval": "{} 没有区间",
    },
)  # fmt: skip

HISTORY_WORDS: Mapping[str, HistoryWords] = {"en": ENGLISH, "zh": CHINESE}
