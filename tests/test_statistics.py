"""What the estimates promise: intervals that hold, percentiles only where there is enough, and Little's law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from speedsheet.core.samples import AFTER, WARMUP, WINDOW, Samples
from speedsheet.stats.autocorrelation import integrated_time, lasting_time
from speedsheet.stats.estimates import estimate, pooled
from speedsheet.stats.percentiles import requests_needed
from speedsheet.stats.rounds import Rounds
from speedsheet.stats.spread import spread
from speedsheet.stats.student import incomplete_beta, t_quantile
from speedsheet.testing.simulated import autoregression, lognormal, regimes, scaled, simulate


def closed_loop(latency_s, thread_num, *, open_round=1):
    """Simulate clients that never pause; `latency_s` is (clients, requests)."""
    ends = np.cumsum(np.asarray(latency_s) * 1e9, axis=1).astype(np.int64) + 1_000
    starts = np.concatenate([np.zeros((thread_num, 1), np.int64) + 1_000, ends[:, :-1]], axis=1)
    open_ns = int(ends[:, open_round - 1].max())
    flat = np.sort(ends[(ends > open_ns) & (ends <= ends[:, -1].min())])
    close_ns = int(flat[flat.size // thread_num * thread_num - 1])
    order = np.argsort(ends.ravel(), kind="stable")
    end_ns, start_ns = ends.ravel()[order], starts.ravel()[order]
    client = np.repeat(np.arange(thread_num, dtype=np.int32), ends.shape[1])[order]
    phase = np.where(end_ns <= open_ns, WARMUP, np.where(end_ns > close_ns, AFTER, WINDOW)).astype(np.int8)
    failed = np.zeros(end_ns.size, bool)
    return Samples(client, client, start_ns, start_ns, end_ns, phase, failed, open_ns, close_ns)


@given(st.floats(0.5, 0.999), st.integers(1, 200))
def test_t_quantiles_are_students(confidence, degrees):
    """Our quantile is SciPy's, so that the core does without SciPy."""
    assert t_quantile(confidence, degrees) == pytest.approx(stats.t.ppf((1 + confidence) / 2, degrees), rel=1e-7)


@given(st.floats(0.5, 100), st.floats(0.5, 100), st.floats(0, 1))
def test_incomplete_beta_is_the_special_function(a, b, x):
    """The function behind the quantile agrees with SciPy's over its range."""
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-8, abs=1e-12)


@pytest.mark.parametrize(("confidence", "degrees"), [(0.0, 3), (1.0, 3), (0.9, 0)])
def test_no_quantile_outside_its_range(confidence, degrees):
    """A quantile that does not exist is an error, not a number."""
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(confidence, degrees)


@pytest.mark.parametrize(("quantile", "needed"), [(0.5, 11), (0.9, 64), (0.99, 662), (0.999, 6636)])
def test_percentiles_need_what_loadgen_needs(quantile, needed):
    """The fewest requests for a percentile are those of LoadGen's early stopping at 99 %."""
    assert requests_needed(quantile) == needed


@given(st.lists(st.floats(1e-3, 10.0), min_size=8, max_size=24))
@settings(max_examples=200, deadline=None)
def test_no_interval_reaches_below_nothing(latency_s):
    """However few and however different requests are: latencies and throughputs are positive."""
    said = estimate(closed_loop([[*latency_s, 1.0]], 1), batch_size=1, thread_num=1)
    for figure, value in ((said.latency_ms, said.latency_ms.mean), (said.throughput_samples_per_s, None)):
        assert figure.low is None or 0 <= figure.low <= (value or figure.value) <= figure.high


def test_a_process_weighs_as_many_rounds_as_it_has():
    """One round more, and a process is folded to half as many bins: it counts no less for that."""
    draw = np.random.default_rng(3)
    first, second = 1.0 + draw.standard_normal(4096) * 1e-3, 2.0 + draw.standard_normal(4097) * 1e-3
    pairs = [Rounds(*[one.reshape(-1, 1)] * 3, kept_ns=0).binned(one.reshape(-1, 1)) for one in (first, second)]
    assert [series.size for series in pairs] == [4096, 2048]
    apart = second[1:].mean() - first.mean()
    assert spread(pairs, [4096, 4097]).error == pytest.approx(apart / 2, rel=1e-3)
    assert spread([first, second[1:]], [4096, 4096]).error == pytest.approx(apart / 2)


