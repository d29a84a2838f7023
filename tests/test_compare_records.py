# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""Runs and records compared: what differs comes first, winners only where they are entitled to it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from looking_back import altered, measured
from speedsheet.cli import main
from speedsheet.cli.compare_records import rendered
from speedsheet.cli.history_words import HISTORY_WORDS
from speedsheet.core.errors import UnknownName, UsageError
from speedsheet.core.measurement import Floor, Latency, Throughput
from speedsheet.core.sheet import Sheet
from speedsheet.history import sources
from speedsheet.history.comparing import compare
from speedsheet.history.sources import Run
from speedsheet.host.places import cache_folder
from speedsheet.records import store
from speedsheet.sheets import files
from speedsheet.sheets.document import Document
from speedsheet.sheets.languages import parse_language
from test_records import row

HOST = {"hostname": "bench-1", "cpu": "EPYC", "cores_allowed": 2, "memory_gib": 24.0, "speedsheet": "0.1.0"}
FAST = Throughput(200.0, 199.0, 201.0)
SLOW = Throughput(100.0, 99.5, 100.5)


def of(*rows: object, name: str = "a", **host: object) -> Run:
    return Run(name, "run", tuple(rows), {**HOST, **host})


def served(**changes: object):
    given = {
        "throughput_samples_per_s": SLOW,
        "latency_ms": Latency(10.0, low=9.9, high=10.1),
        "clock_state": "unknown",
    }
    return row(**{**given, **changes})


def test_a_row_that_is_twice_as_fast_is_called_so():
    """On one host, at one clock, with intervals on both sides."""
    (pair,) = compare(of(served()), of(served(throughput_samples_per_s=FAST))).pairs
    assert pair.outcome == "faster"
    assert pair.throughput.value == pytest.approx(2.0)
    assert pair.throughput.low < 2.0 < pair.throughput.high
    (turned,) = compare(of(served(throughput_samples_per_s=FAST)), of(served())).pairs
    assert turned.outcome == "slower"


def test_two_runs_of_one_process_within_two_per_cent_are_not_told_apart():
    """Narrow intervals do not hold what differs between processes."""
    near = Throughput(101.5, 101.4, 101.6)
    (pair,) = compare(of(served()), of(served(throughput_samples_per_s=near))).pairs
    assert pair.outcome == "none"


@pytest.mark.parametrize("host", [{"cpu": "Xeon"}, {"hostname": "bench-2"}, {"cores_allowed": 4}, {"governor": "x"}])
def test_no_winner_is_called_across_hosts_unless_told_to(host):
    """The difference comes first and is the reason; --across calls one all the same."""
    a, b = (
        of(served(), governor="performance"),
        of(served(throughput_samples_per_s=FAST), **{"governor": "performance", **host}),
    )
    found = compare(a, b)
    assert found.differences[0].decides
    assert found.pairs[0].outcome == "withheld"
    assert "another" in found.pairs[0].why
    assert compare(a, b, across=True).pairs[0].outcome == "faster"


def test_no_winner_is_called_across_clocks():
    """A row at a locked clock is another question than one at the clock as it is."""
    b = served(throughput_samples_per_s=FAST, clock_state="locked at 2.6 GHz")
    found = compare(of(served()), of(b))
    assert found.pairs[0].outcome == "withheld"
    assert "clock" in found.pairs[0].why
    assert compare(of(served()), of(b), across=True).pairs[0].outcome == "faster"


def test_a_host_that_was_slower_that_day_is_another_host():
    """The ruler is measured with every row: where an empty request took twice as long, the host was not as fast."""
    a, b = served(floor=Floor(0.2, 0.5, 1e6)), served(throughput_samples_per_s=FAST, floor=Floor(0.4, 0.9, 1e6))
    found = compare(of(a), of(b))
    assert "speed of the host" in found.differences[0].what
    assert found.pairs[0].outcome == "withheld"
    same = compare(of(a), of(replace(b, floor=Floor(0.22, 0.5, 1e6))))
    assert same.pairs[0].outcome == "faster"


def test_rows_meet_by_what_was_asked_and_the_others_are_named():
    """Model, precision, batch and clients make the question; who answers it may differ."""
    a = of(served(), served(model="bert", precision="int8"), served(model="only-a"))
    b = of(served(engine="onnxruntime"), served(model="bert", precision="int8"), served(model="only-b"))
    found = compare(a, b)
    assert len(found.pairs) == 2
    assert {one.what for one in found.pairs[0].differ} == {"engine"}
    assert ([one.model for one in found.only_a], [one.model for one in found.only_b]) == (["only-a"], ["only-b"])


def test_two_engines_in_one_run_are_kept_apart():
    """A run that measured a model on two engines is compared engine by engine."""
    both = (served(engine="openvino"), served(engine="onnxruntime", throughput_samples_per_s=FAST))
    found = compare(of(*both), of(*both))
    assert [pair.outcome for pair in found.pairs] == ["none", "none"]
    assert [(pair.a.engine, pair.b.engine) for pair in found.pairs] == [("openvino",) * 2, ("onnxruntime",) * 2]


