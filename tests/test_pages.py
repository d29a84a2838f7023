# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""Pages: one file that opens offline, says what the sheet says, and takes no text from outside for markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import numpy as np
import pytest
from jsonschema import ValidationError

from browser import chromium, needs_chromium, page_of, serious
from looking_back import measured
from speedsheet.api import printed
from speedsheet.cli import main
from speedsheet.core.measurement import Finding, Interference, Latency, Throughput
from speedsheet.core.samples import Samples
from speedsheet.core.sheet import Sheet
from speedsheet.history.explanations import explained, keep
from speedsheet.history.sources import Run, load
from speedsheet.host.places import cache_folder
from speedsheet.pages.charts import said
from speedsheet.pages.content import content
from speedsheet.pages.page import embedded, render
from speedsheet.pages.spread import spread
from speedsheet.pages.words import LANGUAGES, MARK, PHRASES, stage
from speedsheet.records import store
from speedsheet.sheets import files
from test_compare_records import HOST
from test_records import WINDOWS, row, samples_of
from test_sheets import SERVED

HOSTILE = "<script>alert(1)</script>\u202e\u2066evil\"'><img src=x onerror=alert(2)>" + "long" * 400


def sealed(folder: Path, **changes: object):
    """Seal a row with samples and windows, and return it with its record."""
    return store.seal(folder, row(**changes), replace(samples_of(2000), windows=WINDOWS), {"host": HOST})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Rows of every kind: with samples, failed, published, and one whose every text is hostile."""
    folder = tmp_path_factory.mktemp("pages") / "records"
    rows = (
        sealed(folder, throughput_samples_per_s=Throughput(72.8, 71.0, 74.0),
               latency_ms=Latency(2634.0, 2611.0, 2790.0, low=2600.0, high=2670.0, bounds={"p50": (2600.0, 2620.0)})),
        sealed(folder, model="bert_128", batch_size=8, thread_num=8, precision="fp16", engine="onnxruntime",
               throughput_samples_per_s=Throughput(36.0, 35.0, 37.0)),
        replace(SERVED, model="mobilenet_v2", batch_size=32, precision="fp16").failed("the worker was killed"),
        sealed(folder, model=HOSTILE, engine=HOSTILE, framework=HOSTILE, findings=(Finding(HOSTILE, HOSTILE),),
               throughput_samples_per_s=Throughput(5000.0, 4900.0, 5100.0)),
    )  # fmt: skip
    return [Run("20261127T000000Z", "run", rows, {**HOST, "cpu": HOSTILE}, {"title": "A sheet <b>& more</b>"})]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    """Write the page of these rows."""
    path = tmp_path_factory.mktemp("page") / "sheet.html"
    path.write_text(render(runs, cache_folder()), encoding="utf-8")
    return path


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_a_page_is_one_file_that_refers_to_nothing_else(page):
    """No address to load from, no style or script of another file, under five megabytes, and a policy that says so."""
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 5 << 20
    tags = Tags()
    tags.feed(text)
    for tag, attributes in tags.found:
        assert not {"src", "srcset", "action", "data"} & attributes.keys(), tag
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in text


def test_hostile_text_stays_text(page):
    """Four scripts are ours; none is a model's, and no text ends a script early or becomes an attribute."""
    tags = Tags()
    tags.feed(page.read_text(encoding="utf-8"))
    assert [tag for tag, _ in tags.found].count("script") == 4
    assert "onerror" not in {name for _, attributes in tags.found for name in attributes}
    assert "<b>" not in page.read_text(encoding="utf-8").split("<body>")[1].split("</h1>")[0]


def test_what_is_embedded_for_scripts_cannot_end_them():
    """JSON within a script element holds no angle bracket and no line separator, and is the same data."""
    data = {"a": "</script><!--<script>", "b": "\u2028&", "c": [1, None]}
    assert not re.search("[<>&\u2028]", embedded(data))
    assert json.loads(embedded(data)) == data


def test_the_page_says_what_the_sheet_says(page, runs):
    """Every cell of the printed table is on the page, in both languages."""
    text = page.read_text(encoding="utf-8")
    for cell in ("72.8", "2634", "bf16 (asked fp16)", "failed", "the worker was killed"):
        assert cell in text
    assert "要求 fp16" in text
    assert "吞吐量(samples per sec)" in text
    assert "speedsheet verify" in text


