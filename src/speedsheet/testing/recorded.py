"""Signals recorded on a real machine, and runs put together of them: the ledger held to what it will meet.

`data/interference.json` holds windows of several loads, alone on the machine and beside a busy process; written by
`benchmarks/interference.py --record`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from speedsheet.stats.interference import Window, flags

QUIET = "quiet"
FILE = "interference.json"


@dataclass(frozen=True, slots=True)
class Recorded:
    """Windows of each load by name, then by what ran beside it: `QUIET` is nothing, the others are neighbours."""

    host: str
    cores: int
    loads: Mapping[str, Mapping[str, Sequence[Window]]]

    def to_json(self) -> dict[str, object]:
        """Return it as data, the names of the signals once."""
        names = sorted({name for kinds in self.loads.values() for windows in kinds.values() for name in windows[0]})
        loads = {
            load: {
                kind: [[window.get(name) for name in names] for window in windows] for kind, windows in kinds.items()
            }
            for load, kinds in self.loads.items()
        }
        return {"host": self.host, "cores": self.cores, "signals": names, "loads": loads}

    @classmethod
    def from_json(cls, text: str) -> Recorded:
        """Read what `to_json` made."""
        data = json.loads(text)
        names = data["signals"]
        loads = {
            load: {kind: [dict(zip(names, row, strict=True)) for row in rows] for kind, rows in kinds.items()}
            for load, kinds in data["loads"].items()
        }
        return cls(data["host"], data["cores"], loads)


def recorded() -> Recorded:
    """Return the recordings that ship."""
    return Recorded.from_json((resources.files("speedsheet") / "data" / FILE).read_text(encoding="utf-8"))


def simulated(
    kinds: Mapping[str, Sequence[Window]], kind: str, draw: np.random.Generator, windows: int = 10, beside: int = 3
) -> list[Window]:
    """Draw a run of quiet windows, a stretch of `beside` of them with the neighbour `kind`."""

    def some(of: str, count: int) -> list[Window]:
        return [kinds[of][place] for place in draw.integers(len(kinds[of]), size=count)]

    if kind == QUIET:
        return some(QUIET, windows)
    before = int(draw.integers(windows - beside + 1))
    return [*some(QUIET, before), *some(kind, beside), *some(QUIET, windows - beside - before)]


def reported(kinds: Mapping[str, Sequence[Window]], kind: str, cores: int, runs: int, seed: int = 920) -> float:
    """Return the share of simulated runs in which any window is flagged."""
    draw = np.random.default_rng(seed)
    return sum(any(flags(simulated(kinds, kind, draw), cores)) for _ in range(runs)) / runs
