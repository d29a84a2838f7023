# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The words of a printed sheet in Chinese."""

from __future__ import annotations

from speedsheet.sheets.words import Words

CHINESE = Words(
    lang="zh",
    title="推理性能表",
    headings={
        "Model": "模型",
        "Framework": "框架",
        "Batch size": "批大小",
        "Latency(msec)": "延迟(msec)",
        "Throughput (samples per sec)": "吞吐量(samples per sec)",
        "Precision": "精度",
        "thread_num": "线程数(thread_num)",
        "Cost per million samples": "每百万样本成本",
        "Engine": "引擎",
        "Executed": "执行精度",
        "Gate": "输出校验",
        "Findings": "备注",
        "Status": "状态",
        "Error": "错误",
    },
    labels={
        "publisher": "发布方",
        "version": "版本",
        "date": "日期",
        "tool": "测试工具",
        "software": "软件环境",
        "hardware": "硬件环境",
        "clock_note": "时钟说明",
        "price": "价格",
        "source": "来源",
    },
    label="{label}：{text}",
    comma="，",
    aside="{text}（{aside}）",
    items="、",
    others="其余各行",
    statuses={"failed": "失败", "skipped": "未测"},
    passed="通过",
    wrong="不通过",
    metrics={
        "centred_cosine": "余弦",
        "relative_error": "误差",
        "absolute_error": "绝对误差",
        "agreement": "一致率",
        "missing_output": "缺少输出",
        "non_finite": "NaN 或无穷",
    },
    asked="{ran}（要求 {asked}）",
    cores="{n} 核",
    clocks={
        "default": "处理器主频未锁定，可自行变化",
        "unavailable": "本机不提供处理器主频信息",
    },
    clock_locked="处理器主频锁定在 {at}",
    price="每小时 {amount}",
    cost_note="每百万样本成本的误差范围与其吞吐量的 ± 相同",
    host="主机：{line}。",
    legend=(
        "延迟为从调用开始到输出写回主机内存的平均时间，包含排队时间；p50、p90、p99 的单位为 msec。"
        "± 为吞吐量 95 % 置信区间的半宽。执行精度为乘加运算实际使用的数据类型。"
        "输出校验将计时请求的输出与 FP32 正确结果比较，给出起决定作用的指标及其限值。"
    ),
    batch="批大小 {n}",
    thread_num="线程数 {n}",
    gate="校验{verdict}",
    cost="每百万样本 {amount}",
    notes="备注 {numbers}",
    spread="{name}：{n} 个请求的延迟（ms），{bins}",
    bins={
        "one": "单一区间",
        "equal": "等宽区间",
        "logarithmic": "对数区间",
        "mixed": "99 % 以内等宽，其上为对数区间",
    },
    no_requests="{name}：没有请求",
    no_reason="未说明原因",
    blanks={
        "few_requests": "请求数不足时不给出百分位：p50 需要 {p50} 个，p90 需要 {p90} 个，p99 需要 {p99} 个；"
        "请延长测量时间（--time）",
        "interval_blank": "± 空缺：各批轮次之间差异过大，无法给出置信区间；请延长测量时间（--time）",
        "not_judged": "输出校验空缺：未校验该行的输出",
        "not_audited": "执行精度空缺：未审计实际执行的精度",
    },
    findings={
        "failed": "该行没有测得数值，请按下述原因处理后重测",
        "skipped": "该行未测，可用 --resume 补测",
        "no_interval": "完整轮次太少，无法给出置信区间；请按所示时间延长测量",
        "littles_law": "吞吐量、延迟与并发数不满足利特尔法则，有时间花在请求之外或测量窗口太短；请延长测量或减少干扰",
        "engine_rejected": "自动选择时有引擎未被采用；如需使用，请用 --engine 指定",
        "precision": "实际执行的精度与要求的不同；如不可接受，请使用 --strict-precision 或更换引擎",
        "not_audited": "引擎不提供实际执行的精度；如必须确认，请使用 --strict-precision 或更换引擎",
        "int8_share": "以 int8 执行的乘加运算不足九成，其余仍以更高精度执行；如不可接受，请使用 --strict-precision",
        "int8_slower": "int8 比同一模型的更高精度更慢；请改用更高精度，或更换引擎后重测",
        "wide_interval": "在限定时间内，置信区间未收窄到要求的半宽；请按所示时间延长测量或放宽 --budget",
        "free_dimensions": "该引擎不接受写入固定形状的模型，改用自由维度运行；如不可接受，请更换引擎",
        "gate_insensitive": "输出几乎不随输入变化，校验只能检查数值大小；请用 --data 提供能区分的数据",
        "resumed": "本次未重新测量，数值取自已有记录",
    },
)