def test_an_engine_that_one_side_lacks_stays_alone():
    """Of two engines before and one now, the same one is compared, wherever it stands; the other is named."""
    before = (served(engine="openvino"), served(engine="onnxruntime", throughput_samples_per_s=FAST))
    for a in (before, before[::-1]):
        found = compare(of(*a), of(served(engine="openvino")))
        assert [(pair.a.engine, pair.b.engine) for pair in found.pairs] == [("openvino", "openvino")]
        assert [row.engine for row in found.only_a] == ["onnxruntime"]


def test_rows_that_differ_in_their_settings_are_kept_apart():
    """One engine with two settings is two rows, in whichever order; three of one kind meet in theirs."""
    two = [served(engine_settings={"NUM_STREAMS": count}) for count in ("1", "2")]
    found = compare(of(*two), of(*reversed(two)))
    assert [(pair.a.engine_settings, pair.b.engine_settings) for pair in found.pairs] == [
        (row.engine_settings,) * 2 for row in two
    ]
    assert len(compare(of(*[served()] * 3), of(*[served()] * 3)).pairs) == 3
    assert len(compare(of(*two), of(served(engine_settings={"NUM_STREAMS": "3"}))).only_a) == 2


def test_a_store_stands_for_the_host_that_measured_last(tmp_path):
    """Records of two machines in one folder are not taken for one machine's."""
    for host, speed in (("bench-1", SLOW), ("bench-2", FAST)):
        for model in ("resnet50", "bert_128") if host == "bench-1" else ("resnet50",):
            store.seal(tmp_path, served(model=model, throughput_samples_per_s=speed), None,
                       {"host": {**HOST, "hostname": host}})  # fmt: skip
    run = sources.load(str(tmp_path), cache_folder())
    assert run.host["hostname"] == "bench-2"
    assert [(row.model, row.throughput_samples_per_s) for row in run.rows] == [("resnet50", FAST)]


def test_a_reader_of_chinese_is_told_why_in_chinese():
    """What differs, and why nothing is said: all of it, the names of hosts and what engines said apart."""
    blank = served(model="x", throughput_samples_per_s=Throughput(5.0))
    a = of(served(), served(model="bert").failed("wrong outputs"), blank)
    b = of(*a.rows, hostname="other", cpu="Xeon")
    text = rendered(compare(a, b), parse_language("zh"), 100)
    for said in ("主机名：A bench-1；B other", "主机名 不同；处理器 不同", "A 没有数值：wrong outputs", "A 没有区间"):
        assert said in text
    assert "another" not in text
    assert {one.what for one in compare(a, b).differences} <= HISTORY_WORDS["zh"].things.keys()


def test_two_single_rows_are_compared_whatever_they_are_of():
    """A record against a record: fp32 against int8 is what was asked for."""
    found = compare(of(served()), of(served(precision="int8", throughput_samples_per_s=FAST)))
    assert found.pairs[0].outcome == "faster"
    assert "precision" in {one.what for one in found.pairs[0].differ}


def test_what_failed_or_has_no_interval_is_not_judged():
    """The reason names the side."""
    failed = compare(of(served().failed("wrong outputs")), of(served())).pairs[0]
    assert (failed.outcome, failed.why) == ("withheld", "A has no number: wrong outputs")
    alone = compare(of(served()), of(served(throughput_samples_per_s=Throughput(50.0)))).pairs[0]
    assert (alone.outcome, alone.why) == ("withheld", "B has no interval")
    assert alone.throughput.value == pytest.approx(0.5)


def test_published_figures_are_compared_and_never_win(capsys):
    """They have no interval; the ratio stands beside them, labelled."""
    mine = served(model="resnet50", batch_size=16, thread_num=12, precision="fp16")
    found = compare(of(mine), sources.load("stcp920", cache_folder()))
    assert found.pairs[0].outcome == "withheld"
    assert found.pairs[0].why == "B has no interval: its figures are published"
    assert found.pairs[0].throughput.value == pytest.approx(72.3639)
    assert main(["compare", "stcp920", "stcp920"]) == 0
    assert "21 not judged" in capsys.readouterr().out


@pytest.fixture
def kept(tmp_path):
    """Write two runs of two rows as `speedsheet sheet` does, the second one faster."""
    data = tmp_path / "data"
    rows = (served(), served(model="bert", precision="int8"))
    faster = tuple(replace(one, throughput_samples_per_s=FAST) for one in rows)
    return [files.write(Document.of(Sheet(HOST, some)), data / "sheets") for some in (rows, faster)]


