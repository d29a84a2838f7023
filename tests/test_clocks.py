"""Clocks: shown, held still, and put back whatever happens; on trees that stand for machines."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.errors import ClocksRefused, UsageError
from speedsheet.core.units import format_frequency, parse_frequency_khz
from speedsheet.host import clocks, cpufreq, endings, nvml
from speedsheet.testing.nvml import FakeNvml
from speedsheet.testing.sysfs import contents, machine, policy, write_tree

POLICIES = "sys/devices/system/cpu/cpufreq"
#: A file that no process may write, root neither, and that holds a number.
READ_ONLY = Path("/proc/sys/kernel/ngroups_max")
needs_read_only = pytest.mark.skipif(not READ_ONLY.exists(), reason="no file at hand that even root may not write")


def bounds(root: Path, number: int) -> tuple[int, int]:
    folder = root / POLICIES / f"policy{number}"
    return tuple(int((folder / f"scaling_{end}_freq").read_text()) for end in ("min", "max"))


def closed(root: Path, name: str) -> None:
    """Put in the place of a setting a file that cannot be written."""
    (root / name).unlink()
    (root / name).symlink_to(READ_ONLY)


def test_what_the_machine_tells_is_shown(tmp_path: Path) -> None:
    """Policies in the order of their numbers, with bounds, governor, boost and the clock that can be sustained."""
    machine(tmp_path, policy(2), policy(10, base_frequency=2_400_000))
    found = clocks.show(tmp_path)
    assert (found.state, found.boost, found.refusal) == ("default", True, None)
    assert [one.name for one in found.policies] == ["policy2", "policy10"]
    first = found.policies[0]
    assert (first.min_khz, first.max_khz, first.current_khz) == (800_000, 3_600_000, 1_234_567)
    assert (first.governor, first.governors) == ("powersave", ("performance", "powersave"))
    assert [one.sustained_khz for one in found.policies] == [2_600_000, 2_400_000]


@pytest.mark.parametrize(
    ("files", "khz"),
    [
        ({}, 2_600_000),
        ({"base_frequency": "", "scaling_available_frequencies": "3000000 2000000 1000000"}, 3_000_000),
        ({"base_frequency": "<unknown>"}, 3_600_000),
        ({"base_frequency": 9_000_000}, 3_600_000),  # out of what the core can do: not believed
        ({"base_frequency": "", "cpuinfo_max_freq": "", "cpuinfo_min_freq": ""}, None),
    ],
)
def test_the_sustained_clock_is_the_best_that_is_told(tmp_path: Path, files: dict[str, object], khz: int) -> None:
    """The base clock, else the highest of the list, else the highest of all, else unknown."""
    machine(tmp_path, policy(0, **files))
    assert clocks.show(tmp_path).policies[0].sustained_khz == khz


def test_the_nominal_clock_of_the_firmware_is_taken_where_there_is_no_base(tmp_path: Path) -> None:
    """AMD's driver tells it in another folder, in MHz."""
    machine(tmp_path, policy(1, base_frequency=""))
    write_tree(tmp_path, {"sys/devices/system/cpu/cpu2/acpi_cppc/nominal_freq": 2600})
    assert clocks.show(tmp_path).policies[0].sustained_khz == 2_600_000


def test_a_machine_without_cpufreq_says_who_may(tmp_path: Path) -> None:
    """Nothing is guessed; every way of setting is refused in one line."""
    found = clocks.show(tmp_path)
    assert (found.state, found.boost, found.policies) == ("unknown", None, ())
    assert "only its host" in found.refusal
    kept = tmp_path / "kept.json"
    with pytest.raises(ClocksRefused, match=r"no cpufreq.*only its host"):
        clocks.lock(2_000_000, tmp_path, kept)
    for change in (clocks.locked(2_000_000, tmp_path), clocks.tuned(tmp_path)):
        with pytest.raises(ClocksRefused, match="only its host"), change:
            pytest.fail("measured at a clock that was not set")
    assert not kept.exists()
    assert clocks.reset(tmp_path, kept) == ()


