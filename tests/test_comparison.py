"""What a comparison promises: intervals that hold and verdicts that are seldom false, whatever the host does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from speedsheet.core.comparison import Block, Design
from speedsheet.core.samples import AFTER, WARMUP, WINDOW, Samples
from speedsheet.stats.comparison import (
    FIRST_LOOK,
    MIN_GENERATIONS,
    b_first,
    centre,
    counted,
    designed,
    log_interval,
    log_ratios,
    next_look,
    ratio,
    typical,
    verdict,
)
from speedsheet.testing.blocks import HOSTS, REALISTIC, Noise
from speedsheet.testing.blocks import log_ratios as simulated

#: What `designed` lays out for a minute of measuring, and the least that it ever does.
MINUTE, LEAST = Design(10, 6, 0.5), Design(6, 2, 0.5)
RUNS, FEW = 1200, 300


def held_and_false(generations, true=0.0):
    """Return the share of 95 % intervals that hold, and which runs a 99 % interval without `true` gives a verdict."""
    _, low, high = log_interval(generations, 0.95)
    _, low99, high99 = log_interval(generations, 0.99)
    return float(np.mean((low <= true) & (true <= high))), (low99 > 0) | (high99 < 0)


@pytest.mark.parametrize("design", [MINUTE, LEAST], ids=["a minute", "the least"])
@pytest.mark.parametrize("host", HOSTS)
def test_same_against_same_seldom_differs_and_the_interval_holds(host, design):
    """At most 8 false verdicts in 300, and 95 % intervals hold in 92 to 98 % of 1 200 runs, on every kind of host.

    At 1 %, more than 8 in 300 come by chance once in 270 times; the standard error of the coverage is 0.6 %.
    Two pairs a start under heavy disturbance hold more often than promised: there the least design has no upper bound.
    """
    held, false = held_and_false(centre(simulated(RUNS, design, HOSTS[host])))
    assert false[:FEW].sum() <= 8
    assert held >= 0.92
    assert held <= (0.98 if design is MINUTE else 1.0)


@pytest.mark.parametrize("difference", [0.03, -0.3, 1.0])
def test_the_interval_holds_a_true_difference(difference):
    """As often as it holds none."""
    held, _ = held_and_false(centre(simulated(RUNS, MINUTE, REALISTIC, difference=difference)), difference)
    assert 0.92 <= held <= 0.98


def test_a_true_slowdown_of_3_percent_is_found_in_a_minute():
    """In at least 90 % of 1 200 runs at the realistic level of noise, and never as a speed-up."""
    generations = centre(simulated(RUNS, MINUTE, REALISTIC, difference=-np.log(1.03)))
    _, low, high = log_interval(generations, 0.99)
    assert np.mean(high < 0) >= 0.9
    assert not np.any(low > 0)


def pooled_false(pairs):
    """Count false verdicts of the naive test: Student's over all pairs as if they were independent."""
    values = pairs.reshape(len(pairs), -1)
    half = stats.t.ppf(0.995, values.shape[1] - 1) * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
    return int(np.sum(np.abs(values.mean(axis=1)) > half))


def test_a_pooled_test_cries_wolf():
    """The check above fails for the t test that ignores that a process keeps its offset: over 8 false in 300."""
    pairs = simulated(FEW, MINUTE, HOSTS["processes differ by 2 %"])
    assert pooled_false(pairs) > 30
    assert pooled_false(simulated(FEW, MINUTE, HOSTS["processes differ by 1 %"])) > 8


def test_one_start_of_both_sides_cries_wolf():
    """So does the interval over the pairs of a single start, however many they are."""
    _, false = held_and_false(simulated(FEW, Design(1, 60, 0.5), HOSTS["processes differ by 1 %"])[:, 0])
    assert false.sum() > 30


def test_blocks_apart_instead_of_side_by_side_find_less():
    """All of A and then all of B lets the host's drift in: what interleaving is for."""
    drifting = Noise(white=0.005, drift_per_min=0.2)
    apart = Design(6, 1, 20.0)
    beside = log_interval(centre(simulated(FEW, LEAST, drifting)), 0.95)
    behind = log_interval(centre(simulated(FEW, apart, drifting)), 0.95)
    assert np.median(beside[2] - beside[1]) < np.median(behind[2] - behind[1]) / 3


def with_target(values, target, most):
    """Play the looks on one run's values; return the values used and the looks."""
    looks, count = [], next_look((), target, (), most)
    while True:
        looks.append(count)
        further = next_look(values[:count].tolist(), target, looks, most)
        if further <= count:
            return values[:count], looks
        count = further


