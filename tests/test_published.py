"""Published sheets: any table is read as printed, and what its figures say of each other is found."""

import dataclasses
import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.errors import UnknownName, UsageError
from speedsheet.published.arithmetic import contradictions, in_flight, latency_is_derived
from speedsheet.published.headings import field_of
from speedsheet.published.read import ColumnMap, figure, load, parse, parse_map, shipped
from speedsheet.published.row import Figure
from speedsheet.published.tables import MAX_CELL_CHARS, tables

HEADINGS = ["模型", "Batch size", "延迟(msec)", "Throughput (samples per sec)", "精度", "线程数(thread_num)"]
CELLS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), blacklist_characters="|\\*_`<>&"),
    min_size=1,
    max_size=12,
)


def as_csv(rows):
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows]
    return "\n".join(",".join(row) for row in quoted)


def as_markdown(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(["# A sheet", "", lines[0], "|" + " --- |" * len(rows[0]), *lines[1:], "", "the end"])


def as_html(rows):
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f"<p>before</p><table><tbody>{body}</tbody></table>"


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=2, max_size=5))
def test_every_format_holds_the_same_cells(rows):
    """A table comes out as it went in, whether it was CSV, Markdown or HTML."""
    wanted = tuple(tuple(" ".join(cell.split()) for cell in row) for row in rows)
    for text, kind in ((as_csv(rows), "csv"), (as_markdown(rows), "md"), (as_html(rows), "html")):
        (table,) = tables(text, kind)
        if kind == "md" and any(set(cell) <= set(":-") for row in rows for cell in row):
            continue  # a row of dashes is Markdown's own
        assert (table.headings, *(cells for _, cells in table.rows)) == wanted, kind


def test_a_bilingual_sheet_is_the_same_in_every_format():
    """English and Chinese headings with their units give rows in milliseconds and samples a second."""
    rows = [HEADINGS, ["resnet50", "16", "26.53", "7,236.39", "FP16", "12"], ["注", "", "", "", "", ""]]
    for text, kind in ((as_csv(rows), "csv"), (as_markdown(rows), "md"), (as_html(rows), "html")):
        sheet = parse(text, kind, ColumnMap(), where="mine")
        (row,) = sheet.rows
        assert (row.model, row.batch_size, row.thread_num, row.precision) == ("resnet50", 16, 12, "FP16")
        assert row.latency_ms == Figure(26.53, 0.005)
        assert row.throughput_samples_per_s == Figure(7236.39, 0.005)
        assert [why for _, why in sheet.unread] == ["has neither latency nor throughput"]


@given(st.integers(0, 10**9), st.integers(0, 6))
def test_a_figure_knows_its_rounding(digits, decimals):
    """A printed number bounds what it was rounded from by half its last digit."""
    value = digits / 10**decimals
    read = figure(f"{value:,.{decimals}f}")
    assert read is not None
    assert read.value == pytest.approx(value)
    assert read.rounding == pytest.approx(0.5 * 10**-decimals)
    assert read.low <= value <= read.high


@pytest.mark.parametrize(
    ("latency", "read"),
    [
        (["26,53"], [26.53]),
        (["7,236", "0,5"], [7.236, 0.5]),
        (["7,236", "1.234,50"], [7.236, 1234.5]),
        (["1.234", "26,5"], [1234.0, 26.5]),
        (["26.53", "7,236"], [26.53, 7236.0]),
        (["1.234"], [1.234]),
        (["1,234,567"], [1234567.0]),
        (["1 234,5"], [1234.5]),
    ],
)
def test_decimals_behind_a_comma_are_decimals_where_semicolons_part_the_cells(latency, read):
    """As European spreadsheets write them, thousands too; the other numbers of a table say what one alone does not."""
    text = "model;latency (ms)\n" + "".join(f"resnet50;{cell}\n" for cell in latency)
    assert [row.latency_ms.value for row in parse(text, "csv", ColumnMap(), where="x").rows] == read