def test_every_chart_is_vega_lite(runs):
    """Charts are built without checking their parts: the whole of each is of the schema, in both languages."""
    specs = content(runs, cache_folder(), "stcp920").charts
    assert {"throughput", "roofline", "beside", "distribution-1", "course-1"} <= specs.keys()
    for lang in LANGUAGES:
        for spec in specs.values():
            kind = alt.LayerChart if "layer" in spec else alt.Chart
            kind.from_dict(said(spec, lang), validate=True)
    with pytest.raises(ValidationError):
        alt.LayerChart.from_dict({**specs["throughput"], "width": "wide"}, validate=True)


def test_every_phrase_is_in_both_languages():
    """No phrase is missing or the same by mistake, and placeholders agree."""
    for key, texts in PHRASES.items():
        assert len(texts) == len(LANGUAGES), key
        assert all(texts), key
        assert {frozenset(re.findall(r"{\w+}", text)) for text in texts}.__len__() == 1, key


@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_what_a_page_shows_of_samples_is_all_of_them(count):
    """Bins hold every request that counts, and the course covers the whole run."""
    taken = samples_of(count) if count else None
    if taken is None:
        empty = samples_of(1)
        taken = replace(empty, **{name: column[:0] for name, column in empty.columns().items()})
    found = spread(taken)
    assert sum(one.requests for one in found.bins) == found.requests == int(taken.window.sum())
    assert [one.at_s for one in found.course] == sorted(one.at_s for one in found.course)
    if count > 1:
        assert max(one.most_ms for one in found.course) == pytest.approx(
            float((taken.end_ns - taken.scheduled_ns).max()) / 1e6
        )


def test_a_heavy_tail_gets_logarithmic_bins():
    """A run whose slowest request takes fifty medians is drawn so that both are seen."""
    latency = np.concatenate([np.full(500, 10**6), [50 * 10**6]])
    end = np.cumsum(latency).astype(np.int64)
    zeros = np.zeros(end.size, np.int32)
    taken = Samples(
        zeros, zeros, end - latency, end - latency, end, zeros.astype(np.int8) + 1, zeros.astype(bool), 0, int(end[-1])
    )
    found = spread(taken)
    assert found.logarithmic
    assert sum(one.requests for one in found.bins) == 501


def tips(spec):
    """Yield every tooltip of a chart."""
    for part in spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ():
        yield from tips(part)
    if isinstance(spec, dict):
        found = spec.get("tooltip", [])
        yield from found if isinstance(found, list) else [found]


def test_every_word_of_a_chart_is_in_the_readers_language(runs):
    """No tooltip is headed by a name of ours, and no phase of a run stays in English on a Chinese page."""
    specs = content(runs, cache_folder(), "stcp920").charts
    for name, spec in specs.items():
        assert all(tip.get("title") for tip in tips(spec)), name
        assert not any(json.dumps(MARK)[1:-1] in json.dumps(said(spec, lang)) for lang in LANGUAGES), name
    assert "测量窗口" in json.dumps(said(specs["course-1"], "zh"), ensure_ascii=False)
    run = Run("r", "run", (replace(SERVED, interference=Interference(33, 2, 2)),), HOST)
    (line,) = content([run], cache_folder(), None).lines
    assert dict(line.conditions)["interference"]["zh"] == "33 个时间窗中有 2 个被标记，补测 2 个"


def test_every_stage_of_a_running_row_is_said_in_chinese():
    """Whoever adds a stage writes its Chinese into `pages/words.py`; the worker that says it goes on in English."""
    written = "".join(path.read_text("utf-8") for path in (Path(files.__file__).parents[1] / "bench").glob("*.py"))
    texts = {
        re.sub(r"{[^}]*}", "onnxruntime", re.sub(r"{crowd}|{_turn\(job\)}", "", text))
        for text in re.findall(r"(?:say\(|stage = )f?\"([^\"]+)\"", written)
    }
    assert {"first inference", "warming up onnxruntime", "measuring on onnxruntime"} <= texts
    for text in texts:
        assert stage(text, "en") == text
        assert stage(text, "zh") != text, text
    assert stage("measuring on openvino from 3 processes, process 1 of 2", "zh") == (
        "在 openvino 上测量，客户端分布于 3 个进程（第 1 个进程，共 2 个）"
    )
    assert stage("a stranger's", "zh") == "a stranger's"


