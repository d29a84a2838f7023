"""`speedsheet compare`: how sides are typed, what is printed, exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from speedsheet.cli import main
from speedsheet.cli.sides import read_sides
from speedsheet.core.comparison import Comparison, Design, Ratio, Ratios, Verdict
from speedsheet.core.errors import UsageError
from speedsheet.core.measurement import Finding, Gate, Latency, Measurement, Throughput
from speedsheet.core.request import RowRequest
from speedsheet.sheets import as_comparison

BASE = RowRequest("", settings={"SHARED": "1"}, batch_size=4)
NULL = "speedsheet.testing.null:ENGINE"


def sides(*texts, base=BASE):
    a, b = read_sides(texts, base)
    return [
        (one.model, one.engine, one.precision, dict(one.settings), one.batch_size, one.thread_num) for one in (a, b)
    ]


def test_b_without_a_model_is_a_with_that_changed():
    """`resnet50@openvino,fp32 @bf16`: the same model, engine, and options; another precision."""
    a, b = sides("resnet50@openvino,fp32", "@bf16")
    assert a == ("resnet50", "openvino", "fp32", {"SHARED": "1"}, 4, None)
    assert b == ("resnet50", "openvino", "bf16", {"SHARED": "1"}, 4, None)
    assert sides("resnet50@fp32", "@")[1] == sides("resnet50@fp32", "@")[0]


def test_b_with_a_model_stands_by_itself():
    """What was said of A is not said of it; what the options say of both is."""
    assert sides("old.onnx@openvino,int8,K=2", "new.onnx")[1] == ("new.onnx", "auto", None, {"SHARED": "1"}, 4, None)


def test_an_engine_named_begins_with_its_own_settings():
    """Another engine does not understand A's; the same engine named again is its default."""
    assert sides("m@openvino,K=2", "@onnxruntime")[1][3] == {"SHARED": "1"}
    assert sides("m@openvino,K=2", "@openvino")[1][3] == {"SHARED": "1"}
    assert sides("m@openvino,K=2", "@L=3")[1][3] == {"SHARED": "1", "K": "2", "L": "3"}
    assert sides("m@openvino,K=2", "@K=3")[1][3] == {"SHARED": "1", "K": "3"}


def test_our_own_keys_are_not_settings():
    """engine, precision, device, batch and threads, in either case."""
    a, b = sides(f"m@engine={NULL},precision=BF16,batch=2,threads=3", f"@{NULL},Threads=5")
    assert a == ("m", NULL, "bf16", {"SHARED": "1"}, 2, 3)
    assert b[-1] == 5
    assert read_sides(("m@device=GPU.0", "@openvino"), BASE)[0].device == "GPU.0"
    assert read_sides(("m@device=GPU.0", "@openvino"), BASE)[1].device is None


@pytest.mark.parametrize("path", ["a@b.onnx", "dir@1/net.onnx", "net.onnx", "./x.onnx@y/net.onnx"])
def test_a_file_may_have_an_at_of_its_own(path):
    """Only what follows the file's name is said of it."""
    assert sides(path, "@bf16")[0][0] == path
    assert sides(f"{path}@bf16", "@fp32")[0][:3] == (path, "auto", "bf16")


def test_options_for_files_are_for_files():
    """--input and --carry do not reach a shipped model that is compared with a file."""
    base = replace(BASE, carry={"a": "b"})
    a, b = read_sides(("dlrm", "net.onnx"), base)
    assert not a.carry
    assert b.carry


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_typed_is_understood_or_refused(one, other):
    """With a complaint of one line; nothing else ever happens."""
    complaint = ""
    try:
        read_sides((one, other), BASE)
    except UsageError as error:
        complaint = str(error)
    assert "\n" not in complaint


