"""Sheets as they are printed: golden files, cells that stay cells, digits that are meant."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from speedsheet.core.measurement import Finding, Gate, Interference, Latency, Measurement, Throughput
from speedsheet.core.sheet import Sheet
from speedsheet.sheets import as_csv, as_histogram, as_json, as_markdown, as_terminal, files
from speedsheet.sheets.chinese import CHINESE
from speedsheet.sheets.columns import HALF_WIDTH, LATENCY, PUBLISHED, THROUGHPUT, verdict
from speedsheet.sheets.cost import Price
from speedsheet.sheets.digits import against, rounded
from speedsheet.sheets.document import Document
from speedsheet.sheets.front_matter import FrontMatter
from speedsheet.sheets.letters import BLANK, clean, to_ascii
from speedsheet.sheets.words import ENGLISH, Words

GOLDEN = Path(__file__).parent / "golden"
HOST = {
    "hostname": "bench-1",
    "cpu": "AMD EPYC 9B14",
    "cores_allowed": 2,
    "memory_gib": 23.54,
    "os": "Debian GNU/Linux 12 (bookworm)",
    "speedsheet": "0.1.0",
}
FALLBACK = Finding("precision_fallback", "fp16 was asked and bf16 ran: CPU has no fp16; ask --precision bf16")
SERVED = Measurement(
    model="resnet50",
    framework="tensorflow",
    task="image classification",
    batch_size=16,
    thread_num=12,
    precision="fp16",
    engine="openvino",
    engine_version="2026.4.1",
    device="CPU",
    engine_settings={"NUM_STREAMS": "2"},
    precision_executed={"bf16": 0.98, "fp32": 0.02},
    latency_ms=Latency(2634.51234, 2611.0, 2790.2, low=2600.0, high=2670.0),
    throughput_samples_per_s=Throughput(72.87654, 71.9, 73.8),
    requests=220,
    wall_s=30.1,
    clock_state="unknown",
    load_ms=1234.5678,
    compile_ms=980.1,
    first_inference_ms=2701.25,
    peak_rss_mb=1820.4,
    artifact_mb=102.07,
    gate=Gate(passed=True, metric="centred_cosine", value=0.99312, limit=0.95),
    little_residual=0.001,
    findings=(FALLBACK,),
)
SHORT = replace(
    SERVED,
    model="bert_128",
    latency_ms=Latency(4021.9, more_s={"p50": 21.4, "p90": 190.0, "p95": 400.0, "p99": 2222.0, "p99_9": 22220.0}),
    throughput_samples_per_s=Throughput(15.9),
    interference=Interference(windows=3),
    gate=Gate(passed=True, metric="centred_cosine", value=0.99999, limit=0.95),
    findings=(
        FALLBACK,
        Finding("no_interval", "7 whole rounds of 8 clients are too few; measure 30 s longer"),
        Finding("few_requests", "too few independent requests: p50 needs 21 s longer (--time 51s), p90 ..., p99.9 ..."),
    ),
)
KILLED = Measurement("dlrm", "pytorch", "click-through", 1024, 8, "fp16", "onnxruntime").failed(
    "the worker was killed by signal 9 (out of memory at 23.1 GiB); lower --batch or --threads"
)
WRONG = replace(SERVED, gate=Gate(passed=False, metric="centred_cosine", value=0.41, limit=0.95)).failed(
    "outputs differ from the reference"
)
TINY = Measurement(
    "dssm_mock",
    "tensorflow",
    "retrieval",
    8,
    16,
    "fp32",
    "onnxruntime",
    precision_executed={"fp32": 1.0},
    latency_ms=Latency(
        0.00302123, 0.00301, 0.0033, 0.0036, 0.0041, 0.0061, 0.003, 0.00304, bounds={"p50": (0.003005, 0.003015)}
    ),
    throughput_samples_per_s=Throughput(42345678.9, 42000000.0, 42700000.0),
    gate=Gate(passed=True, metric="relative_error", value=0.00012345, limit=0.05),
    processes=3,
    steady=True,
    interference=Interference(windows=33, flagged=2, remeasured=2, by_signal={"others_cpu_cores": 2}),
    findings=(
        Finding("few_requests", "too few independent requests: p99.9 needs 21 s longer (--time 51s)"),
        Finding("interference", "2 of 33 windows were disturbed (others_cpu_cores 2) and are left out; as many again"),
    ),
    load_ms=3.25,
    compile_ms=1.5,
    first_inference_ms=0.0123,
    peak_rss_mb=96.3,
    artifact_mb=0.512,
    samples_per_joule=1203456.7,
    energy_source="rapl package-0",
)
HOSTILE = replace(
    SERVED,
    model="=cmd|' /C calc'!A0 <script>*x*</script>\n| a_b _c_ `d` \x1b[31m\u202e",
    framework="@x",
    engine="-1+2",
    gate=Gate(),
    precision_executed=None,
    findings=(Finding("a|b`c", "text | with <b>html</b>\nand lines"),),
)
LATER = Measurement("mmoe", "tensorflow", "ranking", 51200, 8, "fp16").failed("interrupted", "skipped")
INT8 = replace(
    SERVED,
    precision="int8",
    precision_executed={"int8": 0.95, "fp32": 0.05},
    throughput_samples_per_s=Throughput(140.25, 138.0, 142.5),
    findings=(),
)
SHEET = Sheet(HOST, (SERVED, SHORT, INT8, KILLED, WRONG, TINY, HOSTILE, LATER))
FRONT = FrontMatter(title="First rows", version="1.0", source="a published sheet, 2022")


def document(sheet: Sheet = SHEET, words: Words = ENGLISH, price: Price | None = None) -> Document:
    return Document.of(sheet, FRONT, words=words, price=price, date="2026-11-23")


def terminal(sheet: Document, width: int, *, ascii_only: bool = False, with_resources: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(as_terminal.render(sheet, width, ascii_only=ascii_only, with_resources=with_resources))
    return console.file.getvalue()


EN, ZH = document(), document(words=CHINESE, price=Price(8.5, "CNY"))
PRINTED = {
    "sheet.md": lambda: as_markdown.render(EN),
    "sheet.csv": lambda: as_csv.render(EN),
    "sheet.json": lambda: as_json.render(EN),
    "sheet-zh.md": lambda: as_markdown.render(ZH),
    "sheet-zh.csv": lambda: as_csv.render(ZH),
    "terminal-200.txt": lambda: terminal(EN, 200),
    "terminal-140.txt": lambda: terminal(EN, 140),
    "terminal-80.txt": lambda: terminal(EN, 80),
    "terminal-140-resources.txt": lambda: terminal(EN, 140, with_resources=True),
    "terminal-56-resources.txt": lambda: terminal(EN, 56, with_resources=True),
    "terminal-56.txt": lambda: terminal(EN, 56),
    "terminal-80-ascii.txt": lambda: terminal(EN, 80, ascii_only=True),
    "terminal-zh-220.txt": lambda: terminal(ZH, 220),
    "terminal-zh-80.txt": lambda: terminal(ZH, 80),
    "terminal-zh-56.txt": lambda: terminal(ZH, 56),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_sheet_is_printed_as_the_golden_file_has_it(name: str) -> None:
    """SPEEDSHEET_GOLDEN=write writes the files anew, to be read before they are kept."""
    printed = PRINTED[name]()
    if os.environ.get("SPEEDSHEET_GOLDEN") == "write":
        (GOLDEN / name).write_text(printed, encoding="utf-8")
    assert printed == (GOLDEN / name).read_text(encoding="utf-8")


def test_published_columns_come_first_under_their_published_names() -> None:
    """The sheet can be laid beside the published one, letter for letter."""
    names = [EN.heading(column) for column in EN.columns]
    assert names[:7] == [
        "Model", "Framework", "Batch size", "Latency(msec)", "Throughput (samples per sec)", "Precision", "thread_num",
    ]  # fmt: skip
    assert names[7:] == ["±", "p50", "p90", "p99", "Engine", "Executed", "Gate", "Findings"]
    assert next(csv.reader(io.StringIO(as_csv.render(EN))))[:7] == names[:7]


def test_an_own_model_is_named_by_its_file() -> None:
    """A path is too wide for a table; JSON keeps it in full."""
    own = document(Sheet(HOST, (replace(SERVED, model="/home/u/nets/vad.onnx"),)))
    for printed in (as_markdown.render(own), as_csv.render(own), terminal(own, 56), terminal(own, 200)):
        assert "vad.onnx" in printed
        assert "/home" not in printed
    assert as_json.content(own)["rows"][0]["model"] == "/home/u/nets/vad.onnx"


def test_what_a_row_takes_beside_time_has_a_table_of_its_own() -> None:
    """In Markdown and CSV always, in the terminal on demand; energy says where the host does not tell it."""
    printed = as_markdown.render(EN)
    resources = printed[printed.index("### Resources") :]
    assert "| resnet50 | FP16 | openvino | 1235 | 980.1 | 2701 | 1820 | 102 | unavailable |" in resources
    assert "| dssm_mock | FP32 | onnxruntime | 3.250 | 1.500 | 0.01230 | 96.3 | 0.512 | 1203457 |" in resources
    tiny = next(line for line in csv.DictReader(io.StringIO(as_csv.render(EN))) if line["Model"] == "dssm_mock")
    assert [tiny[name] for name in ("Peak memory (MB)", "Samples per joule", "p99.9 (ms)")] == [
        "96.3", "1203456.7", "0.0061",
    ]  # fmt: skip
    assert "Peak memory" not in terminal(EN, 300)
    assert "Resources" not in as_markdown.render(document(Sheet(HOST, (KILLED, LATER))))
    for width in range(40, 200, 9):
        drawn = terminal(EN, width, with_resources=True)
        assert all(text in " ".join(drawn.split()) for text in ("1820", "1203457", "unavailable"))


@pytest.mark.parametrize(
    ("processes", "held"), [((1, 1), ENGLISH.one_process), ((3, 3), ENGLISH.processes.format(n=3)),
                            ((1, 3), ENGLISH.some_processes)],
)  # fmt: skip
def test_a_sheet_says_whether_its_intervals_hold_the_spread_between_processes(
    processes: tuple[int, int], held: str
) -> None:
    """A sentence at its foot, not an alarm on each row; nothing where no row has an interval."""
    sheet = document(Sheet(HOST, tuple(replace(SERVED, processes=count) for count in processes)))
    assert as_markdown.render(sheet).endswith(as_markdown.escape(held) + "\n")
    assert " ".join(terminal(sheet, 80).split()).endswith(held)
    assert document(Sheet(HOST, (SHORT,))).held == ""


@pytest.mark.parametrize("row", [KILLED, WRONG, LATER])
def test_a_row_that_failed_shows_no_speed_in_any_format(row: Measurement) -> None:
    """Its status stands where the latency would, its error in a note or a column."""
    sheet = document(Sheet(HOST, (row,)), price=Price(1.0))
    shown = [sheet.show(column, row) for column in (LATENCY, THROUGHPUT, HALF_WIDTH)]
    assert shown == [row.status, BLANK, BLANK]
    assert row.error in as_markdown.render(sheet).replace("\\", "")
    line = next(csv.DictReader(io.StringIO(as_csv.render(sheet))))
    assert (line["Latency(msec)"], line["Throughput (samples per sec)"]) == ("", "")
    assert (line["Status"], line["Error"]) == (row.status, row.error)
    assert line["Cost per million samples"] == ""
    data = as_json.content(sheet)["rows"][0]
    assert (data["latency_ms"]["mean"], data["throughput_samples_per_s"]["value"]) == (None, None)
    assert data["cost_per_million_samples"]["value"] is None


def test_json_keeps_every_key_and_every_digit() -> None:
    """What a script reads is what was measured; NaN and infinity are null, and the text is ASCII."""
    odd = replace(SERVED, wall_s=math.nan, load_ms=math.inf, latency_ms=Latency(mean=0.1 + 0.2))
    text = as_json.render(document(Sheet({"x": -math.inf}, (odd,))))
    assert text.isascii()
    data = json.loads(text, parse_constant=pytest.fail)
    (row,) = data["rows"]
    assert list(data) == ["schema", "document", "host", "rows"]
    assert row["latency_ms"]["mean"] == 0.1 + 0.2
    assert (row["wall_s"], row["load_ms"], data["host"]["x"]) == (None, None, None)
    assert set(row) == {*LATER.to_json(), "cost_per_million_samples"}
    assert set(row["cost_per_million_samples"].values()) == {None, 0.95}


@given(st.text())
def test_any_text_stays_one_markdown_cell(text: str) -> None:
    """Escaped text has no bare bar, tag or line break, and reads back as what was meant."""
    cell = as_markdown.escape(text)
    assert len(cell.splitlines()) <= 1
    assert "<" not in cell
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", cell)
    back = re.sub(r"\\([\\`*\[\]|~#$_])", r"\1", cell)
    assert back.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == clean(text)


@given(st.text())
def test_any_text_stays_one_csv_cell(text: str) -> None:
    """A model's name reads back whole, on one line, and no spreadsheet computes it."""
    rows = list(csv.reader(io.StringIO(as_csv.render(document(Sheet({}, (replace(SERVED, model=text),)))))))
    assert len(rows) == 2
    assert rows[1][0] == as_csv.neutral(text)
    assert not rows[1][0].startswith(("=", "+", "-", "@"))
    back = re.sub(r";'(?=[\s\"]*[=+\-@])", ";", rows[1][0])
    assert back.removeprefix("'") == re.sub(r";'(?=[\s\"]*[=+\-@])", ";", clean(text)).removeprefix("'")


