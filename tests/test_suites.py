"""A suite becomes requests, or one line that says where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.errors import SpeedsheetError, UsageError
from speedsheet.core.request import RowRequest
from speedsheet.sheets import suite


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
        carry = { h_out = "h_in" }
        strict_precision = true
        seed = 7
        [[row]]
        model = "dlrm"
        window = "3s"
    """)
    own, dlrm = found.requests
    assert (found.title, found.budget_s) == ("Mine", 120.0)
    assert own.model == str(Path("there/nets/x.onnx"))
    assert (own.window_s, own.precision, own.device, own.settings) == (0.25, "bf16", "GPU.0", {"NUM_STREAMS": "2"})
    assert (own.data, own.carry, own.seed) == (Path("there/x.npz"), {"h_out": "h_in"}, 7)
    assert own.inputs[0].name == "ids"
    assert own.strict_precision
    assert dlrm == RowRequest("dlrm", window_s=3.0)


def test_an_absolute_model_stays_where_it_is() -> None:
    """Only relative paths are moved."""
    assert parse('[[row]]\nmodel = "/m/x.onnx"').requests[0].model == "/m/x.onnx"


WRONG = {
    'model = "x"': ("unknown key 'model'", "known: row, suite"),
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
    "[suite]": ("0 rows", "[[row]]"),
    "row = 1": ("not a suite", "[[row]]"),
    "suite = 1": ("not a suite", "[suite]"),
    '[[row]\nmodel = "a"': ("not TOML", "line 1"),
    "x = " + "[" * 5000: ("not TOML", "mend"),
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
