"""What stands on a page: rows with their cells in both languages, charts as data, findings, host. No HTML here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedsheet.core.errors import RecordDamaged
from speedsheet.core.measurement import Measurement
from speedsheet.core.units import format_duration
from speedsheet.history.explanations import kept
from speedsheet.history.sources import Run
from speedsheet.pages import charts
from speedsheet.pages.roofline import Point, measured_roofs, point, roofs
from speedsheet.pages.spread import Spread, spread
from speedsheet.pages.table import Cell, Head, Table, Texts, above, priced, table
from speedsheet.pages.words import MARK, key, phrase
from speedsheet.records import store
from speedsheet.sheets.as_explanation import step_table
from speedsheet.sheets.columns import THROUGHPUT, model_name, show
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.footnotes import Note
from speedsheet.sheets.languages import LANGUAGES
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.device import load as load_device
from speedsheet.twin.judging import Case
from speedsheet.twin.judging import beside as judged_beside

_PERCENTILES = ("p50", "p90", "p95", "p99", "p99_9")
_HOST_FACTS = (
    "hostname", "cpu", "cores_allowed", "cpu_flags", "memory_gib", "os", "kernel", "virtualisation", "governor",
    "clock_state", "python", "speedsheet",
)  # fmt: skip
#: So many steps of an explanation.
_STEPS = 20

#: The figures of a chart: heads, and rows of cells.
_Figures = tuple[Sequence[Texts], Sequence[Sequence[Texts]]]


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the page: its cells, and all that its details hold."""

    name: str
    run: str
    row: Measurement
    cells: tuple[Cell, ...]
    latency: tuple[tuple[str, Texts], ...]
    findings: tuple[tuple[int, Texts], ...]
    conditions: tuple[tuple[str, Texts], ...]
    commands: tuple[str, ...]
    charts: tuple[str, ...] = ()
    operators: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """A whole page. `charts` are Vega-Lite by name; `tables` the figures of each, as heads and rows of texts."""

    title: Texts
    front: Mapping[str, Sequence[tuple[str, str]]]
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    charts: Mapping[str, charts.Spec]
    tables: Mapping[str, _Figures]
    hosts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    notes: Mapping[str, tuple[Note, ...]]
    legend: Texts
    device: str = ""
    runs: tuple[str, ...] = field(default_factory=tuple)


def content(runs: Sequence[Run], cache: Path, device_name: str | None, explained: Path | None = None) -> Content:
    """Return what a page of these runs shows; `explained` is where explanations of records are kept."""
    device = load_device(device_name) if device_name else None
    rows = [(run, row) for run in runs for row in run.rows]
    case = judged_beside([row for _, row in rows], device_name) if device_name else None
    sheet = table(runs)
    with charts.unchecked():
        lines, specs = _drawn(rows, sheet, explained)
        specs |= _sheet_charts(rows, case, device, cache, several=len(runs) > 1)
    first = above(runs[0])
    return Content(
        title={lang: document.front.title or document.words.title for lang, document in first.items()},
        front={lang: list(document.lines) for lang, document in first.items()},
        heads=sheet.heads,
        lines=tuple(lines),
        charts=specs,
        tables=_tables(specs),
        hosts=tuple((run.name, _host(run)) for run in runs if run.host),
        notes=sheet.notes,
        legend=sheet.legend,
        device=device.title if device else "",
        runs=tuple(run.name for run in runs),
    )


def _drawn(
    rows: Sequence[tuple[Run, Measurement]], sheet: Table, explained: Path | None
) -> tuple[list[Line], dict[str, charts.Spec]]:
    """Return the lines of the sheet, and the charts of each one's samples."""
    specs: dict[str, charts.Spec] = {}
    lines = []
    for place, (run, row) in enumerate(rows, 1):
        found = _samples(row)
        names = []
        if found is not None:
            marks = {name.replace("_", "."): value for name in _PERCENTILES if (value := getattr(row.latency_ms, name))}
            specs[f"distribution-{place}"] = charts.distribution(found, marks)
            specs[f"course-{place}"] = charts.course(found)
            names = [f"distribution-{place}", f"course-{place}"]
        lines.append(Line(
            f"row-{place}", run.name, row, sheet.cells[place - 1], _latency(row), sheet.findings[place - 1],
            tuple(_conditions(row, run)), _commands(row), tuple(names), _operators(row, explained),
        ))  # fmt: skip
    return lines, specs


