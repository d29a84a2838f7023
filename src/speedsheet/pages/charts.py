"""The charts of a page, as Vega-Lite by Altair: drawn by the page itself, or as SVG and PNG without a browser.

Titles, and the names of sources and phases, are keys of phrases (`words.key`) and filled in by whoever draws, in the
reader's language.
https://altair-viz.github.io, https://github.com/vega/vl-convert
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from speedsheet.pages.roofline import Point, Roof
from speedsheet.pages.spread import Spread
from speedsheet.pages.words import MARK, key, phrases

Spec = dict[str, Any]

_WIDTH, _STEP = 760, 22
_SHORT, _POINT = 190, 70
#: Percentiles lie close together: their names take turns on so many lines.
_FIRST_LINE, _LINE, _LINES = 6, 13, 3
#: The three sources of a figure, told apart by form and colour, and by their names in the legend.
MEASURED, MODELLED, PUBLISHED = SOURCES = (key("measured"), key("modelled"), key("published"))
_SHAPES, _COLOURS = ("circle", "diamond", "square"), ("#3b7dd8", "#d9822b", "#2a9d6f")
_LIGHT = {"background": "#ffffff", "font": "sans-serif", "view": {"stroke": None}}


@contextmanager
def unchecked() -> Iterator[None]:
    """Build charts without holding each part to Vega-Lite's schema, half of the time; tests hold the whole to it."""
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        yield


def throughput(rows: Sequence[Mapping[str, Any]]) -> Spec:
    """Return throughputs with their intervals: keys ``row``, ``engine``, ``value``, ``low``, ``high`` (or null)."""
    import altair as alt

    order = list(dict.fromkeys(row["row"] for row in rows))
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        y=alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
        color=alt.Color("engine:N", title=key("engine")),
        tooltip=[
            alt.Tooltip("row:N", title=key("sheet")), alt.Tooltip("engine:N", title=key("engine")),
            alt.Tooltip("text:N", title=key("throughput_axis")),
        ],
    )  # fmt: skip
    x = alt.X("value:Q", scale=alt.Scale(type="log", nice=False, padding=12), title=key("throughput_axis"))
    lines = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3).encode(
        x=alt.X("low:Q", title=key("throughput_axis"), scale=alt.Scale(type="log")), x2="high:Q"
    )  # fmt: skip
    points = base.mark_point(filled=True, size=_POINT, opacity=1).encode(x=x)
    layers = [lines, points] if any(row["low"] is not None for row in rows) else [points]
    return _spec(alt.layer(*layers).properties(width=_WIDTH, height=alt.Step(_STEP)))


def beside(rows: Sequence[Mapping[str, Any]]) -> Spec:
    """Return figures of three sources: keys ``row``, ``source`` (of SOURCES), ``value``, ``low``, ``high``."""
    import altair as alt

    order = list(dict.fromkeys(row["row"] for row in rows))
    scale = alt.Scale(domain=list(SOURCES), range=list(_COLOURS))
    shape = alt.Scale(domain=list(SOURCES), range=list(_SHAPES))
    base = alt.Chart(alt.Data(values=list(rows))).encode(
        y=alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
        color=alt.Color("source:N", scale=scale, title=None, legend=alt.Legend(symbolOpacity=1)),
        tooltip=[alt.Tooltip("row:N", title=key("sheet")), alt.Tooltip("source:N", title=" "),
                 alt.Tooltip("text:N", title=key("throughput_axis"))],
    )  # fmt: skip
    lines = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3, opacity=0.5).encode(
        x=alt.X("low:Q", title=key("throughput_axis"), scale=alt.Scale(type="log")), x2="high:Q"
    )  # fmt: skip
    points = base.mark_point(filled=True, size=_POINT, opacity=1).encode(
        x=alt.X("value:Q", scale=alt.Scale(type="log"), title=key("throughput_axis")),
        shape=alt.Shape("source:N", scale=shape, title=None),
    )
    layers = [lines, points] if any(row["low"] is not None for row in rows) else [points]
    return _spec(alt.layer(*layers).properties(width=_WIDTH, height=alt.Step(_STEP)))


def roofline(points: Sequence[Point], roofs: Sequence[Roof]) -> Spec:
    """Return the roofline: points by source, and for each roof its slope and its ceiling."""
    import altair as alt

    said = {"wall": MEASURED, "modelled": MODELLED, "published": PUBLISHED}
    values = [{**asdict(point), "source": said[point.clock], "row": f"{point.model} {point.precision.upper()}"}
              for point in points]  # fmt: skip
    least, most = _span([point.flop_per_byte for point in points] + [roof.ridge for roof in roofs])
    lines = [
        {
            "roof": f"{roof.device} {roof.precision.upper()}".strip(),
            "x": x,
            "y": min(roof.flop_per_s, x * roof.bytes_per_s),
        }
        for roof in roofs
        for x in (least, roof.ridge, most)
    ]
    x = alt.X("x:Q", scale=alt.Scale(type="log", nice=False), title=key("intensity_axis"))
    y = alt.Y("y:Q", scale=alt.Scale(type="log"), title=key("flops_axis"), axis=alt.Axis(format="~s"))
    ceilings = alt.Chart(alt.Data(values=lines)).mark_line(strokeWidth=2).encode(
        x=x, y=y, strokeDash=alt.StrokeDash("roof:N", title=None), color=alt.value("#888888"),
    )  # fmt: skip
    dots = alt.Chart(alt.Data(values=values)).mark_point(filled=True, size=_POINT, opacity=1).encode(
        x=alt.X("flop_per_byte:Q", scale=alt.Scale(type="log", nice=False), title=key("intensity_axis")),
        y=alt.Y("flop_per_s:Q", scale=alt.Scale(type="log"), title=key("flops_axis"), axis=alt.Axis(format="~s")),
        color=alt.Color("source:N", scale=alt.Scale(domain=list(SOURCES), range=list(_COLOURS)), title=None),
        shape=alt.Shape("source:N", scale=alt.Scale(domain=list(SOURCES), range=list(_SHAPES)), title=None),
        tooltip=[alt.Tooltip("row:N", title=key("sheet")), alt.Tooltip("source:N", title=" "),
                 alt.Tooltip("flop_per_byte:Q", title=key("intensity_axis"), format=".3~s"),
                 alt.Tooltip("flop_per_s:Q", title=key("flops_axis"), format=".3~s")],
    )  # fmt: skip
    return _spec((ceilings + dots).properties(width=_WIDTH, height=360))