@pytest.mark.parametrize("text", ["a;=1+1", "a; =1+1", 'a;"=1+1"', "a\t=1+1", "a;;@x", ";-1", 'a;""+1', "a;\t-1"])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_no_cell_begins_with_a_formula_in_a_spreadsheet_that_parts_otherwise(text: str, delimiter: str) -> None:
    """Where semicolons or tabs part cells, as in much of Europe, no part of a name becomes a formula either."""
    printed = as_csv.render(document(Sheet({}, (replace(SERVED, model=text, findings=()),))))
    line = printed.splitlines()[1]
    cells = [*next(csv.reader([line], delimiter=delimiter)), *line.split(delimiter)]
    assert not [cell for cell in cells if cell.lstrip(' "').startswith(("=", "+", "-", "@"))]


@given(st.text(), st.integers(20, 200), st.sampled_from([ENGLISH, CHINESE]))
def test_no_line_is_wider_than_the_terminal(text: str, width: int, words: Words) -> None:
    """Any name at any width: rows fit, and no control character reaches the terminal."""
    drawn = as_terminal.render(document(Sheet({}, (replace(SERVED, model=text), KILLED)), words), width).plain
    assert clean(drawn) == " ".join(drawn.split())
    widest = max(cell_len(line) for line in drawn.splitlines())
    assert widest <= max(width, 46)  # the longest piece that is not broken


