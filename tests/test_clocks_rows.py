"""Clocks from the command line, and rows measured at clocks that are held."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from speedsheet.bench.row import Desk, measure_row
from speedsheet.bench.sheet import compared
from speedsheet.cli import main
from speedsheet.core.measurement import Gate, Latency, Measurement, Throughput
from speedsheet.core.request import RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.host import cpufreq, nvml
from speedsheet.records import store as records
from speedsheet.sheets import as_csv, as_markdown, as_terminal
from speedsheet.sheets.document import Document
from speedsheet.sheets.languages import parse_language
from speedsheet.testing.sysfs import contents, machine

NULL = "speedsheet.testing.null:ENGINE"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a machine for the command line, whose data folder is its own."""
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path / "data"))
    return machine(tmp_path / "root")


def said(capsys: pytest.CaptureFixture[str], *command: object, code: int = 0) -> str:
    assert main([str(word) for word in ("clocks", *command)]) == code
    out, err = capsys.readouterr()
    return err if code else out


def test_clocks_from_the_command_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Show, lock, show, reset, show: each says what is."""
    before = contents(root)
    assert "policy0 (cores 0 1): 800 MHz to 3.6 GHz, now 1.23457 GHz" in said(capsys, "show", "--root", root)
    assert said(capsys, "lock", "2.4GHz", "--root", root).startswith("locked at 2.4 GHz; speedsheet clocks reset")
    assert "changed by speedsheet" in said(capsys, "show", "--root", root)
    assert said(capsys, "reset", "--root", root).count("put back: ") == 5
    assert said(capsys, "reset", "--root", root) == "nothing to put back\n"
    assert contents(root) == before


def test_clocks_are_told_to_scripts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The keys of the contract, there with and without a clock to tell of."""
    keys = ["state", "settable", "reason", "boost", "policies", "cards", "changed"]
    told = json.loads(said(capsys, "show", "--json", "--root", root))
    assert list(told) == keys
    assert (told["state"], told["settable"], told["reason"], told["changed"]) == ("default", True, None, None)
    assert list(told["policies"][0]) == [
        "name", "folder", "cpus", "driver", "governor", "governors", "current_khz", "min_khz", "max_khz",
        "lowest_khz", "highest_khz", "sustained_khz",
    ]  # fmt: skip
    nothing = json.loads(said(capsys, "show", "--json", "--root", root / "proc"))
    assert list(nothing) == keys
    assert (nothing["state"], nothing["settable"], nothing["policies"]) == ("unknown", False, [])


def test_a_machine_that_may_not_be_set_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1, and who may; a wrong frequency is a wrong command."""
    line = said(capsys, "lock", "2GHz", "--root", root / "proc", code=1)
    assert line.count("\n") == 1
    assert "no cpufreq" in line
    assert "only its host" in line
    assert "is not a clock of every core" in said(capsys, "lock", "9GHz", "--root", root, code=2)
    assert "not a frequency" in said(capsys, "lock", "2.4", "--root", root, code=2)
    assert "FREQ is missing" in said(capsys, "lock", code=2)
    if nvml.installed() is None:
        assert "nvidia-ml-py" in said(capsys, "lock", "1400MHz", "--gpu", "--root", root, code=1)
    assert not Path(os.environ["SPEEDSHEET_DATA"]).exists()


def test_clocks_alone_shows_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a further word, whatever machine this is."""
    assert said(capsys).startswith("processor clock: ")


def tuned_row(
    small_model: Path, tmp_path: Path, root: Path, tell: Any = lambda *_: None, **changes: Any
) -> Measurement:
    asked = RowRequest(
        str(small_model), **{"engine": NULL, "window_s": 0.3, "precision": "fp32", "clocks": "tuned"} | changes
    )
    return measure_row(asked, Desk(tmp_path / "store", 60.0, root=root), tell)


def test_a_tuned_row_is_measured_at_held_clocks_and_they_are_put_back(
    root: Path, small_model: Path, tmp_path: Path
) -> None:
    """Held while the load runs, as before when the row is done; the row says what was asked."""
    before, seen = contents(root), {}

    def tell(stage: str, *_: object) -> None:
        seen[stage.partition(" ")[0]] = cpufreq.clock_state(root)

    row = tuned_row(small_model, tmp_path, root, tell)
    assert (row.status, row.clocks) == ("ok", "tuned"), row.error
    assert seen["warming"] == "locked at 2.6 GHz"
    assert contents(root) == before
    assert records.verify(Path(row.record)).measurement.clocks == "tuned"


