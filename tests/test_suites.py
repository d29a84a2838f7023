"""A suite becomes requests, or one line that says where it is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.errors import SpeedsheetError, UsageError
from speedsheet.core.request import RowRequest
from speedsheet.sheets import suite
from speedsheet.sheets.front_matter import FrontMatter


def parse(text: str) -> suite.Suite:
    return suite.parse(text, where="my.toml", folder=Path("there"))


def test_the_shipped_suite_is_the_first_rows_of_the_published_sheet() -> None:
    """In published order, at the published batch size and thread_num."""
    first = suite.load("first")
    assert [(row.model, row.precision, row.batch_size, row.thread_num) for row in first.requests] == [
        ("resnet50", "fp16", 16, 12),
        ("bert_128", "fp16", 8, 8),
        ("dlrm", "fp16", 1024, 8),
        ("dssm_mock", "fp16", 8, 16),
    ]
    assert {row.engine for row in first.requests} == {"auto"}
    assert first.title
    assert "first" in suite.shipped()


PUBLISHED = """
    resnet34 32 fp16 16; resnet50 16 fp16 12; resnet50_v1p5 16 fp16 12; resnet101 16 fp16 8; densenet101 8 fp16 12;
    mobilenet_v2 32 fp16 12; bert_128 8 fp16 8; bert_256 4 fp16 8; bert_512 2 fp16 8; bert_large_384 1 fp16 8;
    xlnet 8 fp16 8; deepfm 1024 fp16 8; dlrm 1024 fp16 8; dssm_mock 8 fp16 16; dlrm_1M 1024 fp16 8;
    mmoe 51200 fp16 16; wdl 1200 fp16 16;
    resnet34 32 int8 16; resnet50 16 int8 16; resnet50_v1p5 16 int8 16; resnet101 16 int8 12
"""


def test_the_published_suite_is_the_whole_published_sheet() -> None:
    """All 21 rows in published order, at their batch size and thread_num; the source is named in both languages."""
    asked = suite.load("stcp920")
    assert [(r.model, str(r.batch_size), r.precision, str(r.thread_num)) for r in asked.requests] == [
        tuple(row.split()) for row in PUBLISHED.split(";")
    ]
    for lang in ("en", "zh"):
        front = asked.front_in(lang)
        assert "Stream Computing" in front.source
        assert "V1.2.0.RC1" in front.version
        assert (front.hardware, front.date, front.publisher) == (None, None, None)  # the host's, not the card's
    assert asked.front_in("zh").title != asked.front_in("en").title == asked.title


def test_a_suite_says_what_stands_above_its_rows() -> None:
    """Every field of the front matter; a date may be TOML's own; a language says anew what it wants to."""
    found = parse("""
        [suite]
        title = "Rows"
        [document]
        publisher = "P"
        version = "V1"
        date = 2022-02-24
        tool = "T"
        software = "S"
        hardware = "H"
        clock_note = "C"
        source = "O"
        [document.zh]
        title = "表"
        [[row]]
        model = "dlrm"
    """)
    assert found.front == FrontMatter("Rows", "P", "V1", "2022-02-24", "T", "S", "H", "C", "O")
    assert found.front_in("zh") == replace(found.front, title="表")
    assert found.front_in("en") == found.front
    assert parse('[suite]\ntitle = "a"\n[document]\ntitle = "b"\n[[row]]\nmodel = "m"').title == "b"


def test_every_shipped_suite_parses() -> None:
    """Also those that are added later."""
    for name in suite.shipped():
        assert suite.load(name).requests


def test_a_row_says_all_that_a_request_can_hold() -> None:
    """Every field but the window has its key; paths are taken from the suite's folder."""
    found = parse("""
        [suite]
        title = "Mine"
        window = "250ms"
        budget = "2m"
        [[row]]
        model = "nets/x.onnx"
        batch_size = 4
        precision = "BF16"
        thread_num = 2
        engine = "openvino"
        device = "GPU.0"
        settings = { NUM_STREAMS = 2 }
        inputs = ["ids=1x128:int64:0:30000"]
        data = "x.npz"
        labels = "y.npy"
        reference = "wide.onnx"
        carry = { h_out = "h_in" }
        strict_precision = true
        seed = 7
        [[row]]
        model = "dlrm"
        window = "3s"
        weights = "mine.safetensors"
        [[row]]
        model = "resnet50"
        weights = "imagenet"
    """)
    own, dlrm, resnet = found.requests
    assert (found.title, found.budget_s) == ("Mine", 120.0)
    assert own.model == str(Path("there/nets/x.onnx"))
    assert (own.window_s, own.precision, own.device, own.settings) == (0.25, "bf16", "GPU.0", {"NUM_STREAMS": "2"})
    assert (own.data, own.carry, own.seed) == (Path("there/x.npz"), {"h_out": "h_in"}, 7)
    assert own.reference == Path("there/wide.onnx")
    assert own.inputs[0].name == "ids"
    assert own.strict_precision
    assert own.labels == str(Path("there/y.npy"))
    assert dlrm == RowRequest("dlrm", window_s=3.0, weights=str(Path("there/mine.safetensors")))
    assert resnet.weights == "imagenet"