@pytest.mark.parametrize("sheet", [EN, ZH], ids=["en", "zh"])
@pytest.mark.parametrize("width", range(50, 240, 7))
def test_a_narrower_terminal_loses_nothing(sheet: Document, width: int) -> None:
    """Whatever is no column at this width stands below its row."""
    drawn = " ".join(terminal(sheet, width).split())
    for row in (SERVED, SHORT, INT8, KILLED, WRONG, TINY, LATER):
        for column in sheet.columns[1:]:
            cell = sheet.show(column, row)
            assert cell in drawn or cell == BLANK or column.name == "Findings", (column.name, width)


@given(st.floats(1e-9, 1e12), st.floats(1e-5, 1))
def test_digits_never_hide_the_value(value: float, relative: float) -> None:
    """What is printed is within the interval, and within 0.5 % of the value however wide that is."""
    half = value * relative
    assert abs(float(rounded(value, half)) - value) <= half * (1 + 1e-9)
    assert abs(float(rounded(value, half)) / value - 1) <= 0.006
    assert abs(float(rounded(value)) / value - 1) <= 0.0006


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (0.003, None, "0.003000"),
        (0.00302123, 0.00002, "0.003021"),
        (10877.35, None, "10877"),
        (10877.35, 50.0, "10877"),
        (10877.35, 5000.0, "10900"),
        (26.53333, 0.4, "26.53"),
        (9.9999, 0.1, "10.00"),
        (0.0, None, "0"),
        (42345678.9, 350000.0, "42350000"),
    ],
)
def test_digits_follow_the_interval(value: float, half: float | None, text: str) -> None:
    """Two digits of the half-width; at least three, at most six of the value."""
    assert rounded(value, half) == text