@pytest.mark.parametrize("host", ["realistic", "processes differ by 1 %", "a neighbour takes a third for 5 s"])
def test_ending_at_a_target_keeps_the_promise(host):
    """With --precision-target too: at most 8 false in 300, and intervals hold in 92 to 98 % of 1 000 runs."""
    held = false = met = 0
    for run, values in enumerate(centre(simulated(1000, Design(40, 2, 0.5), HOSTS[host]))):
        used, looks = with_target(values, 0.012, 40)
        _, low, high = log_interval(used, 0.95, looks)
        held += low <= 0 <= high
        found = verdict(used.tolist(), looks)
        false += found.outcome != "none" and run < FEW
        met += (high - low) / 2 <= 0.0121
    assert false <= 8
    assert 920 <= held <= 985
    assert met > (50 if "neighbour" in host else 500)


def test_looking_after_every_start_would_not_keep_it():
    """Ending as soon as the width is reached, with the spread as it is then, holds too seldom."""
    held = 0
    values = centre(simulated(1000, Design(40, 2, 0.5), HOSTS["processes differ by 1 %"]))
    for run in values:
        for count in range(3, 41):
            _, low, high = log_interval(run[:count], 0.95)
            if (high - low) / 2 <= 0.012 or count == 40:
                held += low <= 0 <= high
                break
    assert held < 920


generations = st.lists(st.floats(-2, 2), min_size=MIN_GENERATIONS, max_size=30)


@given(generations)
def test_b_over_a_is_a_over_b_turned_over(values):
    """Which side is called A changes the sign and nothing else."""
    one, other = ratio(values), ratio([-value for value in values])
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high)
    turned = {"faster": "slower", "slower": "faster", "none": "none"}
    assert verdict(values).outcome == turned[verdict([-value for value in values]).outcome]


@given(generations, st.floats(-1, 1))
def test_a_faster_b_shifts_the_ratio(values, shift):
    """A factor on every generation is a factor on the ratio; the relative width stays."""
    one, other = ratio(values), ratio([value + shift for value in values])
    assert other.value == pytest.approx(one.value * np.exp(shift))
    assert other.half_width == pytest.approx(one.half_width, rel=1e-6, abs=1e-9)


@given(generations)
def test_a_verdict_is_surer_than_the_interval(values):
    """Where the verdict says that B differs, one lies outside the 95 % interval; 99 % is wider than 95 %."""
    found, shown = verdict(values), ratio(values)
    assert found.low <= shown.low <= shown.value <= shown.high <= found.high
    assert found.outcome == "none" or not shown.low <= 1 <= shown.high


@given(generations, st.lists(st.integers(2, 30), max_size=3))
def test_looks_never_narrow_an_interval(values, looks):
    """Deciding on the way costs width, and moves nothing."""
    inside = [look for look in looks if look <= len(values)]
    assert ratio(values, looks=inside).value == ratio(values).value
    assert ratio(values, looks=inside).half_width >= ratio(values).half_width


def test_too_few_starts_have_a_ratio_and_no_interval():
    """Nothing is said of what is not known."""
    assert ratio([]).value is None
    five = ratio([0.1] * 5)
    assert five.value == pytest.approx(np.exp(0.1))
    assert five.low is five.high is five.half_width is None
    assert verdict([0.1] * 5) is None


@given(st.floats(-1, 1), st.lists(st.floats(-0.01, 0.01), min_size=6, max_size=12), st.floats(-3, 3))
def test_a_spoilt_block_does_not_move_a_generation_far(middle, noise, spoilt):
    """One pair in seven may be anything: the centre stays within what the others span."""
    values = np.array([middle + each for each in noise])
    with_one = np.append(values, spoilt)
    assert values.min() - 1e-9 <= centre(with_one) <= values.max() + 1e-9


def test_the_centre_is_that_of_scipy():
    """Hodges and Lehmann's estimate, by its definition."""
    values = np.random.default_rng(1).standard_normal(9)
    walsh = [(a + b) / 2 for place, a in enumerate(values) for b in values[place:]]
    assert centre(values) == pytest.approx(np.median(walsh))


@given(st.floats(1, 7200), st.floats(1e-6, 30), st.floats(0.1, 60), st.booleans())
def test_a_design_has_enough_starts_and_rounds(time_s, round_s, start_s, soon):
    """At least six starts; blocks of half a second and of four rounds; the time is kept where that allows it."""
    design = designed(time_s, round_s=round_s, start_s=start_s, soon=soon)
    assert design.generations >= MIN_GENERATIONS
    assert design.block_s >= max(0.5, 4 * round_s)
    assert design.rounds >= 1
    least_s = MIN_GENERATIONS * 2 * design.block_s
    assert design.measured_s <= max(time_s * 1.01, least_s)
    if time_s >= 2 * least_s and not soon:
        assert design.measured_s >= time_s / 2
        starts_s = design.generations * start_s
        assert starts_s <= time_s * 1.5 or design.generations == MIN_GENERATIONS


