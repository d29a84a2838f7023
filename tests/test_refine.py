"""Time goes to the rows that need it, and what stays wide says so."""

from dataclasses import replace

import pytest

from speedsheet.bench.refine import around_s, needed_s, reached
from speedsheet.bench.refine import refined as better
from speedsheet.bench.sheet import compared, measure_sheet
from speedsheet.core.errors import BadModel
from speedsheet.core.measurement import Measurement, Throughput
from speedsheet.core.plan import Reached
from speedsheet.core.request import RowRequest

ROW = Measurement("net", "onnx", "own", 1, 4, "fp32", requests=400, wall_s=10.0, device="CPU", engine="e")


def wide(half, target=0.05, wall_s=10.0):
    more_s = max((half / target) ** 2 - 1, 0) * wall_s
    return replace(ROW, wall_s=wall_s, targets=(Reached("throughput", target, half, more_s),))


def refined(rows, left_s, measure):
    return rows | dict(better(rows, left_s, measure))


class Machine:
    """Rows whose half-width is their noise over the root of the window; a clock that runs while they are measured."""

    def __init__(self, noise, budget_s=1e9):
        self.noise, self.left, self.calls = noise, budget_s, []

    def __call__(self, index, window_s):
        self.calls.append((index, window_s))
        self.left -= window_s
        return wide(self.noise[index] / window_s**0.5, wall_s=window_s)

    def left_s(self):
        return self.left


def test_only_wide_rows_are_measured_again_and_reach_the_target():
    """A row that is known well enough is left alone; one that has no interval yet gets the rounds for one."""
    machine = Machine({1: 0.2 * 10**0.5, 2: 0.03})
    rows = {0: wide(0.03), 1: wide(0.2), 2: replace(ROW, targets=(Reached("throughput", 0.05),))}
    done = refined(rows, machine.left_s, machine)
    assert {index for index, _ in machine.calls} == {1, 2}
    assert all(reached(row) for row in done.values())
    assert done[0] == rows[0]


def test_a_second_goes_where_it_buys_most():
    """What needs least comes first, so that as many rows as possible reach their targets in the budget."""
    machine = Machine({index: 0.05 * need_s**0.5 for index, need_s in enumerate([400, 30, 90])}, budget_s=200)
    done = refined({0: wide(0.32), 1: wide(0.087), 2: wide(0.15)}, machine.left_s, machine)
    assert [index for index, _ in machine.calls] == [1, 2, 0]
    assert [reached(done[index]) for index in range(3)] == [False, True, True]


def test_what_is_left_goes_to_a_row_that_comes_nearer():
    """A row that cannot reach its target in the budget is known better all the same, and not for a few seconds more."""
    machine = Machine({0: 0.5 * 10**0.5}, budget_s=70)
    done = refined({0: wide(0.5)}, machine.left_s, machine)
    assert machine.calls == [(0, 65)]
    assert done[0].targets[0].half_width < 0.25
    machine = Machine({0: 0.5 * 10**0.5}, budget_s=19)
    assert refined({0: wide(0.5)}, machine.left_s, machine) == {0: wide(0.5)}


def test_loading_is_counted():
    """A model that takes half a minute to load is not measured again in ten seconds."""
    slow = replace(wide(0.06), load_ms=25_000.0, first_inference_ms=5_000.0)
    assert around_s(slow) == pytest.approx(35)
    machine = Machine({0: 0.1}, budget_s=30)
    assert refined({0: slow}, machine.left_s, machine) == {0: slow}


def test_noise_that_no_window_averages_out_ends_after_two_attempts():
    """A row that misses twice is left with what it has."""
    calls = []

    def measure(index, window_s):
        calls.append(window_s)
        return wide(0.2, wall_s=window_s)

    done = refined({0: wide(0.2)}, lambda: 1e9, measure)
    assert len(calls) == 2
    assert done[0].targets[0].half_width == 0.2


def test_a_row_is_never_given_up_for_a_worse_one():
    """A longer measurement that fails, or a shorter one that misses too, leaves the row as it was."""
    for again in (ROW.failed("crashed"), wide(0.3, wall_s=2.0)):
        assert refined({0: wide(0.2)}, lambda: 1e9, lambda _index, _window_s, row=again: row) == {0: wide(0.2)}


