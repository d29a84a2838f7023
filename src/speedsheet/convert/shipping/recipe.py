"""The recipe of a shipped model: which weights to draw, how they are stored, and what was proved about the result.

A model ships as a folder `data/graphs/<name>/` of three files: `graph.onnx` (every large weight points into
`weights.bin`, which does not ship), `arrays.npz` (the small arrays by the framework's variable name) and
`recipe.json` (this). Nothing in the three is executed: no pickle, no path but those three names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.core import draws
from speedsheet.core.errors import BadModel

SCHEMA = "speedsheet.recipe/1"
GRAPH, ARRAYS, RECIPE, WEIGHTS = "graph.onnx", "arrays.npz", "recipe.json", "weights.bin"

#: The largest error of a graph against its framework, as a share of the output's scale.
TOLERANCE = 1e-4

F32 = NDArray[np.float32]
Shape = tuple[int, ...]
#: A change of layout from the framework's to the graph's: ("transpose", axes) or ("reshape", shape).
Step = tuple[str, Shape]


@dataclass(frozen=True, slots=True)
class Weight:
    """One large weight: `initializer` of the graph, drawn under the name of the framework's `variable`.

    Drawn uniform in [-limit, limit) in the framework's `shape`, taken through `steps` to the layout of the graph,
    and stored little-endian float32 at `offset` of weights.bin, `length` bytes.
    """

    initializer: str
    variable: str
    shape: Shape
    limit: float
    steps: tuple[Step, ...]
    offset: int
    length: int

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Weight:
        """Read one weight of a recipe."""
        steps = tuple((str(kind), tuple(sizes)) for kind, sizes in data["steps"])
        return cls(**{**data, "shape": tuple(data["shape"]), "steps": steps})

    def draw(self, seed: int) -> F32:
        """Return the weight as the graph stores it, contiguous."""
        return relayout(draws.symmetric(seed, self.variable, self.shape, self.limit), self.steps)


@dataclass(frozen=True, slots=True)
class Proof:
    """How near the assembled graph came to its framework, FP32, on drawn inputs.

    `max_abs_error` and `output_scale` (the largest absolute value) are of the output with the worst ratio of the
    two; `output_spread` is the smallest ratio, over outputs, of the standard deviation over samples to the scale.
    """

    samples: int
    output: str
    max_abs_error: float
    output_scale: float
    output_spread: float

    @property
    def holds(self) -> bool:
        """Whether the error is within TOLERANCE of the output's scale; a NaN is not."""
        return self.max_abs_error <= TOLERANCE * self.output_scale

    def said(self, framework: str) -> str:
        """Say what was proved."""
        return (
            f"FP32 equal to {framework} within {self.max_abs_error:.1e} of outputs up to {self.output_scale:.2g}, "
            f"over {self.samples} samples"
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything known of a shipped model without assembling it."""

    model: str
    framework: str
    seed: int
    opset: int
    parameters: int
    macs_per_sample: int
    graph_sha256: str
    weights_sha256: str
    weights_bytes: int
    versions: Mapping[str, str]
    proof: Proof | None
    weights: tuple[Weight, ...]

    def to_json(self) -> str:
        """Write the recipe, one weight a line."""
        head = {"schema": SCHEMA, **asdict(self)}
        weights = [json.dumps(weight) for weight in head.pop("weights")]
        text = json.dumps(head, indent=1)
        return f'{text[:-2]},\n "weights": [\n  ' + ",\n  ".join(weights) + "\n ]\n}\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Recipe:
        """Read a recipe; `where` names it in errors."""
        try:
            data: dict[str, Any] = json.loads(text)
            if data.pop("schema") != SCHEMA:
                raise BadModel("the recipe is of another schema", where=where, do=f"this version reads {SCHEMA}")
            data["weights"] = tuple(Weight.from_json(weight) for weight in data["weights"])
            data["proof"] = data["proof"] and Proof(**data["proof"])
            return cls(**data)
        except (KeyError, TypeError, ValueError) as error:
            raise BadModel(f"the recipe does not read: {error}", where=where, do="reinstall speedsheet") from error


def relayout(array: F32, steps: tuple[Step, ...]) -> F32:
    """Take an array from the framework's layout to the graph's."""
    for kind, sizes in steps:
        array = array.transpose(sizes) if kind == "transpose" else array.reshape(sizes)
    return np.ascontiguousarray(array)


def shipped_folder(name: str) -> Traversable:
    """Return the folder in the package that holds the model, whether or not it exists."""
    return files("speedsheet").joinpath("data", "graphs", name)


def shipped(name: str, folder: Traversable | Path | None = None) -> Recipe:
    """Return the recipe of a shipped model, without assembling anything."""
    path = (folder or shipped_folder(name)).joinpath(RECIPE)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadModel(
            "no graph ships for this model", where=name, do=f"python -m speedsheet.convert.shipping.ship {name}"
        ) from error
    return Recipe.from_json(text, str(path))


def shipped_arrays(name: str) -> dict[str, np.ndarray] | None:
    """Return a model's small arrays by the framework's variable name; None where none ship yet."""
    path = shipped_folder(name).joinpath(ARRAYS)
    if not path.is_file():
        return None
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