def test_a_minute_is_laid_out_as_documented():
    """Ten starts, twelve blocks of half a second each."""
    assert designed(60, round_s=0.05, start_s=2.0) == MINUTE
    assert FIRST_LOOK == 10


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**31))
def test_the_order_is_random_seeded_and_mirrored(starts, rounds, seed):
    """Every second pair mirrors the one before it: ABBA or BAAB, so that a steady drift cancels."""
    order = b_first(Design(starts, rounds, 0.5), seed)
    assert order.shape == (starts, rounds)
    assert np.array_equal(order, b_first(Design(starts, rounds, 0.5), seed))
    for row in order:
        assert all(a != b for a, b in list(pairwise(row))[::2])


def test_either_side_begins_as_often():
    """Over many pairs and seeds."""
    orders = np.stack([b_first(Design(10, 1, 0.5), seed) for seed in range(200)])
    assert 0.46 <= orders.mean() <= 0.54


def block_of(side, generation, place, speed):
    return Block(side, generation, place, first=True, open_ns=0, close_ns=1, requests=1,
                 throughput_samples_per_s=speed, mean_ms=1 / speed, p50_ms=1 / speed)  # fmt: skip


@settings(max_examples=30)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 1000), st.randoms())
def test_blocks_are_paired_by_generation_and_round(starts, rounds, seed, shuffle):
    """In whatever order they come; a block's partner is the other side's in the same round of the same start."""
    draw = np.random.default_rng(seed)
    speeds = draw.uniform(1, 2, (starts, rounds, 2))
    blocks = [
        block_of("ab"[side], start, place, speeds[start, place, side])
        for start in range(starts)
        for side in range(2)
        for place in range(rounds)
    ]
    found = log_ratios(blocks, "throughput_samples_per_s")
    assert found == pytest.approx(centre(np.log(speeds[..., 1] / speeds[..., 0])).tolist())
    assert log_ratios(blocks, "mean_ms") == pytest.approx([-value for value in found])
    shuffled = shuffle.sample(blocks, len(blocks))
    assert sorted(log_ratios(shuffled, "throughput_samples_per_s")) == pytest.approx(sorted(found))
    assert typical(blocks, "a", "p50_ms").value == pytest.approx(
        1 / np.exp(centre(np.log(speeds[..., 0])).mean()), rel=1e-9
    )


def block_samples(rounds, thread_num, warm_rounds=1):
    """Clients in step, a round a second."""
    ends = np.repeat(np.arange(1, rounds + 1), thread_num) * 1_000_000_000 + np.tile(np.arange(thread_num), rounds)
    phase = np.full(ends.size, WINDOW, np.int8)
    phase[: warm_rounds * thread_num] = WARMUP
    phase[-thread_num:] = AFTER
    client = np.tile(np.arange(thread_num, dtype=np.int32), rounds)
    starts = ends - 1_000_000_000
    opened = int(ends[warm_rounds * thread_num - 1])
    closed = int(ends[-thread_num - 1])
    return Samples(client, client, starts, starts, ends, phase, np.zeros(ends.size, bool), opened, closed)


@given(st.integers(4, 30), st.integers(1, 5), st.floats(0, 40))
def test_the_first_part_of_a_block_is_warm_up(rounds, thread_num, warmup_s):
    """What is left are whole rounds to the block's end, at least one; what was before is marked, not lost."""
    before = block_samples(rounds, thread_num)
    after = counted(before, thread_num, round(warmup_s * 1e9))
    assert after.end_ns.size == before.end_ns.size
    assert after.close_ns == before.close_ns
    served = int(after.window.sum())
    assert served >= thread_num
    assert served % thread_num == 0
    wanted = np.sum(before.end_ns[before.window] > before.start_ns.min() + round(warmup_s * 1e9)) // thread_num
    assert served // thread_num == max(wanted, 1)
    assert after.window.sum() / ((after.close_ns - after.open_ns) / 1e9) == pytest.approx(thread_num, rel=1e-6)
    assert after.open_ns == after.end_ns[np.flatnonzero(after.window)[0] - 1]


def test_a_block_with_no_warm_up_left_to_take_stays_as_it_is():
    """Nothing is copied or moved."""
    before = block_samples(6, 2)
    assert counted(before, 2, 0) is before
    assert counted(replace(before), 2, 10**12).window.sum() == 2
