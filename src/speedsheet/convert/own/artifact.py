"""One copy of a user's model in the cache, so that what was measured stays what it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from speedsheet.convert.graph.check import check_external
from speedsheet.convert.graph.count import count, parameters
from speedsheet.convert.graph.file import located, read_model
from speedsheet.convert.graph.shapes import WHOLE_GRAPH, Shape, fix_shapes, write_graph
from speedsheet.convert.graph.walk import external, skeleton, tensors
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import RowFailed, SpeedsheetError
from speedsheet.core.folders import publish
from speedsheet.core.workload import Workload

_RECORD = "record.json"
_SCHEMA = "speedsheet.artifact/1"
#: Counts up when the same file would be stored otherwise.
_FORM = 1
_READ_BYTES = 1 << 22
_SPARE_BYTES = 1 << 26
#: Weights in the graph above this are moved beside it: every copy of the graph would carry them.
_LARGE_BYTES = 1 << 20
_PAGE_BYTES = 4096
_CHECK = "the user's own file; no framework to prove it against"


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A user's model, ready to be measured.

    `shapes` is what each input is in one request of `workload.batch_size` samples; `carry` maps outputs to the
    inputs that they become; `assumptions` says in words what nobody told and was decided.
    """

    workload: Workload
    shapes: Mapping[str, Shape]
    carry: Mapping[str, str]
    assumptions: tuple[str, ...]


def own_artifact(path: Path | str, own: OwnModel, cache: Path) -> Artifact:
    """Return the user's model in the cache, with the shapes of one request written into its graph.

    The folder is named by the content of graph and weights, holds a copy of both, appears whole or not at all, and
    is taken as it is where it is there; each set of shapes is one more graph beside the same weights. Links are
    followed only inside the model's folder. Raises BadModel, and RowFailed where the cache cannot be written.
    """
    file = Path(path)
    model = read_model(file)
    with located(file):
        sources = _data_files(model, file.parent)
        sha256 = _content_sha256(file, sources)
        folder = cache / f"own-{hashlib.sha256(f'{_FORM}:{sha256}'.encode()).hexdigest()[:24]}"
        macs = request_macs(skeleton(model), own)
        if not (folder / _RECORD).exists():
            _publish(model, own, sources, folder, sha256)
        return fix_shapes(_recorded(folder, macs, own.workload.batch_size), own.shapes)


def _data_files(model: onnx.ModelProto, folder: Path) -> dict[str, Path]:
    """Return the checked file behind each external location, in order of first use."""
    files: dict[str, Path] = {}
    for tensor in tensors(model):
        if external(tensor):
            location = _facts(tensor)["location"]
            if location not in files:
                files[location] = check_external(tensor, folder)
    return files


def _facts(tensor: onnx.TensorProto) -> dict[str, str]:
    """Return what a tensor says of its external data; of a fact that is said twice the last, as it was checked."""
    return {entry.key: entry.value for entry in tensor.external_data}


def _content_sha256(file: Path, sources: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, source in (("", file), *sources.items()):
        digest.update(f"{name}\0{source.stat().st_size}\0".encode())
        with source.open("rb") as stream:
            while part := stream.read(_READ_BYTES):
                digest.update(part)
    return digest.hexdigest()


def request_macs(light: onnx.ModelProto, own: OwnModel) -> int | None:
    """Count the multiply-accumulates of one request; None where an operator's shapes are known to its engine only."""
    try:
        return count(light, own.shapes).macs
    except (SpeedsheetError, ValueError, LookupError, RuntimeError):
        return None


def _publish(model: onnx.ModelProto, own: OwnModel, sources: Mapping[str, Path], folder: Path, sha256: str) -> None:
    needed = sum(source.stat().st_size for source in sources.values()) + model.ByteSize()
    remedy = f"free {needed / 1e6:.0f} MB there, or choose another cache folder"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.parent).free < needed + _SPARE_BYTES:
            raise RowFailed("no room for a copy of the model", where=str(folder.parent), do=remedy)
        publish(folder.parent, lambda: folder.name, lambda whole: _fill(model, own, sources, whole, sha256))
    except OSError as error:
        # a folder that another process finished meanwhile is as good as ours
        if not (folder / _RECORD).exists():
            raise RowFailed(f"cannot be written: {error.strerror}", where=str(folder), do=remedy) from error


def _fill(model: onnx.ModelProto, own: OwnModel, sources: Mapping[str, Path], whole: Path, sha256: str) -> None:
    """Copy the weights under names of our own, so that no name in the model can clash with ours or lead elsewhere."""
    names = {location: f"weights-{index}.bin" for index, location in enumerate(sources)}
    for location, source in sources.items():
        shutil.copyfile(source, whole / names[location])
    for tensor in tensors(model):
        if external(tensor):
            facts = _facts(tensor)
            kept: dict[str, str] = {key: facts[key] for key in ("offset", "length") if key in facts}
            _point(tensor, {"location": names[facts["location"]], **kept})
    _move_out(model.graph, whole / "weights.bin")
    write_graph(model, whole / WHOLE_GRAPH)
    record = {
        "schema": _SCHEMA,
        "model": own.workload.name,
        "source": own.workload.source,
        "sha256": sha256,
        "size_bytes": sum(entry.stat().st_size for entry in whole.iterdir()),
        "parameters": parameters(model.graph),
        "check": _CHECK,
    }
    (whole / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _move_out(graph: onnx.GraphProto, path: Path) -> None:
    """Write large weights that lie in the graph to a file beside it, each on a page, so that engines can map it."""
    large = [tensor for tensor in graph.initializer if len(tensor.raw_data) > _LARGE_BYTES]
    if not large:
        return
    with path.open("xb") as stream:
        for tensor in large:
            stream.write(bytes(-stream.tell() % _PAGE_BYTES))
            facts = {"location": path.name, "offset": str(stream.tell()), "length": str(len(tensor.raw_data))}
            stream.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            _point(tensor, facts)


def _point(tensor: onnx.TensorProto, facts: Mapping[str, str]) -> None:
    del tensor.external_data[:]
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=value)


def _recorded(folder: Path, macs: int | None, batch_size: int) -> Artifact:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        known = {key: record[key] for key in ("sha256", "size_bytes", "parameters")}
        check = record["check"] if macs is not None else f"{record['check']}; its multiply-accumulates are not counted"
    except (OSError, ValueError, KeyError) as error:
        raise RowFailed("the cached model is damaged", where=str(folder), do="delete this folder") from error
    return Artifact(folder=folder, macs_per_sample=(macs or 0) // batch_size, check=check, **known)
