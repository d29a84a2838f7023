"""Signals of what disturbs a run: counters read now and then, and what lies between two readings.

`read` costs well under a millisecond, so that reading once a second disturbs nothing; `between` is arithmetic. What the
machine does not tell is null. Linux: proc(5); Documentation/accounting/psi.rst, scheduler/sched-stats.rst.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from speedsheet.core.units import NS_PER_S
from speedsheet.host import energy
from speedsheet.host.cgroup import pressure_file, throttle_files
from speedsheet.host.energy import EnergyCounter
from speedsheet.host.kernel import content, number, text, whole

_ROOT = Path("/")
_US_PER_S = 1_000_000
_NS_PER_US = 1000
# proc/stat counts in USER_HZ, which is not the timer's frequency and has been 100 wherever Linux runs
_TICK_NS = NS_PER_S // (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)
# the lines of the processors come first; 900 of them fit
_STAT_BYTES = 1 << 16
#: So many files of one kind are read at most: a mean over a few cores tells what a mean over 256 does.
_MOST_FILES = 16
#: Sensors of the processor, by the name of their driver.
_PROCESSOR_SENSORS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal", "fam15h_power"})


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters since some moment in the past, at one moment; null is what this machine does not tell.

    `own_cpu_ns` is the processor time of this process, `ours_cpu_ns` of the others of the same run by process id;
    `waited_ns` is the run-queue wait of each own thread by thread id. `idle_ns` and `steal_ns` add over `cpus`.
    """

    monotonic_ns: int
    own_cpu_ns: int
    involuntary_switches: int
    ours_cpu_ns: Mapping[int, int]
    waited_ns: Mapping[int, int] | None = None
    cpus: int | None = None
    idle_ns: int | None = None
    steal_ns: int | None = None
    cpu_pressure_us: int | None = None
    memory_pressure_us: int | None = None
    io_pressure_us: int | None = None
    throttled_ns: int | None = None
    clock_khz: float | None = None
    temperature_c: float | None = None
    temperature_limit_c: float | None = None
    energy: tuple[EnergyCounter, ...] = ()


def read(root: Path = _ROOT, *, ours: Sequence[int] = (), gpus: bool = False) -> Reading:
    """Read everything once. Where the files are is looked up in the first call for a root, and kept.

    `ours` are the other processes of the same run (the parent, further client processes): their processor time is
    none of a neighbour's. `gpus` counts the energy of graphics cards too.
    """
    places = _places(root)
    cpus, idle_ns, steal_ns = _machine(places.stat)
    temperature_c, limit_c = _temperature(places.sensors)
    return Reading(
        monotonic_ns=time.monotonic_ns(),
        own_cpu_ns=time.process_time_ns(),
        involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
        ours_cpu_ns=dict(_cpu_times(ours)),
        waited_ns=_waits(places.tasks),
        cpus=cpus,
        idle_ns=idle_ns,
        steal_ns=steal_ns,
        cpu_pressure_us=_pressure(places.cpu_pressure),
        memory_pressure_us=_pressure(places.memory_pressure),
        io_pressure_us=_pressure(places.io_pressure),
        throttled_ns=_throttled(places.throttles),
        clock_khz=_mean([number(path) for path in places.clocks]),
        temperature_c=temperature_c,
        temperature_limit_c=limit_c,
        energy=energy.counters(places.packages, gpus=gpus),
    )


