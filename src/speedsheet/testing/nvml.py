"""A management library of graphics cards that exist nowhere: hand it in where the product would take `pynvml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class FakeNvmlError(Exception):
    """What the driver says when it does not know, or does not permit."""


@dataclass
class FakeNvml:
    """A card for each of `energies_mj`, null where it counts none; `permitted` is whether we are root."""

    energies_mj: Sequence[int | None] = (0,)
    permitted: bool = True
    highest_mhz: int = 1980
    refusing: frozenset[int] = frozenset()
    locked_mhz: dict[int, tuple[int, int]] = field(default_factory=dict)

    NVMLError = FakeNvmlError
    NVML_CLOCK_SM = 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802  the library's names
        """Count the cards."""
        return len(self.energies_mj)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        """A handle is the card's place."""
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        """Millijoules."""
        spent_mj = self.energies_mj[handle]
        if spent_mj is None:
            raise FakeNvmlError("Not Supported")
        return spent_mj

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        """Each is alike."""
        return f"Card {handle}"

    def nvmlDeviceGetClockInfo(self, handle: int, _kind: int) -> int:  # noqa: N802
        """What it is locked at, or its highest."""
        return self.locked_mhz.get(handle, (0, self.highest_mhz))[1]

    def nvmlDeviceGetMaxClockInfo(self, _handle: int, _kind: int) -> int:  # noqa: N802
        """The highest."""
        return self.highest_mhz

    def nvmlDeviceSetGpuLockedClocks(self, handle: int, low_mhz: int, high_mhz: int) -> None:  # noqa: N802
        """Lock, where we are root, and the card is not the one that refuses."""
        if not self.permitted or handle in self.refusing:
            raise FakeNvmlError("Insufficient Permissions")
        self.locked_mhz[handle] = low_mhz, high_mhz

    def nvmlDeviceResetGpuLockedClocks(self, handle: int) -> None:  # noqa: N802
        """Free."""
        if not self.permitted:
            raise FakeNvmlError("Insufficient Permissions")
        self.locked_mhz.pop(handle, None)
