"""The modelled card as a network of queues: a closed form, a simulation, and that they say the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import AFTER, WARMUP, WINDOW
from speedsheet.published import read as published
from speedsheet.stats.estimates import estimate
from speedsheet.twin.calibration import best
from speedsheet.twin.cost import cost
from speedsheet.twin.device import load
from speedsheet.twin.extrapolate import NOT_VALIDATED, thread_curve
from speedsheet.twin.network import CLIENTS, Network, Station, Visit, card_network, closed_form, exponential_us, limits
from speedsheet.twin.params import priors
from speedsheet.twin.pieces import zoo_piece
from speedsheet.twin.simulate import exponential, simulate
from speedsheet.twin.types import RequestCost

TIMES = st.floats(50, 5000)


def card(host_us, link_us, cluster_us, *, hop_us=0.0, clusters=4):
    stations = (Station("host", 8), Station("link", 1), Station("clusters", clusters))
    return Network(stations, (Visit("host", host_us), Visit("link", link_us), Visit("clusters", cluster_us)), hop_us)


CARDS = st.builds(card, TIMES, TIMES, TIMES, hop_us=st.sampled_from([0.0, 20.0]))
PUBLISHED = card(200, 260, 2212)  # about ResNet-50, batch 16


def run(network, thread_num, **rest):
    return simulate(network, LoadPlan(thread_num, 0.0, warmup_requests=20), **rest)


def simulated_per_s(network, thread_num, **rest):
    said = estimate(run(network, thread_num, **rest), batch_size=1, thread_num=thread_num)
    return said.throughput_samples_per_s.value


def assert_agreed(network, thread_num, within, *, truth=None, **rest):
    """Hold the closed form of one network against the simulation of `truth`, which is the same unless given."""
    said = closed_form(network, thread_num, cv=rest.get("cv", 0.0)).requests_per_s
    assert said == pytest.approx(simulated_per_s(truth or network, thread_num, **rest), rel=within)


@given(CARDS, st.sampled_from([0.0, 0.3]))
@settings(max_examples=20, deadline=None)
def test_a_client_alone_waits_for_nobody(network, cv):
    """One client's request takes the sum of its services and hops: exactly in closed form, to the ns simulated."""
    assert closed_form(network, 1, cv=cv).cycle_us == pytest.approx(network.alone_us, rel=1e-12)
    latency_ns = run(network, 1, requests=50).latency_ns
    assert np.all(np.abs(latency_ns - 1000 * network.alone_us) <= 3)


@given(CARDS, st.integers(1, 32))
@settings(max_examples=40, deadline=None)
def test_without_spread_the_bounds_are_reached(network, thread_num):
    """Where service times are constant, closed form and simulation are both the tightest bound."""
    assert_agreed(network, thread_num, 0.006, requests=1500)  # a burst of eight at the edge
    bound_us = max(limits(network, thread_num).values())
    assert closed_form(network, thread_num).requests_per_s == pytest.approx(1e6 / bound_us)


@given(CARDS, st.integers(1, 32), st.sampled_from([0.1, 0.3, 0.5]))
@settings(max_examples=40, deadline=None)
def test_with_spread_closed_form_and_simulation_agree(network, thread_num, cv):
    """At the knee too, where neither clients nor a station alone binds: within 4 %, or 6 % with fewer than 8 clients.

    The largest seen over 700 networks were 3 % and 4.3 %; 1 % is what 4 000 requests leave to chance.
    """
    assert_agreed(network, thread_num, 0.06 if thread_num < 8 else 0.04, cv=cv, requests=4000)


@pytest.mark.parametrize("cv", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("thread_num", [8, 12, 16])
def test_at_published_loads_they_agree_within_three_percent(thread_num, cv):
    """As the published rows are driven, two clients or more for each cluster."""
    for network in (PUBLISHED, card(200, 2400, 9000), card(200, 30, 25), card(200, 9000, 4000)):
        assert_agreed(network, thread_num, 0.03, cv=cv, requests=6000)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(PUBLISHED, route=(*PUBLISHED.route, Visit("clusters", 2212))),
        replace(PUBLISHED, route=PUBLISHED.route[:2]),
        card(200, 260, 2212, clusters=3),
        card(200, 620, 2212),
    ],
    ids=["visits a cluster twice", "visits none", "a cluster less", "a slower link"],
)
def test_a_wrong_network_is_caught(wrong):
    """A closed form with other visit ratios, servers or times than what is simulated does not agree."""
    with pytest.raises(AssertionError):
        assert_agreed(PUBLISHED, 12, 0.03, truth=wrong, cv=0.3, requests=3000)