@pytest.mark.parametrize(
    ("gate", "text"),
    [
        (Gate(), None),
        (Gate(passed=True), "pass"),
        (Gate(passed=True, metric="centred_cosine", value=0.99932, limit=0.9), "pass, cosine .9993 ≥ .9"),
        (Gate(passed=True, metric="centred_cosine", value=1.0, limit=0.9), "pass, cosine 1.0000 ≥ .9"),
        (Gate(passed=True, metric="centred_cosine", value=0.999999, limit=0.9), "pass, cosine >.9999 ≥ .9"),
        (Gate(passed=False, metric="centred_cosine", value=-0.5, limit=0.9), "FAIL, cosine -.5000 < .9"),
        (Gate(passed=False, metric="relative_error", value=0.25, limit=0.05), "FAIL, error 0.25 > 0.05"),
        (
            Gate(passed=True, metric="absolute_error", value=1.234e-7, limit=4e-7),
            "pass, absolute error 1.2e-07 ≤ 4e-07",
        ),
        (Gate(passed=False, metric="finite", value=None, limit=None), "FAIL"),
        (Gate(passed=False, metric="non_finite", value=3.0, limit=0.0), "FAIL, NaN or infinite 3 > 0"),
        (Gate(passed=True, metric="of_a_stranger", value=0.5, limit=None), "pass, of a stranger 0.5"),
    ],
)
def test_the_gate_says_its_verdict(gate: Gate, text: str | None) -> None:
    """The word, the number that decided, and the limit that it was held to; almost 1 is not written as 1."""
    assert verdict(gate, ENGLISH) == text