def _latency(row: Measurement) -> tuple[tuple[str, Texts], ...]:
    """The mean and every percentile with its interval, or what it lacks."""
    latency = row.latency_ms
    if latency.mean is None:
        return ()
    ends = {"mean": (latency.low, latency.high), **latency.bounds}
    told: list[tuple[str, Texts]] = []
    for name in ("mean", *_PERCENTILES):
        value, (low, high) = getattr(latency, name), ends.get(name, (None, None))
        if value is None:
            more_s = latency.more_s.get(name)
            texts = {lang: _lacks(more_s, lang) for lang in LANGUAGES}
        else:
            half = None if low is None or high is None else (high - low) / 2
            span = (
                ""
                if half is None or low is None or high is None
                else f" ({rounded(low, half)} .. {rounded(high, half)})"
            )
            texts = dict.fromkeys(LANGUAGES, rounded(value, half) + span)
        told.append((name.replace("_", "."), texts))
    return tuple(told)


def _lacks(more_s: float | None, lang: str) -> str:
    """Say what a percentile that is not printed still takes."""
    return BLANK if more_s is None else phrase("not_printed", lang, time=format_duration(more_s))


def _conditions(row: Measurement, run: Run) -> Iterator[tuple[str, Texts]]:
    """What the row was measured under, in the words of its JSON keys."""
    engine = " ".join(part for part in (row.engine, row.engine_version, row.device) if part)
    settings = ", ".join(f"{name}={value}" for name, value in row.engine_settings.items())
    told: dict[str, Any] = {
        "engine": engine, "engine_settings": settings, "requests": row.requests,
        "wall_s": row.wall_s and round(row.wall_s, 3), "warmup_s": row.warmup_s and round(row.warmup_s, 3),
        "steady": row.steady, "processes": row.processes, "client_processes": row.client_processes,
        "effective_n": row.effective_n and round(row.effective_n, 1), "coverage_checked": row.coverage_checked,
        "little_residual": row.little_residual and round(row.little_residual, 5), "clock_state": row.clock_state,
        "floor_p50_us": row.floor and round(row.floor.p50_us, 3), "load_ms": row.load_ms and round(row.load_ms),
        "compile_ms": row.compile_ms and round(row.compile_ms),
        "peak_rss_mb": row.peak_rss_mb and round(row.peak_rss_mb), "artifact_sha256": row.artifact_sha256,
        "weights_source": row.weights_source, "inputs_source": row.inputs_source, "reference": row.reference,
        "price_per_hour": priced(run),
    }  # fmt: skip
    for name, value in told.items():
        if value not in (None, ""):
            yield name, dict.fromkeys(LANGUAGES, clean(str(value)))
    if (found := row.interference) is not None:
        counts = {"flagged": found.flagged, "windows": found.windows, "remeasured": found.remeasured}
        yield "interference", {lang: phrase("flagged", lang, **counts) for lang in LANGUAGES}


def _commands(row: Measurement) -> tuple[str, ...]:
    if not row.record:
        return ()
    name = clean(Path(row.record).name)
    return f"speedsheet verify {name}", f"speedsheet replay {name}", f"speedsheet explain {name}"


def _operators(row: Measurement, explained: Path | None) -> Mapping[str, Any] | None:
    """Where the time goes, where that was asked for before (`speedsheet explain`)."""
    if explained is None or not row.record:
        return None
    found = kept(explained, Path(row.record).name)
    if found is None:
        return None
    tables = {lang: step_table(found, lang, _STEPS) for lang in LANGUAGES}
    heads = [{lang: tables[lang][0][place] for lang in tables} for place in range(len(tables["en"][0]))]
    return {"engine": clean(found.engine), "heads": heads, "rows": tables["en"][1]}


def _samples(row: Measurement) -> Spread | None:
    if row.record is None or not Path(row.record).is_dir():
        return None
    try:
        return spread(store.samples(Path(row.record)))
    except RecordDamaged:
        return None


def _sheet_charts(
    rows: Sequence[tuple[Run, Measurement]], case: Case | None, device: DeviceSpec | None, cache: Path, *, several: bool
) -> dict[str, charts.Spec]:
    """The charts of all rows together; one that would be empty is left out."""
    found: dict[str, charts.Spec] = {}
    figures = [_figure(row, run, several=several) for run, row in rows if row.throughput_samples_per_s.value]
    if figures:
        found["throughput"] = charts.throughput(figures)
    if case is None or device is None:
        return found
    three = [line for run, row in rows for line in _three(row, run, case, several=several)]
    if len({line["source"] for line in three}) > 1:
        found["beside"] = charts.beside(three)
    points = [one for _, row in rows for one in _points(row, case, cache)]
    if points:
        precisions = list(dict.fromkeys(one.precision for one in points))
        own = [
            roof for run in dict.fromkeys(run.name for run, _ in rows) for roof in measured_roofs(_of(rows, run).host)
        ]
        found["roofline"] = charts.roofline(points, [*own, *roofs(device, precisions)])
    return found