@pytest.mark.parametrize(
    "cell",
    ["12 14", "26,53", "1,23", "0,123", "1,234'567", "1,2345", "1e400", "5e305", "1e16", "9" * 40, "1e99999", "inf"],
)
def test_a_cell_that_is_no_figure_of_a_sheet_is_none(cell):
    """Separators that part no thousands and numbers beyond any figure leave the cell blank, never read as another."""
    assert figure(cell) is None
    text = f'model,batch,threads,latency (ms),qps\nresnet50,"{cell}","{cell}","{cell}",5\nbert,1,1,"{cell}",\n'
    sheet = parse(text, "csv", ColumnMap(), where="x")
    assert [(row.batch_size, row.thread_num, row.latency_ms) for row in sheet.rows] == [(None, None, None)]
    assert [why for _, why in sheet.unread] == ["has neither latency nor throughput"]
    assert contradictions(sheet.rows) == [()]


@given(st.text("0123456789.,' e+-", max_size=24))
def test_whatever_is_read_as_a_number_can_be_reckoned_with(text):
    """Finite, and small enough for what a sheet's figures are held to."""
    rows = parse(f'model;batch;threads;ms;qps\na;"{text}";"{text}";"{text}";"{text}"\nb;1;;1;1\n', "csv",
                 ColumnMap(columns={"latency_ms": ("ms", "ms")}), where="x").rows  # fmt: skip
    assert all(abs(found.value) <= 1e15 for point in ".," if (found := figure(text, point)))
    assert len(contradictions(rows)) == len(rows)


@given(st.text(max_size=40))
def test_no_text_upsets_the_readers(text):
    """Whatever a cell, a heading or a file holds, it is read or refused, never a crash."""
    refused = []
    figure(text)
    field_of(text)
    for kind in ("csv", "md", "html"):
        try:
            parse(text, kind, ColumnMap(), where="mine")
        except UsageError as error:
            refused.append(str(error))
    assert not any("\n" in line for line in refused)


@pytest.mark.parametrize(
    ("heading", "found"),
    [
        ("Latency(msec)", ("latency_ms", 1.0)),
        ("Latency (s)", ("latency_ms", 1e3)),
        ("avg_latency_us", ("latency_ms", 1e-3)),
        ("平均延迟\uff08毫秒\uff09", ("latency_ms", 1.0)),
        ("吞吐量(samples per sec)", ("throughput_samples_per_s", 1.0)),
        ("FPS (Kimages/s)", ("throughput_samples_per_s", 1e3)),
        ("GFLOPs", ("gmac_per_sample", 0.5)),
        ("MACs (M)", ("gmac_per_sample", 1e-3)),
        ("FLOPs (G)", ("gmac_per_sample", 0.5)),
        ("MACs", None),
        ("Throughput (FPS)", ("throughput_samples_per_s", 1.0)),
        ("吞吐量(QPS)", ("throughput_samples_per_s", 1.0)),
        ("吞吐量\uff08张/秒\uff09", ("throughput_samples_per_s", 1.0)),
        ("Throughput (ms)", None),
        ("Latency (milliseconds)", ("latency_ms", 1.0)),
        ("Latency (furlongs)", None),
        ("Accuracy", None),
    ],
)
def test_headings_say_field_and_unit(heading, found):
    """A unit in a heading scales the column; a unit that is none makes it nobody's column."""
    assert field_of(heading) == found


def test_the_shipped_sheets_are_five_with_all_their_rows():
    """Each sheet that ships is read whole and says who printed it."""
    counts = {name: len(load(name).rows) for name in shipped()}
    assert counts == {"bytemlperf-hpu": 25, "bytemlperf-ipu": 19, "bytemlperf-spu": 5, "hailo8": 36, "stcp920": 21}
    for name in shipped():
        sheet = load(name)
        assert not sheet.unread
        assert {"title", "publisher", "source"} <= set(sheet.said)


def test_littles_law_holds_on_every_row_of_the_stcp920():
    """On all 21 rows the figures imply the stated thread_num to within their rounding: latency was derived."""
    rows = load("stcp920").rows
    implied = [in_flight(row) for row in rows]
    assert all(found is not None and found.exact for found in implied)
    assert max(abs(found.lost_share) for found in implied) < 3e-4
    assert latency_is_derived(rows)
    assert not any(contradictions(rows))


