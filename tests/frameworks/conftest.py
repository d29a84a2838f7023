"""Each model is built, exported and computed once for all tests of this folder, in a process of its own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from speedsheet import plugins
from speedsheet.convert.shipping.assemble import assemble
from speedsheet.convert.shipping.evidence import Evidence, collect
from speedsheet.convert.shipping.recipe import GRAPH, WEIGHTS, Recipe, shipped, shipped_folder
from speedsheet.core.artifact import Artifact
from speedsheet.core.workload import Workload


@dataclass(frozen=True)
class Today:
    """What the installed framework makes of a model, beside what ships."""

    workload: Workload
    recipe: Recipe
    evidence: Evidence
    artifact: Artifact
    shipped_graph: onnx.ModelProto

    def initializer(self, name: str) -> np.ndarray:
        """Read a weight of the artifact as its graph stores it."""
        tensor = next(tensor for tensor in self.shipped_graph.graph.initializer if tensor.name == name)
        if tensor.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        where = {entry.key: entry.value for entry in tensor.external_data}
        return np.array(
            np.memmap(self.artifact.folder / WEIGHTS, np.float32, "r", int(where["offset"]), (*tensor.dims,))
        )

    def with_weight(self, name: str, value: np.ndarray) -> Artifact:
        """Return the artifact with one weight replaced, inline in a graph beside a hard link to the others.

        Until it is asked for again: there is one at a time.
        """
        folder = self.evidence.folder / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        graph = onnx.ModelProto()
        graph.CopyFrom(self.shipped_graph)
        tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
        (folder / GRAPH).write_bytes(graph.SerializeToString())
        os.link(self.artifact.folder / WEIGHTS, folder / WEIGHTS)
        return replace(self.artifact, folder=folder)


@pytest.fixture(params=sorted(plugins.workloads()), scope="module")
def today(request, tmp_path_factory):
    """Give each model's evidence and artifact to the tests of a module, and take its gigabytes away after them."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    graph = onnx.load_from_string(shipped_folder(name).joinpath(GRAPH).read_bytes())
    yield Today(plugins.workload(name), shipped(name), collect(name, folder), assemble(name, folder), graph)
    shutil.rmtree(folder)