def _of(rows: Sequence[tuple[Run, Measurement]], name: str) -> Run:
    return next(run for run, _ in rows if run.name == name)


def _figure(row: Measurement, run: Run, *, several: bool) -> dict[str, Any]:
    told = row.throughput_samples_per_s
    return {
        "row": _named(row, run, several=several), "engine": clean(row.engine or row.clock), "value": told.value,
        "low": told.low, "high": told.high, "text": show(THROUGHPUT, row, LANGUAGES["en"]),
    }  # fmt: skip


def _named(row: Measurement, run: Run, *, several: bool) -> str:
    name = f"{clean(model_name(row))} {row.precision.upper()}"
    return f"{name}, {clean(run.name)}" if several else name


def _three(row: Measurement, run: Run, case: Case, *, several: bool) -> Iterator[dict[str, Any]]:
    """The figures of a row by source; who gives none is left out."""
    judged = _judged(row, case)
    if judged is None:
        return
    name = _named(row, run, several=several)
    told = row.throughput_samples_per_s
    if told.value and row.clock == "wall":
        yield {"row": name, "source": charts.MEASURED, "value": told.value, "low": told.low, "high": told.high,
               "text": show(THROUGHPUT, row, LANGUAGES["en"])}  # fmt: skip
    if judged.predicted:
        one = judged.predicted
        value, low, high = (rounded(number, usual=3) for number in (one.throughput, one.low, one.high))
        yield {"row": name, "source": charts.MODELLED, "value": one.throughput, "low": one.low, "high": one.high,
               "text": f"{value} ({low} .. {high})"}  # fmt: skip
    if judged.claim.published:
        yield {"row": name, "source": charts.PUBLISHED, "value": judged.claim.published, "low": None, "high": None,
               "text": rounded(judged.claim.published)}  # fmt: skip


def _points(row: Measurement, case: Case, cache: Path) -> Iterator[Point]:
    judged = _judged(row, case)
    figures = {"wall": row.throughput_samples_per_s.value if row.clock == "wall" else None}
    if judged:
        figures |= {"published": judged.claim.published}
        figures |= {"modelled": judged.predicted.throughput if judged.predicted else None}
    for clock, value in figures.items():
        if (found := point(row, cache, value, clock)) is not None:
            yield found


def _judged(row: Measurement, case: Case) -> Any:
    """What the modelled card says of a row, null where it cannot run it."""
    key = (row.model, row.precision, row.batch_size, row.thread_num)
    for one in case.judged:
        claim = one.claim
        if (claim.model, claim.precision, claim.batch_size, claim.thread_num) == key:
            return one
    return None


def _tables(specs: Mapping[str, charts.Spec]) -> dict[str, _Figures]:
    """The figures of the charts of all rows, for who does not see them."""
    tables: dict[str, _Figures] = {}
    for name, second, head in (("throughput", "engine", key("engine")), ("beside", "source", "")):
        values = _values(specs.get(name, {}))
        if values:
            rows = [_texts(value["row"], value[second], value["text"]) for value in values]
            tables[name] = _texts(key("sheet"), head, key("throughput_axis")), rows
    values = _values(specs.get("roofline", {}), "flop_per_s")
    if values:
        rows = [
            _texts(value["row"], value["source"], f"{value['flop_per_byte']:.3g}", f"{value['flop_per_s']:.3g}")
            for value in values
        ]
        tables["roofline"] = _texts(key("sheet"), "", key("intensity_axis"), key("flops_axis")), rows
    return tables


def _texts(*cells: str) -> list[Texts]:
    """Return cells in each language: of a key its phrase, anything else as it is."""
    return [
        {lang: phrase(cell.removeprefix(MARK), lang) if cell.startswith(MARK) else cell for lang in LANGUAGES}
        for cell in cells
    ]


def _values(spec: Mapping[str, Any], key: str = "text") -> list[dict[str, Any]]:
    """The data of a chart whose rows have a key."""
    data = [spec.get("data", {}), *(layer.get("data", {}) for layer in spec.get("layer", ()))]
    sets = [*spec.get("datasets", {}).values(), *(one.get("values", []) for one in data)]
    return next((list(rows) for rows in sets if rows and key in rows[0]), [])


def _host(run: Run) -> tuple[tuple[str, str], ...]:
    told = []
    for name in _HOST_FACTS:
        value = run.host.get(name)
        if value not in (None, ""):
            told.append((name, clean(", ".join(value) if isinstance(value, list) else str(value))))
    return tuple(told)
