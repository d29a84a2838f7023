"""The printed document by the command line: its language, and what samples cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from speedsheet.cli import main
from speedsheet.core.request import RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.sheets.as_json import content
from speedsheet.sheets.document import Document
from test_cli import HERE, PROGRAM, Fake, program


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path))


def test_a_sheet_is_printed_in_the_language_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Chinese headings, front matter and words; on standard output and in the files; scripts' keys stay English."""
    assert main(["sheet", "--suite", "first", "--lang", "zh"], measure=Fake(fails=["dlrm"])) == 1
    out, err = capsys.readouterr()
    assert out.startswith("## 首批模型性能\n\n- **日期**")
    for word in ("| 模型 | 框架 |", "延迟(msec)", "失败", "通过"):
        assert word in out
    kept = Path(err.splitlines()[-1].removeprefix("sheet: "))
    assert (kept / "sheet.md").read_text(encoding="utf-8") == out
    assert (kept / "sheet.csv").read_text(encoding="utf-8-sig").startswith("模型,")
    data = json.loads((kept / "sheet.json").read_text(encoding="utf-8"))
    assert data["document"]["title"] == "首批模型性能"
    assert set(data["rows"][0]) > {"model", "latency_ms", "status"}
    assert main(["run", "dlrm", "--lang", "ZH", "--format", "table"], measure=Fake()) == 0
    assert "2000 个请求的延迟" in capsys.readouterr().out


def test_a_stream_without_chinese_letters_is_refused_before_measuring() -> None:
    """One line; JSON is ASCII and can be had all the same."""
    done = program("run", "resnet50", "--lang", "zh", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"speedsheet: .*--lang zh; set PYTHONIOENCODING=utf-8\n", done.stderr)
    assert program("run", "resnet50", "--lang", "zh", "--json", PYTHONIOENCODING="ascii").returncode == 0
    command = [sys.executable, "-c", PROGRAM, "run", "resnet50", "--lang", "zh"]
    for shape in ("table", "markdown"):
        environment = {**os.environ, **HERE, "PYTHONIOENCODING": "gbk"}
        done = subprocess.run([*command, "--format", shape], env=environment, capture_output=True, check=True)
        printed = done.stdout.decode("gbk")
        assert "推理性能表" in printed
        assert "?" not in printed


def test_a_price_becomes_a_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """3.6 an hour at 1812.5 samples/s is 0.5517 a million, the interval turned over; a failed row has none."""
    command = ["run", "dlrm", "resnet50", "--price-per-hour", "3.6", "--currency", "EUR"]
    assert main([*command, "--json"], measure=Fake(fails=["dlrm"])) == 1
    data = json.loads(capsys.readouterr().out)
    failed, served = (row["cost_per_million_samples"] for row in data["rows"])
    assert (failed["value"], failed["low"], failed["high"]) == (None, None, None)
    assert (served["value"], served["low"], served["high"]) == (1000 / 1812.5, 1000 / 1825.0, 1000 / 1800.0)
    assert (data["document"]["price_per_hour"], data["document"]["currency"]) == (3.6, "EUR")
    main(command, measure=Fake())
    assert "| Cost per million samples (EUR) |" in capsys.readouterr().out


def test_the_document_is_the_sheet(capsys: pytest.CaptureFixture[str]) -> None:
    """What `--json` prints is the rows that the bench returned, nothing rounded."""
    sheets: list[Sheet] = []

    def keeping(requests: Sequence[RowRequest], **rest: Any) -> Sheet:
        sheets.append(Fake()(requests, **rest))
        return sheets[0]

    assert main(["run", "dlrm", "--json"], measure=keeping) == 0
    printed, wanted = json.loads(capsys.readouterr().out), content(Document.of(sheets[0]))
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", printed["document"].pop("date"))
    assert printed | {"document": printed["document"] | {"date": None}} == wanted
