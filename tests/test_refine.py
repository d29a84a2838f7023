"""Time goes to the rows that need it, and what stays wide says so."""

from dataclasses import replace

import pytest

from speedsheet.bench.refine import needed_s, reached, refined
from speedsheet.bench.sheet import compared
from speedsheet.core.measurement import Measurement, Throughput

ROW = Measurement("net", "onnx", "own", 1, 4, "fp32", requests=400, wall_s=10.0, device="CPU", engine="e")


def wide(half, value=100.0):
    return replace(ROW, throughput_samples_per_s=Throughput(value, value * (1 - half), value * (1 + half)))


def measuring(calls, noise_s):
    """An engine whose half-width is `noise_s` over the root of the window."""

    def measure(index, window_s):
        calls.append((index, window_s))
        return replace(wide(noise_s[index] / window_s**0.5), wall_s=window_s)

    return measure


def test_only_wide_rows_are_measured_again_and_reach_the_target():
    """A row that is known well enough is left alone."""
    calls = []
    rows = {0: wide(0.03), 1: wide(0.2), 2: replace(ROW, throughput_samples_per_s=Throughput(5.0))}
    done = refined(rows, 0.05, lambda: 1e9, measuring(calls, {1: 0.2 * 10**0.5, 2: 0.1}))
    assert {index for index, _ in calls} == {1, 2}
    assert all(reached(row, 0.05) for row in done.values())
    assert done[0] == rows[0]


def test_a_row_that_does_not_fit_into_the_budget_says_how_long_it_would_take():
    """It keeps its interval, and the finding names the window."""
    done = refined({0: wide(0.5)}, 0.05, lambda: 60.0, measuring([], {}))
    (finding,) = done[0].findings
    assert finding.code == "wide_interval"
    assert "--time 1300s" in finding.text
    assert done[0].throughput_samples_per_s == wide(0.5).throughput_samples_per_s


def test_noise_that_no_window_averages_out_ends_after_two_attempts():
    """A row that misses twice is left with what it has."""
    calls = []

    def measure(index, window_s):
        calls.append(window_s)
        return replace(wide(0.2), wall_s=window_s)

    done = refined({0: wide(0.2)}, 0.05, lambda: 1e9, measure)
    assert len(calls) == 2
    assert done[0].findings[-1].code == "wide_interval"


def test_a_failed_row_is_not_measured_again():
    """More time mends no crash."""
    failed = {0: ROW.failed("crashed")}
    assert refined(failed, 0.05, lambda: 1e9, measuring([], {})) == failed


def test_the_window_grows_with_the_square_of_what_is_missing():
    """Half the half-width takes four times as long, with a margin; no interval yet takes twelve rounds."""
    assert needed_s(wide(0.2), 0.1) == pytest.approx(4 * 10 * 1.3)
    assert needed_s(ROW, 0.1) == pytest.approx(10 * 4 / 400 * 12)


def test_int8_that_is_not_faster_is_said_aloud():
    """An int8 row slower than the same row in a wider type carries the finding, with the ratio."""
    fp32 = replace(wide(0.01, 100.0), precision_executed={"fp32": 1.0})
    int8 = replace(wide(0.01, 40.0), precision="int8", precision_executed={"int8": 1.0})
    fast = replace(int8, throughput_samples_per_s=Throughput(300.0))
    slow = compared([fp32, int8])[1]
    assert [finding.code for finding in slow.findings] == ["int8_slower"]
    assert "0.40 x the throughput of fp32" in slow.findings[0].text
    assert compared([fp32, fast])[1] == fast
