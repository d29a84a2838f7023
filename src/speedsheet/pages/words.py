# ruff: noqa: RUF001, ISC004  full-width punctuation is what Chinese is written with; phrases are pairs
"""The words of the pages, in English and Chinese side by side: a page holds both, and its reader switches."""

from __future__ import annotations

from collections.abc import Mapping

#: For each phrase its English and its Chinese; texts in braces are filled in.
PHRASES: Mapping[str, tuple[str, str]] = {
    "skip": ("Skip to the sheet", "跳到性能表"),
    "language": ("中文", "English"),
    "theme": ("Dark or light", "深色或浅色"),
    "sheet": ("Sheet", "性能表"),
    "filter": ("Filter rows", "筛选"),
    "filter_hint": ("model, engine, finding", "模型、引擎、备注"),
    "precision": ("Precision", "精度"),
    "engine": ("Engine", "引擎"),
    "run": ("Run", "测试"),
    "all": ("all", "全部"),
    "shown": ("{n} of {of} rows", "{of} 行中的 {n} 行"),
    "scroll": ("The sheet; scrolls sideways", "性能表，可左右滚动"),
    "sort_hint": ("Choose a heading to sort by it, a model for its details.", "点击表头排序，点击模型查看详情。"),
    "throughput": ("Throughput", "吞吐量"),
    "throughput_axis": ("samples per second", "每秒样本数"),
    "throughput_note": (
        "Points are throughputs, lines their 95 % intervals; a point without a line has none.",
        "点为吞吐量，线为其 95 % 区间；无线的点没有区间。",
    ),
    "beside": ("Measured, modelled, published", "实测、模拟与公布"),
    "beside_note": (
        "Measured here; modelled for the {device} (nothing of it was measured), with its 80 % band; published by its "
        "vendor.",
        "实测为本机；模拟为 {device}（未经实测），附 80 % 区间；公布为其厂商所公布。",
    ),
    "measured": ("measured", "实测"),
    "modelled": ("modelled", "模拟"),
    "published": ("published", "公布"),
    "roofline": ("Roofline", "屋顶线"),
    "roofline_note": (
        "Roofs are those of the {device}, from its published facts, and of the host where they were measured: what an "
        "engine reaches on a large product and a large sum. Bytes are compulsory: weights once a request, its inputs "
        "and outputs.",
        "屋顶为 {device} 的公开规格，以及本机实测：引擎在大矩阵乘与大数组加上达到的上限。"
        "字节为必需流量：每请求一次权重，以及输入与输出。",
    ),
    "intensity_axis": ("FLOP per byte that must move", "每必需字节的浮点运算"),
    "flops_axis": ("FLOP per second", "每秒浮点运算"),
    "distribution": ("Latency of the requests that count", "计入请求的延迟分布"),
    "latency_axis": ("latency, ms", "延迟，ms"),
    "requests_axis": ("requests", "请求数"),
    "course": ("Latency over the run", "运行过程中的延迟"),
    "course_note": (
        "Dots are medians of a stretch, faint ones its highest; grey is warm-up, shaded what the ledger flagged.",
        "点为各时段中位数，浅色为最高值；灰色为预热，阴影为干扰记录标出的部分。",
    ),
    "time_axis": ("seconds", "秒"),
    "highest": ("highest", "最高"),
    "median": ("median", "中位数"),
    "phase": ("phase", "阶段"),
    "no_samples": ("The raw samples of this row are not at hand.", "没有该行的原始样本。"),
    "details": ("Details", "详情"),
    "percentiles": ("Latency, ms (95 % interval)", "延迟 ms（95 % 区间）"),
    "mean": ("mean", "平均"),
    "not_printed": ("not printed: {time} more needed", "未给出：还需 {time}"),
    "conditions": ("Conditions", "测试条件"),
    "findings": ("Findings", "备注"),
    "no_findings": ("Nothing doubtful was found.", "未发现可疑之处。"),
    "host": ("Host", "主机"),
    "how": ("Check it, measure it again", "核对与重测"),
    "how_note": (
        "verify computes every figure from the raw samples again; replay measures the row again as it was asked.",
        "verify 从原始样本重新计算每个数值；replay 在相同条件下重新测量该行。",
    ),
    "files": ("Files of this run", "本次测试的文件"),
    "data": ("The figures of this chart", "图中的数值"),
    "save_svg": ("SVG", "SVG"),
    "save_png": ("PNG", "PNG"),
    "operators": ("Where the time goes", "时间分布"),
    "operators_note": (
        "By {engine}'s own profiler, on a session of its own that was not timed; shares, not latencies.",
        "取自 {engine} 自带的分析器，在另一个不计时的会话上；为占比，而非延迟。",
    ),
    "live": ("Running now", "正在测试"),
    "nothing_runs": ("Nothing is being measured.", "没有正在进行的测试。"),
    "runs": ("Runs", "历次测试"),
    "records": ("Records", "记录"),
    "no_runs": ("There is no run yet: speedsheet sheet --quick", "还没有测试：speedsheet sheet --quick"),
    "when": ("When (UTC)", "时间 (UTC)"),
    "rows": ("Rows", "行数"),
    "title": ("Title", "标题"),
    "left": ("left", "剩余"),
    "page_note": (
        "Made by speedsheet {version}. This file opens offline and asks nothing of any host.",
        "由 speedsheet {version} 生成。此文件可离线打开，不访问任何主机。",
    ),
}  # fmt: skip
#: How each language is named in HTML, in the order of the phrases.
LANGUAGES = {"en": "en", "zh": "zh-CN"}


def phrase(key: str, lang: str, **filled: object) -> str:
    """Return a phrase in one language."""
    text = PHRASES[key][list(LANGUAGES).index(lang)]
    return text.format(**filled) if filled else text


def phrases(lang: str) -> dict[str, str]:
    """Return every phrase in one language, by its key."""
    return {key: phrase(key, lang) for key in PHRASES}
