"""The shape of one request to a user's model: what is given, what the batch fills, what each free dimension gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from speedsheet.convert.graph.shapes import Dim, Shape, check_shape, dims, shape_text
from speedsheet.convert.graph.walk import graph_inputs
from speedsheet.convert.own.input_text import format_input
from speedsheet.core.errors import BadInput, quoted
from speedsheet.core.workload import InputSpec

SEQUENCE = 128
SIDE = 224
_IMAGE_RANK = 4
_SEQUENCE_RANKS = (2, 3)
#: What exporters call free dimensions, and the size that each kind gets.
_BATCH = re.compile(r"batch|^(n|b|bs)$", re.IGNORECASE)
_SEQUENCE = re.compile(r"seq|len|time|tokens|frames|past|^(t|s|l)$", re.IGNORECASE)
_SIDE = re.compile(r"height|width|^(h|w)$", re.IGNORECASE)
#: What transformers call the activations between their layers.
_FEATURES = "hidden_states"
_STATE = re.compile(r"state|hidden|past|cache|(^|[^a-z])[hc][xn]?_?\d*([^a-z]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Shapes of one request, its batch size, and the inputs whose first axis counts samples."""

    shapes: Mapping[str, Shape]
    batch: int
    batched: frozenset[str]


def request_sizes(model: onnx.ModelProto, asked: Mapping[str, InputSpec], batch_size: int | None) -> Sizes:
    """Return the shapes of one request.

    Those of `asked` stay as they are; `batch_size` fills free first dimensions of the other inputs; a symbolic
    dimension has one size wherever it occurs.
    Raises BadInput where shapes contradict the model, each other or the batch, or cannot be guessed.
    """
    if batch_size is not None and batch_size < 1:
        raise BadInput(f"a batch of {batch_size} holds no sample", do="give --batch 1 or more")
    declared = {value.name: dims(value) for value in graph_inputs(model)}
    given = {name: spec.at(batch_size or 1) for name, spec in asked.items()}
    symbols = _symbols(given, declared)
    for name, shape in declared.items():
        if shape is None and name not in given:
            raise BadInput(
                f"input {quoted(name)} has no rank in the model, so its shape cannot be guessed",
                do=f"give the shape that you serve, such as --input {name}=1x3x224x224",
            )
    rest = {name: shape for name, shape in declared.items() if name not in given and shape is not None}
    free = {name for name, shape in rest.items() if shape and not isinstance(shape[0], int) and shape[0] not in symbols}
    served = {shape[0] for name, shape in given.items() if shape and _free_first(declared[name])}
    batch = batch_size or (served.pop() if len(served) == 1 else 1)
    symbols |= {shape[0]: batch for name, shape in rest.items() if name in free and isinstance(shape[0], str)}
    guessed = {name: inner_sizes(name, shape, batch, symbols) for name, shape in rest.items()}
    shapes = {name: given.get(name) or guessed.get(name, ()) for name in declared}
    batched = {name for name, shape in shapes.items() if _free_first(declared[name]) and shape[:1] == (batch,)}
    sizes = Sizes(shapes, batch, frozenset(batched)) if free else _common_batch(shapes, batch_size)
    if sizes.batch < 1:
        raise BadInput("the inputs' first dimension is 0, so a request holds no sample", do="give shapes of 1 or more")
    return sizes


def _symbols(given: Mapping[str, Shape], declared: Mapping[str, tuple[Dim, ...] | None]) -> dict[str, int]:
    """Return the sizes that the given shapes lend to the model's symbolic dimensions."""
    symbols: dict[str, int] = {}
    for name, shape in given.items():
        check_shape(name, shape, declared[name])
        for dim, size in zip(declared[name] or (), shape, strict=False):
            if isinstance(dim, str) and symbols.setdefault(dim, size) != size:
                raise BadInput(
                    f"the model's dimension {quoted(dim)} is {size} in input {quoted(name)}, {symbols[dim]} in another",
                    do="give both inputs the same size there",
                )
    return symbols


def _free_first(declared: tuple[Dim, ...] | None) -> bool:
    return declared is None or (bool(declared) and not isinstance(declared[0], int))


def _common_batch(shapes: Mapping[str, Shape], batch_size: int | None) -> Sizes:
    """Where no first dimension was left to fill: the one that the inputs have in common is the batch, else 1."""
    ranked = {name: shape for name, shape in shapes.items() if shape}
    served = {name: shape for name, shape in ranked.items() if not looks_carried(name)} or ranked
    firsts = {shape[0] for shape in served.values()}
    common = firsts.pop() if len(firsts) == 1 else None
    batch = 1 if common is None else common
    if batch_size not in {None, batch}:
        raise BadInput(
            f"a batch of {batch_size} does not fit: no input has a free first dimension, and the shapes hold {batch}",
            do="leave --batch out, or change the shapes, or export the model with a free first dimension",
        )
    batched = frozenset(served) if common is not None else frozenset[str]()
    return Sizes(shapes, batch, batched)


def inner_sizes(name: str, declared: tuple[Dim, ...], batch: int, symbols: Mapping[str, int]) -> Shape:
    """Return the shape of an input whose first dimension is the batch where it is free.

    Raises BadInput where a free dimension has no sensible default; it tells what to type.
    """
    sizes = [_size(name, declared, axis, batch, symbols) for axis in range(len(declared))]
    if None not in sizes:
        return tuple(size for size in sizes if size is not None)
    example = tuple(3 if size is None else size for size in sizes)
    raise BadInput(
        f"the size of axis {sizes.index(None)} of input {quoted(name)} ({shape_text(declared)}) cannot be guessed",
        do=f"give the shape that you serve, such as --input {format_input(InputSpec(name, example, '', 0.0, 0.0))}",
    )


def _size(name: str, declared: tuple[Dim, ...], axis: int, batch: int, symbols: Mapping[str, int]) -> int | None:
    dim = declared[axis]
    if isinstance(dim, int):
        return dim
    if isinstance(dim, str) and dim in symbols:
        return symbols[dim]
    if axis == 0:
        return batch
    for pattern, size in ((_BATCH, batch), (_SEQUENCE, SEQUENCE), (_SIDE, SIDE)):
        if dim is not None and pattern.search(dim):
            return size
    return batch if looks_carried(name) else _size_by_rank(declared, axis)


def _size_by_rank(declared: tuple[Dim, ...], axis: int) -> int | None:
    """Channels lie on axis 1 or on the last; whichever of them is fixed tells where height and width are."""
    rank = len(declared)
    if rank == _IMAGE_RANK:
        spatial = (2, 3) if isinstance(declared[1], int) else (1, 2) if isinstance(declared[3], int) else ()
        return SIDE if axis in spatial else None
    if rank in _SEQUENCE_RANKS:
        others_fixed = all(isinstance(dim, int) for other, dim in enumerate(declared) if other not in {0, axis})
        return SEQUENCE if others_fixed or axis == 1 else None
    return None


def looks_carried(name: str) -> bool:
    """Whether an input is named as recurrent state is: h, c0, state, hidden, past, cache; but not hidden_states."""
    return _STATE.search(name) is not None and _FEATURES not in name.lower()
