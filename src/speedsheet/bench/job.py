"""What passes between the parent and a worker: requests and prepared models, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from speedsheet.core import arrays
from speedsheet.core.artifact import Artifact
from speedsheet.core.plan import Reached, Target
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Arrays, InputSpec, Limit

if TYPE_CHECKING:
    from speedsheet.bench.labelled import Labelled


class Say(Protocol):
    """What a task calls to tell its stage, the share of it that is done, the seconds left, and the worst target."""

    def __call__(self, stage: str, done: float | None, left: float | None, reached: Reached | None = None, /) -> None:
        """Tell."""


#: What a task calls when it is ready to begin; returns, when all are, the ids of the other processes of the row.
Meet = Callable[[], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model ready to be measured: its artifact with the request's shapes written in, inputs, and right answers.

    `right` is the artifact whose FP32 outputs are the right ones: the same, or the one that this was quantised from.
    `quantisation` says how an int8 artifact was made, and is empty otherwise. `weights_source` says where the weights
    came from; `labelled` is the set that accuracy is found on. `folder` holds inputs/<slot>/ and
    reference/<slot>/, arrays as .npy by position in `inputs` and `outputs`.
    """

    model: str
    framework: str
    task: str
    source: str
    batch_size: int
    thread_num: int
    precision: str
    artifact: Artifact
    right: Artifact
    folder: Path
    slots: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    inputs_sha256: str
    inputs_source: str
    reference: str
    shapes: Mapping[str, list[Any]]
    limits: Mapping[str, Limit] = field(default_factory=dict)
    quantisation: Mapping[str, Any] = field(default_factory=dict)
    weights_source: str | None = None
    labelled: Labelled | None = None

    def feeds(self) -> list[Arrays]:
        """Load the pool of input batches."""
        return [arrays.load(self.folder / "inputs" / str(slot), list(self.inputs)) for slot in range(self.slots)]

    def answers(self) -> list[Arrays]:
        """Load the reference outputs of each batch of the pool."""
        return [arrays.load(self.folder / "reference" / str(slot), list(self.outputs)) for slot in range(self.slots)]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prepared:
        """Read what `to_json` wrote."""
        artifacts = {
            name: Artifact(**{**data[name], "folder": Path(data[name]["folder"])}) for name in ("artifact", "right")
        }
        limits = {precision: Limit(**limit) for precision, limit in data["limits"].items()}
        labelled = _labelled(data["labelled"]) if data["labelled"] else None
        changed = {"limits": limits, "folder": Path(data["folder"]), "labelled": labelled}
        tuples = {name: tuple(data[name]) for name in ("inputs", "outputs")}
        return cls(**{**data, **artifacts, **changed, **tuples})


def _labelled(data: Mapping[str, Any]) -> Labelled:
    """Read a labelled set; what that imports would double the time in which a worker without one starts."""
    from speedsheet.bench.labelled import Labelled

    return Labelled.from_json(data)


def request_to_json(request: RowRequest) -> dict[str, Any]:
    """Return what `request_from_json` reads."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(request), default=str))
    return data


def request_from_json(data: Mapping[str, Any]) -> RowRequest:
    """Read what `request_to_json` wrote."""
    inputs = tuple(InputSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in data["inputs"])
    paths = {name: Path(data[name]) if data[name] else None for name in ("data", "reference")}
    targets = tuple(Target(**target) for target in data["targets"])
    return RowRequest(**{**data, **paths, "inputs": inputs, "targets": targets})
