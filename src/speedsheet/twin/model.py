"""The model that somebody names, with all that costing and compiling it takes; weights are not read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from speedsheet.convert.graph.count import parameters
from speedsheet.convert.graph.file import read_model
from speedsheet.convert.graph.shapes import Shape, dims
from speedsheet.convert.graph.walk import graph_inputs
from speedsheet.convert.own.workload import own_workload
from speedsheet.convert.shipping.recipe import GRAPH, shipped, shipped_folder
from speedsheet.core.errors import BadInput
from speedsheet.core.workload import InputSpec, Workload
from speedsheet.plugins import workload
from speedsheet.twin.pieces import own_piece, zoo_piece
from speedsheet.twin.types import Workpiece


@dataclass(frozen=True, slots=True)
class Model:
    """A zoo model or a user's own: `graph` has its weights outside or left out, `own` is where the file lies.

    `free` says that a request may hold any number of samples; else it holds `piece.samples`. `assumptions` says in
    words what nobody told and was decided.
    """

    workload: Workload
    piece: Workpiece
    graph: onnx.ModelProto
    parameters: int
    free: bool
    own: Path | None = None
    assumptions: tuple[str, ...] = ()

    def request_samples(self, asked: int | None) -> int:
        """Return how many samples a request holds. Raises BadInput where the model's own number is another."""
        own = self.workload.batch_size
        if asked is not None and not self.free and asked != own:
            raise BadInput(
                f"a batch of {asked} does not fit: the model's is fixed at {own}",
                where=str(self.own or self.workload.name),
                do="leave --batch out, or export the model with a free first dimension",
            )
        return asked or own

    def shapes(self, batch_size: int) -> dict[str, Shape]:
        """Return the shape of each input of one request."""
        return {spec.name: spec.at(batch_size) for spec in self.workload.inputs}


def find(name: str, inputs: Sequence[InputSpec] = (), cache: Path | None = None) -> Model:
    """Return a model by its zoo name or the path of an .onnx file; `inputs` are shapes of the user's own.

    Raises UnknownName, BadModel for the file, and BadInput that names the input whose shape is needed.
    """
    if not name.endswith(".onnx"):
        known, piece = workload(name), zoo_piece(name, cache)
        graph = onnx.load_from_string(shipped_folder(name).joinpath(GRAPH).read_bytes())
        return Model(known, piece, graph, shipped(name).parameters, free=True)
    path = Path(name)
    own = own_workload(path, inputs=tuple(inputs))
    graph = read_model(path)
    declared = {value.name: dims(value) or (None,) for value in graph_inputs(graph)}
    batched = [spec.name for spec in own.workload.inputs if spec.batched]
    free = bool(batched) and not any(isinstance(declared[name][0], int) for name in batched)
    piece = own_piece(path, inputs)
    return Model(own.workload, piece, graph, parameters(graph.graph), free, path, own.assumptions)
