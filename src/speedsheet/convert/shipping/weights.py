"""Authors of shipped models: which variables ship and which are drawn, and the values of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from speedsheet.convert.shipping.recipe import Shape, shipped_arrays
from speedsheet.core import draws
from speedsheet.core.errors import BadInput
from speedsheet.core.workload import Arrays, InputSpec

#: The seed of every shipped model's draws.
SEED = 920
#: A variable of more elements is drawn, never shipped.
LARGE_ELEMENTS = 2_048

#: The limit of a variable's uniform draw, from its name and its shape in the framework.
Rule = Callable[[str, Shape], float]


@dataclass(frozen=True, slots=True)
class Exported:
    """A converted graph whose large weights are inputs: `large` maps graph inputs to the framework's variables.

    `scopes` are the layer names that may occur in node names, by which they are told from converters' counters.
    """

    proto: Any
    large: Mapping[str, str]
    scopes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Offer:
    """Trained weights that a framework offers for a model: where they lie, and their MD5 where it states one."""

    url: str
    md5: str | None = None


@runtime_checkable
class Author(Protocol):
    """How a framework's model is built, read and exported; what `Workload.build` is for a model that ships.

    `model` is always what calling the author returned. One file of this room implements it for each framework.
    `offers` are the trained weights that the framework has for it, by name.
    """

    rule: Rule
    offers: Mapping[str, Offer]

    def __call__(self) -> Any:
        """Return the framework's model with its variables at their shipped values."""

    def values(self, model: Any) -> Arrays:
        """Return the float32 variables by name, in the framework's layout."""

    def predict(self, model: Any, feed: Arrays) -> Arrays:
        """Compute what the framework computes, by output name."""

    def export(self, model: Any, inputs: tuple[InputSpec, ...]) -> Exported:
        """Convert to ONNX with the large variables as graph inputs and the first axis free."""

    def refusal(self, weights: Path) -> BadInput | None:
        """Say what is wrong with a file of weights, as far as its name tells; no framework is imported."""

    def load(self, model: Any, weights: Path) -> None:
        """Give the model the values of a file that its framework wrote. Nothing in it is executed.

        Raises BadInput for a file that is damaged, hostile, or another model's.
        """

    def versions(self) -> dict[str, str]:
        """Say which releases build and convert here."""


def is_large(shape: Shape) -> bool:
    """Whether a variable of that shape is drawn."""
    return prod(shape) > LARGE_ELEMENTS


def dressed(
    name: str, shapes: Mapping[str, Shape], rule: Rule
) -> tuple[bool, Iterator[tuple[str, np.ndarray[Any, Any]]]]:
    """Return whether `name` ships, and (variable, value) one at a time: large ones drawn, small ones shipped.

    A small one that does not ship kept its first value, which is drawn too; where nothing ships yet that is all of
    them, and whoever asks makes from data what depends on data.
    """
    small = shipped_arrays(name)

    def value(path: str, shape: Shape) -> np.ndarray[Any, Any]:
        if is_large(shape):
            return draws.symmetric(SEED, path, shape, rule(path, shape))
        shipped = None if small is None else small.get(path)
        return first(path, shape, rule) if shipped is None else shipped

    return small is not None, ((path, value(path, shape)) for path, shape in shapes.items())


def he(path: str, shape: Shape) -> float:  # noqa: ARG001  a Rule takes both
    """Limit for layers followed by ReLU: variance 2 / fan-in (He et al. 2015); kernels (..., in, out)."""
    return sqrt(6.0 / prod(shape[:-1]))


def glorot(path: str, shape: Shape) -> float:  # noqa: ARG001  a Rule takes both
    """Limit for layers without ReLU: variance 2 / (fan-in + fan-out) (Glorot and Bengio 2010)."""
    return sqrt(6.0 / (prod(shape[:-2]) * (shape[-2] + shape[-1])))


def first(path: str, shape: Shape, rule: Rule) -> np.ndarray[Any, Any]:
    """Return a small variable's value before data has been seen; no bias or scale is left at exactly 0 or 1."""
    kind = path.replace(".", "/").rpartition("/")[2]
    if kind in {"gamma", "moving_variance"}:
        return np.float32(1.0) + draws.symmetric(SEED, path, shape, 0.2)
    if kind in {"beta", "bias", "moving_mean"}:
        return draws.symmetric(SEED, path, shape, 0.05)
    return draws.symmetric(SEED, path, shape, rule(path, shape))
