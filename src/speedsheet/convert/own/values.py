"""The values of one request to a user's model: what its inputs may hold where nobody said so, and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from speedsheet.convert.graph.shapes import Shape
from speedsheet.convert.own.input_text import ranged
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec

_IMAGE_RANK = 4
_IMAGE_CHANNELS = (1, 3, 4)
_SMALLEST_IMAGE = 16
#: What torch calls the mask that is true where a text has ended; all true, it leaves nothing to attend to.
_PADDING = "key_padding"
Kind = Literal["constant", "coin", "skewed", "uniform", "image"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One input and how its values are made."""

    spec: InputSpec
    kind: Kind
    words: str


@dataclass(frozen=True, slots=True)
class OwnDraw:
    """The `draw` of a user's model; data only, so that it travels to other processes.

    Inputs with a batch axis come samples first; the others come once, at exactly their shape.
    """

    inputs: tuple[Drawn, ...]

    def __call__(self, seed: int, samples: int) -> Arrays:
        """Draw one array per input from (seed, input name)."""
        return {drawn.spec.name: _draw(drawn, seed, drawn.spec.at(samples)) for drawn in self.inputs}


def drawn(spec: InputSpec, *, carried: bool, table: int | None) -> Drawn:
    """Decide the values of an input whose shape and type are known; a range that was given is kept.

    Floats are symmetric about zero, as normalised images, audio and features are: values of one sign would leave
    half of every ReLU unused. Ids are skewed, as words and items are: uniform ids flatter no cache that serves.
    """
    kind, name = np.dtype(spec.dtype).kind, spec.name.lower()
    if ranged(spec):
        return _in_range(spec, spec.low, spec.high)
    if carried:
        return _constant(spec, 0, "zeros at each request, as recurrent state")
    if "mask" in name:
        padding = kind == "b" and _PADDING in name
        return _constant(spec, int(not padding), f"{'false' if padding else 'ones'}, as a mask of full length")
    if kind == "b":
        return Drawn(_with(spec, 0.0, 1.0), "coin", "true or false at random")
    if kind in "iu":
        return _integers(spec, table)
    return _in_range(spec, -1.0 if spec.shape else 0.0, 1.0)


def _integers(spec: InputSpec, table: int | None) -> Drawn:
    if table is not None:
        return Drawn(
            _with(spec, 0.0, float(table)), "skewed", f"skewed ids in [0, {table}), the rows of its smallest table"
        )
    if not spec.shape:
        return _constant(spec, 1, "1")
    if _channels_axis(spec) is not None and spec.dtype == "uint8":
        return _in_range(spec, 0.0, 256.0)
    return _in_range(spec, 0.0, 2.0)


def _in_range(spec: InputSpec, low: float, high: float) -> Drawn:
    spec, kind = _with(spec, low, high), np.dtype(spec.dtype).kind
    words = f"in [{low:g}, {high:g})"
    if kind != "b" and _channels_axis(spec) is not None and (kind == "f" or spec.dtype == "uint8"):
        return Drawn(spec, "image", f"images with a natural spectrum {words}")
    return Drawn(spec, "skewed", f"skewed {words}") if kind in "iu" else Drawn(spec, "uniform", words)


def _constant(spec: InputSpec, value: int, words: str) -> Drawn:
    """A range that holds one value: the next integer, or the next number that float32 can tell, is excluded."""
    whole = np.dtype(spec.dtype).kind != "f"
    above = value + 1.0 if whole else float(np.nextafter(np.float32(value), np.float32(2.0)))
    return Drawn(_with(spec, float(value), above), "constant", words)


def _with(spec: InputSpec, low: float, high: float) -> InputSpec:
    return InputSpec(spec.name, spec.shape, spec.dtype, low, high)


def _channels_axis(spec: InputSpec) -> int | None:
    """Return where an image's channels are, None where the input is no image."""
    if len(spec.shape) != _IMAGE_RANK:
        return None
    for axis, sides in ((1, spec.shape[2:]), (3, spec.shape[1:3])):
        if spec.shape[axis] in _IMAGE_CHANNELS and all((side or 0) >= _SMALLEST_IMAGE for side in sides):
            return axis
    return None


def _draw(drawn: Drawn, seed: int, shape: Shape) -> NDArray[Any]:
    spec, count = drawn.spec, prod(shape)
    dtype = np.dtype(spec.dtype)
    if drawn.kind == "constant":
        return np.full(shape, spec.low, dtype)
    if drawn.kind == "coin":
        return (draws.unit(seed, spec.name, count) < 1 / 2).reshape(shape)
    if drawn.kind == "image":
        return _images(spec, seed, shape)
    if drawn.kind == "skewed":
        return _whole_numbers(spec, seed, count).reshape(shape).astype(dtype)
    return _scaled(spec, draws.unit(seed, spec.name, count)).reshape(shape)


def _images(spec: InputSpec, seed: int, shape: Shape) -> NDArray[Any]:
    count, *_ = shape
    axis = _channels_axis(spec)
    height, width, channels = (*shape[2:], shape[1]) if axis == 1 else shape[1:]
    images = draws.natural_images(seed, spec.name, count, height, width, channels)
    values = _scaled(spec, images.astype(np.float64))
    return np.ascontiguousarray(np.moveaxis(values, -1, 1)) if axis == 1 else values


def _scaled(spec: InputSpec, unit: NDArray[np.float64]) -> NDArray[Any]:
    """Map [0, 1) to [low, high); rounding to the type must not reach what is excluded."""
    dtype = np.dtype(spec.dtype)
    values = spec.low * (1.0 - unit) + spec.high * unit
    if dtype.kind != "f":
        return np.minimum(np.floor(values), spec.high - 1.0).astype(dtype)
    top = dtype.type(spec.high)
    below = np.nextafter(top, dtype.type(spec.low)) if float(top) >= spec.high else top
    rounded: NDArray[Any] = np.minimum(values.astype(dtype), below)
    return rounded


def _whole_numbers(spec: InputSpec, seed: int, count: int) -> NDArray[Any]:
    """Skewed over ranges that a table can have; wider ones are uniform, exact to the last bit of 64."""
    low, width = int(spec.low), int(spec.high) - int(spec.low)
    if width <= np.iinfo(np.int32).max:
        return draws.zipf(seed, spec.name, count, width) + low
    words = draws.bits(seed, spec.name, count)
    offset = words if width >= 2**64 else words % np.uint64(width)
    moved = offset + np.uint64(low % 2**64)
    return moved if spec.dtype == "uint64" else moved.view(np.int64)
