"""The ledger of interference: what flags a window, and what must not."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.measurement import Interference
from speedsheet.host.signals import Reading, between
from speedsheet.stats.interference import LIMITS, Window, flags, ledger
from speedsheet.testing.recorded import QUIET, Recorded, recorded, reported

#: A closed loop of 16 clients on two cores, alone on the machine.
ALONE: Window = {
    "own_cpu_cores": 1.99,
    "others_cpu_cores": 0.01,
    "run_queue_wait_share": 0.87,
    "involuntary_switches_per_s": 900.0,
    "cpu_pressure_share": 0.99,
    "memory_pressure_share": 0.0,
    "io_pressure_share": 0.0,
    "throttled_share": 0.0,
    "steal_share": 0.0,
    "clock_mhz": 2600.0,
    "temperature_c": 70.0,
    "temperature_headroom_c": 30.0,
    "power_w": 90.0,
}
NAMES = tuple(between(Reading(0, 0, 0, {}), Reading(1, 0, 0, {})))


def test_every_signal_that_is_judged_is_one_that_is_read() -> None:
    """No limit stands on a name that the host's readings do not have."""
    assert set(ALONE) == set(NAMES)
    assert set(LIMITS) < set(NAMES)


def test_own_load_does_not_flag_itself() -> None:
    """Full cores, long queues and pressure in every window are the run's own."""
    assert flags([ALONE] * 10, cores=2) == [()] * 10
    assert flags([ALONE], cores=2) == [()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("others_cpu_cores", 0.2),
        ("memory_pressure_share", 0.3),
        ("io_pressure_share", 0.5),
        ("throttled_share", 0.1),
        ("steal_share", 0.1),
        ("temperature_headroom_c", 1.0),
    ],
)
def test_what_others_do_is_seen_even_where_it_never_ends(name: str, value: float) -> None:
    """Alone in one window, and in all of them: the limits do not depend on the rest of the run."""
    disturbed = {**ALONE, name: value}
    assert flags([ALONE, disturbed, ALONE], cores=2) == [(), (name,), ()]
    assert flags([disturbed] * 8, cores=2) == [(name,)] * 8


#: A signal that the own load moves, a usual value of it, and one that is far from usual.
MOVED = {
    "own_cpu_cores": (1.99, 1.5),
    "run_queue_wait_share": (0.1, 0.5),
    "involuntary_switches_per_s": (20.0, 900.0),
    "cpu_pressure_share": (0.3, 0.9),
}


@pytest.mark.parametrize("pair", list(itertools.combinations(MOVED, 2)))
def test_what_own_load_moves_counts_far_from_the_run_s_usual_and_in_agreement(pair: tuple[str, str]) -> None:
    """One odd window among others is flagged; the same values in all of them are the run's own."""
    usual = {**ALONE, **{name: MOVED[name][0] for name in pair}}
    odd = {**usual, **{name: MOVED[name][1] for name in pair}}
    assert flags([usual, usual, usual, odd, usual, usual], cores=2) == [(), (), (), pair, (), ()]
    assert flags([odd] * 6, cores=2) == [()] * 6
    assert flags([usual, odd], cores=2) == [(), ()]  # too few to know what is usual
    alone = {**usual, pair[0]: odd[pair[0]]}
    assert flags([usual, usual, usual, alone, usual, usual], cores=2) == [()] * 6


def test_a_slower_clock_counts_alone() -> None:
    """A clock is not moved by own load; one that never changes is nobody's doing."""
    hot = {**ALONE, "clock_mhz": 2100.0}
    assert flags([ALONE, ALONE, hot, ALONE, ALONE, ALONE], cores=2) == [(), (), ("clock_mhz",), (), (), ()]
    assert flags([hot] * 6, cores=2) == [()] * 6


def test_a_better_window_is_no_disturbance() -> None:
    """Less waiting, a faster clock: not flagged."""
    better = {**ALONE, "run_queue_wait_share": 0.1, "clock_mhz": 3400.0, "cpu_pressure_share": 0.1}
    assert flags([ALONE, ALONE, better, ALONE, ALONE, ALONE], cores=2) == [()] * 6


