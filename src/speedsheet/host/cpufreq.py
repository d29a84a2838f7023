"""The processor's clock as Linux shows and sets it: policies of cores that share one, their bounds, and the boost.

What can be set is text in files below `root`, by their path: what is there now, what is wanted, and what was before are
three mappings of one kind. Source: Documentation/admin-guide/pm/cpufreq.rst, intel_pstate.rst, amd-pstate.rst.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from speedsheet.core.errors import ClocksRefused
from speedsheet.host.kernel import number, text

#: What to write where: the path of a file below the root, and its line.
Settings = Mapping[str, str]

WHO = "root may set clocks where /sys is writable; inside a container or virtual machine, only its host"
PERFORMANCE = "performance"
_CPUS = "sys/devices/system/cpu"
_BOOST = f"{_CPUS}/cpufreq/boost"
_GOVERNOR, _LOWEST, _HIGHEST = "scaling_governor", "scaling_min_freq", "scaling_max_freq"
_SETTABLE = re.compile(
    rf"{_BOOST} [01]|{_CPUS}/(cpufreq/policy[0-9]{{1,5}}|cpu[0-9]{{1,5}}/cpufreq)/"
    rf"({_GOVERNOR} [A-Za-z0-9_]{{1,32}}|({_LOWEST}|{_HIGHEST}) [0-9]{{1,12}})"
)
# drivers round to what the hardware has; further off is another clock
_ROUNDING = 0.01


@dataclass(frozen=True, slots=True)
class Policy:
    """Cores that share one clock. `min_khz` and `max_khz` bound it now; `lowest_khz` and `highest_khz` always.

    `sustained_khz` is the highest clock that does not depend on heat and on how many cores are busy. Null is untold.
    """

    name: str
    folder: str
    cpus: str
    driver: str
    governor: str
    governors: tuple[str, ...]
    current_khz: int | None
    min_khz: int | None
    max_khz: int | None
    lowest_khz: int | None
    highest_khz: int | None
    sustained_khz: int | None

    def bounded(self, low_khz: int, high_khz: int) -> dict[str, str]:
        """Return the settings that bound this clock."""
        return {f"{self.folder}/{_LOWEST}": str(low_khz), f"{self.folder}/{_HIGHEST}": str(high_khz)}

    def governed(self, governor: str) -> dict[str, str]:
        """Return the settings that give this clock a governor; none where it has no such, or does not tell its own."""
        return {f"{self.folder}/{_GOVERNOR}": governor} if self.governor and governor in self.governors else {}


def policies(root: Path) -> tuple[Policy, ...]:
    """Return the policies of this host, by number; none where it does not show its clocks."""
    cpus = root / _CPUS
    folders = list((cpus / "cpufreq").glob("policy[0-9]*")) or list(cpus.glob("cpu[0-9]*/cpufreq"))
    return tuple(_policy(root, folder) for folder in sorted(folders, key=_place))


def clock_state(root: Path) -> str:
    """Return "locked at X GHz" where no core's clock may move, "default" where one may, "unknown" where it is untold.

    Cores that are locked at different clocks are "locked at X to Y GHz".
    """
    spans = [(policy.min_khz, policy.max_khz) for policy in policies(root)]
    told = [(low, high) for low, high in spans if low is not None and high is not None]
    if not told or len(told) < len(spans):
        return "unknown"
    if any(low != high for low, high in told):
        return "default"
    clocks = sorted({low / 1e6 for low, _ in told})
    return f"locked at {' to '.join(f'{clock:g}' for clock in (clocks[:1] + clocks[1:][-1:]))} GHz"


def boost(root: Path) -> bool | None:
    """Return whether the processor may exceed its sustained clock; null where there is no such switch."""
    return {"0": False, "1": True}.get(text(root / _BOOST))


def without_boost(root: Path) -> dict[str, str]:
    """Return the settings that turn the boost off; none where it has no switch, or is off."""
    return {_BOOST: "0"} if boost(root) else {}


def present(root: Path, wanted: Settings) -> dict[str, str]:
    """Return what stands now where something is wanted."""
    return {path: text(root / path) for path in wanted}


def settable(path: object, line: object) -> bool:
    """Whether this is a setting of a clock at all; what comes from a file must be asked before it is written."""
    return isinstance(path, str) and isinstance(line, str) and bool(_SETTABLE.fullmatch(f"{path} {line}"))


def put(root: Path, wanted: Settings) -> None:
    """Write what is wanted. Raises ClocksRefused with the first that fails, and writes nothing after it."""
    for failure in write(root, wanted):
        raise failure


def write(root: Path, wanted: Settings) -> Iterator[ClocksRefused]:
    """Write what is wanted and not there yet, read each back, and yield what fails; go on as far as one asks."""
    for path in _in_order(root, wanted):
        line = wanted[path]
        if text(root / path) == line:
            continue
        try:
            _write(root / path, line)
        except OSError as error:
            yield ClocksRefused(error.strerror or str(error), where=str(root / path), do=WHO)
            continue
        found = text(root / path)
        if not _same(found, line):
            yield ClocksRefused(f"took {found or 'nothing'} where {line} was written", where=str(root / path), do=WHO)


def _in_order(root: Path, wanted: Settings) -> Iterator[str]:
    """Yield the paths so that the kernel never sees a lower bound above the upper one."""
    yield from (path for path in wanted if path == _BOOST)  # it moves the bounds of the bounds
    yield from (path for path in wanted if path.endswith(_GOVERNOR))
    for folder in dict.fromkeys(path.rpartition("/")[0] for path in wanted if path.endswith((_LOWEST, _HIGHEST))):
        low, high = f"{folder}/{_LOWEST}", f"{folder}/{_HIGHEST}"
        rises = int(wanted.get(high, 0)) >= (number(root / low) or 0)
        yield from (path for path in ((high, low) if rises else (low, high)) if path in wanted)


def _write(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _same(found: str, line: str) -> bool:
    if found.isdigit() and line.isdigit() and len(found) <= 20:  # noqa: PLR2004  64 bits
        return abs(int(found) - int(line)) <= _ROUNDING * int(line)
    return found == line


def _policy(root: Path, folder: Path) -> Policy:
    lowest_khz, highest_khz = number(folder / "cpuinfo_min_freq"), number(folder / "cpuinfo_max_freq")
    return Policy(
        name=folder.name if folder.name.startswith("policy") else folder.parent.name,
        folder=str(folder.relative_to(root)),
        cpus=text(folder / "related_cpus"),
        driver=text(folder / "scaling_driver"),
        governor=text(folder / _GOVERNOR),
        governors=tuple(text(folder / "scaling_available_governors").split()),
        current_khz=number(folder / "scaling_cur_freq"),
        min_khz=_clock(folder / _LOWEST),
        max_khz=_clock(folder / _HIGHEST),
        lowest_khz=lowest_khz,
        highest_khz=highest_khz,
        sustained_khz=_sustained_khz(root, folder, lowest_khz, highest_khz),
    )


def _sustained_khz(root: Path, folder: Path, lowest_khz: int | None, highest_khz: int | None) -> int | None:
    """Return the first that is told of the base clock, the highest of the list without boost, nominal, highest."""
    listed = [int(item) for item in text(folder / "scaling_available_frequencies").split() if item.isdigit()]
    first = text(folder / "related_cpus").split() or [str(_place(folder))]
    nominal_mhz = number(root / _CPUS / f"cpu{first[0]}" / "acpi_cppc/nominal_freq")
    for khz in (number(folder / "base_frequency"), max(listed, default=None), (nominal_mhz or 0) * 1000, highest_khz):
        if khz and (lowest_khz or 0) <= khz <= (highest_khz or khz):
            return khz
    return None


def _clock(path: Path) -> int | None:
    khz = number(path)
    return khz if khz is not None and khz > 0 else None


def _place(folder: Path) -> int:
    digits = re.sub(r"\D", "", folder.name) or re.sub(r"\D", "", folder.parent.name)
    return int(digits or 0)
