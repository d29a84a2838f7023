# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The words of the check of a published sheet in one language; one that lacks a phrase does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckWords:
    """Every phrase that a check prints of its own; findings have a sentence by code, the figures follow it.

    `reasons` are by what the reader of a sheet says of a line that is no row.
    """

    lang: str
    label: str
    headings: Mapping[str, str]
    verdicts: Mapping[str, str]
    counts: str
    said: Mapping[str, str]
    derived: str
    stated: str
    inferred: str
    unknown: str
    legend: str
    no_device: str
    unlimited: str
    unread: str
    more_unread: str
    reasons: Mapping[str, str]
    listed: tuple[str, ...]
    findings: Mapping[str, str]
    comma: str
    aside: str


ENGLISH = CheckWords(
    lang="en",
    label="{label}: {text}",
    headings={
        "line": "Line", "model": "Model", "precision": "Precision", "batch": "Batch", "latency": "Latency ms",
        "throughput": "Samples/s", "clients": "In flight", "lost": "Unexplained", "share": "Of limit",
        "verdict": "Verdict",
    },
    verdicts={"consistent": "consistent", "doubtful": "DOUBTFUL", "impossible": "IMPOSSIBLE"},
    counts="{n} rows: {consistent} consistent, {doubtful} doubtful, {impossible} impossible",
    said={"publisher": "Publisher", "version": "Version", "date": "Date", "hardware": "Hardware",
          "software": "Software", "latency": "Latency", "source": "Source", "note": "Note"},
    derived="latency is derived: on every row throughput x latency / batch is thread_num to within rounding, which "
    "measured latencies never are",
    stated="{n}",
    inferred="{n}, inferred",
    unknown="{value:.3g}?",
    legend="In flight: throughput x latency / batch (Little's law). Unexplained: the clients' time in no latency. "
    "Of limit: share of the device's tightest limit (peak, DDR, host link; from its file, nothing fitted) that the "
    "row needs.",
    no_device="no device is named, so no limit is checked; give --device NAME",
    unlimited="{n} rows are held to no limit of {device}, for want of a known model or its work, a throughput, or a "
    "type that the device has",
    unread="line {line} is no row: {why}",
    more_unread="{n} more lines are no rows",
    reasons={},
    listed=("Sheet", "Publisher", "Rows", "Title"),
    findings={},
    comma=", ",
    aside="{text} ({aside})",
)  # fmt: skip

CHINESE = CheckWords(
    lang="zh",
    label="{label}：{text}",
    headings={
        "line": "行", "model": "模型", "precision": "精度", "batch": "批大小", "latency": "延迟 ms",
        "throughput": "样本/秒", "clients": "在途请求", "lost": "未解释", "share": "占上限", "verdict": "结论",
    },
    verdicts={"consistent": "自洽", "doubtful": "存疑", "impossible": "不可能"},
    counts="共 {n} 行：自洽 {consistent}，存疑 {doubtful}，不可能 {impossible}",
    said={"publisher": "发布方", "version": "版本", "date": "日期", "hardware": "硬件环境", "software": "软件环境",
          "latency": "延迟", "source": "来源", "note": "备注"},
    derived="延迟为推算值：每一行的 吞吐量 x 延迟 / 批大小 都在舍入误差内等于线程数，实测延迟不会如此",
    stated="{n}",
    inferred="{n}（推断）",
    unknown="{value:.3g}？",
    legend="在途请求：吞吐量 x 延迟 / 批大小（利特尔法则）。未解释：客户端时间中不属于任何延迟的部分。"
    "占上限：该行所需占设备最紧上限（峰值、DDR、主机链路；仅取自设备文件，未经拟合）的比例。",
    no_device="未指明设备，因此未核对上限；请给出 --device NAME",
    unlimited="{n} 行未与 {device} 的上限核对：缺少已知的模型或其计算量、吞吐量，或该器件支持的精度",
    unread="第 {line} 行不是数据行：{why}",
    more_unread="另有 {n} 行不是数据行",
    reasons={"names no model": "没有模型名", "has neither latency nor throughput": "既没有延迟，也没有吞吐量"},
    listed=("性能表", "发布方", "行数", "标题"),
    findings={
        "p99_below_mean": "第 99 百分位低于平均值",
        "per_sample": "延迟是单个样本而非整批的延迟",
        "no_concurrency_fits": "没有整数个客户端能解释这些数值",
        "more_in_flight": "数值所含的在途请求多于所声明的线程数",
        "fewer_in_flight": "数值所含的在途请求少于所声明的线程数",
        "unstated_concurrency": "并发数未声明，且与其他各行不同",
        "said_twice": "另一行对同一配置给出了不同的数值",
        "batch_without_effect": "不同批大小给出完全相同的吞吐量",
        "above_every_limit": "超出设备所有公开来源的上限",
        "near_limit": "达到或接近设备上限",
    },
    comma="，",
    aside="{text}（{aside}）",
)  # fmt: skip

CHECK_WORDS: Mapping[str, CheckWords] = {"en": ENGLISH, "zh": CHINESE}
