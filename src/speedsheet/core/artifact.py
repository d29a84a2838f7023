"""An artifact: a checked ONNX model on disk, the thing that engines load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder that holds an ONNX graph, its external weights, and record.json.

    `graph_name` is the file in the folder that an engine opens: graph.onnx, or a copy of it with the shapes of one
    request written in, beside the same weights. `sha256` covers the original graph and the weights. `check` says in
    words which numeric check the artifact passed.
    """

    folder: Path
    sha256: str
    size_bytes: int
    parameters: int
    macs_per_sample: int
    check: str
    graph_name: str = "graph.onnx"

    @property
    def graph(self) -> Path:
        """The file that an engine opens."""
        return self.folder / self.graph_name
