# ruff: noqa: RUF001, ISC004  full-width punctuation is what Chinese is written with; phrases are pairs
"""The words of the pages, in English and Chinese side by side: a page holds both, and its reader switches."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Stands before the name of a phrase in a chart; text from outside holds none of it (`letters.clean`).
MARK = "\x1f"
#: For each phrase its English and its Chinese; texts in braces are filled in.
PHRASES: Mapping[str, tuple[str, str]] = {
    "skip": ("Skip to the sheet", "跳到性能表"),
    "language": ("English", "中文"),
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
    "phase_warm-up": ("warm-up", "预热"),
    "phase_window": ("window", "测量窗口"),
    "phase_after": ("after the window", "窗口之后"),
    "from_axis": ("from, ms", "起，ms"),
    "to_axis": ("to, ms", "止，ms"),
    "percentile": ("percentile", "百分位"),
    "signals": ("flagged by", "标记信号"),
    "no_samples": ("The raw samples of this row are not at hand.", "没有该行的原始样本。"),
    "details": ("Details", "详情"),
    "percentiles": ("Latency, ms (95 % interval)", "延迟 ms（95 % 区间）"),
    "mean": ("mean", "平均"),
    "not_printed": ("not printed: {time} more needed", "未给出：还需 {time}"),
    "conditions": ("Conditions", "测试条件"),
    "flagged": (
        "{flagged} of {windows} windows flagged, {remeasured} measured again",
        "{windows} 个时间窗中有 {flagged} 个被标记，补测 {remeasured} 个",
    ),
    "findings": ("Findings", "备注"),
    "notes": ("Notes, by the numbers of Findings", "备注（编号同备注列）"),
    "published_note": (
        "printed by its publisher and not measured here: what he does not state is blank",
        "由其发布方公布，非本机实测：未说明之处留空",
    ),
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
    "failed": ("failed", "失败"),
    "skipped": ("skipped", "未测"),
    "runs": ("Runs", "历次测试"),
    "older_runs": (
        "The newest {n} of {of}; the page of an older one is at /run/NAME, by the name of its folder in {folder}.",
        "仅列出 {of} 次中最新的 {n} 次；更早的在 /run/NAME，NAME 为其在 {folder} 中的文件夹名。",
    ),
    "older_records": (
        "The newest {n} of {of}; speedsheet history --store {folder} --limit {of} lists all, and the page of each is "
        "at /record/NAME.",
        "仅列出 {of} 条中最新的 {n} 条；speedsheet history --store {folder} --limit {of} 可列出全部，"
        "各条在 /record/NAME。",
    ),
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
#: What a running row is doing, as its worker says it in English, in Chinese; the groups are filled in.
_STAGES = {
    "answering the labelled samples": "推理标注样本",
    r"auditing what (.+) executes": "审计 {} 的执行精度",
    "computing right answers": "计算正确结果",
    "computing right answers for the labelled samples": "计算标注样本的正确结果",
    "drawing weights": "生成权重",
    "fetching the weights": "下载权重",
    "first inference": "首次推理",
    "judging the outputs": "校验输出",
    r"loading on (.+), with its profiler": "在 {} 上加载，并启用其分析器",
    r"loading on (.+)": "在 {} 上加载",
    "measuring": "测量",
    "measuring the ruler": "测量标尺",
    r"measuring on (.+) from (\d+) processes": "在 {} 上测量，客户端分布于 {} 个进程",
    r"measuring on (.+)": "在 {} 上测量",
    "preparing inputs": "准备输入",
    "quantising to int8": "量化为 int8",
    "reading and exporting the weights": "读取并导出权重",
    "running with the profiler on": "启用分析器运行",
    "sealing the record": "封存记录",
    r"the most that (.+) moves": "{} 的最大传输量",
    r"the most that (.+) multiplies in (.+)": "{} 以 {} 精度的最大乘加量",
    r"warming up (.+)": "预热 {}",
}
_TURN = re.compile(r"(.+), process (\d+) of (\d+)")
#: How each language is named in HTML, in the order of the phrases.
LANGUAGES = {"en": "en", "zh": "zh-CN"}


def phrase(key: str, lang: str, **filled: object) -> str:
    """Return a phrase in one language."""
    text = PHRASES[key][list(LANGUAGES).index(lang)]
    return text.format(**filled) if filled else text


def phrases(lang: str) -> dict[str, str]:
    """Return every phrase in one language, by its key."""
    return {key: phrase(key, lang) for key in PHRASES}


def key(name: str) -> str:
    """Return what stands in a chart for a phrase, until the language is known."""
    if name not in PHRASES:
        raise KeyError(name)
    return MARK + name


def stage(said: str, lang: str) -> str:
    """Return what a running row is doing in a language; what is not known is as its worker said it."""
    if lang != "zh":
        return said
    if turn := _TURN.fullmatch(said):
        return f"{stage(turn[1], lang)}（第 {turn[2]} 个进程，共 {turn[3]} 个）"
    found = ((match, text) for pattern, text in _STAGES.items() if (match := re.fullmatch(pattern, said)))
    return next((text.format(*match.groups()) for match, text in found), said)
