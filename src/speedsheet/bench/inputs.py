"""The inputs of a row: the pool that is measured, and for int8 the samples that calibrate, which are never the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from speedsheet.convert.data import data_pool, input_pool
from speedsheet.convert.graph.shapes import WHOLE_GRAPH, dims
from speedsheet.convert.graph.walk import graph_inputs
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput
from speedsheet.core.plan import POOL_BATCHES
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Arrays, Workload

#: Calibration of int8: at least so many samples, in batches of at most so many, from a seed of their own.
_CALIBRATION_SAMPLES, _CALIBRATION_BATCHES, _CALIBRATION_BATCH, _CALIBRATION_SEED = 32, 4, 4, 1_000_003


@dataclass(frozen=True, slots=True)
class Model:
    """What a request names, found: its workload, its artifact with shapes written in, and what was assumed.

    `weights_source` says in words where the weights came from.
    """

    workload: Workload
    artifact: Artifact
    batch_size: int
    weights_source: str
    assumptions: tuple[str, ...] = ()


def input_feeds(
    request: RowRequest, model: Model, batch_size: int, batches: int, seed: int
) -> tuple[list[Arrays], str]:
    """Return `batches` requests, drawn or from the user's file, and where they came from in words."""
    if request.data:
        return data_pool(request.data, model.workload, batch_size, batches, request.labels or "labels")
    feeds = input_pool(model.workload, batch_size, batches, seed)
    assumed = "".join(f"; {text}" for text in model.assumptions)
    return feeds, f"synthetic, seed {seed}: {batches} batches{assumed}"


def calibration_feeds(request: RowRequest, model: Model, measured: Sequence[Arrays]) -> list[Arrays]:
    """Take inputs that are not measured: drawn from another seed, or the samples of the file behind the pool's.

    Raises BadInput where any sample is among the measured ones.
    """
    batch_size, slots = _calibrating(request, model)
    if request.data:
        chosen = input_feeds(request, model, batch_size, slots.stop, request.seed)[0][slots.start :]
    else:
        chosen = input_feeds(request, model, batch_size, len(slots), request.seed + _CALIBRATION_SEED)[0]
    if samples_of(chosen, model.workload) & samples_of(measured, model.workload):
        needed = POOL_BATCHES * model.batch_size + len(slots) * batch_size
        raise BadInput(
            "the calibration inputs are among the measured ones",
            where=str(request.data or request.model),
            do=f"give at least {needed} distinct samples, or a smaller --batch",
        )
    return chosen


def calibration_samples(request: RowRequest, model: Model) -> int:
    """Return how many samples `calibration_feeds` holds."""
    batch_size, slots = _calibrating(request, model)
    return batch_size * len(slots)


def calibration_rows(request: RowRequest, model: Model, samples: int) -> tuple[int, ...]:
    """Return which samples of the user's file `calibration_feeds` takes."""
    batch_size, slots = _calibrating(request, model)
    return tuple(sorted({row % samples for row in range(slots.start * batch_size, slots.stop * batch_size)}))


def _calibrating(request: RowRequest, model: Model) -> tuple[int, range]:
    """Return the batch size of calibration, and which batches of it: in the user's file those behind the pool."""
    batch_size = model.batch_size
    if batch_size > _CALIBRATION_BATCH and not request.inputs and _free(model):
        batch_size = _CALIBRATION_BATCH
    batches = max(_CALIBRATION_BATCHES, _CALIBRATION_SAMPLES // batch_size)
    behind = -(-POOL_BATCHES * model.batch_size // batch_size)
    return batch_size, range(behind, behind + batches)


def _free(model: Model) -> bool:
    """Whether the graph takes any number of samples: every input counts them by a first dimension that is free."""
    if not all(spec.batched for spec in model.workload.inputs):
        return False
    graph = onnx.load(model.artifact.folder / WHOLE_GRAPH, load_external_data=False)
    return not any(isinstance((dims(value) or (None,))[0], int) for value in graph_inputs(graph))


def samples_of(feeds: Sequence[Arrays], workload: Workload) -> set[bytes]:
    """Hash each sample of a pool."""
    batched = [spec.name for spec in workload.inputs if spec.batched and not spec.constant]
    return {
        hashlib.sha256(b"".join(np.ascontiguousarray(feed[name][row]).tobytes() for name in batched)).digest()
        for feed in feeds
        for row in range(len(feed[batched[0]]) if batched else 0)
    }


def sha256_of(feeds: Sequence[Arrays]) -> str:
    """Hash every array of a pool, with its name, type and shape."""
    digest = hashlib.sha256()
    for feed in feeds:
        for name, array in sorted(feed.items()):
            digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()