def test_a_large_machine_has_room_for_its_services() -> None:
    """The same tenth of a core flags on two cores and not on 64; a busy core always does."""
    little, whole_core = {**ALONE, "others_cpu_cores": 0.1}, {**ALONE, "others_cpu_cores": 1.0}
    assert flags([little], cores=2) == [("others_cpu_cores",)]
    assert flags([little], cores=64) == [()]
    assert flags([whole_core], cores=256) == [("others_cpu_cores",)]


def test_silence_flags_nothing() -> None:
    """A host that tells nothing has windows, and none that is flagged; the ledger says what it lacks."""
    silent = dict.fromkeys(NAMES)
    assert flags([silent] * 6, cores=2) == [()] * 6
    assert flags([], cores=2) == []
    assert ledger([()] * 6, NAMES) == Interference(6, 0, 0, {}, NAMES)


def test_the_ledger_counts_windows_and_signals() -> None:
    """A window flagged twice is one window and two signals."""
    found = ledger([("steal_share", "others_cpu_cores"), (), ("steal_share",)], ("power_w",), remeasured=1)
    assert found == Interference(3, 2, 1, {"others_cpu_cores": 1, "steal_share": 2}, ("power_w",))


WINDOWS = st.lists(
    st.fixed_dictionaries({name: st.none() | st.floats(allow_nan=True, allow_infinity=True) for name in NAMES}),
    max_size=12,
)


@given(WINDOWS, st.integers(1, 512))
def test_any_windows_are_judged(windows: list[Window], cores: int) -> None:
    """One answer a window, of known names, whatever the values; and the same answer to the same question."""
    found = flags(windows, cores)
    assert len(found) == len(windows)
    assert {name for names in found for name in names} <= set(NAMES)
    assert flags(windows, cores) == found


@given(WINDOWS, st.randoms())
def test_the_order_of_windows_does_not_matter(windows: list[Window], order: object) -> None:
    """Windows are judged as a set: shuffled, each keeps its flags."""
    places = list(range(len(windows)))
    order.shuffle(places)
    found = flags(windows, cores=2)
    assert flags([windows[place] for place in places], cores=2) == [found[place] for place in places]


RECORDED = recorded()
_RUNS = 1000


@pytest.mark.parametrize("load", RECORDED.loads)
def test_a_neighbour_is_reported_and_a_quiet_run_is_not(load: str) -> None:
    """On recorded signals: beside a busy process at least 95 % of runs, and of quiet runs at most 5 %.

    The neighbour keeps one core busy, or half of one, for 3 of 10 windows.
    """
    kinds = RECORDED.loads[load]
    assert reported(kinds, QUIET, RECORDED.cores, _RUNS) <= 0.05
    for kind in set(kinds) - {QUIET}:
        assert reported(kinds, kind, RECORDED.cores, _RUNS) >= 0.95


def test_the_count_fails_where_the_ledger_is_blind_or_jumpy() -> None:
    """Without the signal of others a neighbour among 16 clients is missed; with noise in it quiet runs are reported."""
    kinds = RECORDED.loads["16 clients on ONNX Runtime"]
    blind = {kind: [{**window, "others_cpu_cores": None} for window in windows] for kind, windows in kinds.items()}
    assert reported(blind, "half busy", RECORDED.cores, _RUNS) < 0.95
    noisy = [{**window, "others_cpu_cores": 0.1 if place == 0 else 0.02} for place, window in enumerate(kinds[QUIET])]
    assert reported({QUIET: noisy}, QUIET, RECORDED.cores, _RUNS) > 0.05


def test_where_the_machine_hides_others_a_neighbour_still_shows_in_our_own_threads() -> None:
    """In a container that shows no machine-wide counters, most busy neighbours of a run on all cores are seen."""
    kinds = RECORDED.loads["16 clients on OpenVINO"]
    blind = {kind: [{**window, "others_cpu_cores": None} for window in windows] for kind, windows in kinds.items()}
    assert reported(blind, "busy", RECORDED.cores, _RUNS) > 0.9
    assert reported(blind, QUIET, RECORDED.cores, _RUNS) <= 0.05


def test_recordings_are_written_as_they_are_read() -> None:
    """Nothing is lost on the way to the file and back."""
    assert Recorded.from_json(json.dumps(RECORDED.to_json())) == RECORDED
    assert all(len(windows) for kinds in RECORDED.loads.values() for windows in kinds.values())
