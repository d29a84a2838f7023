"""Graphics cards as NVIDIA's management library tells them, where nvidia-ml-py and a driver are there.

Source: NVML API reference (docs.nvidia.com/deploy/nvml-api): device queries, GPU locked clocks. What
the driver does not tell is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

_UJ_PER_MJ = 1000


@dataclass(frozen=True, slots=True)
class Card:
    """One graphics card: its place in the driver's list, its name with that place, and the driver's handle."""

    index: int
    name: str
    handle: Any


def cards(library: Any | None = None) -> tuple[Card, ...]:
    """Return the cards of this host; none where there is no library, no driver or no card."""
    used = library or installed()
    if used is None:
        return ()
    try:
        handles = [used.nvmlDeviceGetHandleByIndex(index) for index in range(used.nvmlDeviceGetCount())]
    except used.NVMLError:
        return ()
    return tuple(Card(index, f"gpu-{index}", handle) for index, handle in enumerate(handles))


@cache
def installed() -> Any | None:
    """Return the library, connected to the driver once for the life of the process; null without either."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def energies_uj(library: Any | None = None) -> list[tuple[Card, int]]:
    """Return what each card has spent since its driver was loaded, microjoules; cards before Volta do not count."""
    used: Any = library or installed()
    found = []
    for card in cards(used):
        try:
            spent_mj = used.nvmlDeviceGetTotalEnergyConsumption(card.handle)
        except used.NVMLError:
            continue
        found.append((card, int(spent_mj) * _UJ_PER_MJ))
    return found
