# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""A sheet as a document: front matter, sections, footnotes, cost; and the same figures in every language."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from speedsheet.cli.against import Against
from speedsheet.core.measurement import Finding, Gate, Latency, Measurement, Throughput
from speedsheet.core.sheet import Sheet
from speedsheet.sheets import as_csv, as_json, as_markdown
from speedsheet.sheets.chinese import CHINESE
from speedsheet.sheets.columns import verdict
from speedsheet.sheets.cost import Price
from speedsheet.sheets.document import Document
from speedsheet.sheets.front_matter import FrontMatter
from speedsheet.sheets.letters import BLANK
from speedsheet.sheets.words import ENGLISH
from speedsheet.sheets.wrapping import wrapped
from test_sheets import EN, FALLBACK, HOST, HOSTILE, INT8, KILLED, SERVED, SHEET, SHORT, TINY, ZH, document, terminal


def codes(sheet: Document, row: Measurement) -> set[str]:
    return {sheet.notes.notes[number - 1].code for number in sheet.numbers(row)}


def test_each_note_is_written_once() -> None:
    """A code has one number over the whole document; every blank of a measured row has a note."""
    written = [note.code for note in EN.notes.notes]
    assert len(set(written)) == len(written)
    assert as_markdown.render(EN).count(as_markdown.escape(FALLBACK.text)) == 1
    assert codes(EN, TINY) == {"interference"}  # p99.9 is blank, and no column of a printed sheet
    assert codes(EN, HOSTILE) == {"a|b`c", "few_requests", "not_judged", "not_audited"}
    varied = replace(SERVED, throughput_samples_per_s=Throughput(72.9))
    assert codes(document(Sheet(HOST, (varied,))), varied) == {"precision_fallback", "few_requests", "interval_blank"}


def test_a_percentile_that_is_withheld_says_how_much_longer_it_takes() -> None:
    """In the sheet's language and for the columns that are printed; JSON has the others too."""
    (note,) = [note for note in EN.notes.notes if note.code == "few_requests"]
    assert note.by_row[1] == ("bert_128", "p50 needs 21 s more, p90 needs 3 min 10 s more, p99 needs 36 min 40 s more")
    assert "p90 还需 3 min 10 s，" in as_markdown.render(ZH)
    assert as_json.content(EN)["rows"][1]["latency_ms"]["more_s"]["p99_9"] == 22220.0


def test_a_row_that_cannot_tell_whether_it_had_settled_says_so() -> None:
    """Too few windows are a note, not a failure; a row that was never looked at has none."""
    assert "steady_unknown" in codes(EN, SHORT)
    assert "steady_unknown" not in codes(EN, TINY) | codes(EN, SERVED)


def test_rows_that_say_different_things_are_named_under_one_number() -> None:
    """The commonest text of many rows is that of the others; rows of one model are told apart."""
    trials = [Finding("engine_rejected", f"slow rejected: 0.{n} x the throughput of quick") for n in range(3)]
    models = ["a", "b", "c", "d", "e", "f"]
    rows = [replace(TINY, model=m, findings=(trials[max(n - 3, 0)],)) for n, m in enumerate(models)]
    rows += [replace(TINY, model="e", precision="fp16", findings=(trials[2],)), replace(rows[0], thread_num=3)]
    (note,) = document(Sheet({}, tuple(rows))).notes.notes
    assert note.by_row == (
        ("e FP32", trials[1].text), ("f, e FP16", trials[2].text), ("the others", trials[0].text),
    )  # fmt: skip
    few = document(Sheet({}, (rows[0], replace(rows[7], findings=(trials[1],)), rows[0])))
    assert [names for names, _ in few.notes.notes[0].by_row] == ["a FP32 8 x 16 (1), a FP32 8 x 16 (3)", "a FP32 8 x 3"]


def test_there_is_a_section_for_each_precision_asked() -> None:
    """As a published sheet has its FP16 and its INT8 table; a row stands in one, in the suite's order."""
    assert [(section.heading, len(section.rows)) for section in EN.sections] == [("FP16", 6), ("INT8", 1), ("FP32", 1)]
    printed = as_markdown.render(EN)
    assert re.findall(r"^### (.+)", printed, re.MULTILINE) == ["FP16", "INT8", "FP32", "Resources"]
    assert printed.count("| Model |") == 4
    assert re.findall(r"^(FP16|INT8|FP32)$", terminal(EN, 200), re.MULTILINE) == ["FP16", "INT8", "FP32"]
    alone = document(Sheet(HOST, (INT8,)))
    assert "### INT8" in as_markdown.render(alone)
    assert not re.search(r"^INT8$", terminal(alone, 200), re.MULTILINE)


