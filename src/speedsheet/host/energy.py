"""Energy that the machine counts itself: RAPL packages, and graphics cards where they are asked for.

Counters only rise, until they wrap: a difference is taken between two readings that lie less than one turn apart (a
RAPL package at 200 W turns in about 20 minutes). What is not counted, or may not be read, is absent, never estimated.
Linux, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from speedsheet.host import nvml
from speedsheet.host.kernel import number, text

UNAVAILABLE = "unavailable"
_UJ_PER_J = 1e6


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """What one source has spent since some moment in the past, microjoules; `turn_uj` is where it starts again."""

    source: str
    spent_uj: int
    turn_uj: int | None = None


@dataclass(frozen=True, slots=True)
class Energy:
    """What a stretch of time cost; null where a source is missing in any part of it. `source` names all that count."""

    joules: float | None = None
    source: str = UNAVAILABLE

    def samples_per_joule(self, samples: int) -> float | None:
        """Return how many samples one joule paid for; null where none was counted."""
        return samples / self.joules if self.joules else None


def rapl_packages(root: Path) -> tuple[Path, ...]:
    """Return the folders of the processor packages; their parts (cores, DRAM) are inside or apart, and not added."""
    folders = sorted((root / "sys/class/powercap").glob("*-rapl:*"))
    return tuple(folder for folder in folders if text(folder / "name").startswith("package-"))


def counters(packages: Sequence[Path], *, gpus: bool = False) -> tuple[EnergyCounter, ...]:
    """Read each package, and each graphics card where `gpus`; who may not be read (RAPL needs root) is left out."""
    found = []
    for folder in packages:
        spent_uj = number(folder / "energy_uj")
        if spent_uj is not None and spent_uj >= 0:
            source = f"rapl {text(folder / 'name')}"
            found.append(EnergyCounter(source, spent_uj, number(folder / "max_energy_range_uj")))
    if gpus:
        found += [EnergyCounter(f"nvml {card.name}", spent_uj) for card, spent_uj in nvml.energies_uj()]
    return tuple(found)


def spent(readings: Sequence[Sequence[EnergyCounter]]) -> Energy:
    """Return what was spent from the first reading to the last, over the sources that every one of them has."""
    if len(readings) < 2:  # noqa: PLR2004  a difference needs two
        return Energy()
    sources = [{counter.source: counter for counter in reading} for reading in readings]
    common = [name for name in sources[0] if all(name in reading for reading in sources)]
    if not common:
        return Energy()
    turns = [_rise_uj(before[name], after[name]) for before, after in pairwise(sources) for name in common]
    known = [turn for turn in turns if turn is not None]
    if len(known) < len(turns):  # a counter fell, and does not say where it turns
        return Energy()
    return Energy(sum(known) / _UJ_PER_J, ", ".join(common))


def _rise_uj(before: EnergyCounter, after: EnergyCounter) -> int | None:
    rise = after.spent_uj - before.spent_uj
    if rise >= 0:
        return rise
    turn = after.turn_uj
    return rise + turn if turn and rise + turn >= 0 else None