@given(st.floats(-1, 1), st.sampled_from([0.85, 0.9, 0.97, 0.9995]))
def test_a_similarity_is_seen_on_its_side_of_the_limit(value: float, limit: float) -> None:
    """.94996 against .95 is not written .9500; what is short of 1 is not written as 1."""
    said, sign, bound = against(value, limit, more_is_better=True).split()
    assert float(bound) == limit
    assert sign == ("≥" if value >= limit else "<")
    if not said.startswith((">", "<")):
        assert (float(said) >= limit) == (value >= limit)
        assert (float(said) == 1) == (value == 1)


@given(st.floats(1e-12, 1e3), st.floats(1e-9, 10).map(lambda limit: float(f"{limit:g}")))
def test_an_error_is_seen_on_its_side_of_the_limit(value: float, limit: float) -> None:
    """However near it is."""
    said, sign, bound = against(value, limit, more_is_better=False).split()
    assert float(bound) == limit
    assert sign == ("≤" if value <= limit else ">")
    assert (float(said) <= limit) == (value <= limit)


def test_colour_carries_nothing_that_words_do_not() -> None:
    """With colour the text is the same; without it there is no escape sequence."""
    coloured = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    coloured.print(as_terminal.render(EN, 80))
    text = coloured.file.getvalue()
    assert "\x1b[" in text
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == terminal(EN, 80)
    assert "\x1b" not in terminal(EN, 80)