@pytest.mark.parametrize("khz", [800_000, 2_000_000, 2_600_000, 3_600_000])
def test_inside_every_core_is_locked_and_after_it_everything_is_as_before(tmp_path: Path, khz: int) -> None:
    """At the lowest, the highest and between; boost is off where the clock can be sustained without it."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    before = contents(root)
    with clocks.locked(khz, root, kept) as state:
        assert state == cpufreq.clock_state(root) == f"locked at {khz / 1e6:g} GHz"
        assert bounds(root, 0) == bounds(root, 1) == (khz, khz)
        assert cpufreq.boost(root) == (khz > 2_600_000)
        assert kept.exists()
    assert contents(root) == before
    assert not kept.exists()


def test_tuned_is_the_highest_sustained_clock_of_each_core(tmp_path: Path) -> None:
    """Cores of two kinds keep their own; the governor is performance; all is put back."""
    root = machine(tmp_path, policy(0), policy(1, base_frequency=1_900_000, cpuinfo_max_freq=2_700_000))
    before = contents(root)
    with clocks.tuned(root) as state:
        assert state == "locked at 1.9 to 2.6 GHz"
        assert (bounds(root, 0), bounds(root, 1)) == ((2_600_000,) * 2, (1_900_000,) * 2)
        assert {one.governor for one in clocks.show(root).policies} == {"performance"}
        assert not cpufreq.boost(root)
    assert contents(root) == before


def test_a_machine_without_boost_or_without_that_governor_is_tuned_all_the_same(tmp_path: Path) -> None:
    """What is not there is not written."""
    root = machine(tmp_path, policy(0, scaling_available_governors="schedutil"), boost=None)
    before = contents(root)
    with clocks.tuned(root):
        assert clocks.show(root).policies[0].governor == "powersave"
        assert bounds(root, 0) == (2_600_000, 2_600_000)
    assert contents(root) == before


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({}, {"cpuinfo_max_freq": 3_000_000}, "choose from 800 MHz to 3 GHz"),
        ({}, {"cpuinfo_min_freq": 3_700_000, "cpuinfo_max_freq": 3_800_000}, "none in common"),
    ],
)
def test_a_clock_that_not_every_core_has_is_refused(
    tmp_path: Path, first: dict[str, object], second: dict[str, object], words: str
) -> None:
    """Before anything is written, and with the range that all have."""
    root = machine(tmp_path, policy(0, **first), policy(1, **second))
    before = contents(root)
    with pytest.raises(UsageError, match=words), clocks.locked(3_500_000, root):
        pytest.fail("locked at a clock that is not there")
    assert contents(root) == before


@pytest.mark.parametrize("content", ["", "<unknown>", "-5", "0", "nan", "9" * 60])
def test_a_core_that_talks_nonsense_is_not_touched(tmp_path: Path, content: str) -> None:
    """What cannot be read cannot be put back, so nothing is changed."""
    root = machine(tmp_path, policy(0), policy(1, scaling_min_freq=content))
    before = contents(root)
    assert clocks.show(root).state == "unknown"
    for change in (clocks.locked(2_000_000, root), clocks.tuned(root)):
        with pytest.raises(ClocksRefused, match="policy1"), change:
            pytest.fail("set what cannot be put back")
    assert contents(root) == before


@needs_read_only
@pytest.mark.parametrize("setting", ["scaling_min_freq", "scaling_max_freq", "scaling_governor"])
def test_half_way_is_put_back(tmp_path: Path, setting: str) -> None:
    """The second policy refuses: the first is as before, and the line names the file, the reason and who may."""
    khz = int(READ_ONLY.read_text())
    low = {"cpuinfo_min_freq": 1, "scaling_min_freq": 1, "scaling_max_freq": khz, "base_frequency": khz // 2}
    root, kept = machine(tmp_path / "root", policy(0, **low), policy(1, **low)), tmp_path / "kept.json"
    if setting == "scaling_governor":
        write_tree(root, {f"{POLICIES}/policy1/scaling_available_governors": f"{khz} performance"})
    closed(root, f"{POLICIES}/policy1/{setting}")
    before = contents(root)
    for change in (clocks.tuned(root, kept), *([] if "gov" in setting else [clocks.locked(khz // 2, root, kept)])):
        with pytest.raises(ClocksRefused, match=f"policy1/{setting}: .*; root may"), change:
            pytest.fail("measured although one core was not set")
        assert contents(root) == before
        assert not kept.exists()
    if "gov" not in setting:
        with pytest.raises(ClocksRefused, match=setting):
            clocks.lock(khz // 2, root, kept)
        assert contents(root) == before
        assert not kept.exists()


def test_an_exception_inside_puts_everything_back(tmp_path: Path) -> None:
    """And goes on its way."""
    root = machine(tmp_path)
    before = contents(root)
    with pytest.raises(ZeroDivisionError), clocks.locked(2_000_000, root):
        raise ZeroDivisionError
    assert contents(root) == before


def test_what_cannot_be_put_back_is_said_and_the_rest_is(tmp_path: Path) -> None:
    """A core that goes away meanwhile does not keep the others from their clocks, and the file stays for reset."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    with pytest.raises(ClocksRefused, match=r"policy0.*could not be put back"), clocks.locked(2_000_000, root, kept):
        shutil.rmtree(root / POLICIES / "policy0")
    assert bounds(root, 1) == (800_000, 3_600_000)
    assert cpufreq.boost(root)
    assert kept.exists()
    clocks.reset(root, kept)
    assert not kept.exists()


