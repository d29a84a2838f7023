"""A comparison in words: one sentence, the figures of both sides, and what they were measured under."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from speedsheet.core.comparison import Comparison, Ratio
from speedsheet.core.measurement import Measurement
from speedsheet.core.units import format_duration
from speedsheet.records.canonical import plain
from speedsheet.sheets.columns import executed, verdict
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.sheets.words import ENGLISH
from speedsheet.sheets.wrapping import wrapped

#: Ratios nearer to one than this are said in per cent, others as a factor.
_PERCENT_BELOW = 0.5
_GAP = "  "
#: Stands for a space at which no line ends.
_JOIN = "\N{NO-BREAK SPACE}"
_HEAD = ("", "A", "B", "B / A", "95 %")


def sentence(found: Comparison) -> str:
    """Say what was found, in one sentence."""
    a, b = (clean(name) for name in found.names)
    ratio = found.ratio.throughput
    if found.status == "failed":
        return f"no ratio: {clean(found.error or 'a side failed')}"
    if ratio.value is None or ratio.low is None or ratio.high is None:
        return f"no ratio: {found.generations} starts of both sides are too few to tell"
    if found.verdict is None:
        return f"{clean(found.error or 'ended by hand')}: so far B / A is {_span(ratio)} (95 %), and that is no verdict"
    if found.verdict.outcome == "none":
        most = max(ratio.high - 1, 1 - ratio.low)
        between = " between A and B, which are the same" if found.same else f" between {a} and {b}"
        return f"no difference is established{between}; at most {_percent(most)} % either way (95 %)"
    if abs(ratio.value - 1) >= _PERCENT_BELOW:
        low, high = (rounded(end, _half(ratio)) for end in (ratio.low, ratio.high))
        return f"{b} is {rounded(ratio.value, _half(ratio))} x as fast as {a} (95 %: {low} to {high})"
    ends = sorted(abs(end - 1) for end in (ratio.low, ratio.high))
    by = "faster" if ratio.value > 1 else "slower"
    return (
        f"{b} is {_percent(abs(ratio.value - 1))} % {by} than {a} "
        f"(95 %: {_percent(ends[0])} to {_percent(ends[1])} %)"
    )  # fmt: skip


def render(found: Comparison, width: int) -> str:
    """Return the text for `width` cells; its first line, or lines, are the sentence."""
    said = [line.replace(_JOIN, " ") for line in wrapped(sentence(found).replace(" %", f"{_JOIN}%"), width)]
    lines = [*said, "", *_figures(found, width), *([""] if found.status != "failed" else []), *_sides(found, width)]
    for finding in found.findings:
        lines += wrapped(clean(finding.text), width, "note: ", "      ")
    if found.design:
        lines += wrapped(_layout(found), width)
    if found.record:
        lines.append(f"record: {found.record}")
    return "\n".join(lines)


def content(found: Comparison) -> dict[str, Any]:
    """Return the comparison for scripts: every key always there, nothing rounded."""
    data: dict[str, Any] = plain({**found.to_json(), "sentence": sentence(found)})
    return data


def render_json(found: Comparison) -> str:
    """Return the comparison as ASCII JSON text."""
    return json.dumps(content(found), indent=2, allow_nan=False) + "\n"


def _figures(found: Comparison, width: int) -> list[str]:
    """Set the table; where it does not fit, a line for each figure."""
    if found.ratio.throughput.value is None:
        return []
    rows = [
        ("samples/s", *_pair(found, "throughput"), *_ratio(found.ratio.throughput)),
        ("mean, ms", *_pair(found, "mean"), *_ratio(found.ratio.mean_latency)),
        ("p50, ms", *_pair(found, "p50"), *_ratio(found.ratio.p50_latency)),
    ]
    sizes = [max(cell_len(row[place]) for row in (_HEAD, *rows)) for place in range(len(_HEAD))]
    if sum(sizes) + len(_GAP) * (len(sizes) - 1) > width:
        told = [f"{name}: A {a}, B {b}; B / A {value}, 95 % {span}" for name, a, b, value, span in rows]
        return [line for text in told for line in wrapped(text, width, "", "  ")]
    return [
        _GAP.join(
            cell.ljust(size) if place in {0, len(sizes) - 1} else cell.rjust(size)
            for place, (cell, size) in enumerate(zip(row, sizes, strict=True))
        ).rstrip()
        for row in (_HEAD, *rows)
    ]


def _pair(found: Comparison, name: str) -> tuple[str, str]:
    return _figure(found.a, name), _figure(found.b, name)


def _figure(row: Measurement, name: str) -> str:
    told = row.throughput_samples_per_s
    value = told.value if name == "throughput" else getattr(row.latency_ms, name)
    if value is None:
        return BLANK
    return rounded(value, None if told.half_width is None else told.half_width * value)


def _ratio(ratio: Ratio) -> tuple[str, str]:
    if ratio.value is None:
        return BLANK, BLANK
    return rounded(ratio.value, _half(ratio), usual=3), BLANK if ratio.low is None else _span(ratio)


def _span(ratio: Ratio) -> str:
    assert ratio.low is not None
    assert ratio.high is not None
    return f"{rounded(ratio.low, _half(ratio))} to {rounded(ratio.high, _half(ratio))}"


def _half(ratio: Ratio) -> float | None:
    """Return what the digits follow from: ten times half the interval, so that its first digit is the last written."""
    return None if ratio.low is None or ratio.high is None else max((ratio.high - ratio.low) * 5, 1e-5)


def _percent(share: float) -> str:
    """Write a share in per cent with two digits, and no more than two decimals."""
    percent = share * 100
    return f"{percent:.0f}" if percent >= 10 else f"{percent:.1f}" if percent >= 0.1 else f"{percent:.2f}"  # noqa: PLR2004


def _sides(found: Comparison, width: int) -> Iterator[str]:
    for letter, row in (("A", found.a), ("B", found.b)):
        yield from wrapped(" · ".join(_described(row)), width, f"{letter}: ", "   ")
        for finding in row.findings:
            yield from wrapped(clean(finding.text), width, "   note: ", "         ")


def _described(row: Measurement) -> Iterator[str]:
    model = Path(row.model).name if row.model.endswith(".onnx") else row.model
    yield clean(model)
    if row.engine:
        yield clean(" ".join(part for part in (row.engine, row.engine_version, row.device) if part))
    if row.artifact_sha256:  # prepared: until then its batch is not known
        yield f"batch {row.batch_size}, {row.thread_num} client{'s' if row.thread_num > 1 else ''}"
    yield executed(row, ENGLISH) or row.precision
    if row.status != "ok":
        yield row.status
    elif row.gate.passed is not None:
        yield f"gate {verdict(row.gate, ENGLISH)}"


def _layout(found: Comparison) -> str:
    assert found.design is not None
    blocks = 2 * found.design.rounds
    starts = f"{found.generations} fresh start{'s' if found.generations != 1 else ''} of both sides"
    decided = found.verdict
    at = f"; verdict at 99 %: {decided.low:.4g} to {decided.high:.4g}" if decided else ""
    return (
        f"{format_duration(found.measured_s)} measured in {format_duration(found.wall_s)}: {starts}, each "
        f"{blocks} blocks of {found.design.block_s:.2g} s in random order (seed {found.seed}){at}"
    )