def distribution(found: Spread, marks: Mapping[str, float]) -> Spec:
    """Return the histogram of the requests that count; `marks` are percentiles in ms, drawn as lines by their names."""
    import altair as alt

    scale = alt.Scale(type="log", nice=False) if found.logarithmic else alt.Scale(zero=False, nice=False)
    bars = alt.Chart(alt.Data(values=[asdict(each) for each in found.bins])).mark_rect(color=_COLOURS[0]).encode(
        x=alt.X("low_ms:Q", scale=scale, title=key("latency_axis")), x2="high_ms:Q",
        y=alt.Y("requests:Q", title=key("requests_axis"), axis=alt.Axis(tickMinStep=1)), y2=alt.Y2Datum(0),
        tooltip=[alt.Tooltip("low_ms:Q", title=key("from_axis"), format=".4~g"),
                 alt.Tooltip("high_ms:Q", title=key("to_axis"), format=".4~g"),
                 alt.Tooltip("requests:Q", title=key("requests_axis"))],
    )  # fmt: skip
    named = [{"name": name, "ms": value} for name, value in marks.items()]
    rules = alt.Chart(alt.Data(values=named)).mark_rule(strokeWidth=2, color=_COLOURS[1]).encode(
        x=alt.X("ms:Q", scale=scale, title=key("latency_axis")),
        tooltip=[alt.Tooltip("name:N", title=key("percentile")),
                 alt.Tooltip("ms:Q", title=key("latency_axis"), format=".4~g")],
    )  # fmt: skip
    names = [
        alt.Chart(alt.Data(values=some)).mark_text(align="left", dx=4, fontSize=11).encode(
            x=alt.X("ms:Q", scale=scale), text="name:N", y=alt.value(_FIRST_LINE + turn * _LINE)
        )
        for turn in range(_LINES) if (some := named[turn::_LINES])
    ]  # fmt: skip
    return _spec(alt.layer(bars, *([rules, *names] if named else [])).properties(width=_WIDTH // 2, height=_SHORT))


def course(found: Spread) -> Spec:
    """Return latencies over the run: medians and highest of each stretch, what was flagged shaded."""
    import altair as alt

    shaded = alt.Chart(alt.Data(values=[asdict(each) for each in found.disturbed])).mark_rect(
        opacity=0.25, color="#c0392b"
    ).encode(
        x=alt.X("from_s:Q", title=key("time_axis")), x2="to_s:Q",
        tooltip=[alt.Tooltip("signals:N", title=key("signals"))],
    )  # fmt: skip
    stretches = [{**asdict(each), "phase": key(f"phase_{each.phase}"), "counts": each.phase == "window"}
                 for each in found.course]  # fmt: skip
    base = alt.Chart(alt.Data(values=stretches)).encode(
        x=alt.X("at_s:Q", title=key("time_axis"), scale=alt.Scale(nice=False)),
        tooltip=[alt.Tooltip("at_s:Q", title=key("time_axis"), format=".4~g"),
                 alt.Tooltip("p50_ms:Q", title=key("median"), format=".4~g"),
                 alt.Tooltip("most_ms:Q", title=key("highest"), format=".4~g"),
                 alt.Tooltip("phase:N", title=key("phase"))],
    )  # fmt: skip
    scale = alt.Scale(type="log") if found.logarithmic else alt.Scale(zero=False)
    colour = alt.condition("datum.counts", alt.value(_COLOURS[0]), alt.value("#999999"))
    medians = base.mark_point(filled=True, size=22, opacity=1).encode(
        y=alt.Y("p50_ms:Q", title=key("latency_axis"), scale=scale), color=colour
    )
    highest = base.mark_point(filled=True, size=10, opacity=0.35).encode(
        y=alt.Y("most_ms:Q", scale=scale), color=colour
    )
    layers = [*([shaded] if found.disturbed else []), highest, medians]
    return _spec(alt.layer(*layers).properties(width=_WIDTH // 2, height=_SHORT))


def said(spec: Any, lang: str) -> Any:
    """Return a chart with its titles in a language."""
    return _filled(spec, {MARK + name: text for name, text in phrases(lang).items()})


def drawn(spec: Spec, lang: str, shape: str) -> bytes:
    """Return a chart as ``svg`` or ``png``, on white, its titles in a language."""
    import vl_convert

    whole = said({**spec, "config": _LIGHT}, lang)
    if shape == "svg":
        return str(vl_convert.vegalite_to_svg(whole)).encode("utf-8")
    return bytes(vl_convert.vegalite_to_png(whole, scale=2.0))


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return words.get(value, value)
    if isinstance(value, Mapping):
        return {key: _filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, words) for item in value]
    return value


def _spec(chart: Any) -> Spec:
    """Return the chart as data, without the look that the page gives it."""
    spec: Spec = chart.to_dict(validate=False)
    spec.pop("config", None)
    return spec


def _span(values: Sequence[float]) -> tuple[float, float]:
    return (min(values) / 2, max(values) * 2) if values else (1.0, 1000.0)