def test_the_bounds_never_cross(tmp_path: Path) -> None:
    """A kernel refuses a lower bound above the upper: upwards the upper moves first, downwards the lower."""
    root = machine(tmp_path, policy(0, scaling_min_freq=2_000_000, scaling_max_freq=2_000_000), boost=None)
    one = clocks.show(root).policies[0]
    up = [path.rpartition("_")[0][-3:] for path in cpufreq._in_order(root, one.bounded(3_000_000, 3_000_000))]
    down = [path.rpartition("_")[0][-3:] for path in cpufreq._in_order(root, one.bounded(1_000_000, 1_000_000))]
    assert (up, down) == (["max", "min"], ["min", "max"])


HOLDING = """
import sys
from pathlib import Path
from speedsheet.host import clocks
with clocks.{how}(*{arguments}, Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(root: Path, kept: Path, how: str = "locked") -> subprocess.Popen[str]:
    arguments = (2_000_000,) if how == "locked" else ()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING.format(how=how, arguments=arguments), str(root), str(kept)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("how", ["locked", "tuned"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_puts_everything_back_and_still_ends_the_process(
    tmp_path: Path, how: str, number: signal.Signals
) -> None:
    """The process ends as if nobody had met the signal."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    before = contents(root)
    with holding(root, kept, how) as process:
        assert contents(root) != before
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == -number
    assert contents(root) == before
    assert not kept.exists()


def test_after_a_kill_reset_puts_everything_back(tmp_path: Path) -> None:
    """What no process can meet is met by the file that was written first."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    before = contents(root)
    with holding(root, kept) as process:
        process.kill()
        process.communicate(timeout=20)
    assert contents(root) != before
    assert len(clocks.reset(root, kept)) == 5
    assert contents(root) == before
    assert not kept.exists()


@pytest.mark.parametrize("earlier", ["cards", "boot"])
def test_after_a_kill_an_earlier_lock_is_no_obstacle(tmp_path: Path, earlier: str) -> None:
    """Cards that are locked, or a lock that a restart has undone: the processor of a killed run is put back too."""
    root, kept, fake = machine(tmp_path / "root"), tmp_path / "kept.json", FakeNvml([1])
    if earlier == "cards":
        clocks.lock_cards(1400, root, kept, fake)
    else:
        clocks.lock(2_000_000, root, kept)
        machine(root)
        write_tree(root, {"proc/sys/kernel/random/boot_id": "0b01"})
    before = contents(root)
    with holding(root, kept, "tuned") as process:
        process.kill()
        process.communicate(timeout=20)
    assert contents(root) != before
    clocks.reset(root, kept, fake)
    assert contents(root) == before
    assert fake.locked_mhz == {}
    assert not kept.exists()


def test_a_run_leaves_the_file_of_an_earlier_lock(tmp_path: Path) -> None:
    """Cards stay locked while rows are tuned, and reset still finds them."""
    root, kept, fake = machine(tmp_path / "root"), tmp_path / "kept.json", FakeNvml([1])
    clocks.lock_cards(1400, root, kept, fake)
    before = contents(root), kept.read_text()
    with clocks.tuned(root, kept):
        assert contents(root) != before[0]
    assert (contents(root), kept.read_text()) == before
    assert clocks.reset(root, kept, fake) == ("gpu-0",)


def test_reset_goes_back_to_before_the_first_lock(tmp_path: Path) -> None:
    """Locked twice, and a run inside: the file keeps what the machine was like before speedsheet."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    before = contents(root)
    assert clocks.lock(2_000_000, root, kept) == "locked at 2 GHz"
    assert clocks.lock(3_000_000, root, kept) == "locked at 3 GHz"
    with clocks.tuned(root, kept):
        assert cpufreq.clock_state(root) == "locked at 2.6 GHz"
    assert cpufreq.clock_state(root) == "locked at 3 GHz"
    clocks.reset(root, kept)
    assert contents(root) == before
    assert clocks.reset(root, kept) == ()


