"""How well the model predicts what it has not seen: rows, models and families left out, structures chosen inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.fit import Fit, FitRow, Stack, fit, predict
from speedsheet.twin.types import Structure, TwinParams

Floats = NDArray[np.float64]
Split = Callable[[FitRow], object]

#: How rows are left out together.
SPLITS: Mapping[str, Split] = {
    "leave_one_out": lambda row: (row.name, row.batch_size, row.thread_num),
    "leave_model_out": lambda row: row.model,
    "leave_family_out": lambda row: row.family,
}


@dataclass(frozen=True, slots=True)
class Candidates:
    """Every structure that a fit may choose, with its stack of rows."""

    stacks: Mapping[Structure, Stack]

    @classmethod
    def of(cls, rows: Sequence[FitRow], device: DeviceSpec, params: TwinParams) -> Candidates:
        """Lower the rows under every structure."""
        return cls({structure: Stack(rows, device, params, structure) for structure in structures()})

    def of_stack(self, stack: Stack) -> Structure:
        """Return the structure that a stack was lowered under."""
        return next(structure for structure, one in self.stacks.items() if one is stack)

    def choose(self, free: Sequence[str], chosen: Sequence[int] | None = None) -> tuple[Structure, Fit]:
        """Return the structure whose rows, each as if left out, err least; decided by the chosen rows alone."""
        fits = {structure: fit(stack, free, chosen) for structure, stack in self.stacks.items()}
        best = min(fits, key=lambda structure: float(np.sum(fits[structure].left_out ** 2)))
        return best, fits[best]


def structures() -> list[Structure]:
    """Return all combinations of effects."""
    flags = (True, False)
    return [
        Structure(tiles=tiles, requantises=requantises, split_rereads=rereads, dispatch_parts=parts)
        for tiles in flags for requantises in flags for rereads in flags for parts in flags
    ]  # fmt: skip


def crossed(stack: Stack, free: Sequence[str], split: Split, starts: int = 2) -> Floats:
    """Return log predicted over observed for each row, from a fit without the rows that `split` puts with it."""
    errors = np.zeros(len(stack.rows))
    for group in dict.fromkeys(map(split, stack.rows)):
        inside = [place for place, row in enumerate(stack.rows) if split(row) != group]
        found = predict(stack, fit(stack, free, inside, starts=starts).values) - stack.observed
        for place, row in enumerate(stack.rows):
            if split(row) == group:
                errors[place] = found[place]
    return errors


def nested(candidates: Candidates, free: Sequence[str], split: Split) -> Floats:
    """As `crossed`, with the structure chosen anew inside each fold, by the rows of that fold alone."""
    rows = next(iter(candidates.stacks.values())).rows
    errors = np.zeros(len(rows))
    for group in dict.fromkeys(map(split, rows)):
        inside = [place for place, row in enumerate(rows) if split(row) != group]
        structure, found = candidates.choose(free, inside)
        stack = candidates.stacks[structure]
        errors_here = predict(stack, found.values) - stack.observed
        for place, row in enumerate(rows):
            if split(row) == group:
                errors[place] = errors_here[place]
    return errors


def relative(log_errors: Floats) -> Floats:
    """Return predicted over observed less one, from its logarithm."""
    found: Floats = np.expm1(log_errors)
    return found


def mean_error(log_errors: Floats) -> float:
    """Return the mean absolute error of throughput."""
    return float(np.mean(np.abs(relative(log_errors))))


def worst_error(log_errors: Floats) -> float:
    """Return the largest absolute error of throughput."""
    return float(np.max(np.abs(relative(log_errors))))