def test_one_altered_latency_is_seen():
    """A row whose latency does not fit its throughput and clients is named, and only that row."""
    rows = list(load("stcp920").rows)
    for factor, code in ((1.2, "more_in_flight"), (0.8, "fewer_in_flight")):
        altered = list(rows)
        altered[3] = dataclasses.replace(rows[3], latency_ms=Figure(rows[3].latency_ms.value * factor, 0.005))
        found = contradictions(altered)
        assert [[finding.code for finding in row] for row in found if row] == [[code]]
        assert found[3]
        assert not latency_is_derived(altered)


def test_latencies_printed_coarsely_are_not_said_to_be_derived():
    """Whole milliseconds hide the half per cent that measured latencies leave; hundredths show it."""
    text = "model,batch,threads,latency (ms),qps\n"
    for digits, exact in ((0, True), (2, False)):
        rows = [f"net{n},8,{n},{13 * n * 0.995:.{digits}f},{8 / 13e-3:.1f}\n" for n in range(2, 8)]
        found = parse(text + "".join(rows), "csv", ColumnMap(), where="x").rows
        assert all(in_flight(row).exact is exact for row in found)
        assert not latency_is_derived(found)


def test_unstated_concurrency_is_inferred():
    """The IPU sheet states no clients: four on most rows, three, one and five on others, and none that fits on two."""
    rows = load("bytemlperf-ipu").rows
    clients = [in_flight(row).clients for row in rows]
    assert [clients.count(n) for n in (1, 3, 4, 5, None)] == [1, 4, 11, 1, 2]
    codes = [[finding.code for finding in row] for row in contradictions(rows)]
    assert codes.count(["unstated_concurrency"]) == 6
    assert codes.count(["no_concurrency_fits"]) == 2
    assert all(in_flight(row).clients == 1 for row in load("bytemlperf-hpu").rows)
    assert all(in_flight(row).clients == 1 for row in load("bytemlperf-spu").rows)


def test_a_batch_without_effect_is_doubtful():
    """Thirteen of the Hailo networks have one figure at batch 1 and 8, which no batching gives."""
    found = contradictions(load("hailo8").rows)
    assert sum(any(finding.code == "batch_without_effect" for finding in row) for row in found) == 26


def test_a_percentile_below_the_mean_and_a_row_said_twice_are_found():
    """Rows that contradict their own or each other's figures are named."""
    text = "model,batch,latency (ms),p99 (ms),qps\na,1,10.0,9.0,100\nb,1,10,12,100\nb,1,11,12,90\nc,8,0.5,,2000\n"
    found = contradictions(parse(text, "csv", ColumnMap(), where="x").rows)
    assert [[finding.code for finding in row] for row in found] == [
        ["p99_below_mean"],
        ["said_twice"],
        ["said_twice"],
        ["per_sample"],
    ]


def test_a_row_said_two_thousand_times_names_one_other():
    """The first line that differs, and not all of them: a hostile sheet of a megabyte is no day of work."""
    lines = "".join(f"a,1,{n},{n}\n" for n in range(1, 2001))
    found = contradictions(parse(f"model,batch,latency (ms),qps\n{lines}", "csv", ColumnMap(), where="x").rows)
    said = [finding.text for row in found for finding in row if finding.code == "said_twice"]
    assert said == [f"line {line} says other figures of the same row" for line in (3, *[2] * 1999)]


