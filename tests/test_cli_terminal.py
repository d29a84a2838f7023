"""What is seen in a terminal: a live view while rows are measured, then the table and the histograms."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from speedsheet.cli import main
from speedsheet.cli.screen import Screen
from speedsheet.cli.view import LiveView, PlainView, SilentView, view
from speedsheet.core.plan import Reached
from speedsheet.core.request import Progress, RowRequest
from test_cli import HERE, PROGRAM, Fake, program, row_of


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path))


def test_run_ends_with_a_histogram_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    """From the raw samples; a failed row has none, and a pipe of CSV has none."""
    assert main(["run", "dlrm", "resnet50", "dssm_mock", "--format", "table"], measure=Fake(fails=["dlrm"])) == 1
    out = capsys.readouterr().out
    assert re.findall(r"(\w+) · onnxruntime: latency in ms of 2000 requests", out) == ["resnet50", "dssm_mock"]
    assert "p99 29.90" in out
    main(["run", "resnet50", "--format", "csv"], measure=Fake())
    assert "latency in ms" not in capsys.readouterr().out


def test_a_stream_without_our_letters_gets_others() -> None:
    """ASCII only: no error, and no question marks."""
    for shape in ("table", "markdown"):
        done = program("run", "resnet50", "--format", shape, PYTHONIOENCODING="ascii")
        assert done.returncode == 0
        assert (done.stdout + done.stderr).isascii()
        assert "?" not in done.stdout + done.stderr


def in_terminal(columns: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run the program in a terminal of so many columns; return its exit code and all that it sent there."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update({"COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color", **HERE, **environment})
        os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *arguments])
    sent = b""
    while select.select([terminal], [], [], 60)[0]:
        try:
            block = os.read(terminal, 65536)
        except OSError:
            break
        if not block:
            break
        sent += block
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sent.decode()


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_in_a_terminal_there_is_a_table_and_a_live_view(columns: int) -> None:
    """The row in hand is shown while it is measured, with a bar and the time left; the table is what remains."""
    code, sent = in_terminal(columns, "run", "resnet50", "dlrm", STAGE_S="0.4")
    assert code == 1
    assert "\x1b[" in sent
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent)
    assert "1/2 resnet50 · measuring" in plain
    assert re.search(r"[━╌]+ +\d+ %  8\d s left", plain)
    assert "resnet50: onnxruntime · 26.50 ms" in plain
    assert "dlrm: failed: the worker was killed by signal 9" in plain
    assert "latency in ms of 2000 requests" in plain


def test_no_color_is_obeyed() -> None:
    """NO_COLOR leaves words alone."""
    _, sent = in_terminal(80, "run", "dlrm", NO_COLOR="1", STAGE_S="0.1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", sent)
    assert "failed" in sent


def test_json_in_a_terminal_keeps_the_live_view_on_standard_error() -> None:
    """Somebody looks on while a script reads."""
    code, sent = in_terminal(80, "run", "resnet50", "--json", STAGE_S="0.4")
    assert code == 0
    assert "1/1 resnet50" in sent


def screen(*, terminal: bool) -> Screen:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=60, color_system=None, highlight=False)
    return Screen(stream, console, ascii_only=False)


class Clock:
    """A clock that stands until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        """Read the clock."""
        return self.now_s


def test_the_live_view_draws_at_most_four_times_a_second() -> None:
    """A storm of stages is noted, not drawn; the time left runs on between tellings."""
    shown, clock = screen(terminal=True), Clock()
    live = LiveView(shown, clock)
    draws = []
    live._live.refresh = lambda: draws.append(clock.now_s)
    for turn in range(100):
        clock.now_s += 0.05
        live.listen(Progress(1, 2, "m", f"stage {turn}", 0.5, 60.0))
    assert len(draws) <= 20
    assert all(later - earlier >= 0.25 for earlier, later in pairwise(draws))
    clock.now_s += 20
    shown.console.print(live.picture())
    assert "40 s left" in shown.stream.getvalue()


def test_the_live_view_tells_what_is_left_of_the_whole_sheet() -> None:
    """A guess, in round figures; the bar gives way to it where the terminal is narrow."""
    shown, clock = screen(terminal=True), Clock()
    live = LiveView(shown, clock)
    live.listen(Progress(1, 4, "m", "measuring", 0.5, 60.0, 754.0))
    shown.console.print(live.picture())
    assert "60 s left  about 13 min left in all" in shown.stream.getvalue()
    assert all(len(line) <= 60 for line in shown.stream.getvalue().splitlines())
    clock.now_s += 700
    shown.console.print(live.picture())
    assert "about 50 s left in all" in shown.stream.getvalue()


