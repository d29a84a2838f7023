"""What compiling a model for a card would do: what it lacks, what INT8 costs, and where intermediates live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from speedsheet.convert.data import data_pool, input_pool
from speedsheet.core.errors import BadInput, BadModel
from speedsheet.core.workload import Arrays
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.forward import program
from speedsheet.twin.lower import WIDTHS, places
from speedsheet.twin.model import Model
from speedsheet.twin.quantised import Int8Error, int8_error, weight_error
from speedsheet.twin.support import Unsupported, hindrance, settle, unsupported
from speedsheet.twin.types import SCHEDULES, Place, Schedule, Workpiece

#: Calibration is drawn from a seed of its own, so that it never holds what is judged.
_CALIBRATION_SEED = 1_000_003
#: Lanes that judge a sample, and the one that calibrates on another.
_PASSES = 4
#: Work that is done unasked, in multiply-accumulates: where it can be, half a minute of a core; never much above one.
_WORK, _MOST_WORK = 1.6e11, 2.5e11
#: An element that an operator reads or writes takes numpy as long as so many multiply-accumulates.
_MACS_OF_AN_ELEMENT = 64
_LEAST_SAMPLES, _MOST_SAMPLES, _REQUEST_SAMPLES = 2, 64, 4


@dataclass(frozen=True, slots=True)
class Placed:
    """An operator, the bytes that it leaves for others in one request, and where it reads and writes them."""

    operator: str
    kind: str
    bytes: int
    place: Place


@dataclass(frozen=True, slots=True)
class Compilation:
    """All that is said of a model on a card; `int8` is null where the card has no such type.

    `inputs` says in words where the samples that INT8 was calibrated and judged on came from.
    """

    unsupported: tuple[Unsupported, ...]
    int8: Int8Error | None
    inputs: str
    schedules: Mapping[Schedule, tuple[Placed, ...]]


@dataclass(frozen=True, slots=True)
class Wish:
    """How a model is to be compiled; null `samples` leaves their number to the work that they take."""

    batch_size: int
    precision: str
    samples: int | None = None
    data: Path | None = None
    seed: int = 920


@dataclass(frozen=True, slots=True)
class Case:
    """A compilation, and of what for what it is; `name` is the model's as it was given."""

    name: str
    model: Model
    device: DeviceSpec
    schedule: Schedule
    wish: Wish
    made: Compilation


def compiled(model: Model, device: DeviceSpec, wish: Wish, folder: Path | None) -> Compilation:
    """Return what compiling would do; `folder` holds the weights that the graph points to, null where INT8 is none.

    Raises BadInput for samples that are too few, and UsageError for a device without arrays.
    """
    unknown = frozenset(operator.name for operator in model.piece.operators if operator.unknown)
    lacking = unsupported(settle(model.graph, model.shapes(wish.batch_size)), unknown)
    schedules = {schedule: _placed(model.piece, device, wish, schedule) for schedule in SCHEDULES}
    if folder is None or "int8" not in device.precisions:
        return Compilation(lacking, None, "", schedules)
    error, source = _int8(model, wish, folder)
    return Compilation(lacking, error, source, schedules)


def samples_to_compute(piece: Workpiece) -> int:
    """Return how many samples to calibrate on, and to judge on as many others; 0 where two are minutes of work."""
    elements = sum(operator.input_elements + operator.output_elements for operator in piece.operators)
    work = (piece.macs + _MACS_OF_AN_ELEMENT * elements) / piece.samples * _PASSES
    if work * _LEAST_SAMPLES > _MOST_WORK:
        return 0
    return int(min(max(_WORK / work, _LEAST_SAMPLES), _MOST_SAMPLES))


def _placed(piece: Workpiece, device: DeviceSpec, wish: Wish, schedule: Schedule) -> tuple[Placed, ...]:
    found = places(piece, device, batch_size=wish.batch_size, precision=wish.precision, schedule=schedule)
    width = WIDTHS[wish.precision] * max(ceil(wish.batch_size / piece.samples), 1)
    return tuple(
        Placed(operator.name, operator.kind, operator.output_elements * width, place)
        for operator, place in zip(piece.operators, found, strict=True)
    )


def _int8(model: Model, wish: Wish, folder: Path) -> tuple[Int8Error, str]:
    """Compute the model, or say why not and judge its weights alone."""
    ready = program(model.graph, folder)
    samples = wish.samples or samples_to_compute(model.piece)
    if not samples:
        gmac = model.piece.macs / model.piece.samples / 1e9
        why = f"{gmac:.0f} GMAC a sample are minutes of work; --samples {_LEAST_SAMPLES} computes them all the same"
        return weight_error(ready, why), ""
    size = min(samples, _REQUEST_SAMPLES) if model.free else model.workload.batch_size
    hindered = hindrance(settle(model.graph, model.shapes(size)))
    if hindered is not None:
        return weight_error(ready, hindered), ""
    calibration, judged, source = _feeds(model, wish, size, max(ceil(samples / size), 1))
    try:
        return int8_error(ready, calibration, judged, size), source
    except BadModel as error:
        return weight_error(ready, str(error)), ""


def _feeds(model: Model, wish: Wish, size: int, requests: int) -> tuple[Sequence[Arrays], Sequence[Arrays], str]:
    """Return requests to calibrate on and others to judge on, and where they came from in words."""
    if wish.data is None:
        pools = [
            input_pool(model.workload, size, requests, seed) for seed in (wish.seed + _CALIBRATION_SEED, wish.seed)
        ]
        return pools[0], pools[1], f"synthetic, seed {wish.seed}"
    feeds, source = data_pool(wish.data, model.workload, size, 2 * requests)
    calibration, judged = feeds[:requests], feeds[requests:]
    if _samples(model, calibration) & _samples(model, judged):
        raise BadInput(
            "the samples to judge on are among those to calibrate on",
            where=str(wish.data),
            do=f"give at least {2 * requests * size} distinct samples, or fewer --samples",
        )
    return calibration, judged, source


def _samples(model: Model, feeds: Sequence[Arrays]) -> set[bytes]:
    names = [spec.name for spec in model.workload.inputs if spec.batched and not spec.constant]
    return {
        b"".join(feed[name][row].tobytes() for name in names)
        for feed in feeds
        for row in range(len(feed[names[0]]) if names else 0)
    }
