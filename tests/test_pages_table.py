# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""The sheet of a page: columns that all its runs share, notes by their numbers, and both languages."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from speedsheet.cli import main
from speedsheet.core.sheet import Sheet
from speedsheet.history.sources import Run, load
from speedsheet.host.places import cache_folder
from speedsheet.pages.charts import said
from speedsheet.pages.content import content
from speedsheet.pages.page import render
from speedsheet.pages.words import LANGUAGES, MARK
from speedsheet.sheets import files
from speedsheet.sheets.chinese import CHINESE
from speedsheet.sheets.cost import Price
from speedsheet.sheets.document import Document
from speedsheet.sheets.front_matter import FrontMatter
from speedsheet.sheets.languages import LANGUAGES as SHEET_LANGUAGES
from speedsheet.sheets.letters import BLANK
from test_compare_records import HOST
from test_sheets import SERVED, SHORT


def under(page, heading):
    """Return the cells of every row under a heading, in English."""
    place = [head.heading["en"] for head in page.heads].index(heading)
    return [line.cells[place].text["en"] for line in page.lines]


@pytest.mark.parametrize(("heading", "other"), [("batch_size", "thread_num"), ("thread_num", "batch_size")])
def test_a_published_sheet_with_few_columns_has_its_page(tmp_path, heading, other):
    """What it does not print, clients or batch size, is blank, and nothing is modelled of such a row."""
    path = tmp_path / "theirs.csv"
    path.write_text(f"model,precision,{heading},qps\nresnet50,FP16,16,1000\n")
    page = content([load(str(path), cache_folder())], cache_folder(), "stcp920")
    heads = {"batch_size": "Batch size", "thread_num": "thread_num"}
    assert (under(page, heads[heading]), under(page, heads[other])) == (["16"], [BLANK])
    assert list(page.charts) == ["throughput"]
    assert main(["report", str(path), "-o", str(tmp_path / "sheet.html")]) == 0


@pytest.mark.parametrize("name", ["@", "@nothing", "@engine", "\x1fengine"])
def test_a_name_that_looks_like_a_key_is_a_name(name):
    """A model or an engine is never taken for a phrase of ours, nor does it break the page."""
    run = Run("r", "run", (replace(SERVED, model=name, engine=name),), HOST)
    page = content([run], cache_folder(), None)
    heads, rows = page.tables["throughput"]
    shown = name.replace(MARK, "")
    assert [head["zh"] for head in heads] == ["性能表", "引擎", "每秒样本数"]
    assert rows[0][:2] == [dict.fromkeys(LANGUAGES, f"{shown} FP16"), dict.fromkeys(LANGUAGES, shown)]
    assert shown in json.dumps(said(page.charts["throughput"], "zh"))
    assert f"{shown} FP16" in render([run], cache_folder(), device=None)


def test_rows_of_every_run_stand_under_the_same_headings():
    """Where one run has a column that another lacks, the other has a blank there, whichever comes first."""
    plain = Run("a", "run", (SERVED,), HOST)
    shares = {"top1": 0.97, "low": 0.95, "high": 0.98, "n": 400.0, "fp32_top1": 0.975}
    more = Run("b", "run", (replace(SERVED, task_accuracy=shares, clocks="tuned"),), HOST,
               {"price_per_hour": 3.6, "currency": "EUR"})  # fmt: skip
    for runs in ([plain, more], [more, plain]):
        page = content(runs, cache_folder(), None)
        assert {len(line.cells) for line in page.lines} == {len(page.heads)}
        order = {run.name: place for place, run in enumerate(runs)}
        assert under(page, "Accuracy")[order["b"]].startswith("top-1 97")
        assert under(page, "Accuracy")[order["a"]] == BLANK
        assert under(page, "Clocks") == ["default" if run is plain else "tuned" for run in runs]
        assert under(page, "Cost per million samples (EUR)") == [BLANK if run is plain else "13.72" for run in runs]
        assert "labelled samples" in page.legend["en"]


def test_every_number_under_findings_has_its_note():
    """The page prints each note in both languages; a row's details are its notes, and none only where there is none."""
    rows = (SERVED, SHORT, replace(SHORT, findings=()), SERVED.failed("the worker was killed"))
    published = load("stcp920", cache_folder())
    page = content([Run("r", "run", rows, HOST), published], cache_folder(), None)
    assert len(page.notes["en"]) == len(page.notes["zh"])
    for line, cell in zip(page.lines, under(page, "Findings"), strict=True):
        assert [str(number) for number, _ in line.findings] == [one for one in cell.split(", ") if one != BLANK]
        for number, texts in line.findings:
            assert all(texts[lang].startswith(page.notes[lang][number - 1].code) for lang in LANGUAGES)
    told = {texts["en"].partition(":")[0] for _, texts in page.lines[2].findings}
    assert {"few_requests", "interval_blank"} <= told
    assert [texts["en"].partition(":")[0] for _, texts in page.lines[-1].findings] == ["published"]
    text = render([published], cache_folder(), device=None).partition('id="charts"')[0]
    assert "printed by its publisher and not measured here" in text
    assert "由其发布方公布，非本机实测" in text
    assert "Nothing doubtful was found." not in text


@pytest.mark.parametrize("printed_in", SHEET_LANGUAGES)
def test_a_page_is_in_both_languages_whatever_the_sheet_was_printed_in(tmp_path, printed_in):
    """Title, hardware and clock are told in each; what a publisher says stays in the language that he said it in."""
    sheet, words = Sheet({**HOST, "clock_state": "default"}, (SERVED,)), SHEET_LANGUAGES[printed_in]
    page = content([load(str(files.write(Document.of(sheet, words=words), tmp_path)), cache_folder())], cache_folder(),
                   None)  # fmt: skip
    front = {lang: dict(lines) for lang, lines in page.front.items()}
    assert page.title == {"en": "Inference speed sheet", "zh": "推理性能表"}
    assert (front["en"]["Hardware"], front["zh"]["硬件环境"]) == ("EPYC, 2 cores, 24 GiB", "EPYC，2 核，24 GiB")
    assert front["en"]["Clock"] == "the processor changes its clock as it likes"
    assert front["zh"]["时钟说明"] == CHINESE.clocks["default"]
    given = FrontMatter(title="我们的卡", hardware="one card")
    page = content([load(str(files.write(Document.of(sheet, given, words=words), tmp_path)), cache_folder())],
                   cache_folder(), None)  # fmt: skip
    assert set(page.title.values()) == {"我们的卡"}
    assert {text for lines in page.front.values() for _, text in lines if "card" in text} == {"one card"}


def test_a_price_that_was_given_is_on_the_page(tmp_path):
    """`--price-per-hour` is of the sheet, and so of its page: the column, the price and its currency."""
    place = files.write(Document.of(Sheet(HOST, (SERVED,)), price=Price(8.5, "CNY")), tmp_path)
    page = content([load(str(place), cache_folder())], cache_folder(), None)
    assert under(page, "Cost per million samples (CNY)") == ["32.40"]
    assert "8.5 CNY an hour" in dict(page.front["en"])["Price"]
    assert dict(page.lines[0].conditions)["price_per_hour"]["zh"] == "8.5 CNY"