@pytest.mark.parametrize("fault", ["RAISE", "CRASH"])
def test_a_tuned_row_that_fails_puts_the_clocks_back(root: Path, small_model: Path, tmp_path: Path, fault: str) -> None:
    """Whatever becomes of the worker."""
    before = contents(root)
    row = tuned_row(small_model, tmp_path, root, engine=f"speedsheet.testing.faulty:{fault}")
    assert row.status == "failed"
    assert contents(root) == before


def test_where_clocks_may_not_be_set_the_tuned_row_fails_and_says_who_may(small_model: Path, tmp_path: Path) -> None:
    """No number at clocks that nobody held; the failure is sealed as any other."""
    row = tuned_row(small_model, tmp_path, tmp_path / "nowhere")
    assert row.status == "failed"
    assert "no cpufreq" in row.error
    assert "only its host" in row.error
    assert row.throughput_samples_per_s.value is None
    assert records.verify(Path(row.record)).measurement == row


ROW = Measurement(
    "bert", "tensorflow", "text", 8, 2, "fp32", engine="openvino", device="CPU", latency_ms=Latency(20.0, p50=20.0),
    throughput_samples_per_s=Throughput(800.0, 790.0, 810.0), gate=Gate(passed=True), clock_state="default",
)  # fmt: skip
TUNED = replace(ROW, clocks="tuned", clock_state="locked at 2.6 GHz")


def test_each_row_is_asked_for_at_each_of_the_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side, in the order given; without the option, once and as the host has them."""
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path))
    asked: list[RowRequest] = []

    def bench(requests: Sequence[RowRequest], **_: Any) -> Sheet:
        asked[:] = requests
        return Sheet({}, tuple(replace(ROW, model=request.model) for request in requests))

    assert main(["run", "dlrm", "wdl", "--clocks", "default,tuned"], measure=bench) == 0
    assert [(request.model, request.clocks) for request in asked] == [
        ("dlrm", "default"), ("dlrm", "tuned"), ("wdl", "default"), ("wdl", "tuned"),
    ]  # fmt: skip
    main(["run", "dlrm", "--clocks", "tuned"], measure=bench)
    assert [request.clocks for request in asked] == ["tuned"]
    main(["run", "dlrm"], measure=bench)
    assert [request.clocks for request in asked] == ["default"]


def test_unknown_clocks_are_a_wrong_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is measured, with what is known."""
    assert main(["run", "dlrm", "--clocks", "default,tunde"]) == 2
    assert "did you mean tuned" in capsys.readouterr().err


def test_paired_rows_say_their_clocks_in_every_format() -> None:
    """A column where any row asked for other clocks than the host's, and none where no row did."""
    paired, plain = Document.of(Sheet({}, (ROW, TUNED))), Document.of(Sheet({}, (ROW,)))
    for printed in (as_markdown.render(paired), as_csv.render(paired), str(as_terminal.render(paired, 220))):
        assert "Clocks" in printed
        assert "tuned 2.6 GHz" in printed
    assert "tuned 2.6 GHz" in str(as_terminal.render(paired, 56))
    assert "调优 2.6 GHz" in as_markdown.render(Document.of(Sheet({}, (TUNED,)), words=parse_language("zh")))
    for printed in (as_markdown.render(plain), as_csv.render(plain), str(as_terminal.render(plain, 220))):
        assert "Clocks" not in printed


def test_int8_is_compared_at_the_same_clocks() -> None:
    """A tuned row in a wider type does not make an untuned int8 row slow."""
    int8 = replace(ROW, precision="int8", throughput_samples_per_s=Throughput(810.0))
    faster = replace(TUNED, throughput_samples_per_s=Throughput(900.0))
    assert [row.findings for row in compared([ROW, faster, int8])] == [(), (), ()]
    (finding,) = compared([faster, replace(int8, clocks="tuned")])[1].findings
    assert finding.code == "int8_slower"