def test_the_command_writes_page_and_charts(small_model, tmp_path, capsys, monkeypatch):
    """`run --html` names its page; `report` writes one of any run, and its charts as SVG and PNG."""
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path / "data"))
    command = ["run", str(small_model), "--engine", "onnxruntime", "--precision", "fp32", "--time", "0.3s", "--html"]
    assert main(command) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("report: ")]
    assert Path(line.removeprefix("report: ")).read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["report", "latest", "-o", str(tmp_path / "x.html"), "--charts", str(tmp_path / "charts")]) == 0
    assert (tmp_path / "x.html").stat().st_size > 500_000
    names = sorted(path.name for path in (tmp_path / "charts").iterdir())
    assert "throughput.svg" in names
    assert "small.onnx_fp32-course-1.png" in names
    assert (tmp_path / "charts" / "throughput.png").read_bytes().startswith(b"\x89PNG")
    assert "samples per second" in (tmp_path / "charts" / "throughput.svg").read_text(encoding="utf-8")
    assert main(["report", "nothing-of-that-name"]) == 2
    assert capsys.readouterr().err.startswith("speedsheet: nothing is called")


def test_an_explanation_is_on_the_page_of_its_record(tmp_path):
    """Where `speedsheet explain` was asked of a record, its steps stand in the row's details."""
    one = sealed(tmp_path / "records")
    steps = [{"name": "conv1", "kind": "Convolution", "time_us": 900.0, "executed": "bf16", "nodes": ["conv1"]}]
    found = explained({"steps": steps, "macs": {"conv1": 10**9}, "batch_size": 16, "runs": 5}, model="m", engine="e 1",
                      precision="fp16", card="STCP920", modelled_us={"conv1": 100.0})  # fmt: skip
    keep(tmp_path / "explained", Path(str(one.record)).name, found)
    text = render([Run("r", "run", (one,), HOST)], cache_folder(), explained=tmp_path / "explained")
    assert "Convolution" in text
    assert "2222.2" in text  # 2 GFLOP in 900 us
    assert "By e 1" in text


def test_a_sheet_prints_itself_in_python_and_in_notebooks():
    """print(sheet) is the terminal's table; a notebook gets HTML in which hostile text is text."""
    sheet = printed(Sheet(HOST, (SERVED, replace(SERVED, model=HOSTILE))))
    assert "resnet50" in str(sheet)
    html = sheet._repr_html_()
    assert "<table>" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert sheet.to_json()["rows"][0]["model"] == "resnet50"
    assert sheet.to_markdown().startswith("## Inference speed sheet")


@pytest.fixture(scope="module")
def browser():
    """Start Chromium once."""
    with chromium() as started:
        yield started


def shown(view):
    """Return the models that can be seen, in order."""
    return [one[:12] for one in view.locator("#rows tbody:visible button.open").all_inner_texts()]


@needs_chromium
def test_rows_are_sorted_by_any_heading(browser, page):
    """Once up, once down, said to screen readers; a row without a number comes last both ways."""
    with page_of(browser, page.as_uri()) as view:
        head = view.locator("#rows thead th", has_text="Throughput")
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        assert [one[:4] for one in shown(view)] == ["bert", "resn", "<scr", "mobi"]
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert [one[:4] for one in shown(view)] == ["<scr", "resn", "bert", "mobi"]
        assert view.locator("#rows thead th[aria-sort='none']").count() == view.locator("#rows thead th").count() - 1


@needs_chromium
def test_rows_are_filtered_by_words_and_choices(browser, page):
    """What is typed must be in the row, its findings too; how many are left is said."""
    with page_of(browser, page.as_uri()) as view:
        view.locator("#filter").fill("bert onnx")
        assert shown(view) == ["bert_128"]
        assert view.locator("#shown").inner_text() == "1 of 4 rows"
        view.locator("#filter").fill("killed")
        assert shown(view) == ["mobilenet_v2"]
        view.locator("#filter").fill("")
        view.locator("[data-choice='engine']").select_option("openvino")
        assert shown(view) == ["resnet50", "mobilenet_v2"]


@needs_chromium
def test_a_row_opens_with_its_charts(browser, page):
    """By mouse and by keyboard: details, a drawn distribution, a drawn course, and how to check it."""
    with page_of(browser, page.as_uri()) as view:
        button = view.locator("#row-1 button.open")
        button.focus()
        view.keyboard.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        view.locator("#row-1 [data-chart='distribution-1'] svg").wait_for()
        view.locator("#row-1 [data-chart='course-1'] svg").wait_for()
        assert "speedsheet replay" in view.locator("#row-1-details").inner_text()
        assert "2634" in view.locator("#row-1-details").inner_text()
        button.click()
        assert view.locator("#row-1-details").is_hidden()