WRONG = {
    "compare": ("two sides", "0 are given", "latest~1 latest", "compare --live"),
    "compare a b": ("nothing is called 'a'", "give a record, run or sheet"),
    "compare --live": ("two sides", "0 came", "resnet50@openvino,fp32 @bf16"),
    "compare --live dlrm": ("two sides", "1 came"),
    "compare --live dlrm @bf16 @fp16": ("two sides", "3 came"),
    "compare --live @bf16 dlrm": ("A names no model",),
    "compare --live dlrm@openvinoo @": ("'openvinoo' is no engine and no precision", "did you mean openvino"),
    "compare --live dlrm@openvino:bf16 @": ("write openvino,bf16",),
    "compare --live dlrm@fp61 @": ("'fp61'", "did you mean fp16"),
    "compare --live dlrm@batch=0 @": ("dlrm@batch=0, batch", "0 is below 1"),
    "compare --live dlrm@K= @": ("lacks a name or a value", "KEY=VALUE"),
    "compare --live dlmr @bf16": ("no model is called 'dlmr'", "did you mean dlrm"),
    "compare --live dlrm none.onnx": ("none.onnx: no such file",),
    "compare --live dlrm net.pb": ("is not an .onnx file",),
    "compare --live dlrm @ --time soon": ("--time", "not a duration"),
    "compare --live dlrm @ --precision-target 5": ("--precision-target", "percentage"),
    "compare --live dlrm @ --precision fp61": ("--precision", "did you mean fp16"),
    "compare --live dlrm @ --seed x": ("--seed", "not a whole number"),
    "compare --live dlrm @nowhere.there:ENGINE": ("no engine at 'nowhere.there:ENGINE'",),
    "compare --live dlrm @device=TPU --engine openvino": ("no device is called 'TPU'", "CPU"),
    "compare --live dlrm @ --carry a=b": ("--carry",),
    "compare --live dlrm @ --out /proc/nowhere": ("--out",),
    "compare --live dlrm @ --nonsense": ("no option --nonsense", "speedsheet compare --help"),
}


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_is_one_line_and_exit_code_2(command, capsys, monkeypatch, tmp_path):
    """What, where, and what to do; nothing is measured."""
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    for words in WRONG[command]:
        assert words in err


ROW = Measurement(
    "resnet50", "tensorflow", "images", 1, 1, "fp32", "openvino", "2026.4.1", "CPU",
    precision_executed={"fp32": 1.0}, artifact_sha256="0" * 64,
    gate=Gate(passed=True, metric="relative_error", value=0.091, limit=0.25),
    throughput_samples_per_s=Throughput(24.123, 23.9, 24.3), latency_ms=Latency(41.5, 41.2, low=41.2, high=41.8),
)  # fmt: skip
FASTER = Comparison(
    ("fp32", "bf16"), ROW,
    replace(ROW, precision="bf16", precision_executed={"bf16": 1.0}, latency_ms=Latency(19.8, 19.6),
            throughput_samples_per_s=Throughput(50.6, 50.1, 51.2)),
    Ratios(Ratio(2.1034, 2.0511, 2.1594), Ratio(0.4771, 0.466, 0.488), Ratio(0.4757, 0.466, 0.487)),
    Verdict("faster", 2.03, 2.18), Design(10, 6, 0.5), 10, 60.2, 91.0, record="/data/comparisons/x",
)  # fmt: skip


def with_ratio(value, low, high, outcome):
    return replace(
        FASTER,
        ratio=Ratios(Ratio(value, low, high), Ratio(1 / value), Ratio(1 / value)),
        verdict=Verdict(outcome, 1, 1),
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FASTER, "bf16 is 2.10 x as fast as fp32 (95 %: 2.05 to 2.16)"),
        (with_ratio(0.4512, 0.44, 0.4623, "slower"), "bf16 is 0.451 x as fast as fp32 (95 %: 0.440 to 0.462)"),
        (with_ratio(0.9691, 0.96, 0.9782, "slower"), "bf16 is 3.1 % slower than fp32 (95 %: 2.2 to 4.0 %)"),
        (with_ratio(1.124, 1.10, 1.15, "faster"), "bf16 is 12 % faster than fp32 (95 %: 10 to 15 %)"),
        (with_ratio(1.0004, 1.0002, 1.0006, "faster"), "bf16 is 0.04 % faster than fp32 (95 %: 0.02 to 0.06 %)"),
        (with_ratio(1.001, 0.984, 1.018, "none"),
         "no difference is established between fp32 and bf16; at most 1.8 % either way (95 %)"),
        (replace(with_ratio(1.001, 0.98, 1.018, "none"), names=("A", "B")),
         "no difference is established between A and B, which are the same; at most 2.0 % either way (95 %)"),
        (replace(FASTER, status="failed", error="B failed: the outputs are wrong"),
         "no ratio: B failed: the outputs are wrong"),
        (replace(FASTER, status="interrupted", verdict=None, error="ended by hand after 7 of 10 starts"),
         "ended by hand after 7 of 10 starts: so far B / A is 2.05 to 2.16 (95 %), and that is no verdict"),
        (replace(FASTER, ratio=Ratios(Ratio(1.2)), verdict=None, generations=3),
         "no ratio: 3 starts of both sides are too few to tell"),
    ],
)  # fmt: skip
def test_one_sentence_says_it(found, said):
    """By a factor where it is large, in per cent where it is small, and how large a difference may still be."""
    assert as_comparison.sentence(found) == said