def test_the_front_matter_is_the_suites_and_else_the_hosts() -> None:
    """What a publisher says stands; what he leaves out is told by host and rows; the host line stays in any case."""
    told = dict(EN.lines)
    assert list(told) == ["Version", "Date", "Tool", "Software", "Hardware", "Clock", "Source"]
    assert told["Tool"] == "speedsheet 0.1.0"
    assert told["Software"] == "-1+2 2026.4.1, onnxruntime, openvino 2026.4.1"
    assert told["Hardware"] == "AMD EPYC 9B14, 2 cores, 24 GiB"
    assert told["Clock"] == "this host does not show the processor's clock"
    given = FrontMatter(hardware="Our card", clock_note="tuned", software="Compiler 1", date="2022-02-24", tool="ours")
    theirs = Document.of(SHEET, given, date="2026-11-23")
    assert dict(theirs.lines) == {
        "Date": "2022-02-24", "Tool": "ours", "Software": "Compiler 1", "Hardware": "Our card", "Clock": "tuned",
    }  # fmt: skip
    for printed in (as_markdown.render(theirs), terminal(theirs, 300)):
        assert "Our card" in printed
        assert "bench-1, AMD EPYC 9B14, 2 cores" in printed
    data = as_json.content(theirs)["document"]
    assert data["hardware"] == "Our card"
    assert {"title", "version", "date", "tool", "software", "hardware", "clock_note"} <= set(data)
    assert data["version"] is None


@pytest.mark.parametrize(
    ("states", "clock"),
    [
        (["locked at 3 GHz"], "processor clock locked at 3 GHz"),
        (["default"], "the processor changes its clock as it likes"),
        (["unknown"], "this host does not show the processor's clock"),
        (["unavailable"], "this host does not show the processor's clock"),
        (["default", "odd"], "the processor changes its clock as it likes, odd"),
    ],
)
def test_the_clock_note_is_what_the_rows_saw(states: list[str], clock: str) -> None:
    """Each state once; where no row tells one, the host's."""
    rows = tuple(replace(SERVED, clock_state=state) for state in states)
    assert Document.of(Sheet({"clock_state": "unknown"}, rows)).front.clock_note == clock


def test_a_device_that_is_no_processor_is_hardware() -> None:
    """So is the virtual machine around it."""
    host = {"cpu": "X", "virtualisation": "docker in virtual machine"}
    assert Document.of(Sheet(host, (replace(SERVED, device="GPU.0"), SERVED))).front.hardware == (
        "X, GPU.0, docker in virtual machine"
    )


NUMBERS = re.compile(r"\d+(?:\.\d+)?")


def table(printed: str) -> list[str]:
    """Return the rows of tables: in Markdown what begins with a bar, in CSV everything."""
    lines = printed.splitlines()
    return [line for line in lines if line.startswith("|")] or lines


def figures(text: str) -> list[str]:
    return NUMBERS.findall(text)


@given(
    st.floats(1e-3, 1e9),
    st.floats(1e-4, 0.9),
    st.floats(1e-3, 1e6),
    st.sampled_from(["ok", "failed", "skipped"]),
    st.none() | st.floats(1e-3, 1e4),
)
def test_every_language_has_the_same_numbers(
    speed: float, half: float, latency_ms: float, status: str, price_per_hour: float | None
) -> None:
    """Cell by cell in Markdown and CSV, and the rows of JSON: a translation changes no figure."""
    row = replace(
        SERVED,
        latency_ms=Latency(latency_ms, latency_ms * 0.9, low=latency_ms * (1 - half), high=latency_ms * (1 + half)),
        throughput_samples_per_s=Throughput(speed, speed * (1 - half), speed * (1 + half)),
    )
    row = row if status == "ok" else row.failed("killed by signal 9", status)
    price = price_per_hour and Price(price_per_hour, "EUR")
    sheet = Sheet(HOST, (row, INT8, SHORT, TINY))
    english, chinese = document(sheet, ENGLISH, price), document(sheet, CHINESE, price)
    for render in (as_markdown.render, as_csv.render):
        ours, theirs = ([figures(line) for line in table(render(this))] for this in (english, chinese))
        assert ours == theirs
        assert len(ours) >= len(sheet.rows)
    assert as_json.content(english)["rows"] == as_json.content(chinese)["rows"]
    assert [english.numbers(r) for r in sheet.rows] == [chinese.numbers(r) for r in sheet.rows]


