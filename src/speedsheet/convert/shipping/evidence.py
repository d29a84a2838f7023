"""What the installed framework makes of a model today, found in a process of its own that gives its memory back.

    python -m speedsheet.convert.shipping.evidence MODEL FOLDER

writes the exported graph, the small arrays, drawn inputs and what the framework computes of them into FOLDER. The
tests and the table of proofs compare them with what ships.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from speedsheet import plugins
from speedsheet.convert.shipping.layout import finish
from speedsheet.convert.shipping.recipe import ARRAYS, GRAPH, Weight, shipped
from speedsheet.convert.shipping.ship import author_of, made_from_data, proof_samples
from speedsheet.convert.shipping.weights import is_large
from speedsheet.core.errors import BadModel
from speedsheet.core.workload import Arrays

_FACTS, _FEED, _REFERENCE = "evidence.json", "feed.npz", "reference.npz"
_SEED = 11
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Evidence:
    """One model in its framework. `graph`, `small`, `feed` and `reference` are read from `folder` when asked for.

    `large_sha256` is of each large variable's bytes in the framework's layout; `parameters` counts every float of the
    framework's model. `convert_s` is from the model's first layer to the finished graph, without importing the
    framework; `peak_bytes` is the most that the process held, importing, building, converting and computing.
    """

    folder: Path
    weights: tuple[Weight, ...]
    large_sha256: Mapping[str, str]
    parameters: int
    convert_s: float
    peak_bytes: int

    @property
    def graph(self) -> onnx.ModelProto:
        """The graph as it would ship, its large weights not loaded."""
        return onnx.load(self.folder / GRAPH, load_external_data=False)

    @property
    def small(self) -> Arrays:
        """The small variables that data made."""
        return _read(self.folder / ARRAYS)

    @property
    def feed(self) -> Arrays:
        """Drawn inputs, samples first."""
        return _read(self.folder / _FEED)

    @property
    def reference(self) -> Arrays:
        """What the framework computes of `feed`."""
        return _read(self.folder / _REFERENCE)


def collect(name: str, folder: Path) -> Evidence:
    """Start a process that fills `folder`, wait, and return what it found. Raises BadModel where it fails."""
    command = [sys.executable, "-m", "speedsheet.convert.shipping.evidence", name, str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = " ".join(done.stderr.splitlines()[-_LAST_LINES:])
        raise BadModel(f"the framework's model does not export: {last}", where=name, do="mend its file in zoo/")
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    weights = tuple(Weight.from_json(weight) for weight in facts.pop("weights"))
    return Evidence(folder, weights, **facts)


def gather(name: str, folder: Path) -> None:
    """Build, convert and compute in this process; write what `collect` reads."""
    workload = plugins.workload(name)
    author = author_of(workload)
    author.versions()  # imports the framework, which is not conversion
    start = time.monotonic()
    model = author()
    values = author.values(model)
    shapes = {path: value.shape for path, value in values.items()}
    graph, weights = finish(author.export(model, workload.inputs), shapes, author.rule)
    convert_s = time.monotonic() - start
    (folder / GRAPH).write_bytes(graph.SerializeToString(deterministic=True))
    feed = workload.draw(_SEED, proof_samples(shipped(name)))
    np.savez(folder / ARRAYS, **made_from_data(values, author))
    np.savez(folder / _FEED, **feed)  # type: ignore[arg-type]  # names are those of inputs
    np.savez(folder / _REFERENCE, **author.predict(model, feed))  # type: ignore[arg-type]
    facts = {
        "weights": [asdict(weight) for weight in weights],
        "large_sha256": {path: _sha256(value) for path, value in values.items() if is_large(value.shape)},
        "parameters": sum(value.size for value in values.values()),
        "convert_s": convert_s,
        "peak_bytes": _peak_bytes(),
    }
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _read(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _sha256(value: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()


def _peak_bytes() -> int:
    """Return the most memory this process held; Linux's ru_maxrss begins with that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    gather(sys.argv[1], Path(sys.argv[2]))