def test_a_summary_is_one_line() -> None:
    """For the live view: engine, latency, speed; or what went wrong."""
    assert as_terminal.summary(SERVED) == "openvino · 2635 ms · 72.88 samples/s ±1.3 %"
    assert as_terminal.summary(SHORT) == "openvino · 4022 ms · 15.90 samples/s"
    assert as_terminal.summary(LATER) == "skipped: interrupted"


def test_ascii_has_a_stand_in_for_each_of_our_signs() -> None:
    """Where the stream has no other letters, nothing of ours becomes a question mark."""
    assert "?" not in terminal(document(Sheet(HOST, (SERVED, SHORT, KILLED, LATER))), 80, ascii_only=True)
    assert to_ascii(f"─█▏▍▋±≤≥·…{BLANK}━╌ü") == "-#..#+-<=>=|~-=-?"


def test_sheets_are_written_whole_and_never_over_one_another(tmp_path: Path) -> None:
    """Three files in a folder named by the time; the same second gets another name."""
    folders = {files.write(EN, tmp_path) for _ in range(3)}
    assert len(folders) == 3
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["sheet.csv", "sheet.json", "sheet.md"]
        assert (folder / "sheet.md").read_text(encoding="utf-8") == as_markdown.render(EN)
        assert (folder / "sheet.csv").read_bytes().decode() == as_csv.render(EN)
    assert {path.name for path in tmp_path.iterdir()} == {folder.name for folder in folders}


def test_a_spreadsheet_sees_that_chinese_csv_is_utf8(tmp_path: Path) -> None:
    """It begins with a byte order mark; what is printed does not."""
    kept = (files.write(ZH, tmp_path) / "sheet.csv").read_bytes()
    assert kept.decode("utf-8-sig") == as_csv.render(ZH)
    assert kept.startswith(b"\xef\xbb\xbf")
    assert as_csv.render(ZH).startswith("模型,框架,批大小,延迟(msec),吞吐量(samples per sec),精度,线程数(thread_num),")


def test_every_published_column_is_in_every_table() -> None:
    """One declaration serves Markdown and the terminal alike."""
    heading = next(line for line in as_markdown.render(EN).splitlines() if line.startswith("|"))
    for column in PUBLISHED:
        assert column.name in heading.replace("\\", "")


LATENCIES = {
    "normal": np.random.default_rng(1).normal(26, 1, 2000),
    "heavy tail": np.random.default_rng(1).lognormal(1, 0.8, 2000),
    "few, heavy tail": np.array([1.0, 1.1, 1.2, 1.3, 90.0]),
    "ties, heavy tail": np.array([1.0] * 5000 + [90.0]),
    "constant": np.full(30, 5.0),
    "one": np.array([0.003]),
    "with a zero": np.array([0.0, 1.0, 100.0]),
}


@pytest.mark.parametrize("kind", LATENCIES)
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [40, 80])
def test_a_histogram_counts_every_request(kind: str, ascii_only: bool, width: int) -> None:
    """The counts add up, the lines fit, the marks are there and blank ones are not."""
    latency_ms = LATENCIES[kind]
    median = float(np.median(latency_ms))
    drawn = as_histogram.render("m", latency_ms, {"p50": median, "p99": None}, width, ascii_only=ascii_only)
    lines = drawn.splitlines()
    heading, bars = " ".join(line for line in lines if line[0] != " "), [line for line in lines if line[0] == " "]
    assert f"{latency_ms.size} requests" in heading
    assert ("logarithmic" in heading) == ("heavy tail" in kind)
    counts = [int(re.search(r"(\d+)(?: p50 [\d.]+)?$", line)[1]) for line in bars]
    assert sum(counts) == latency_ms.size
    assert all(cell_len(line) <= width for line in lines)
    assert drawn.count("p50") == 1
    assert "p99" not in drawn
    assert drawn.isascii() or not ascii_only


def test_no_requests_is_said() -> None:
    """An empty window draws nothing and says so."""
    assert as_histogram.render("m", np.empty(0), {}, 80) == "m: no requests"
