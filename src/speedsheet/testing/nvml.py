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