def test_an_absolute_model_stays_where_it_is() -> None:
    """Only relative paths are moved."""
    assert parse('[[row]]\nmodel = "/m/x.onnx"').requests[0].model == "/m/x.onnx"


WRONG = {
    'model = "x"': ("unknown key 'model'", "known: document, row, suite"),
    "[[row]]\nbatch_size = 1": ("row 1", "names no model"),
    '[[row]]\nmodel = "a"\n[[row]]\nmodel = "b"\nbatchsize = 1': ("row 2", "did you mean 'batch_size'"),
    '[[row]]\nmodel = "a"\nbatch_size = 0': ("row 1, batch_size", "0 is not"),
    '[[row]]\nmodel = "a"\nthread_num = true': ("thread_num", "True is not"),
    '[[row]]\nmodel = "a"\nprecision = "fp61"': ("precision", "did you mean fp16?"),
    '[[row]]\nmodel = "a"\nprecision = 16': ("precision", "not text"),
    '[[row]]\nmodel = "a"\nwindow = "10x"': ("window", "not a duration"),
    '[[row]]\nmodel = "a"\nsettings = "x"': ("settings", "table"),
    '[[row]]\nmodel = "a"\ninputs = "x"': ("inputs", "list"),
    '[[row]]\nmodel = "a"\ninputs = ["x"]': ("inputs", "NAME=SHAPE"),
    '[[row]]\nmodel = "a"\nseed = -1': ("seed", "-1"),
    '[[row]]\nmodel = "a"\nstrict_precision = 1': ("strict_precision", "true or false"),
    '[[row]]\nmodel = ""': ("model", "empty"),
    '[suite]\ntitel = "x"\n[[row]]\nmodel = "a"': ("[suite]", "did you mean 'title'"),
    '[document]\nversoin = "1"\n[[row]]\nmodel = "a"': ("[document]", "did you mean 'version'"),
    '[document]\nversion = 1\n[[row]]\nmodel = "a"': ("[document], version", "1 is not text"),
    '[document.zh]\ntitel = "x"\n[[row]]\nmodel = "a"': ("[document], zh", "did you mean 'title'"),
    '[document]\nzh = "x"\n[[row]]\nmodel = "a"': ("[document], zh", "not a table"),
    'document = 1\n[[row]]\nmodel = "a"': ("not a suite", "[suite]"),
    "[suite]": ("0 rows", "[[row]]"),
    "row = 1": ("not a suite", "[[row]]"),
    "suite = 1": ("not a suite", "[suite]"),
    '[[row]\nmodel = "a"': ("not TOML", "line 1"),
    "x = " + "[" * 5000: ("not TOML", "mend"),
    "x = " + "9" * 5000: ("not TOML", "mend"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_suite_is_refused_in_one_line(text: str) -> None:
    """The line names the file, the row, the key, and what to write."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    line = str(caught.value)
    assert line.startswith("my.toml")
    assert "\n" not in line
    for part in WRONG[text]:
        assert part in line


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever is in the file, the answer is a suite or a usage error."""
    try:
        parse(text)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017  most texts raise, some need not


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Absent, a folder, not text, too large, an unknown name."""
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "dir.toml").mkdir()
    with (tmp_path / "big.toml").open("wb") as stream:
        stream.truncate(suite.MAX_BYTES + 1)
    for name, part in {"none": "No such file", "dir": "directory", "bad": "UTF-8", "big": "MiB"}.items():
        with pytest.raises(UsageError, match=part):
            suite.load(str(tmp_path / f"{name}.toml"))
    with pytest.raises(SpeedsheetError, match="did you mean first"):
        suite.load("frist")
    with pytest.raises(SpeedsheetError, match=r"path that ends in \.toml"):
        suite.load("zzzzzz")
