"""Samples whose right class is known: all of the user's file, beside the classes that FP32 chooses for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.bench.inputs import Model, sha256_of
from speedsheet.bench.reference import judge_version, right_answers
from speedsheet.convert.data import DataFile, read_data, read_labels
from speedsheet.convert.graph.shapes import shape_text
from speedsheet.core import arrays
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput, quoted
from speedsheet.core.folders import publish
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Arrays, Workload

#: How many of the best classes are kept for each sample.
TOP = 5
#: Counts up when the same set would be stored otherwise.
_FORM = 1
_FACTS, _LABELS, _CHOICES, _INPUTS = "labelled.json", "labels.npy", "choices.npy", "inputs"

#: Classes of each sample, the best score first: (samples, TOP) or fewer where there are fewer classes.
Choices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled set in the cache: requests that hold each sample once, the last one filled up with the first samples.

    `output` is the model's output that scores `classes`; `sha256` covers the samples and their labels. The rows
    `left_out` calibrated the model, and are not counted.
    """

    folder: Path
    inputs: tuple[str, ...]
    samples: int
    batch_size: int
    output: str
    classes: int
    sha256: str
    left_out: tuple[int, ...] = ()

    @property
    def requests(self) -> int:
        """How many requests hold the samples."""
        return -(-self.samples // self.batch_size)

    def feeds(self) -> Iterator[Arrays]:
        """Load one request after another."""
        for slot in range(self.requests):
            yield arrays.load(self.folder / _INPUTS / str(slot), list(self.inputs))

    def labels(self) -> NDArray[np.int64]:
        """Return the right class of each sample that counts."""
        return self._counted(np.load(self.folder / _LABELS, allow_pickle=False))

    def choices(self) -> Choices:
        """Return what FP32 chooses for each sample that counts."""
        return self._counted(np.load(self.folder / _CHOICES, allow_pickle=False))

    def chosen(self, answers: Iterable[Arrays]) -> Choices | None:
        """Return what these answers to all feeds choose for each that counts; None where one has no scores."""
        found = []
        for outputs in answers:
            scores = outputs.get(self.output)
            if scores is None or scores.shape != (self.batch_size, self.classes):
                return None
            found.append(best(scores))
        return self._counted(np.concatenate(found)[: self.samples])

    def _counted(self, rows: Choices) -> Choices:
        return np.delete(rows, list(self.left_out), axis=0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Labelled:
        """Read what a job carries."""
        tuples = {name: tuple(data[name]) for name in ("inputs", "left_out")}
        return cls(**{**data, **tuples, "folder": Path(data["folder"])})


def best(scores: NDArray[Any]) -> Choices:
    """Return the classes of the best scores, best first; of equal ones the first, and NaN is the worst."""
    order: Choices = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :TOP].astype(np.int64)
    return order


def check_labels(request: RowRequest, workload: Workload, batch_size: int) -> None:
    """Raise BadInput, before anything is built, where labels cannot be those of the samples."""
    if request.labels is None:
        return
    if request.data is None:
        raise BadInput("--labels are of no samples", do="give the samples too: --data FILE.npz")
    if request.carry:
        raise BadInput("with --carry an answer depends on those before it", do="leave --labels or --carry")
    _read(request.labels, request.data, workload, batch_size)


def labelled_set(
    request: RowRequest, model: Model, right: Artifact, cache: Path, cores: int, tell: Callable[[float], None]
) -> Labelled | None:
    """Store samples, labels and what FP32 chooses, unless they are there; None where the request has no labels.

    `tell` hears which share of the requests is answered. Raises BadInput where the model gives no score for each
    class, or a label is none of its classes.
    """
    if request.labels is None or request.data is None:
        return None
    data, labels = _read(request.labels, request.data, model.workload, model.batch_size)
    sha256 = sha256_of([{**data.stored, "": labels}])
    known = json.dumps([_FORM, right.sha256, right.graph_name, sha256, model.batch_size, judge_version()])
    folder = cache / "prepared" / f"labelled-{hashlib.sha256(known.encode()).hexdigest()[:24]}"
    if not (folder / _FACTS).exists():
        with suppress(FileExistsError):  # another process stored the same meanwhile
            publish(folder.parent, lambda: folder.name, lambda hidden: _fill(hidden, data, labels, right, cores, tell))
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    inputs = tuple(spec.name for spec in model.workload.inputs)
    return Labelled(folder, inputs, len(labels), model.batch_size, sha256=sha256, **facts)


def _read(labels: str, path: Path, workload: Workload, batch_size: int) -> tuple[DataFile, NDArray[np.int64]]:
    data, found = read_data(path, workload, batch_size, aside=labels), read_labels(labels, path)
    if len(found) != data.samples:
        raise BadInput(
            f"{len(found)} labels for {data.samples} samples in {path}", where=labels, do="give one label a sample"
        )
    return data, found


def _fill(
    hidden: Path,
    data: DataFile,
    labels: NDArray[np.int64],
    right: Artifact,
    cores: int,
    tell: Callable[[float], None],
) -> None:
    names, requests = [spec.name for spec in data.workload.inputs], -(-len(labels) // data.batch_size)
    (hidden / _INPUTS).mkdir()

    def kept() -> Iterator[Arrays]:
        for slot in range(requests):
            feed = data.feed(slot)
            arrays.save(hidden / _INPUTS / str(slot), feed, names)
            tell(slot / requests)
            yield feed

    found, output, classes = [], "", 0
    for outputs in right_answers(right, kept(), cores):
        output = output or _scores(outputs, data.batch_size)
        classes = outputs[output].shape[1]
        found.append(best(outputs[output]))
    if labels.max() >= classes:
        raise BadInput(
            f"label {labels.max()} is none of the model's {classes} classes", do=f"count from 0 to {classes - 1}"
        )
    np.save(hidden / _LABELS, labels, allow_pickle=False)
    np.save(hidden / _CHOICES, np.concatenate(found)[: len(labels)], allow_pickle=False)
    (hidden / _FACTS).write_text(json.dumps({"output": output, "classes": classes}), encoding="utf-8")


def _scores(outputs: Arrays, batch_size: int) -> str:
    """Return the one output that has a score for each class of each sample."""
    scoring = [
        name
        for name, array in outputs.items()
        if array.dtype.kind in "fV" and array.ndim == len(("sample", "class")) and array.shape[0] == batch_size
        and array.shape[1] > 1
    ]  # fmt: skip
    if len(scoring) != 1:
        given = ", ".join(f"{quoted(name)} {shape_text(array.shape)} {array.dtype}" for name, array in outputs.items())
        raise BadInput(
            f"--labels are for a model with one output of scores, samples x classes, and this one gives {given}",
            do="leave --labels; other tasks are not judged by classes",
        )
    return scoring[0]
