"""`speedsheet check`: every row of a published sheet gets a verdict, with what it hangs on."""

import dataclasses
import io
import json

import pytest

from speedsheet.cli import main
from speedsheet.cli.check_view import rendered
from speedsheet.cli.check_words import CHECK_WORDS
from speedsheet.published.read import load, shipped
from speedsheet.published.row import Figure
from speedsheet.twin import device as devices
from speedsheet.twin.checking import check


def answer(capsys, *arguments):
    code = main(["check", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_two_doubtful_rows_of_the_stcp920(capsys):
    """Nineteen rows agree with themselves and the card; mmoe and resnet34 in INT8 hang on the host link."""
    code, out, _ = answer(capsys, "stcp920", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["schema"] == "speedsheet.check/1"
    assert found["latency_is_derived"] is True
    assert found["counts"] == {"consistent": 19, "doubtful": 2, "impossible": 0}
    doubtful = {(row["model"], row["precision"]): row for row in found["rows"] if row["verdict"] == "doubtful"}
    assert set(doubtful) == {("mmoe", "FP16"), ("resnet34", "INT8")}
    mmoe = doubtful["mmoe", "FP16"]
    assert mmoe["binding"] == "link_in"
    assert {flip["code"]: flip["value"] for flip in mmoe["flips"]}["fp32_inputs"] == 40
    assert doubtful["resnet34", "INT8"]["limit_share"] == pytest.approx(1.065, abs=0.01)


def test_a_figure_beyond_the_peak_is_impossible():
    """Ten times the published throughput is more than any source of any limit allows: the row cannot be true."""
    sheet = load("stcp920")
    rate = sheet.rows[0].throughput_samples_per_s
    altered = dataclasses.replace(
        sheet.rows[0],
        throughput_samples_per_s=Figure(rate.value * 10, 0.005),
        latency_ms=Figure(sheet.rows[0].latency_ms.value / 10, 0.005),
    )
    checked = check(dataclasses.replace(sheet, rows=(altered, *sheet.rows[1:])), devices.load("stcp920"))
    assert checked.rows[0].verdict == "impossible"
    assert checked.count("impossible") == 1


def test_a_row_without_a_batch_size_is_not_accused_of_its_weights(tmp_path):
    """Among how many samples a request shares them nobody says: the DDR bounds nothing, the arrays and the link do."""
    text = "model,precision,qps\nbert_large_384,FP16,{rate}\n"
    card = devices.load("stcp920")
    for rate, verdict in ((300, "consistent"), (30_000, "impossible")):
        (tmp_path / "theirs.csv").write_text(text.format(rate=rate))
        (row,) = check(load(str(tmp_path / "theirs.csv")), card).rows
        assert row.verdict == verdict
        assert row.binding != "memory"
    (tmp_path / "stated.csv").write_text("model,precision,batch,qps\nbert_large_384,FP16,1,300\n")
    assert check(load(str(tmp_path / "stated.csv")), card).rows[0].verdict == "impossible"


def test_rows_that_no_limit_was_asked_of_are_counted(capsys, tmp_path):
    """A model or a type that the card does not know is not passed over in silence, in either language."""
    path = tmp_path / "theirs.csv"
    path.write_text("model,precision,batch,qps\nresnet50,FP16,16,7000\nresnet50,BF16,16,7000\nours,FP16,1,5\n")
    out = answer(capsys, str(path), "--device", "stcp920")[1]
    assert "2 rows are held to no limit of STCP920" in out
    assert "2 行未与 STCP920 的上限核对" in answer(capsys, str(path), "--device", "stcp920", "--lang", "zh")[1]
    assert "held to no limit" not in answer(capsys, "stcp920")[1]


def test_lines_that_are_no_rows_are_told_in_the_readers_language(capsys, tmp_path):
    """Ten with the reason, the others by their number."""
    path = tmp_path / "theirs.csv"
    path.write_text("model,qps\na,5\n" + ",7\n" + "b,\n" * 11)
    out = answer(capsys, str(path))[1]
    assert "line 3 is no row: names no model" in out
    assert "2 more lines are no rows" in out
    out = answer(capsys, str(path), "--lang", "zh")[1]
    assert "第 3 行不是数据行" in out
    assert "没有模型名" in out
    assert out.count("也没有吞吐量") == 9
    assert "names no" not in out
    assert "另有 2 行不是数据行" in out


def test_a_share_of_a_limit_is_written_out():
    """Ten times a limit is so many per cent of it, and no power of ten."""
    row = dataclasses.replace(load("stcp920").rows[0], throughput_samples_per_s=Figure(2e6, 0.5), latency_ms=None)
    (found,) = check(dataclasses.replace(load("stcp920"), rows=(row,)), devices.load("stcp920")).rows
    said = " ".join([*(finding.text for finding in found.findings), *(flip.text for flip in found.flips)])
    assert "13763 % of the device's host link" in said
    assert (
        "e+"
        not in said
        + rendered(dataclasses.replace(check(load("stcp920"), None), rows=(found,)), CHECK_WORDS["zh"], 200).plain
    )


def test_without_a_device_the_arithmetic_alone_speaks():
    """A sheet that names no device is held to itself, and says that no limit was checked."""
    checked = check(load("bytemlperf-ipu"), None)
    assert checked.count("doubtful") == 2
    assert all(row.share is None for row in checked.rows)
    assert "--device" in rendered(checked, CHECK_WORDS["en"], 100).plain


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_fit_the_terminal(lang, width):
    """Whatever the width and the language, no line is longer, and every row keeps its model and verdict."""
    from rich.cells import cell_len

    for name in shipped():
        sheet = load(name)
        device = devices.load(sheet.device) if sheet.device else None
        checked = check(sheet, device)
        text = rendered(checked, CHECK_WORDS[lang], width).plain
        assert all(cell_len(line) <= width for line in text.splitlines())
        assert all(row.row.model[:4] in text for row in checked.rows)
    assert rendered(checked, CHECK_WORDS["en"], width, ascii_only=True).plain.isascii()


def test_a_users_sheet_in_markdown(capsys, tmp_path):
    """A table cut out of a web page is checked as it is; a contradiction is said in one line below its row."""
    path = tmp_path / "theirs.md"
    path.write_text(
        "| Model | Batch size | Latency (ms) | QPS | Threads |\n| --- | --- | --- | --- | --- |\n"
        "| a | 8 | 10.0 | 1600 | 2 |\n| b | 8 | 10.0 | 3200 | 2 |\n"
    )
    code, out, _ = answer(capsys, str(path))
    assert code == 0
    assert "1 consistent, 1 doubtful" in out
    assert "throughput x latency / batch size = 4, and 2 clients are stated: too many" in out


def test_wrong_commands_are_one_line(capsys, tmp_path):
    """A name that no sheet has, a file or device that is none, a map for a sheet with its own: one line, exit 2."""
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    of_mine = tmp_path / "mine.toml"
    of_mine.write_text("[sheet]\nthread_num = 1\n")
    for arguments in (["stcp92"], [str(empty)], ["stcp920", "--device", "nothing"], [str(tmp_path / "gone.csv")],
                      ["stcp920", "--map", str(of_mine)]):  # fmt: skip
        code, out, err = answer(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1


def test_the_shipped_sheets_are_listed(capsys):
    """Without a sheet, those that ship are named."""
    code, out, _ = answer(capsys)
    assert code == 0
    assert all(name in out for name in shipped())
    assert io.StringIO(out).readline().startswith("Sheet")
    assert answer(capsys, "--lang", "zh")[1].startswith("性能表")


def test_the_list_is_json_where_json_is_asked_for(capsys):
    """Nothing but JSON on standard output, without a sheet too."""
    code, out, _ = answer(capsys, "--json")
    found = json.loads(out)
    assert (code, found["schema"]) == (0, "speedsheet.check.list/1")
    assert [sheet["name"] for sheet in found["sheets"]] == shipped()
    assert found["sheets"][-1] == {
        "name": "stcp920", "publisher": "Stream Computing", "rows": 21, "title": "Model performance",
    }  # fmt: skip
