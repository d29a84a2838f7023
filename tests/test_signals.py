"""Signals of disturbance: read from the machine as it is, and from trees that lie."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.units import NS_PER_S
from speedsheet.host import energy, nvml
from speedsheet.host.energy import Energy, EnergyCounter
from speedsheet.host.signals import Reading, between, read, unavailable
from speedsheet.testing.nvml import FakeNvml

STAT = "cpu  {user} 0 100 {idle} {waiting} 0 0 {steal} 0 0\ncpu0 1 2 3 4 5\ncpu1 1 2 3 4 5\nintr 1 2 3\n"
QUIET = Reading(0, 0, 0, {})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root: Path) -> None:
    """Lay out a machine that tells everything."""
    write(root / "proc/stat", STAT.format(user=1000, idle=5000, waiting=200, steal=50))
    for name, total in (("cpu", 1_000_000), ("memory", 20), ("io", 300)):
        write(root / f"proc/pressure/{name}", f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\nfull total=9\n")
    write(root / "proc/self/task/11/schedstat", "500 40 3\n")
    write(root / "proc/self/task/12/schedstat", "500 60 3\n")
    write(root / "proc/self/cgroup", "0::/box\n")
    write(root / "sys/fs/cgroup/box/cpu.stat", "usage_usec 5\nthrottled_usec 70\n")
    for core, khz in enumerate((2_000_000, 3_000_000)):
        write(root / f"sys/devices/system/cpu/cpufreq/policy{core}/scaling_cur_freq", f"{khz}\n")
    write(root / "sys/class/hwmon/hwmon0/name", "nvme\n")
    write(root / "sys/class/hwmon/hwmon0/temp1_input", "99000\n")
    write(root / "sys/class/hwmon/hwmon1/name", "coretemp\n")
    write(root / "sys/class/hwmon/hwmon1/temp1_input", "61000\n")
    write(root / "sys/class/hwmon/hwmon1/temp1_crit", "100000\n")
    write(root / "sys/class/hwmon/hwmon1/temp2_input", "63500\n")
    package(root, "intel-rapl:0", "package-0", 5_000_000)
    package(root, "intel-rapl:0:0", "core", 1)


def package(root: Path, folder: str, name: str, spent_uj: int) -> None:
    write(root / f"sys/class/powercap/{folder}/name", f"{name}\n")
    write(root / f"sys/class/powercap/{folder}/energy_uj", f"{spent_uj}\n")
    write(root / f"sys/class/powercap/{folder}/max_energy_range_uj", "262143328850\n")


def test_everything_that_a_machine_tells_is_read(tmp_path: Path) -> None:
    """Each counter from its own file; a disk's thermometer and the parts of a package are not the processor's."""
    machine(tmp_path)
    now = read(tmp_path)
    assert (now.cpus, now.idle_ns, now.steal_ns) == (2, 52 * NS_PER_S, NS_PER_S // 2)
    assert (now.cpu_pressure_us, now.memory_pressure_us, now.io_pressure_us) == (1_000_000, 20, 300)
    assert now.waited_ns == {11: 40, 12: 60}
    assert now.throttled_ns == 70_000
    assert now.clock_khz == 2_500_000
    assert (now.temperature_c, now.temperature_limit_c) == (63.5, 102.5)  # 39 below the limit at the nearest sensor
    assert now.energy == (EnergyCounter("rapl package-0", 5_000_000, 262_143_328_850),)
    assert unavailable(now) == ()


def test_a_machine_that_tells_nothing_is_said_to(tmp_path: Path) -> None:
    """Every signal that needs a file is named, and none is guessed."""
    told = {"own_cpu_cores", "involuntary_switches_per_s"}
    assert set(unavailable(read(tmp_path))) == set(between(QUIET, replace(QUIET, monotonic_ns=1))) - told


HOSTILE = ["", "\n", "some", "some total=", "some total=x", "cpu", "cpu  1", "cpu  -", "9" * 400, "٣", "\0\xff" * 9000]


@pytest.mark.parametrize("content", HOSTILE)
def test_nonsense_reads_as_nothing(tmp_path: Path, content: str) -> None:
    """Whatever stands in the files, reading them raises nothing, and what is no number is no signal."""
    machine(tmp_path)
    read(tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.write_text(content)
    spoilt = read(tmp_path)
    assert (spoilt.idle_ns, spoilt.waited_ns, spoilt.clock_khz, spoilt.energy) == (None, None, None, ())
    assert spoilt.cpu_pressure_us is None
    between(spoilt, replace(spoilt, monotonic_ns=spoilt.monotonic_ns + 1))


def test_pipes_folders_and_absent_files_do_not_hold_up(tmp_path: Path) -> None:
    """A pipe in the place of a file is not waited for."""
    machine(tmp_path)
    read(tmp_path)
    for path in (tmp_path / "proc/stat", tmp_path / "proc/pressure/cpu", tmp_path / "proc/self/task/11/schedstat"):
        path.unlink()
    os.mkfifo(tmp_path / "proc/stat")
    (tmp_path / "proc/pressure/cpu").mkdir()
    found = read(tmp_path)
    assert (found.idle_ns, found.cpu_pressure_us, found.waited_ns) == (None, None, {12: 60})


def test_many_cores_and_sensors_are_sampled(tmp_path: Path) -> None:
    """On a large machine a mean over some cores is read, not over hundreds."""
    for core in range(300):
        write(tmp_path / f"sys/devices/system/cpu/cpufreq/policy{core}/scaling_cur_freq", "2000000\n")
    read(tmp_path)
    for core in range(0, 300, 2):
        write(tmp_path / f"sys/devices/system/cpu/cpufreq/policy{core}/scaling_cur_freq", "3000000\n")
    assert 2_200_000 < (read(tmp_path).clock_khz or 0) <= 3_000_000


def test_the_machine_beyond_this_run_is_what_others_do() -> None:
    """Two cores for two seconds: one second idle, own 1.5 s, the parent 0.5 s; the rest is others'."""
    first = replace(QUIET, cpus=2, idle_ns=7, steal_ns=0, ours_cpu_ns={7: 0})
    second = replace(
        first, monotonic_ns=2 * NS_PER_S, own_cpu_ns=3 * NS_PER_S // 2, ours_cpu_ns={7: NS_PER_S // 2, 8: 99},
        idle_ns=NS_PER_S + 7, steal_ns=NS_PER_S // 5,
    )  # fmt: skip
    found = between(first, second)
    assert found["own_cpu_cores"] == 1.0
    assert found["others_cpu_cores"] == pytest.approx(0.4)
    assert found["steal_share"] == pytest.approx(0.05)


