"""The card's quantiser: steps that are powers of two, ranges that are calibrated, and histograms without an order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from speedsheet.twin.quantiser import (
    CALIBRATIONS,
    LEVELS,
    Histogram,
    exact_step,
    power_of_two_step,
    rounded_to,
    sqnr_db,
)

FLOATS = arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e4, 1e4, width=32))
ANY = arrays.arrays(np.float32, 40, elements=st.floats(allow_nan=False, allow_infinity=False, width=32))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(FLOATS)
def test_a_power_of_two_step_holds_every_weight_and_no_smaller_one_does(weight):
    """The step is a power of two, 128 of it reach the largest magnitude, and half of it would not."""
    step = power_of_two_step(weight)
    largest = float(np.max(np.abs(weight)))
    assert np.frexp(step)[0] == 0.5
    if largest > 1e-35:
        assert LEVELS * step / 2 < largest <= LEVELS * step


@given(FLOATS, st.floats(1e-3, 1e3))
def test_rounding_is_to_the_nearest_level(array, step):
    """Within the range nothing moves by more than half a step; beyond it everything becomes the last level."""
    made = rounded_to(step, array)
    inside = np.abs(array) <= 127 * step
    assert np.all(np.abs(made - array)[inside] <= step / 2 * (1 + 1e-3))
    assert np.allclose(np.abs(made[~inside]), 127 * step, rtol=1e-5)
    assert np.array_equal(rounded_to(step, -array), -made)


def test_a_power_of_two_costs_weights_what_theory_says():
    """A uniform weight just above a power of two loses 6 dB against the step that fits it; just below, nothing."""
    weight = np.random.default_rng(1).uniform(-1, 1, 100_000).astype(np.float32)
    for largest, lost in ((1.001, 6.0), (0.999, 0.0)):
        scaled = weight * np.float32(largest)
        card, free = (sqnr_db(scaled, rounded_to(find(scaled), scaled)) for find in (power_of_two_step, exact_step))
        assert free == pytest.approx(20 * np.log10(127 / np.sqrt(3) * np.sqrt(12)), abs=0.1)
        assert free - card == pytest.approx(lost, abs=0.1)


@given(st.lists(ANY, min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_a_histogram_does_not_depend_on_the_order_of_requests(requests):
    """Bins that doubled count what bins of that width would have counted."""
    one, other = Histogram(), Histogram()
    for request in requests:
        one.add(request)
    for request in reversed(requests):
        other.add(request)
    assert one.width == other.width
    assert one.zeros == other.zeros
    assert np.array_equal(one.counts, other.counts)
    assert one.zeros + one.counts.sum() == 40 * len(requests)
    for calibration in CALIBRATIONS:
        assert one.threshold(calibration) == other.threshold(calibration) <= one.largest
        assert np.all(np.isfinite(rounded_to(one.step(calibration), requests[0])))


def test_both_calibrations_leave_outliers_out():
    """One value in a million does not stretch the range; KL cuts a long tail, which the percentile keeps."""
    lone = np.append(normal(1_000_000), np.float32(1000))
    seen = Histogram()
    seen.add(lone)
    for calibration in CALIBRATIONS:
        assert seen.threshold(calibration) < 50, calibration
    tailed = Histogram()
    tailed.add(np.random.default_rng(2).standard_t(3, 300_000).astype(np.float32))
    assert tailed.threshold("kl") < 0.7 * tailed.threshold("percentile") < tailed.largest


def test_the_percentile_is_the_quantile_to_a_bin():
    """Of values without outliers the 99.999th percentile is the largest but a few."""
    values = np.abs(normal(400_000, seed=3))
    seen = Histogram()
    seen.add(values)
    assert seen.threshold("percentile") == pytest.approx(np.quantile(values, 0.99999), abs=2 * seen.width)


def test_kl_keeps_what_never_comes_near_zero():
    """Values from 3 to 5 are not clipped whole, though clipping them would diverge from nothing."""
    seen = Histogram()
    seen.add(np.random.default_rng(4).uniform(3, 5, 50_000).astype(np.float32))
    assert seen.threshold("kl") > 4.5


def test_zeros_and_nothing_have_a_step():
    """A tensor of zeros is exact; NaN is no calibration."""
    seen = Histogram()
    seen.add(np.zeros(10, np.float32))
    assert [seen.step(calibration) for calibration in CALIBRATIONS] == [1.0, 1.0]
    assert power_of_two_step(np.zeros(3, np.float32)) == 1.0
    with pytest.raises(ValueError, match="NaN"):
        seen.add(np.array([1, np.nan], np.float32))