def balanced(network, thread_num):
    """Solve the Markov chain of a network of exponential servers: its time between completions, in us."""
    servers = [station.servers for station in network.stations]
    means = [visit.service_us for visit in network.route]
    places = len(means)
    states = [state for state in product(range(thread_num + 1), repeat=places) if sum(state) == thread_num]
    index = {state: n for n, state in enumerate(states)}
    rates = np.zeros((len(states), len(states)))
    for state in states:
        for place in range(places):
            if state[place]:
                moved = list(state)
                moved[place] -= 1
                moved[(place + 1) % places] += 1
                rate = min(state[place], servers[place]) / means[place]
                rates[index[tuple(moved)], index[state]] += rate
                rates[index[state], index[state]] -= rate
    rates[0] = 1.0  # probabilities sum to one
    chance = np.linalg.solve(rates, np.eye(len(states))[0])
    return 1 / sum(p * min(s[0], servers[0]) / means[0] for s, p in zip(states, chance, strict=True))


@given(CARDS.map(lambda network: replace(network, hop_us=0.0)), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_exponential_service_is_the_markov_chain(network, thread_num):
    """The product form is the solution of the chain's own balance equations, servers of several included."""
    assert exponential_us(network, thread_num) == pytest.approx(balanced(network, thread_num), rel=1e-9)


@given(st.lists(TIMES, min_size=1, max_size=5), st.integers(1, 300), st.sampled_from([0.0, 500.0]))
def test_exponential_service_is_mean_value_analysis(means, thread_num, hop_us):
    """With single servers and a delay, it is the recursion of Reiser and Lavenberg (1980), at any number of clients."""
    names = [str(n) for n in range(len(means))]
    network = Network(
        tuple(Station(name, 1) for name in names),
        tuple(Visit(name, mean) for name, mean in zip(names, means, strict=True)),
        hop_us,
    )
    queues, cycle = np.zeros(len(means)), 0.0
    for clients in range(1, thread_num + 1):
        there = np.array(means) * (1 + queues)
        cycle = there.sum() + network.delay_us
        queues = clients / cycle * there
    assert exponential_us(network, thread_num) == pytest.approx(cycle / thread_num, rel=1e-9)


@pytest.mark.parametrize("thread_num", [2, 5, 12])
def test_exponential_service_simulated_is_the_product_form(thread_num):
    """The simulation's own check: where theory is exact, it meets it."""
    network = card(900, 300, 1500)
    said = 1e6 / exponential_us(network, thread_num)
    assert simulated_per_s(network, thread_num, requests=30_000, law=exponential) == pytest.approx(said, rel=0.03)


@given(CARDS, st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.0]))
def test_another_client_never_costs_throughput(network, thread_num, cv):
    """Throughput grows with clients to the bound and no further; no station is ever more than busy."""
    fewer, more = (closed_form(network, clients, cv=cv) for clients in (thread_num, thread_num + 1))
    assert more.requests_per_s >= fewer.requests_per_s * (1 - 1e-3)
    assert max(more.utilisation.values()) <= 1 + 1e-9
    assert more.binding == CLIENTS or more.utilisation[more.binding] == max(more.utilisation.values())


def test_hops_cost_latency_and_no_saturated_throughput():
    """What passes between stations keeps no server busy: a lone request is later, a saturated card as fast."""
    far = replace(PUBLISHED, hop_us=50.0)
    assert closed_form(far, 1).cycle_us == pytest.approx(PUBLISHED.alone_us + 100)
    assert closed_form(far, 12).requests_per_s == closed_form(PUBLISHED, 12).requests_per_s
    assert_agreed(far, 12, 0.003, requests=2000)
    assert_agreed(far, 2, 0.003, requests=2000)


@pytest.mark.parametrize("cv", [None, 0.3])
def test_all_published_rows_agree_within_three_percent(cv):
    """The 21 rows of the sheet, as costed: closed form against simulation, at the model's own spread and at three."""
    device = load("stcp920")
    params = best(device).params
    rows = published.load("stcp920").rows
    assert len(rows) == 21
    pieces = {row.model: zoo_piece(row.model) for row in rows}
    for row in rows:
        spent = cost(pieces[row.model], device, params, batch_size=row.batch_size, precision=row.precision.lower())
        network = card_network(device, params, spent)
        assert_agreed(network, row.thread_num, 0.03, cv=params["service_cv"] if cv is None else cv, requests=3000)


def test_the_network_of_a_card_is_its_device_file():
    """Threads of the host, a link for each card, and its clusters; a request's cost at each, and hops between them."""
    device = load("stcp920")
    params = priors(device).over({"hop_us": 7.0})
    cost = RequestCost(16, 2212.0, 200.0, 260.0, 0, 0, 0, {}, {})
    network = card_network(device, params, cost, cards=3)
    assert [(station.name, station.servers) for station in network.stations] == [
        ("host", 8), ("link", 3), ("clusters", 12),
    ]  # fmt: skip
    assert network.alone_us == 2212 + 200 + 260 + 2 * 7
    one = card_network(device, params, cost)
    assert closed_form(network, 36).requests_per_s == pytest.approx(3 * closed_form(one, 12).requests_per_s)