def test_a_restart_makes_the_file_void(tmp_path: Path) -> None:
    """The machine has forgotten what was set: nothing is written, and the file goes."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    clocks.lock(2_000_000, root, kept)
    write_tree(root, {"proc/sys/kernel/random/boot_id": "0b01"})
    write_tree(root, policy(0))
    before = contents(root)
    assert clocks.reset(root, kept) == ()
    assert contents(root) == before
    assert not kept.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"etc/passwd": "root"}},
        {"settings": {f"{POLICIES}/policy0/../../../../../etc/passwd": "1"}},
        {"settings": {f"{POLICIES}/policy0/scaling_min_freq": "abc"}},
        {"settings": {f"{POLICIES}/policy0/scaling_governor": "a\nb"}},
        {"settings": {f"{POLICIES}/policy0/scaling_min_freq": 5}},
        {"settings": [1, 2]},
        {"schema": 2},
        {"cards": ["0; rm"]},
        {"cards": None},
    ],
)
def test_a_file_that_is_not_ours_is_not_obeyed(tmp_path: Path, change: dict[str, Any]) -> None:
    """Only settings of clocks are ever written from it."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    kept.write_text(json.dumps({"schema": 1, "boot_id": "0b00", "settings": {}, "cards": []} | change))
    before = contents(root)
    with pytest.raises(ClocksRefused, match="damaged"):
        clocks.reset(root, kept)
    assert contents(root) == before


@given(st.binary(max_size=200))
def test_a_damaged_file_is_said_to_be(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the disk made of it."""
    kept = tmp_path_factory.mktemp("damaged") / "kept.json"
    kept.write_bytes(content)
    with pytest.raises(ClocksRefused, match="damaged"):
        clocks.load(kept)


def test_signals_that_are_ignored_or_handled_stay_so(tmp_path: Path) -> None:
    """Who handles a signal already is still asked, and what nohup ignores is still ignored."""
    told: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGTERM, lambda number, _frame: told.append(number))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with endings.wait() as signals:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGHUP)
            assert told == []
            with signals.let():
                assert told == [signal.SIGTERM]
                signal.raise_signal(signal.SIGHUP)
        assert told == [signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_thread_may_hold_clocks_too(tmp_path: Path) -> None:
    """It is told of no signals, and puts back what it changed."""
    root = machine(tmp_path)
    before, seen = contents(root), []

    def hold() -> None:
        with clocks.locked(2_000_000, root) as state:
            seen.append(state)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert seen == ["locked at 2 GHz"]
    assert contents(root) == before


def test_cards_are_locked_and_freed(tmp_path: Path) -> None:
    """All of them, or none; the file remembers which."""
    kept, fake = tmp_path / "kept.json", FakeNvml([1, 2])
    assert [card.highest_mhz for card in nvml.clocks(fake)] == [1980, 1980]
    assert clocks.lock_cards(1400, tmp_path, kept, fake) == ("gpu-0", "gpu-1")
    assert fake.locked_mhz == {0: (1400, 1400), 1: (1400, 1400)}
    assert clocks.reset(tmp_path, kept, fake) == ("gpu-0", "gpu-1")
    assert fake.locked_mhz == {}
    assert not kept.exists()


def test_cards_that_refuse_are_said_to(tmp_path: Path) -> None:
    """Without permission, above what a card has, half of the cards: nothing stays locked."""
    kept = tmp_path / "kept.json"
    for fake, mhz, error in (
        (FakeNvml([1], permitted=False), 1400, ClocksRefused),
        (FakeNvml([1]), 2500, UsageError),
        (FakeNvml([1, 2], refusing=frozenset({1})), 1400, ClocksRefused),
        (FakeNvml([]), 1400, ClocksRefused),
    ):
        with pytest.raises(error):
            clocks.lock_cards(mhz, tmp_path, kept, fake)
        assert fake.locked_mhz == {}
        assert not kept.exists()


def test_a_lock_of_cards_that_fails_keeps_the_earlier_one_of_the_processor(tmp_path: Path) -> None:
    """What the processor was before is not forgotten."""
    root, kept = machine(tmp_path / "root"), tmp_path / "kept.json"
    before = contents(root)
    clocks.lock(2_000_000, root, kept)
    with pytest.raises(ClocksRefused):
        clocks.lock_cards(1400, root, kept, FakeNvml([1], permitted=False))
    clocks.reset(root, kept)
    assert contents(root) == before


@pytest.mark.parametrize(
    ("text", "khz"),
    [("2.4GHz", 2_400_000), ("2400 MHz", 2_400_000), (" 800000khz ", 800_000), (".5ghz", 500_000)],
)
def test_frequencies_are_read(text: str, khz: int) -> None:
    """With their unit, in either case."""
    assert parse_frequency_khz(text) == khz
    assert parse_frequency_khz(format_frequency(khz)) == khz


@pytest.mark.parametrize(
    "text", ["", "2.4", "GHz", "-1GHz", "0MHz", "2,4GHz", "nanGHz", "1e9GHz", "999999GHz", "2.4 THz"]
)
def test_what_is_no_frequency_is_refused(text: str) -> None:
    """A bare number has no unit to guess."""
    with pytest.raises(UsageError):
        parse_frequency_khz(text)