def test_runs_are_named_by_folder_file_or_age(kept, monkeypatch):
    """Latest is the newest, latest~1 the one before it; a sheet.json is its run."""
    monkeypatch.setenv("SPEEDSHEET_DATA", str(kept[0].parent.parent))
    newest = sources.load("latest", cache_folder())
    assert newest.rows[0].throughput_samples_per_s == FAST
    for name in ("latest~1", str(kept[0]), str(kept[0] / "sheet.json"), kept[0].name):
        assert sources.load(name, cache_folder()).rows[0].throughput_samples_per_s == SLOW
    with pytest.raises(UsageError, match="there are 2 runs"):
        sources.load("latest~2", cache_folder())
    with pytest.raises(UnknownName, match="did you mean latest"):
        sources.load("latset", cache_folder())


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"schema": "speedsheet.sheet/9", "rows": []}', '{"schema": 1', "\xff", "[" * 100_000,
    '{"schema": "speedsheet.sheet/1", "rows": [{"model": 3}], "host": {}, "document": {}}',
])  # fmt: skip
def test_a_hostile_sheet_is_one_line(text, tmp_path, capsys):
    """Whatever stands in a file that is called sheet.json, the command says so and ends with 2."""
    path = tmp_path / "sheet.json"
    path.write_bytes(text.encode("latin-1"))
    assert main(["compare", str(path), str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("speedsheet: ")
    assert err.count("\n") == 1


def test_the_command_prints_a_line_a_row_and_what_it_comes_to(kept, capsys):
    """In words, in Chinese, as JSON; on narrow terminals too; exit 0 whatever the verdict."""
    sides = [str(kept[0]), str(kept[1])]
    assert main(["compare", *sides]) == 0
    out = capsys.readouterr().out
    assert "B is faster in 2, slower in 0" in out
    assert "same host with the same software" in out
    assert main(["compare", *sides, "--lang", "zh"]) == 0
    assert "B 更快 2 行" in capsys.readouterr().out
    assert main(["compare", *sides, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "speedsheet.compare-records/1"
    assert found["counts"] == {"faster": 2, "slower": 0, "none": 0, "withheld": 0}
    assert set(found["rows"][0]) >= {"a", "b", "throughput", "mean_latency", "outcome", "verdict", "why", "differ"}


def test_records_are_replayed_wherever_they_were_copied_to(small_model, tmp_path, capsys):
    """A copy in another folder is measured again as it was asked, and compared with what it holds."""
    record = measured(small_model, tmp_path / "records")
    copy = Path(shutil.copytree(record, tmp_path / "elsewhere" / "copy"))
    assert main(["replay", str(copy), "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (pair,) = found["rows"]
    assert pair["a"]["record"] == str(copy)
    assert Path(pair["b"]["record"]).parent == tmp_path / "out" / "records"
    assert pair["throughput"]["value"] > 0
    assert pair["differ"] == []


def test_what_differs_between_the_hosts_comes_first(small_model, tmp_path, capsys):
    """A record of another machine: the first lines say what is not the same, and no winner is called."""
    copy = measured(small_model, tmp_path / "records")
    altered(copy, lambda content: content["conditions"]["host"].update(cpu="STC NPU", hostname="elsewhere"))
    assert main(["replay", str(copy), "--out", str(tmp_path / "out"), "--time", "0.3s"]) == 0
    out = capsys.readouterr().out
    assert out.index("hostname: A elsewhere") < out.index("STC NPU") < out.index("small.onnx")
    assert "not judged" in out


@pytest.mark.parametrize("asked", [
    {"engine": "antigravity:ENGINE"}, {"settings": {"optimized_model_filepath": "x"}}, {"settings": {"CACHE_DIR": "x"}},
    {"settings": {"inner": "os:system"}}, {"settings": {"a": "../../x"}}, {"settings": {"b": "C:\\x"}},
])  # fmt: skip
def test_a_strangers_record_reaches_no_file_and_no_module(asked, small_model, tmp_path, capsys):
    """What a record asks for is measured only where that can do no harm: refused in one line, before anything runs."""
    record = measured(small_model, tmp_path / "records", window_s=0.2)

    def spoil(content):
        content["conditions"]["request"].update(asked)
        content["row"].update({"engine": asked["engine"]} if "engine" in asked else {})

    altered(record, spoil)
    for command in ("replay", "explain"):
        assert main([command, str(record)]) == 2
        assert "measure it yourself" in capsys.readouterr().err


def test_a_replay_of_what_is_gone_says_what_is_missing(small_model, tmp_path, capsys):
    """The user's file was moved: one line, with the option that says where it is; another file is refused."""
    record = measured(small_model, tmp_path / "records", window_s=0.2)
    moved = small_model.rename(tmp_path / "moved.onnx")
    assert main(["replay", str(record)]) == 2
    assert "--model FILE.onnx" in capsys.readouterr().err
    assert main(["replay", str(record), "--model", str(moved), "--out", str(tmp_path / "out"), "--json"]) == 0
    capsys.readouterr()
    assert main(["replay", "stcp920"]) == 2
    assert "not a record" in capsys.readouterr().err
