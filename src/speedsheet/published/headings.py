"""What a column heading means: the field, and the factor to its base unit. English and Chinese, units in headings."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Field of a row by the words of a heading, units taken off, in lower case without separators.
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("model", "modelname", "network", "networkname", "模型", "模型名称", "网络"), "model"),
    **dict.fromkeys(("framework", "框架", "训练框架"), "framework"),
    **dict.fromkeys(("precision", "dtype", "datatype", "精度", "数据类型"), "precision"),
    **dict.fromkeys(("batchsize", "batch", "bs", "批大小", "批次大小", "批次", "批量"), "batch_size"),
    **dict.fromkeys(
        ("threadnum", "threads", "clients", "concurrency", "线程数", "并发数", "并发", "线程数threadnum"), "thread_num"
    ),
    **dict.fromkeys(
        ("latency", "avglatency", "averagelatency", "meanlatency", "延迟", "平均延迟", "时延", "平均时延"), "latency_ms"
    ),
    **dict.fromkeys(("p99latency", "p99", "latencyp99", "p99延迟", "p99时延"), "p99_ms"),
    **dict.fromkeys(
        (
            "throughput",
            "qps",
            "fps",
            "samplespersec",
            "samplespersecond",
            "imagespersecond",
            "吞吐量",
            "吞吐",
            "吞吐率",
        ),
        "throughput_samples_per_s",
    ),
    **dict.fromkeys(("params", "parameters", "参数量"), "params_millions"),
}
_TIME: Mapping[str, float] = {
    **dict.fromkeys(("s", "sec", "seconds", "秒"), 1e3),
    **dict.fromkeys(("ms", "msec", "milliseconds", "毫秒"), 1.0),
    **dict.fromkeys(("us", "usec", "microseconds", "微秒"), 1e-3),
}
_RATE = {"": 1.0, "k": 1e3, "m": 1e6}
_RATE_WORDS = "samples|images|imgs?|inferences|frames|queries|样本|张|帧"
#: GMAC in one of what work is counted in. Single ones have no place here: whoever counts those says in what.
_WORK: Mapping[str, float] = {
    f"{prefix}{word}": scale * macs
    for prefix, scale in (("g", 1.0), ("m", 1e-3))
    for word, macs in (("mac", 1.0), ("macs", 1.0), ("ops", 0.5), ("flop", 0.5), ("flops", 0.5))
}


def field_of(heading: str) -> tuple[str, float] | None:
    """Return the field that a heading names and the factor from its unit to ours; None where it names none.

    >>> field_of("Latency(msec)")
    ('latency_ms', 1.0)
    >>> field_of("吞吐量(samples per sec)")
    ('throughput_samples_per_s', 1.0)
    >>> field_of("avg_latency_us")
    ('latency_ms', 0.001)
    >>> field_of("MACs (G)")
    ('gmac_per_sample', 1.0)
    """
    name, unit = _parted(heading)
    work = _WORK.get(name, _WORK.get(unit + name))
    if work is not None:
        return "gmac_per_sample", work
    field = _WORDS.get(name)
    if field is None:
        return None
    if field in {"latency_ms", "p99_ms"}:
        factor = _TIME.get(unit, None if unit else 1.0)
    elif field == "throughput_samples_per_s":
        factor = _rate(unit)
    elif field == "params_millions":
        factor = {"": 1.0, "m": 1.0, "million": 1.0, "k": 1e-3, "b": 1e3}.get(unit)
    else:
        factor = 1.0
    return None if factor is None else (field, factor)


def _parted(heading: str) -> tuple[str, str]:
    """Split a heading into its words, run together, and its unit: in brackets, or as the last word."""
    text = heading.strip().lower().replace("μ", "u").replace("µ", "u")
    text = re.sub(rf"[_ ](({_RATE_WORDS})[_ ]per[_ ](s|sec|second))$", r" (\1)", text).replace("_per_", " per ")
    bracket = re.search(r"[(（\[]([^)）\]]*)[)）\]]", text)  # noqa: RUF001
    unit = bracket[1].strip() if bracket else ""
    words = re.split(r"[\s_\-/.,]+", (text[: bracket.start()] + text[bracket.end() :]) if bracket else text)
    words = [word for word in words if word]
    if unit in {"thread_num", "threads"}:
        unit = ""
    if not unit and len(words) > 1 and (words[-1] in _TIME or words[-1] in {"g", "m", "k", "b"}):
        unit = words.pop()
    return "".join(words), unit


def _rate(unit: str) -> float | None:
    each = rf"[fiq]ps|({_RATE_WORDS})?\s*((/|per|每)\s*(s|sec|second|秒))?"
    match = re.fullmatch(rf"([km]?)\s*({each})", unit.replace("_", " "))
    return _RATE[match[1]] if match else None