def test_plain_lines_tell_what_is_left_of_the_whole_sheet() -> None:
    """Beside the time left of the stage, once a row."""
    shown = screen(terminal=False)
    plain = PlainView(shown)
    plain.listen(Progress(1, 4, "m", "measuring", 0.5, 83.0, 754.0))
    plain.listen(Progress(1, 4, "m", "judging", sheet_left_s=700.0))
    plain.listen(Progress(2, 4, "n", "loading", sheet_left_s=3.0))
    assert shown.stream.getvalue().splitlines() == [
        "1/4 m · measuring (83 s left, about 13 min left in all)", "1/4 m · judging",
        "2/4 n · loading (about 10 s left in all)",
    ]  # fmt: skip


NEAR = Reached("p99_9", 0.05, 0.0712, 34.0)


def test_both_views_tell_how_near_a_target_is() -> None:
    """What is known, what is wanted, and the seconds that it still takes; nothing where there is no target."""
    shown, clock = screen(terminal=True), Clock()
    live = LiveView(shown, clock)
    live.listen(Progress(1, 4, "m", "measuring", 0.5, 60.0, 754.0, NEAR))
    shown.console.print(live.picture())
    lines = shown.stream.getvalue().splitlines()
    assert lines[-1] == "±7.1 % of p99.9, to be ±5 %  about 30 s more"
    assert "60 s left" in lines[-2]
    assert all(len(line) <= 60 for line in lines)
    shown = screen(terminal=False)
    plain = PlainView(shown)
    plain.listen(Progress(1, 4, "m", "measuring", 0.1, 60.0))
    plain.listen(Progress(1, 4, "m", "measuring", 0.2, 55.0, reached=NEAR))
    plain.listen(Progress(1, 4, "m", "measuring", 0.3, 50.0, reached=NEAR))
    plain.listen(Progress(1, 4, "m", "measuring", 0.4, 40.0, reached=Reached("throughput", 0.02)))
    plain.listen(Progress(1, 4, "m", "measuring", 0.5, 30.0, reached=Reached("throughput", 0.02, 1.52)))
    assert shown.stream.getvalue().splitlines() == [
        "1/4 m · measuring (60 s left)",
        "1/4 m · measuring (±7.1 % of p99.9, to be ±5 %, about 30 s more)",
        "1/4 m · measuring (±\N{EN DASH} of throughput, to be ±2 %)",
        "1/4 m · measuring (±152 % of throughput, to be ±2 %)",
    ]


def test_plain_lines_tell_every_start_even_where_nothing_else_is_new() -> None:
    """Two starts of a comparison that know the same so far are two lines, and a sheet's rows as before."""
    shown = screen(terminal=False)
    plain = PlainView(shown)
    for start in (5, 5, 6):
        plain.listen(Progress(0, 0, f"start {start} of 6", "B / A 1.03 so far", 0.9, 7.0))
    assert shown.stream.getvalue().splitlines() == [
        "start 5 of 6 · B / A 1.03 so far (7 s left)", "start 6 of 6 · B / A 1.03 so far (7 s left)",
    ]  # fmt: skip


def test_plain_lines_tell_each_change_once() -> None:
    """A log grows by a line for a stage, not for a tick."""
    shown = screen(terminal=False)
    with PlainView(shown) as plain:
        for done in (0.1, 0.2, 0.3):
            plain.listen(Progress(2, 4, "bert_128", "measuring", done, None))
        plain.listen(Progress(2, 4, "bert_128", "judging"))
        plain.finished(row_of(RowRequest("bert_128")).failed("interrupted", "skipped"))
    assert shown.stream.getvalue().splitlines() == [
        "2/4 bert_128 · measuring", "2/4 bert_128 · judging", "bert_128: skipped: interrupted",
    ]  # fmt: skip


def test_which_view_is_shown() -> None:
    """Live in a terminal; else plain, or nothing where only JSON is wanted."""
    assert isinstance(view(screen(terminal=True), quiet=True), LiveView)
    assert type(view(screen(terminal=False), quiet=False)) is PlainView
    assert type(view(screen(terminal=False), quiet=True)) is SilentView