def between(first: Reading, second: Reading) -> dict[str, float | None]:
    """Return the signals of the window between two readings, by name with units; all null where no time has passed.

    Shares are of the window, from 0 to 1. `others_cpu_cores` is what the machine's processors did beyond this run, in
    cores. `run_queue_wait_share` is the part that own threads stood in the queue of the time that they wished to run.
    """
    elapsed_ns = second.monotonic_ns - first.monotonic_ns
    if elapsed_ns <= 0:
        return dict.fromkeys(between(first, replace(first, monotonic_ns=first.monotonic_ns + NS_PER_S)))
    elapsed_s = elapsed_ns / NS_PER_S
    own_ns = second.own_cpu_ns - first.own_cpu_ns
    ours_ns = own_ns + sum(after - first.ours_cpu_ns.get(pid, after) for pid, after in second.ours_cpu_ns.items())
    waited_ns, busy_ns = _waited(first, second), _busy(first, second, elapsed_ns)
    limit_c, power_w = second.temperature_limit_c, energy.spent([first.energy, second.energy]).joules
    return {
        "own_cpu_cores": ours_ns / elapsed_ns,
        "others_cpu_cores": None if busy_ns is None else max(0.0, (busy_ns - ours_ns) / elapsed_ns),
        "run_queue_wait_share": None if waited_ns is None else waited_ns / max(1, waited_ns + own_ns),
        "involuntary_switches_per_s": (second.involuntary_switches - first.involuntary_switches) / elapsed_s,
        "cpu_pressure_share": _share(first.cpu_pressure_us, second.cpu_pressure_us, elapsed_s * _US_PER_S),
        "memory_pressure_share": _share(first.memory_pressure_us, second.memory_pressure_us, elapsed_s * _US_PER_S),
        "io_pressure_share": _share(first.io_pressure_us, second.io_pressure_us, elapsed_s * _US_PER_S),
        "throttled_share": _share(first.throttled_ns, second.throttled_ns, elapsed_ns),
        "steal_share": _share(first.steal_ns, second.steal_ns, elapsed_ns * (second.cpus or 1)),
        "clock_mhz": _mean([_mhz(first.clock_khz), _mhz(second.clock_khz)]),
        "temperature_c": second.temperature_c,
        "temperature_headroom_c": _difference(limit_c, second.temperature_c),
        "power_w": None if power_w is None else power_w / elapsed_s,
    }


def unavailable(reading: Reading) -> tuple[str, ...]:
    """Return the names of the signals that this host does not tell."""
    later = replace(reading, monotonic_ns=reading.monotonic_ns + NS_PER_S)
    return tuple(name for name, value in between(reading, later).items() if value is None)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where one machine keeps what is read; files that were not there are left out, or stay and read as nothing."""

    tasks: Path
    stat: Path
    cpu_pressure: Path
    memory_pressure: Path
    io_pressure: Path
    throttles: tuple[Path, ...]
    clocks: tuple[Path, ...]
    sensors: tuple[tuple[Path, float | None], ...]
    packages: tuple[Path, ...]


@cache
def _places(root: Path) -> _Places:
    pressure = root / "proc/pressure"
    cpu_pressure = pressure / "cpu"
    if _pressure(cpu_pressure) is None:  # a container may hide the machine's, and show its own
        cpu_pressure = pressure_file(root) or cpu_pressure
    clocks = sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*/scaling_cur_freq"))
    return _Places(
        tasks=root / "proc/self/task",
        stat=root / "proc/stat",
        cpu_pressure=cpu_pressure,
        memory_pressure=pressure / "memory",
        io_pressure=pressure / "io",
        throttles=throttle_files(root),
        clocks=_spread(clocks),
        sensors=tuple(_sensors(root)),
        packages=energy.rapl_packages(root),
    )


def _spread(files: Sequence[Path]) -> tuple[Path, ...]:
    """Return a few of many, evenly."""
    return tuple(files[:: -(-len(files) // _MOST_FILES) or 1])


def _sensors(root: Path) -> Iterator[tuple[Path, float | None]]:
    """Yield the processor's thermometers with the temperature that each must not reach, where it is told."""
    drivers = [folder for folder in sorted((root / "sys/class/hwmon").glob("hwmon*"))
               if text(folder / "name") in _PROCESSOR_SENSORS]  # fmt: skip
    files = _spread([path for folder in drivers for path in sorted(folder.glob("temp*_input"))])
    for path in files:
        limits = [_celsius(path.with_name(path.name.replace("_input", ending))) for ending in ("_crit", "_max")]
        yield path, next((limit for limit in limits if limit), None)
    if not files:
        for zone in _spread(sorted((root / "sys/class/thermal").glob("thermal_zone*"))):
            yield zone / "temp", None