def test_a_map_names_columns_units_and_variants(tmp_path):
    """A map beside a file says what its headings do not: names, units, constants, rows side by side."""
    (tmp_path / "theirs.csv").write_text("net;t;r1;r8\nx;20;50;90\n")
    (tmp_path / "theirs.toml").write_text(
        '[sheet]\ntitle = "Theirs"\ndevice = "stcp920"\nprecision = "INT8"\n[columns]\nmodel = "net"\n'
        'latency_ms = ["t", "us"]\n[[variant]]\nbatch_size = 1\ncolumns = { throughput_samples_per_s = "r1" }\n'
        '[[variant]]\nbatch_size = 8\ncolumns = { throughput_samples_per_s = "r8" }\n'
    )
    sheet = load(str(tmp_path / "theirs.csv"))
    assert (sheet.said["title"], sheet.device) == ("Theirs", "stcp920")
    assert [(row.batch_size, row.precision, row.throughput_samples_per_s.value) for row in sheet.rows] == [
        (1, "INT8", 50.0),
        (8, "INT8", 90.0),
    ]
    assert sheet.rows[0].latency_ms == Figure(0.02, 0.0005)


@pytest.mark.parametrize(
    "text",
    [
        "x = ",
        "[other]",
        '[sheet]\nbatch_size = "8"',
        "[sheet]\nbatch_size = 0",
        "[sheet]\nthread_num = -1",
        "[sheet]\nbatch_size = true",
        "[sheet]\nbatch_size = 10000000000000000",
        pytest.param(f"[sheet]\nbatch_size = {'9' * 5000}", id="too long"),
        '[columns]\nnonsense = "a"',
        "[columns]\nmodel = 3",
        "columns = 3",
    ],
)
def test_a_wrong_map_is_one_line(text):
    """What is wrong in a map is said with the file and the key."""
    with pytest.raises(UsageError) as refused:
        parse_map(text, where="theirs.toml")
    assert str(refused.value).startswith("theirs.toml: ")


def test_hostile_tables_do_no_harm(tmp_path):
    """Spans of millions, cells of megabytes, scripts and unclosed tags are text, and are bounded."""
    bomb = '<table><tr><td colspan="99999999" rowspan="99999999">x</td></tr><tr><td>y</td></tr></table>'
    (table,) = tables(bomb, "html")
    assert len(table.headings) <= 200
    (table,) = tables("model,qps\n" + "a" * 5_000_000 + ",1\n", "csv")
    assert len(table.rows[0][1][0]) == MAX_CELL_CHARS
    sheet = parse("<table><tr><th>model<th>qps<tr><td><script>alert(1)</script>x<td>5", "html", ColumnMap(), where="x")
    assert sheet.rows[0].throughput_samples_per_s.value == 5
    spread = '<table><tr><td colspan="200" rowspan="20000">x' + "<tr>" * 10_000
    with pytest.raises(UsageError, match="is no table: its tables are larger than 1000000 cells"):
        parse(spread, "html", ColumnMap(), where="x")
    with pytest.raises(UsageError, match="is no table"):
        parse("a,b\n" * 30_000, "csv", ColumnMap(), where="x")
    big = tmp_path / "big.csv"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    with pytest.raises(UsageError, match="larger"):
        load(str(big))


def test_a_footnotes_number_is_no_digit_of_a_figure():
    """A raised mark behind a figure leaves its cell blank; the figure is never read as ten times itself."""
    text = "<table><tr><th>model<th>ms<th>qps<tr><td>a<td>7<td>10877<sup>2</sup><tr><td>b<td>8<td>109</table>"
    rows = parse(text, "html", ColumnMap(columns={"latency_ms": ("ms", "ms")}), where="x").rows
    assert [row.throughput_samples_per_s for row in rows] == [None, Figure(109.0, 0.5)]


def test_a_table_within_a_table_is_read_as_it_stands():
    """Pages lay their parts out in tables: neither the outer one's row nor its spans get into the sheet."""
    inner = "<table><tr><th>model<th>qps</tr><tr><td>a<td>5</tr></table>"
    page = f"<table><tr><td rowspan=9>menu<td>{inner}</td></tr><tr><td>foot</td></tr></table>"
    sheet = parse(page, "html", ColumnMap(), where="x")
    assert [(row.model, row.throughput_samples_per_s.value) for row in sheet.rows] == [("a", 5.0)]
    assert not sheet.unread


def test_an_unknown_name_gets_the_nearest():
    """A name that no sheet has is answered with the nearest ones."""
    with pytest.raises(UnknownName, match="stcp920"):
        load("stcp92")