def test_chinese_has_words_for_all_that_english_has() -> None:
    """Every heading, label, status, metric and reason; every template takes the same figures."""
    for name in [*(column.name for column in (*ZH.columns, *ZH.resource_columns)), "Status", "Error"]:
        assert name in {"±", "p50", "p90", "p99"} or CHINESE.heading(name) != name
    for table in ("labels", "statuses", "metrics", "clocks", "bins", "blanks"):
        assert set(getattr(CHINESE, table)) == set(getattr(ENGLISH, table))
    for name in ENGLISH.__dataclass_fields__:
        ours, theirs = getattr(ENGLISH, name), getattr(CHINESE, name)
        if isinstance(ours, str):
            assert sorted(re.findall(r"\{\w+\}", ours)) == sorted(re.findall(r"\{\w+\}", theirs)), name


def test_published_figures_beside_measured_ones_are_headed_in_the_sheets_language() -> None:
    """In CSV too: who publishes, and what the ratio is of, with the units that both languages share."""
    against = Against("stcp920")
    english, chinese = (as_csv.render(sheet, *against.columns(sheet)).splitlines()[0] for sheet in (EN, ZH))
    assert "Published by stcp920 (samples/s)" in english.split(",")
    assert chinese.split(",")[-3:] == [
        "stcp920 公布的吞吐量 (samples/s)",
        "stcp920 公布的延迟 (ms)",
        "实测 / stcp920 公布",
    ]


def test_every_finding_of_the_product_is_said_in_chinese() -> None:
    """Explained, with what to do, before the English figures; a stranger's code stands alone.

    Whoever adds a finding writes its sentence into `sheets/chinese.py`.
    """
    source = Path(as_csv.__file__).parents[1]
    found = {
        code
        for room in ("bench", "stats", "load", "convert", "records", "twin")
        for path in (source / room).rglob("*.py")
        for code in re.findall(r"Finding\(\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert {"no_interval", "precision", "engine_rejected"} <= found
    assert found <= set(CHINESE.findings)
    row = replace(SERVED, findings=(Finding("precision", "asked fp16, executed bf16"), Finding("odd", "so it is")))
    texts = [note.says for note in document(Sheet(HOST, (row,)), CHINESE).notes.notes]
    assert texts[0] == f"{CHINESE.findings['precision']}（asked fp16, executed bf16）"
    assert texts[1] == "so it is"


@given(st.text(alphabet="ab -（），。模型性能 12", max_size=80), st.integers(8, 60))
def test_wrapped_text_fits_and_loses_nothing(text: str, width: int) -> None:
    """Lines break at spaces and between wide letters; no line begins with a full stop or a closing bracket."""
    lines = wrapped(text, width, "1 ", "  ")
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "").removeprefix("1") == text.replace(" ", "")
    loose = re.search(r"(^|[ ，。）])[，。）]", text)  # nothing to stand behind
    assert loose or all(line[2:3] not in set("，。）") for line in lines[1:])


def test_cost_is_throughput_turned_over() -> None:
    """Low cost is high throughput; the cell has the digits of the interval, and the currency stands in the heading."""
    cost = Price(3.6, "EUR").of_million(Throughput(1000.0, 500.0, 2000.0))
    assert (cost.value, cost.low, cost.high) == (1.0, 0.5, 2.0)
    assert Price(3.6).of_million(Throughput(0.0)).value is None
    assert Price(3.6).of_million(Throughput(1000.0)).low is None
    priced = document(price=Price(8.5, "EUR"))
    column = next(c for c in priced.columns if c.name == "Cost per million samples")
    assert priced.heading(column) == "Cost per million samples (EUR)"
    assert [priced.show(column, row) for row in (SERVED, SHORT, KILLED)] == ["32.40", "148.5", BLANK]
    assert "8.5 EUR an hour" in as_markdown.render(priced)
    assert "32.40 EUR per million samples" in terminal(priced, 80)
    data = as_json.content(priced)
    assert (data["document"]["price_per_hour"], data["document"]["currency"]) == (8.5, "EUR")
    cost = data["rows"][0]["cost_per_million_samples"]
    assert cost["low"] < cost["value"] < cost["high"]
    assert "Cost per million samples," in as_csv.render(document(price=Price(1.0)))


def test_the_gate_speaks_chinese() -> None:
    """The same figures."""
    gate = Gate(passed=False, metric="centred_cosine", value=0.41, limit=0.95)
    assert verdict(gate, CHINESE) == "不通过，余弦 .4100 < .95"