def test_what_is_slow_is_seen_under_noise():
    """A disturbance that lasts 75 elements under four times its noise: the integrated time hardly tells of it."""
    draw = np.random.default_rng(5)
    seen = [draw.standard_normal(4096) + 0.5 * autoregression(draw.standard_normal(4096), 74 / 76) for _ in range(50)]
    integrated = [integrated_time(series) for series in seen]
    lasting = [lasting_time(series, tau) for series, tau in zip(seen, integrated, strict=True)]
    assert np.median(integrated) < 20
    assert 55 <= np.median(lasting) <= 150
    assert all(least <= found for least, found in zip(integrated, lasting, strict=True))


@given(st.integers(1, 5000), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_what_is_independent_does_not_seem_to_last(size, seed):
    """Noise alone lasts no longer than it did, but for a chance of one in a hundred at each length of bin."""
    draw = np.random.default_rng(seed)
    lasting = [lasting_time(draw.standard_normal(size), 1.0) for _ in range(20)]
    assert np.median(lasting) == 1.0
    assert lasting_time(np.zeros(size), 3.0) == 3.0


def test_processes_that_agree_are_one_and_those_that_differ_are_not():
    """Three processes apart by more than their noise: few degrees of freedom; by less: those of the noise."""
    noise = [np.random.default_rng(seed).standard_normal(1000) for seed in range(3)]
    alike, apart = ([one - one.mean() + shift * turn for turn, one in enumerate(noise)] for shift in (0.01, 1.0))
    agreed, differ = spread(alike, [1000] * 3), spread(apart, [1000] * 3)
    assert agreed.degrees > 20
    assert agreed.noise is None
    assert (differ.degrees, differ.error) == (2, pytest.approx(1 / 3**0.5))
    assert differ.noise.error == pytest.approx(agreed.error)
    assert differ.noise.degrees == agreed.degrees


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_intervals_of_processes_hold_however_far_they_differ(processes):
    """Not at all, or by one to sixteen times the variance of their noise: 93 % and more hold, but for chance."""
    draw, runs, rounds = np.random.default_rng(11), 1000, 100
    for times in (0, 1, 2, 4, 8, 16):
        held = 0
        for _ in range(runs):
            offsets = draw.standard_normal(processes) * (times / rounds) ** 0.5
            series = [offset + draw.standard_normal(rounds) for offset in offsets]
            held += abs(np.mean(series)) <= spread(series, [rounds] * processes).half_width
        assert 0.93 - 3 * (0.07 * 0.93 / runs) ** 0.5 <= held / runs, times
        assert held / runs <= 0.985 + 3 * (0.015 * 0.985 / runs) ** 0.5, times


@pytest.mark.parametrize(("apart", "shown"), [(0.02, True), (0.1, True), (0.5, False)])
def test_a_percentile_is_not_withheld_for_processes_that_differ(apart, shown):
    """Processes that differ by some per cent widen p99, and take no request away; by half, one is all of it."""
    runs = [simulate(scaled(lognormal(), 1 + apart * turn), clients=8, requests=3_200, seed=turn) for turn in range(3)]
    together = pooled(runs, batch_size=1, thread_num=8).latency_ms
    alone = estimate(runs[1], batch_size=1, thread_num=8).latency_ms
    assert (together.p99 is not None) is shown
    if shown:
        assert np.ptp(together.bounds["p99"]) > np.ptp(alone.bounds["p99"])


@pytest.mark.parametrize("thread_num", [1, 8])
def test_throughput_intervals_hold_in_a_closed_loop(thread_num):
    """The interval on the row holds the rate of the simulated engine in 92 to 98 % of 1 000 runs."""
    draw = np.random.default_rng(7)
    truth = thread_num * 4 / np.exp(0.02)
    held = 0
    for _ in range(1000):
        latency = np.exp(0.2 * draw.standard_normal((thread_num, 120)))
        said = estimate(closed_loop(latency, thread_num), batch_size=4, thread_num=thread_num)
        throughput = said.throughput_samples_per_s
        held += throughput.low <= truth <= throughput.high
    assert 920 <= held <= 980


def test_clients_in_lockstep_are_not_mistaken_for_slower_ones():
    """Clients that all end together complete in bursts; whole rounds keep the rate exact."""
    latency = np.full((12, 5), 3.0) + np.linspace(0, 0.05, 12)[:, None]
    said = estimate(closed_loop(latency, 12), batch_size=16, thread_num=12)
    assert said.throughput_samples_per_s.value == pytest.approx(16 * 12 / 3.025, rel=0.02)
    assert abs(said.little_residual) < 0.02


def test_too_few_rounds_give_no_interval_but_say_how_much_longer():
    """Three rounds are no interval: the bounds are null, and the finding names the time."""
    said = estimate(closed_loop(np.full((4, 4), 1.0), 4), batch_size=1, thread_num=4)
    assert said.throughput_samples_per_s.value == pytest.approx(4)
    assert said.throughput_samples_per_s.low is said.latency_ms.low is None
    finding = said.findings[0]
    assert finding.code == "no_interval"
    assert "measure 2 s longer for an interval (--time 5s)" in finding.text


def test_percentiles_are_blank_where_requests_are_too_few():
    """100 requests have a median and a p90, and no p99."""
    said = estimate(closed_loop(np.full((1, 102), 0.01), 1), batch_size=1, thread_num=1)
    assert said.latency_ms.p50 == pytest.approx(10)
    assert said.latency_ms.p90 is not None
    assert said.latency_ms.p99 is None


@given(st.integers(1, 16), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_a_percentile_further_out_needs_no_less_time(thread_num, seed):
    """Of the blank percentiles of a short run, each asks for at least as many seconds as the one before it."""
    said = estimate(
        simulate(regimes(), clients=thread_num, requests=400, seed=seed), batch_size=1, thread_num=thread_num
    )
    asked = list(said.latency_ms.more_s.values())
    assert "p99" in said.latency_ms.more_s
    assert asked == sorted(asked)
    assert all(said.more_s[name] == more_s for name, more_s in said.latency_ms.more_s.items() if more_s)


def test_time_outside_requests_is_a_finding():
    """Where clients pause between requests, Little's law does not hold, and the row says so."""
    samples = closed_loop(np.full((2, 200), 0.01), 2)
    paused = Samples(
        samples.client, samples.slot, samples.start_ns + 2_000_000, samples.start_ns + 2_000_000, samples.end_ns,
        samples.phase, samples.failed, samples.open_ns, samples.close_ns,
    )  # fmt: skip
    said = estimate(paused, batch_size=1, thread_num=2)
    assert said.little_residual == pytest.approx(0.2, abs=0.01)
    assert "littles_law" in [finding.code for finding in said.findings]


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 64), st.integers(12, 60), st.integers(0, 2**32))
def test_estimates_scale_with_the_batch_and_stay_inside_their_interval(thread_num, batch, rounds, seed):
    """Twice the batch is twice the samples per second; a value never lies outside its own interval."""
    latency = np.exp(0.3 * np.random.default_rng(seed).standard_normal((thread_num, rounds)))
    samples = closed_loop(latency, thread_num)
    one, two = (estimate(samples, batch_size=size, thread_num=thread_num) for size in (batch, 2 * batch))
    assert two.throughput_samples_per_s.value == pytest.approx(2 * one.throughput_samples_per_s.value)
    low, high = one.throughput_samples_per_s.low, one.throughput_samples_per_s.high
    if low is not None:
        assert low <= one.throughput_samples_per_s.value <= high
        assert one.latency_ms.low <= one.latency_ms.mean <= one.latency_ms.high


@pytest.mark.parametrize("requests", [1, 5, 15, 16, 17])
def test_less_than_a_round_is_a_figure_without_an_interval(requests):
    """However few requests were served undisturbed, the figures are theirs, and say how much longer it takes."""
    end_ns = (10**9 + np.arange(1, requests + 1) * 10**6).astype(np.int64)
    samples = Samples(
        client=(np.arange(requests) % 16).astype(np.int32), slot=np.zeros(requests, np.int32),
        scheduled_ns=end_ns - 16 * 10**6, start_ns=end_ns - 16 * 10**6, end_ns=end_ns,
        phase=np.ones(requests, np.int8), failed=np.zeros(requests, np.bool_),
        open_ns=10**9, close_ns=int(end_ns[-1]),
    )  # fmt: skip
    found = estimate(samples, batch_size=2, thread_num=16)
    assert found.throughput_samples_per_s.value == pytest.approx(2000)
    assert found.throughput_samples_per_s.low is None
    assert "no_interval" in [finding.code for finding in found.findings]
