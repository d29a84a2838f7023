# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The words of the modelled card's tables in one language; one that lacks a phrase does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speedsheet.sheets.chinese import CHINESE as SHEET


@dataclass(frozen=True, slots=True)
class TwinWords:
    """Every phrase that the modelled card's tables print; texts in braces are filled in.

    `flips` are by the code of an assumption, `findings` by theirs; where a code is missing its own English sentence
    stands.
    """

    headings: Mapping[str, str]
    verdicts: Mapping[str, str]
    resources: Mapping[str, str]
    relations: Mapping[str, str]
    flips: Mapping[str, str]
    findings: Mapping[str, str]
    title: str
    calibrated: str
    priors: str
    bounded: str
    expected: str
    alone: str
    derived: str
    clock: str
    schedule: str
    cards: str
    like: str
    counts: str
    unread: str
    request: str
    costliest: str
    rest: str
    ceilings: str
    bound: str
    throughput: str
    beside: str
    measured: str
    modelled: str
    ends: tuple[str, str]
    stated: str
    comma: str
    joint: str
    aside: str


ENGLISH = TwinWords(
    headings={
        "model": "Model", "batch_size": "Batch size", "precision": "Precision", "thread_num": "thread_num",
        "published": "Published", "expected": "Expected", "band": "80 % band", "ceiling": "Ceiling",
        "binding": "Binds", "verdict": "Verdict", "operator": "Operator", "kind": "Kind", "us": "us", "share": "Share",
    },
    verdicts={"plausible": "plausible", "optimistic": "OPTIMISTIC", "impossible": "IMPOSSIBLE"},
    resources={
        "matrix": "matrix unit", "vector": "vector unit", "llb": "LLB", "ddr": "DDR", "dispatch": "dispatch",
        "gather": "look-ups", "link": "host link", "request": "request", "host": "host threads", "clients": "clients",
        "peak": "peak", "memory": "DDR", "link_in": "host link", "link_out": "host link, out", "clusters": "clusters",
    },
    relations={},
    flips={},
    findings={},
    title="{device}, modelled: nothing here was measured",
    calibrated=(
        "calibrated on {rows} rows of {sheet}: mean error {loo} % for a row left out, {lmo} % for a model, {lfo} % for "
        "a family"
    ),
    priors="not calibrated: priors are used, good to a factor of two",
    bounded="its file states no arrays: ceilings only, no expected values",
    expected="Throughput in samples/s. Ceiling: the device file alone, nothing fitted, arrays at the highest clock.",
    alone="Expected: a calibrated row is told by the other rows; the band holds 80 % of such predictions.",
    derived=(
        "Throughput alone is judged: the published latency is derived (batch size x thread_num / throughput), a mean "
        "that nobody measured."
    ),
    clock="clock {ghz} GHz",
    schedule="schedule {name}, a prediction: no published row used it",
    cards="{n} cards",
    like="like {row}, {relation}",
    counts="{n} rows: {counts}",
    unread="Not judged, for want of a known model, a throughput, a batch size or a type of the card: {names}",
    request="{model}, {precision}, batch {batch}: {us} us of one cluster for a request",
    costliest="The ten costliest operators",
    rest="{n} others",
    ceilings="Ceilings, samples/s: {bounds}",
    bound="{resource} {value}",
    throughput="Throughput",
    beside="Throughput measured here, and of the {device}: modelled and published, samples/s",
    measured="Measured here",
    modelled="{device} modelled",
    ends=("80 %, low", "80 %, high"),
    stated="{device} published",
    comma=", ",
    joint="; ",
    aside="{text} ({aside})",
)  # fmt: skip

CHINESE = TwinWords(
    headings={
        "model": "模型", "batch_size": "批大小", "precision": "精度", "thread_num": "线程数", "published": "公布值",
        "expected": "预期", "band": "80 % 区间", "ceiling": "上限", "binding": "瓶颈", "verdict": "判定",
        "operator": "算子", "kind": "类别", "us": "微秒", "share": "占比",
    },
    verdicts={"plausible": "可信", "optimistic": "偏乐观", "impossible": "不可能"},
    resources={
        "matrix": "矩阵单元", "vector": "向量单元", "llb": "LLB", "ddr": "DDR", "dispatch": "算子启动",
        "gather": "查表", "link": "主机链路", "request": "请求开销", "host": "主机线程", "clients": "客户端",
        "peak": "峰值算力", "memory": "DDR", "link_in": "主机链路", "link_out": "主机链路（输出）", "clusters": "簇",
    },
    relations={
        "interpolated": "属已校准系列内插值", "unseen family": "所属系列未校准", "not calibrated": "未校准",
    },
    flips={
        "fp32_inputs": "仅当每个样本至多 {value} 个 FP32 输入时成立",
        "input_bytes": "或每个输入元素至多 {value} 字节",
        "link_gb_per_s": "或主机链路达到 {value} GB/s",
        "link_out_gb_per_s": "需要 {value} GB/s 的主机链路输出",
        "ddr_gb_per_s": "需要 {value} GB/s 的 DDR 带宽",
        "clock_ghz": "需要 {value} GHz 且所有乘法器满载",
        "peak_percent": "需要峰值算力的 {value} %",
        "band_samples_per_s": "高于 {value} 样本/秒即偏乐观",
    },
    findings=SHEET.findings,
    title="{device}，模型推算：以下均非实测",
    calibrated="以 {sheet} 的 {rows} 行校准：平均误差，留一行 {loo} %，留一模型 {lmo} %，留一系列 {lfo} %",
    priors="未校准：采用先验值，误差可达两倍",
    bounded="器件文件未给出计算阵列：只有上限，没有预期值",
    expected="吞吐量单位为样本/秒。上限只取自器件文件，不含拟合，计算阵列按最高时钟。",
    alone="预期值：已校准的行由其余各行推算；区间包含 80 % 的此类推算。",
    derived="只判定吞吐量：公布的延迟由批大小 × 线程数 / 吞吐量推出，是未经测量的均值。",
    clock="时钟 {ghz} GHz",
    schedule="调度 {name}，仅为预测：公布的各行均未采用",
    cards="{n} 张卡",
    like="近似 {row}，{relation}",
    counts="{n} 行：{counts}",
    unread="未判定（模型未知，或缺少吞吐量、批大小、该卡支持的精度）：{names}",
    request="{model}，{precision}，批大小 {batch}：一次请求占用一个簇 {us} 微秒",
    costliest="耗时最多的十个算子",
    rest="其余 {n} 个",
    ceilings="上限（样本/秒）：{bounds}",
    bound="{resource} {value}",
    throughput="吞吐量",
    beside="吞吐量（样本/秒）：本机实测，以及 {device} 的推算值与公布值",
    measured="本机实测",
    modelled="{device} 推算",
    ends=("80 % 区间下限", "80 % 区间上限"),
    stated="{device} 公布",
    comma="，",
    joint="；",
    aside="{text}（{aside}）",
)  # fmt: skip

TWIN_WORDS: Mapping[str, TwinWords] = {"en": ENGLISH, "zh": CHINESE}