def test_the_figures_stand_below(tmp_path):
    """Both sides, the ratio and its interval; what each side is; how it was measured; where it is kept."""
    text = as_comparison.render(FASTER, 80)
    assert re.search(r"samples/s +24\.12 +50\.60 +2\.10 +2\.05 to 2\.16", text)
    assert re.search(r"p50, ms +41\.2\d* +19\.60 +0\.476 +0\.466 to 0\.487", text)
    assert "A: resnet50 · openvino 2026.4.1 CPU · batch 1, 1 client · fp32 · gate pass" in text
    assert "60 s measured in 91 s: 10 fresh starts of both sides, each 12 blocks of 0.5 s" in text.replace("\n", " ")
    assert text.endswith("record: /data/comparisons/x")


@pytest.mark.parametrize("width", [30, 40, 56, 80, 140])
def test_it_fits_any_terminal(width):
    """Narrow ones get a line for each figure; no line but the record's path is longer than the terminal."""
    noted = FASTER.noting(Finding("wide_interval", "the ratio's half-width came down to 2 %, not to 1 %"))
    for found in (noted, replace(noted, status="failed", error="A failed: 性能 " + "x" * 100, ratio=Ratios())):
        lines = as_comparison.render(found, width).split("\n")
        assert all(cell_len(line) <= width for line in lines if not line.startswith("record:"))
    assert "2.05 to 2.16" in " ".join(as_comparison.render(noted, width).split())


def test_a_side_that_failed_says_why():
    """In the sentence; both sides are described all the same, and no figure is shown."""
    failed = replace(
        FASTER, b=FASTER.b.failed("the outputs are wrong: relative_error 0.9, allowed 0.25"), ratio=Ratios(),
        verdict=None, design=None, status="failed", error="B failed: the outputs are wrong",
    )  # fmt: skip
    text = as_comparison.render(failed, 100)
    assert text.startswith("no ratio: B failed: the outputs are wrong")
    assert re.search(r"^B: .* failed$", text, re.MULTILINE)
    assert "samples/s" not in text


def test_hostile_names_stay_on_their_line():
    """A model's name cannot print control characters."""
    text = as_comparison.render(replace(FASTER, names=("a\x1b[31m", "b\nc"), a=replace(ROW, model="x\x1b]0;y")), 80)
    assert "\x1b" not in text


def test_json_says_the_same():
    """The document with its sentence; keys are the product's, whatever there is to say."""
    data = json.loads(as_comparison.render_json(FASTER))
    assert data["schema"] == "speedsheet.compare/1"
    assert data["sentence"] == as_comparison.sentence(FASTER)
    assert data["ratio"]["throughput"] == {"value": 2.1034, "low": 2.0511, "high": 2.1594, "confidence": 0.95}
    assert data["verdict"]["outcome"] == "faster"
    assert data["design"] == {"generations": 10, "rounds": 6, "block_s": 0.5}
    assert data["a"]["precision_executed"] == {"fp32": 1.0}
    empty = as_comparison.content(Comparison(("A", "B"), ROW, ROW))
    assert set(empty) == set(data)
    assert empty["verdict"] is None


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(
        [sys.executable, "-m", "speedsheet", *arguments], env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_compare_from_the_command_line(small_model, tmp_path):
    """A model against itself: exit code 0 whatever is found, progress on standard error, words in ASCII if need be."""
    side = f"{small_model}@{NULL},threads=1"
    done = program(
        "compare", "--live", side, "@", "--time", "1s", "--out", str(tmp_path / "out"), PYTHONIOENCODING="ascii"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "between A and B, which are the same" in " ".join(done.stdout.split())
    assert re.search(r"start 6 of 6 \| B / A [\d.e+]+ so far", done.stderr)
    (kept,) = (tmp_path / "out" / "comparisons").iterdir()
    assert f"record: {kept}" in done.stdout


def test_a_side_that_fails_is_exit_code_1(small_model, tmp_path):
    """With --json: nothing but the document on standard output, and the reason in it."""
    bad = "@speedsheet.testing.faulty:RAISE"
    done = program(
        "compare", "--live", f"{small_model}@{NULL},threads=1", bad, "--json", "--out", str(tmp_path), "--time", "1s"
    )
    assert done.returncode == 1
    assert done.stderr == ""
    data = json.loads(done.stdout)
    assert data["status"] == "failed"
    assert "B failed" in data["sentence"]
    assert "the device is lost" in data["b"]["error"]
    assert Path(data["record"]).is_dir()