def test_a_failed_row_is_not_measured_again():
    """More time mends no crash."""
    failed = {0: ROW.failed("crashed")}
    assert refined(failed, lambda: 1e9, Machine({})) == failed


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), BadModel("no such file"), OSError("no space left")])
def test_what_is_better_known_is_kept_whatever_comes_after_it(trouble, small_model, tmp_path, monkeypatch):
    """Ctrl-C, or a model that is gone, while one row is measured again: the others are better, and that one as it was.

    Each better row is told as it comes, under the number that it had.
    """
    measured, told, numbers = [], [], []

    def measure(request, _desk, tell, limits):
        measured.append(request.seed)
        tell("measuring", None, None)
        if request.seed in measured[4:5]:
            raise trouble
        return replace(wide(0.2 if limits.window_s is None else 0.01), model=request.model, record=f"{len(measured)}")

    monkeypatch.setattr("speedsheet.bench.sheet.measure_row", measure)
    requests = [RowRequest(str(small_model), engine="onnxruntime", seed=seed, thread_num=4 - seed) for seed in range(3)]
    rows = measure_sheet(
        requests, store=tmp_path, refine=True, finished=told.append,
        listen=lambda progress: numbers.append((progress.row, progress.rows)),
    ).rows  # fmt: skip
    assert measured[:3] == [2, 1, 0]
    again, broken = measured[3:5]
    assert [row.record for row in told[:4]] == ["1", "2", "3", "4"]
    assert rows[again].record == "4"
    assert rows[broken].record == str(1 + measured.index(broken))
    assert [number for number, _ in numbers[3:5]] == [1 + measured.index(again), 1 + measured.index(broken)]
    assert {count for _, count in numbers} == {3}


def test_the_window_is_for_the_target_that_needs_most():
    """Several targets are met together; where one cannot tell its time, it gets twelve rounds."""
    both = (Reached("throughput", 0.05, 0.1, 30.0), Reached("p99", 0.05, 0.2, 150.0), Reached("p50", 0.05, 0.01, 0.0))
    assert needed_s(replace(ROW, targets=both)) == pytest.approx(160)
    assert needed_s(replace(ROW, targets=(Reached("throughput", 0.1),))) == pytest.approx(10 * 4 / 400 * 12)
    assert needed_s(replace(ROW, processes=2, targets=both)) == pytest.approx(155)


def test_int8_that_is_not_faster_is_said_aloud():
    """An int8 row slower than the same row in a wider type carries the finding, with the ratio."""
    fp32 = replace(ROW, throughput_samples_per_s=Throughput(100.0, 99.0, 101.0), precision_executed={"fp32": 1.0})
    int8 = replace(
        ROW, throughput_samples_per_s=Throughput(40.0, 39.0, 41.0), precision="int8", precision_executed={"int8": 1.0}
    )
    fast = replace(int8, throughput_samples_per_s=Throughput(300.0))
    slow = compared([fp32, int8])[1]
    assert [finding.code for finding in slow.findings] == ["int8_slower"]
    assert "0.40 x the throughput of fp32" in slow.findings[0].text
    assert compared([fp32, fast])[1] == fast


def test_int8_is_called_slower_only_where_that_is_known():
    """Intervals that overlap tell nothing; rows of other thread_nums are compared, and both are named."""
    fp32 = replace(ROW, throughput_samples_per_s=Throughput(100.0, 95.0, 105.0), precision_executed={"fp32": 1.0})
    int8 = replace(fp32, throughput_samples_per_s=Throughput(99.9, 95.0, 105.0), precision="int8")
    assert compared([fp32, int8])[1] == int8
    slow = replace(int8, thread_num=1, throughput_samples_per_s=Throughput(50.0, 49.0, 51.0))
    (finding,) = compared([fp32, slow])[1].findings
    assert finding.text == "int8 at thread_num 1 gives 0.50 x the throughput of fp32 at thread_num 4 on e"