def _machine(stat: Path) -> tuple[int | None, int | None, int | None]:
    """Return the processors, and their idle and stolen time together, nanoseconds.

    What was not idle was busy: idle time is counted exactly where the timer tick stops (NO_HZ), while busy time is
    only sampled by it. Time that waited for a disk (iowait) is idle.
    """
    lines = content(stat, _STAT_BYTES).split(b"\n")
    cpus = sum(line.startswith(b"cpu") and line[3:4].isdigit() for line in lines)
    fields = [whole(field) for field in lines[0].split()[1:]]
    if not cpus or not lines[0].startswith(b"cpu ") or len(fields) < 5 or None in fields:  # noqa: PLR2004
        return None, None, None
    ticks = [field or 0 for field in fields]
    steal_ns = ticks[7] * _TICK_NS if len(ticks) > 7 else None  # noqa: PLR2004
    return cpus, (ticks[3] + ticks[4]) * _TICK_NS, steal_ns


def _busy(first: Reading, second: Reading, elapsed_ns: int) -> int | None:
    if first.idle_ns is None or second.idle_ns is None or second.cpus is None:
        return None
    resting = second.idle_ns - first.idle_ns + (second.steal_ns or 0) - (first.steal_ns or 0)
    return second.cpus * elapsed_ns - resting


def _waits(tasks: Path) -> dict[int, int] | None:
    """Return how long each thread of this process has stood in a run queue, nanoseconds, by thread id."""
    waits: dict[int, int] = {}
    try:
        folder = os.open(tasks, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for thread in os.listdir(folder):  # noqa: PTH208  names alone, at once
            fields = [whole(field) for field in content(f"{thread}/schedstat", folder=folder).split()]
            if thread.isdigit() and len(fields) == 3 and fields[1] is not None:  # noqa: PLR2004  ran, waited, turns
                waits[int(thread)] = fields[1]
    finally:
        os.close(folder)
    return waits or None


def _waited(first: Reading, second: Reading) -> int | None:
    """Add up over threads: one that is new, or has the number of one that is gone, began to wait after the first."""
    if first.waited_ns is None or second.waited_ns is None:
        return None
    before = first.waited_ns
    return sum(
        now - (then if (then := before.get(thread, 0)) <= now else 0) for thread, now in second.waited_ns.items()
    )


def _cpu_times(processes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the processor time of other processes, exact, from the clock that the kernel keeps for each.

    The number of that clock is made as clock_getcpuclockid(3) makes it. A process that is gone has none.
    """
    for process in processes:
        with suppress(OSError):
            yield process, time.clock_gettime_ns((~process << 3) | 2)


def _pressure(path: Path) -> int | None:
    """Return how long some task has stood still for want of this, microseconds."""
    for line in content(path).split(b"\n"):
        if line.startswith(b"some "):
            _, mark, total = line.partition(b"total=")
            return whole(total.strip()) if mark else None
    return None


def _throttled(files: Sequence[Path]) -> int | None:
    found = []
    for path in files:
        for line in content(path).split(b"\n"):
            name, _, value = line.partition(b" ")
            count = whole(value.strip()) if name in {b"throttled_usec", b"throttled_time"} else None
            if count is not None:  # version 2 counts microseconds, version 1 nanoseconds
                found.append(count * (_NS_PER_US if name == b"throttled_usec" else 1))
    return sum(found) if found else None


def _temperature(sensors: Sequence[tuple[Path, float | None]]) -> tuple[float | None, float | None]:
    """Return the warmest sensor, and the limit of the one that is nearest to its own."""
    read_now = [(value, limit) for path, limit in sensors if (value := _celsius(path)) is not None]
    if not read_now:
        return None, None
    warmest = max(value for value, _ in read_now)
    slack = [limit - value for value, limit in read_now if limit is not None]
    return warmest, warmest + min(slack) if slack else None


def _celsius(path: Path) -> float | None:
    value = number(path)
    return None if value is None else value / 1000


def _share(first: int | None, second: int | None, whole_of: float) -> float | None:
    return None if first is None or second is None else min(1.0, max(0.0, (second - first) / whole_of))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _mhz(khz: float | None) -> float | None:
    return None if khz is None else khz / 1000


def _difference(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right