def test_threads_come_and_go() -> None:
    """A new thread's wait counts, a thread that is gone counts nothing, a number used again begins anew."""
    first = replace(QUIET, waited_ns={1: 100, 2: 900, 3: 500})
    second = replace(first, monotonic_ns=1000, own_cpu_ns=250, waited_ns={1: 150, 3: 100, 4: 100})
    assert between(first, second)["run_queue_wait_share"] == pytest.approx(0.5)  # 50 + 100 + 100 of 500


@given(st.lists(st.integers(-(10**15), 10**15), min_size=22, max_size=22))
def test_shares_are_shares(values: list[int]) -> None:
    """Whatever two readings hold, even counters that fall, shares stay between 0 and 1 and nothing is raised."""
    first, second = (
        Reading(clock, own, switches, {1: ours}, {1: abs(waited)}, 2, idle, steal, cpu, memory, throttled_ns=throttled)
        for clock, own, switches, ours, waited, idle, steal, cpu, memory, throttled, _ in (values[:11], values[11:])
    )
    for name, value in between(first, second).items():
        if name.endswith("_share") and name != "run_queue_wait_share":
            assert value is None or 0 <= value <= 1


def test_no_time_no_signals() -> None:
    """Two readings at one moment have every name and no value."""
    found = between(QUIET, QUIET)
    assert set(found) == set(between(QUIET, replace(QUIET, monotonic_ns=1)))
    assert set(found.values()) == {None}