def test_many_clients_are_no_trouble():
    """Thousands of clients neither overflow nor lose the bound, with a long delay or none."""
    for network in (PUBLISHED, replace(PUBLISHED, hop_us=1e6)):
        assert closed_form(network, 5000, cv=1.0).requests_per_s == pytest.approx(
            1e6 / max(limits(network, 5000).values()), rel=0.03
        )


def test_samples_are_those_of_a_measured_run():
    """The columns keep what the timed loop keeps: whole rounds, every client busy, its input batches in turn."""
    plan = LoadPlan(12, 10.0, warmup_requests=2)
    samples = simulate(PUBLISHED, plan, requests=1000, cv=0.3)
    assert np.count_nonzero(samples.phase == WINDOW) == 84 * 12
    assert np.all(np.diff(samples.end_ns) >= 0)
    assert np.all(samples.end_ns[samples.phase == WARMUP] <= samples.open_ns)
    assert np.all(samples.end_ns[samples.phase == AFTER] > samples.close_ns)
    assert {samples.open_ns, samples.close_ns} <= set(samples.end_ns.tolist())
    assert not samples.failed.any()
    for client in range(12):
        mine = samples.client == client
        assert np.count_nonzero(samples.end_ns[mine] <= samples.open_ns) >= 2
        assert np.array_equal(samples.start_ns[mine], [0, *samples.end_ns[mine][:-1]])
        assert np.array_equal(samples.scheduled_ns[mine], samples.start_ns[mine])
        assert samples.slot[mine].tolist() == [plan.slot(client, request) for request in range(mine.sum())]


def test_who_comes_first_is_served_first():
    """Nobody overtakes: in a saturated card without spread every client is served as often, at the same latency."""
    samples = run(PUBLISHED, 12, requests=1200)
    assert np.ptp(np.bincount(samples.client[samples.phase == WINDOW])) <= 1
    assert np.ptp(samples.latency_ns) <= 2212e3 / 4
    deep = run(PUBLISHED, 12, requests=1200, cv=0.3)
    assert np.ptp(np.bincount(deep.client[deep.phase == WINDOW])) <= 6


def test_simulated_samples_are_estimated_as_measured_ones_are():
    """Throughput with an interval that holds the closed form, percentiles in order, and Little's law to the window."""
    said = estimate(run(PUBLISHED, 12, cv=0.3), batch_size=16, thread_num=12)
    throughput = said.throughput_samples_per_s
    flow = closed_form(PUBLISHED, 12, cv=0.3)
    assert throughput.low * 0.99 <= 16 * flow.requests_per_s <= throughput.high * 1.01
    assert said.latency_ms.mean == pytest.approx(flow.cycle_us / 1000, rel=0.02)
    assert said.latency_ms.p50 < said.latency_ms.p90 < said.latency_ms.p99
    assert abs(said.little_residual) < 0.002
    assert said.requests == 10_008
    assert [finding.code for finding in said.findings] == []


def test_a_seed_is_a_run():
    """The same seed gives the same columns, another one others."""
    one, same, other = (run(PUBLISHED, 4, cv=0.3, requests=400, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.end_ns, same.end_ns)
    assert not np.array_equal(one.end_ns[:400], other.end_ns[:400])


def test_thread_curves_say_that_nothing_validates_them():
    """Each point has its latencies; the sentence that goes with them says what no row shows, and what to do."""
    points = thread_curve(PUBLISHED, [1, 4, 16], batch_size=16, cv=0.3, requests=2000)
    assert [point.thread_num for point in points] == [1, 4, 16]
    assert points[0].binding == CLIENTS
    assert points[2].binding == "clusters"
    assert points[0].latency_ms.p99 < points[2].latency_ms.p99
    assert "not validated by any published row" in NOT_VALIDATED.text


@pytest.mark.parametrize(
    ("stations", "route", "hop_us"),
    [
        ((Station("a", 1),), (Visit("b", 1.0),), 0.0),
        ((Station("a", 1),), (), 0.0),
        ((Station("a", 0),), (Visit("a", 1.0),), 0.0),
        ((Station("a", 1), Station("a", 2)), (Visit("a", 1.0),), 0.0),
        ((Station("a", 1),), (Visit("a", 0.0),), 5.0),
        ((Station("a", 1),), (Visit("a", float("nan")),), 0.0),
        ((Station("a", 1),), (Visit("a", 1.0),), -1.0),
    ],
)
def test_what_is_no_network_is_refused(stations, route, hop_us):
    """Unknown stations, no servers, and times that are none are errors, not numbers."""
    with pytest.raises(ValueError, match=r"station|times"):
        Network(stations, route, hop_us)


@pytest.mark.parametrize(("thread_num", "cv"), [(0, 0.0), (1, -0.1), (1, 1.5)])
def test_what_is_no_load_is_refused(thread_num, cv):
    """Nobody asks for the throughput of no clients, and beyond exponential spread nothing is known."""
    with pytest.raises(ValueError, match="clients"):
        closed_form(PUBLISHED, thread_num, cv=cv)