@needs_chromium
def test_the_charts_of_all_rows_are_drawn(browser, page):
    """Throughput, measured beside modelled and published, and the roofline; each can be saved."""
    with page_of(browser, page.as_uri()) as view:
        for name in ("throughput", "beside", "roofline"):
            place = view.locator(f"[data-chart='{name}']")
            place.scroll_into_view_if_needed()
            place.locator("svg").wait_for()
            assert place.locator("svg path, svg line").count() > 3
        assert "STCP920" in view.locator("#chart-beside").inner_text()
        with view.expect_download() as saved:
            view.locator("[data-save='svg'][data-of='throughput']").click()
        assert saved.value.suggested_filename == "throughput.svg"


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_language_and_theme_are_switched(browser, page, scheme):
    """Everything that is said changes, charts too; the theme follows the system until it is chosen."""
    with page_of(browser, page.as_uri(), color_scheme=scheme) as view:
        paper = "getComputedStyle(document.body).backgroundColor"
        before = view.evaluate(paper)
        view.locator("#theme").click()
        assert view.evaluate(paper) != before
        view.locator("[data-chart='throughput']").scroll_into_view_if_needed()
        view.locator("[data-chart='throughput'] svg").wait_for()
        view.locator("#language").click()
        assert view.evaluate("document.documentElement.lang") == "zh-CN"
        assert view.locator("#sheet-title").inner_text() == "性能表"
        assert view.locator("#language [lang='en']").inner_text() == "English"
        assert view.locator("#language [lang='zh-CN']").is_hidden()
        view.get_by_text("每秒样本数").first.wait_for()
        assert "4 行" in view.locator("#shown").inner_text()
        view.locator("#language").click()
        assert view.locator("#sheet-title").inner_text() == "Sheet"


@needs_chromium
@pytest.mark.parametrize("look", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 375, "height": 700}}])
def test_nothing_serious_stands_in_anyones_way(browser, page, look):
    """axe-core finds nothing serious: light, dark, on a phone; with a row open, in either language."""
    with page_of(browser, page.as_uri(), **look) as view:
        view.locator("#row-1 button.open").click()
        view.locator("[data-chart='course-1'] svg").wait_for()
        assert serious(view) == []
        view.locator("#language").click()
        assert serious(view) == []


@needs_chromium
def test_a_phone_shows_a_page_that_does_not_scroll_sideways(browser, page):
    """Table and charts scroll in frames of their own; the page fits, with a row open and every chart drawn."""
    with page_of(browser, page.as_uri(), viewport={"width": 375, "height": 700}) as view:
        assert view.evaluate("document.documentElement.scrollWidth") <= 375
        view.locator("#row-1 button.open").click()
        for name in ("course-1", "throughput", "beside", "roofline"):
            view.locator(f"[data-chart='{name}']").scroll_into_view_if_needed()
            view.locator(f"[data-chart='{name}'] svg").wait_for()
        assert view.evaluate("document.documentElement.scrollWidth") <= 375


@needs_chromium
def test_hostile_names_are_seen_as_text(browser, page):
    """Script, markup, a change of direction and sixteen hundred letters in a name: text, and nothing runs."""
    with page_of(browser, page.as_uri()) as view:
        name = view.locator("#row-4 button.open").inner_text()
        assert "<script>alert(1)</script>" in name
        assert "\u202e" not in name
        assert view.locator("h1").inner_text() == "A sheet <b>& more</b>"


@needs_chromium
def test_a_measured_run_is_shown_as_it_is(browser, small_model, tmp_path):
    """From a real engine to a real browser: the row's throughput stands on its page."""
    record = measured(small_model, tmp_path / "records", window_s=1.0)
    run = load(str(record), cache_folder())
    path = tmp_path / "one.html"
    path.write_text(render([run], cache_folder()), encoding="utf-8")
    with page_of(browser, path.as_uri()) as view:
        assert shown(view) == ["small.onnx"]
        view.locator("#row-1 button.open").click()
        view.locator("[data-chart='course-1'] svg").wait_for()
        assert record.name in view.locator("#row-1-details").inner_text()
