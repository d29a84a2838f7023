# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The words of a compilation in one language; one that lacks a phrase does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CompileWords:
    """Every phrase of what compiling would do; texts in braces are filled in.

    `reasons` are by why an operator cannot run, `places` by where tensors live, `calibrations` by their name.
    """

    headings: Mapping[str, str]
    reasons: Mapping[str, str]
    calibrations: Mapping[str, str]
    places: Mapping[str, str]
    title: str
    assumed: str
    supported: str
    unsupported: str
    beyond_fp16: str
    others: str
    no_int8: str
    int8: str
    nothing_stored: str
    float_products: str
    no_output: str
    blank: str
    weights: str
    worst: str
    one_sample: str
    schedule: str
    largest: str


ENGLISH = CompileWords(
    headings={
        "node": "Node", "operator": "Operator", "why": "Why", "output": "Output", "calibration": "Calibration",
        "sqnr": "SQNR(dB)", "error": "Relative error", "cosine": "Cosine", "product": "Product", "weights": "Weights",
        "card": "Weight SQNR(dB)", "free": "with a free step", "level": "Level", "operators": "Operators", "mb": "MB",
        "place": "Place", "kind": "Kind",
    },
    reasons={
        "type": "computes in {types}",
        "control_flow": "branches or loops",
        "shape": "makes a shape that depends on data",
        "unknown": "is not known to the model, and costed by its bytes",
    },
    calibrations={"percentile": "percentile", "kl": "KL"},
    places={"ddr": "DDR", "llb": "LLB", "l1": "L1"},
    title="{model} for {device}, modelled: nothing here was measured",
    assumed="assumed: {text}",
    supported="Operators: all of them compute in FP16 or INT8.",
    unsupported="Operators that compute neither in FP16 nor in INT8: {n}. Leave them to the host, or export without.",
    beyond_fp16="Beyond 65504, the largest number of FP16: {names}. A mask becomes infinite; anything else is lost.",
    others="{n} others",
    no_int8="INT8: the device does not have it.",
    int8="INT8 against FP32: {n} products with stored weights, each weight at one power-of-two step; calibrated on "
    "{calibration} samples, judged on {judged} others ({source})",
    nothing_stored="INT8: no product has a stored FP32 weight, so that there is nothing to quantise.",
    float_products="Products of two activations stay in FP16: {names}.",
    no_output="No output is a float.",
    blank="Errors of outputs are blank: {why}.",
    weights="INT8: {n} products with stored weights, each weight at one power-of-two step",
    worst="Products that stray most from FP32, earlier error included:",
    one_sample="Relative error and cosine need two samples or more: --samples 2.",
    schedule="Schedules, batch size {batch}, {precision}: operators, and MB that they leave for others, by place",
    largest="Largest at {schedule}:",
)  # fmt: skip

CHINESE = CompileWords(
    headings={
        "node": "节点", "operator": "算子", "why": "原因", "output": "输出", "calibration": "校准方法",
        "sqnr": "SQNR(dB)", "error": "相对误差", "cosine": "余弦", "product": "乘积算子", "weights": "权重数",
        "card": "权重 SQNR(dB)", "free": "不限步长时",
        "level": "级别", "operators": "算子数", "mb": "MB", "place": "位置", "kind": "类别",
    },
    reasons={
        "type": "以 {types} 计算",
        "control_flow": "含分支或循环",
        "shape": "输出形状取决于数据",
        "unknown": "模型不认识，只按字节计",
    },
    calibrations={"percentile": "百分位", "kl": "KL 散度"},
    places={"ddr": "DDR", "llb": "LLB", "l1": "L1"},
    title="{model}，面向 {device}，模型推算：以下均非实测",
    assumed="假设：{text}",
    supported="算子：全部可用 FP16 或 INT8 计算。",
    unsupported="既不能用 FP16 也不能用 INT8 计算的算子：{n} 个。请交由主机执行，或导出时避开。",
    beyond_fp16="超出 FP16 最大值 65504：{names}。掩码会变为无穷大，其余数值将丢失。",
    others="其余 {n} 个",
    no_int8="INT8：该器件不支持。",
    int8="INT8 与 FP32 对比：{n} 个带存储权重的乘积算子，每个权重采用一个 2 的幂次步长；以 {calibration} 个样本校准，"
    "以另外 {judged} 个样本评判（{source}）",
    nothing_stored="INT8：没有带 FP32 存储权重的乘积算子，无可量化。",
    float_products="两侧均为激活的乘积仍以 FP16 计算：{names}。",
    no_output="没有浮点输出。",
    blank="输出误差空缺：{why}。",
    weights="INT8：{n} 个带存储权重的乘积算子，每个权重采用一个 2 的幂次步长",
    worst="与 FP32 偏离最大的乘积算子（含前面各层的误差）：",
    one_sample="相对误差和余弦至少需要两个样本：--samples 2。",
    schedule="调度级别，批大小 {batch}，{precision}：各位置的算子数及其留给后续算子的 MB",
    largest="{schedule} 级别下最大的：",
)  # fmt: skip

COMPILE_WORDS: Mapping[str, CompileWords] = {"en": ENGLISH, "zh": CHINESE}
