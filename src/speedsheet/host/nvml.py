"""Graphics cards as NVIDIA's management library tells them, where nvidia-ml-py and a driver are there.

Source: NVML API reference (docs.nvidia.com/deploy/nvml-api): device queries, GPU locked clocks. What
the driver does not tell is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from speedsheet.core.errors import ClocksRefused, UsageError

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


@dataclass(frozen=True, slots=True)
class CardClock:
    """A card's clock now and at most, in MHz; null where the driver does not tell."""

    name: str
    product: str
    current_mhz: int | None
    highest_mhz: int | None


def clocks(library: Any | None = None) -> tuple[CardClock, ...]:
    """Return the clock of each card's multiprocessors."""
    used: Any = library or installed()
    return tuple(
        CardClock(
            card.name,
            str(_told(used, used.nvmlDeviceGetName, card.handle) or ""),
            _told(used, used.nvmlDeviceGetClockInfo, card.handle, used.NVML_CLOCK_SM),
            _told(used, used.nvmlDeviceGetMaxClockInfo, card.handle, used.NVML_CLOCK_SM),
        )
        for card in cards(used)
    )


def lock(card: Card, mhz: int, library: Any | None = None) -> None:
    """Hold a card at one clock. Raises UsageError above what it has, ClocksRefused where the driver refuses."""
    used: Any = library or installed()
    highest_mhz = _told(used, used.nvmlDeviceGetMaxClockInfo, card.handle, used.NVML_CLOCK_SM)
    if highest_mhz is not None and mhz > highest_mhz:
        raise UsageError(f"{mhz} MHz is no clock of {card.name}", do=f"choose at most {highest_mhz} MHz")
    try:
        used.nvmlDeviceSetGpuLockedClocks(card.handle, mhz, mhz)
    except used.NVMLError as error:
        raise ClocksRefused(str(error), where=card.name, do="root may lock the clocks of cards") from error


def free(chosen: Sequence[Card], library: Any | None = None) -> None:
    """Give cards back to the driver's own choice of clock, all that will; raises ClocksRefused for the first other."""
    used: Any = library or installed()
    failures = []
    for card in chosen:
        try:
            used.nvmlDeviceResetGpuLockedClocks(card.handle)
        except used.NVMLError as error:
            failures.append(ClocksRefused(str(error), where=card.name, do="root may free the clocks of cards"))
    for failure in failures:
        raise failure


def _told(used: Any, ask: Any, *arguments: Any) -> Any | None:
    try:
        return ask(*arguments)
    except used.NVMLError:
        return None
