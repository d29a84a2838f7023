"""A workload: what is measured, before any engine is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

#: Arrays by input or output name.
Arrays = dict[str, ndarray]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a request. `shape` has None where the batch goes (only ever the first axis).

    Values of synthetic input lie in [low, high); the bounds are ignored for booleans.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    low: float = 0.0
    high: float = 1.0

    def at(self, batch_size: int) -> tuple[int, ...]:
        """Return the shape of one request of `batch_size` samples."""
        return tuple(batch_size if axis is None else axis for axis in self.shape)

    @property
    def batched(self) -> bool:
        """Whether the first axis counts samples."""
        return bool(self.shape) and self.shape[0] is None

    @property
    def constant(self) -> bool:
        """Whether the range holds one value, as it does for recurrent state and full masks."""
        if np.dtype(self.dtype).kind == "f":
            return self.low < self.high <= float(np.nextafter(np.float32(self.low), np.float32(np.inf)))
        return self.dtype != "bool" and self.low < self.high <= self.low + 1


@dataclass(frozen=True, slots=True)
class Limit:
    """What the gate allows at one precision, and from which honest runs that was derived (`basis`)."""

    centred_cosine: float
    relative_error: float
    basis: str


def limits_found(**found: tuple[float, float]) -> dict[str, Limit]:
    """Return the limits that honest runs gave a model, by precision: centred cosine and relative error.

    FP32 needs no runs of its own: what another order of summation makes of the same sums is alike for all.
    """
    basis = "docs/gate-limits.md"
    wide = {precision: Limit(cosine, relative, basis) for precision, (cosine, relative) in found.items()}
    return {"fp32": Limit(0.999999, 1e-4, basis), **wide}


@dataclass(frozen=True, slots=True)
class Workload:
    """One model of a sheet, as declared in its zoo file or read from the user's own file.

    `build` returns the framework's model with its variables at their shipped values, and is the only thing here
    that imports a framework. `draw(seed, samples)` returns input arrays, samples first, and needs only numpy.
    """

    name: str
    task: str
    framework: str
    source: str
    inputs: tuple[InputSpec, ...]
    batch_size: int
    thread_num: int
    draw: Callable[[int, int], Arrays]
    build: Callable[[], object] | None = None
    precisions: tuple[str, ...] = ("fp32", "fp16", "bf16")
    limits: Mapping[str, Limit] = field(default_factory=dict)
