"""An artifact: a checked ONNX model on disk, the thing that engines load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder that holds graph.onnx, its external weights, and record.json.

    `sha256` covers the graph and the weights. `check` says in words which numeric check the artifact passed.
    """

    folder: Path
    sha256: str
    size_bytes: int
    parameters: int
    macs_per_sample: int
    check: str

    @property
    def graph(self) -> Path:
        """The file that an engine opens."""
        return self.folder / "graph.onnx"