def test_a_container_without_the_machine_s_pressure_shows_its_own(tmp_path: Path) -> None:
    """The innermost group's account stands in."""
    write(tmp_path / "proc/self/cgroup", "0::/box\n")
    write(tmp_path / "sys/fs/cgroup/box/cpu.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n")
    assert read(tmp_path).cpu_pressure_us == 5


BUSY = "import time; end = time.monotonic() + 20\nwhile time.monotonic() < end: pass"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_neighbour_is_seen_on_this_machine_and_the_family_is_not() -> None:
    """A busy process beside us is others' work; named as one of ours it is our own."""
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        time.sleep(0.3)
        first = read(ours=[neighbour.pid])
        time.sleep(1.0)
        second = read(ours=[neighbour.pid])
    finally:
        neighbour.kill()
        neighbour.wait()
    spent_s = (second.ours_cpu_ns[neighbour.pid] - first.ours_cpu_ns[neighbour.pid]) / NS_PER_S
    assert spent_s > 0.05
    ours = between(first, second)
    theirs = between(replace(first, ours_cpu_ns={}), replace(second, ours_cpu_ns={}))
    assert theirs["own_cpu_cores"] < ours["own_cpu_cores"]
    if theirs["others_cpu_cores"] is not None:
        elapsed_s = (second.monotonic_ns - first.monotonic_ns) / NS_PER_S
        seen = theirs["others_cpu_cores"] - ours["others_cpu_cores"]
        assert seen == pytest.approx(spent_s / elapsed_s, abs=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_wait_of_all_threads_is_read() -> None:
    """Not the first thread's alone, which is all that /proc/self/schedstat has."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        found = read().waited_ns
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert found is None or {thread.native_id for thread in threads} <= set(found)


def test_energy_is_a_difference_of_counters_and_knows_where_they_turn() -> None:
    """Joules over all packages; a counter that fell went once round its range, or there is no figure."""

    def at(*spent_uj: int, turn_uj: int | None = 10_000_000) -> list[EnergyCounter]:
        return [EnergyCounter(f"rapl package-{place}", value, turn_uj) for place, value in enumerate(spent_uj)]

    both = energy.spent([at(1_000_000, 9_000_000), at(3_000_000, 9_500_000), at(4_000_000, 500_000)])
    assert both == Energy(3.0 + 1.5, "rapl package-0, rapl package-1")
    assert both.samples_per_joule(9) == 2.0
    assert energy.spent([at(5), at(4, turn_uj=None)]) == Energy()
    assert energy.spent([at(5)]) == energy.spent([]) == energy.spent([at(5), ()]) == Energy(None, "unavailable")
    assert Energy().samples_per_joule(9) is None
    assert Energy(0.0, "rapl package-0").samples_per_joule(9) is None


def test_power_is_energy_over_time() -> None:
    """In watts, over the window."""
    first = replace(QUIET, energy=(EnergyCounter("rapl package-0", 0),))
    second = replace(first, monotonic_ns=2 * NS_PER_S, energy=(EnergyCounter("rapl package-0", 30_000_000),))
    assert between(first, second)["power_w"] == 15.0


def test_graphics_cards_count_their_energy_where_asked() -> None:
    """A card that does not count is left out; without a driver there is none."""
    fake = FakeNvml(energies_mj=[1500, None])
    assert [(card.name, spent_uj) for card, spent_uj in nvml.energies_uj(fake)] == [("gpu-0", 1_500_000)]
    assert len(nvml.cards(fake)) == 2
    if nvml.installed() is None:
        assert nvml.cards() == ()
        assert read(gpus=True).energy == read().energy
