"""Two figures that were measured apart: ratios whose intervals hold, verdicts that do not cry wolf."""

from __future__ import annotations

from math import exp, hypot, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from speedsheet.core.measurement import Throughput
from speedsheet.stats.independent import ONE_PROCESS, ratio, verdict

POSITIVE = st.floats(1e-3, 1e9)


def figure(value: float, half: float) -> Throughput:
    return Throughput(value, value * exp(-half), value * exp(half))


@given(POSITIVE, POSITIVE, st.floats(1e-4, 0.5), st.floats(1e-4, 0.5), st.sampled_from([1, 2, 3, 5]))
def test_b_over_a_is_a_over_b_turned_over(a, b, half_a, half_b, processes):
    """Whichever side is called A, the same is said."""
    one = ratio(figure(a, half_a), figure(b, half_b), (processes, 1))
    other = ratio(figure(b, half_b), figure(a, half_a), (1, processes))
    assert one.value == pytest.approx(1 / other.value)
    assert (one.low, one.high) == (pytest.approx(1 / other.high), pytest.approx(1 / other.low))
    assert one.low <= one.value <= one.high


@given(st.floats(0.5, 2.0), st.floats(1e-3, 0.1))
def test_a_figure_against_itself_never_differs(value, half):
    """The same figure on both sides has no winner."""
    same = figure(value, half)
    assert verdict(same, same).outcome == "none"


@given(st.floats(1e-4, 0.2), st.floats(1e-4, 0.2))
def test_one_process_widens_and_three_do_not(half_a, half_b):
    """What differs between processes is allowed for where a figure cannot hold it."""
    alone = ratio(figure(1.0, half_a), figure(1.0, half_b), (1, 1))
    held = ratio(figure(1.0, half_a), figure(1.0, half_b), (3, 3))
    assert log(held.high) == pytest.approx(np.hypot(half_a, half_b))
    assert log(alone.high) == pytest.approx(np.sqrt(half_a**2 + half_b**2 + 2 * ONE_PROCESS**2))


def test_intervals_hold_and_verdicts_are_rarely_false():
    """Of 4 000 pairs whose figures have honest intervals, 95 % hold and at most 1 % of equal ones differ."""
    draw = np.random.default_rng(920)
    spread, times = 0.03, 4000
    logs = draw.standard_normal((times, 2)) * spread
    half = 1.96 * spread
    pairs = [(figure(exp(a), half), figure(1.1 * exp(b), half)) for a, b in logs]
    held = sum(one.low <= 1.1 <= one.high for one in (ratio(a, b, (3, 3)) for a, b in pairs))
    assert 0.94 * times <= held <= 0.96 * times
    equal = [(figure(exp(a), half), figure(exp(b), half)) for a, b in logs]
    assert sum(verdict(a, b, (3, 3)).outcome != "none" for a, b in equal) <= 0.01 * times


@pytest.mark.parametrize(("b", "allow", "outcome"), [(1.2, 0.0, "faster"), (0.8, 0.0, "slower"), (0.96, 0.05, "none"),
                                                     (0.8, 0.05, "slower"), (1.03, 0.05, "none")])  # fmt: skip
def test_an_allowance_is_for_both_ways(b, allow, outcome):
    """What is within the allowance is no difference, however well it is known."""
    assert verdict(figure(1.0, 0.001), figure(b, 0.001), (3, 3), allow).outcome == outcome


def test_few_processes_say_less_at_99_per_cent():
    """Three processes have two degrees of freedom, two have one: Student's factor from 95 to 99 % is theirs."""
    for processes, degrees in ((2, 1), (3, 2), (9, 4)):
        found = verdict(figure(1.0, 0.05), figure(1.0, 0.03), (processes, processes))
        alone = ONE_PROCESS if processes == 2 else 0.0
        wider = stats.t.ppf(0.995, degrees) / stats.t.ppf(0.975, degrees)
        assert log(found.high) == pytest.approx(wider * hypot(0.05, 0.03, alone, alone), rel=1e-6)


def test_an_interval_that_reaches_below_nothing_is_none():
    """Records of earlier versions have such ones: there is a ratio, and no verdict."""
    assert verdict(Throughput(2.0, -0.5, 4.5), figure(2.0, 0.1)) is None
    assert ratio(Throughput(2.0, -0.5, 4.5), figure(2.0, 0.1)).low is None


def test_without_an_interval_there_is_a_ratio_and_no_verdict():
    """A printed figure has no interval: the ratio is shown, and nothing is established."""
    assert ratio(figure(2.0, 0.1), Throughput(4.0)).value == pytest.approx(2.0)
    assert ratio(figure(2.0, 0.1), Throughput(4.0)).low is None
    assert verdict(figure(2.0, 0.1), Throughput(4.0)) is None
    assert ratio(Throughput(), figure(2.0, 0.1)).value is None
