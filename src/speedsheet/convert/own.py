"""The user's own .onnx file as a workload: what each request holds, and what was assumed to make one."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx.inliner

from speedsheet.convert.count import count, parameters
from speedsheet.convert.input_text import DTYPES, parse_input
from speedsheet.convert.onnx_check import check_external, one_line, quoted
from speedsheet.convert.onnx_file import located, read_model
from speedsheet.convert.onnx_graph import external, graph_inputs, skeleton, tensors
from speedsheet.convert.own_shapes import Sizes, looks_carried, request_sizes
from speedsheet.convert.own_values import Drawn, OwnDraw, drawn, table_sizes
from speedsheet.convert.shapes import WHOLE_GRAPH, Shape, dims, shape_text, write_graph, write_shapes
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput, BadModel, RowFailed, SpeedsheetError
from speedsheet.core.workload import InputSpec, Workload
from speedsheet.plugins import did_you_mean

__all__ = ["OwnModel", "check_carry", "own_artifact", "own_workload", "parse_input"]

_RECORD = "record.json"
#: Counts up when the same file would be stored otherwise.
_FORM = 1
_READ_BYTES = 1 << 22
_SPARE_BYTES = 1 << 26
_NOTHING_CARRIED: Mapping[str, str] = {}


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


def own_workload(
    path: Path | str,
    *,
    inputs: tuple[InputSpec, ...] = (),
    batch_size: int | None = None,
    carry: Mapping[str, str] = _NOTHING_CARRIED,
) -> OwnModel:
    """Read a user's .onnx file and decide what a request to it is; weights are not loaded.

    A shape among `inputs` is taken as given; `batch_size` fills only a free first dimension of the other inputs.
    Raises BadModel for the file, BadInput for shapes, types and names that do not fit it.
    """
    file = Path(path)
    model = read_model(file)
    with located(file):
        types = {value.name: _dtype(value) for value in graph_inputs(model)}
        asked = _asked(inputs, types)
        sizes = request_sizes(model, asked, batch_size)
        light = skeleton(model)
        write_shapes(light, sizes.shapes)
        check_carry(light, carry)
        chosen = _draws(light, asked, sizes, carry, types)
    workload = Workload(
        name=file.stem,
        task="own model",
        framework="onnx",
        source=file.name,
        inputs=tuple(one.spec for one in chosen),
        batch_size=sizes.batch,
        thread_num=1,
        draw=OwnDraw(chosen),
    )
    return OwnModel(workload, sizes.shapes, dict(carry), _assumptions(chosen, sizes, asked))


def check_carry(model: onnx.ModelProto, carry: Mapping[str, str]) -> None:
    """Raise BadInput unless every output of `carry` can become its input: names, element types and shapes agree.

    The model's shapes are taken as they stand; a dimension that inference could not tell agrees with any.
    """
    outputs = {value.name: value for value in model.graph.output}
    inputs = {value.name: value for value in graph_inputs(model)}
    how = "write --carry OUTPUT=INPUT"
    for out, into in carry.items():
        for name, known, side in ((out, outputs, "output"), (into, inputs, "input")):
            if name not in known:
                raise BadInput(
                    f"--carry: the model has no {side} {quoted(name)}", do=f"{how}; {did_you_mean(name, known)}"
                )
        if not _agree(outputs[out], inputs[into]):
            raise BadInput(
                f"--carry: output {quoted(out)} ({_said(outputs[out])}) cannot become input {quoted(into)} "
                f"({_said(inputs[into])})",
                do=f"{how} of the same shape and element type",
            )
    if len(set(carry.values())) < len(carry):
        raise BadInput("--carry: two outputs become the same input", do=how)


def _agree(one: onnx.ValueInfoProto, other: onnx.ValueInfoProto) -> bool:
    if one.type.tensor_type.elem_type != other.type.tensor_type.elem_type:
        return False
    left, right = dims(one), dims(other)
    if left is None or right is None:
        return True
    return len(left) == len(right) and all(
        a == b for a, b in zip(left, right, strict=True) if isinstance(a, int) and isinstance(b, int)
    )


def _said(value: onnx.ValueInfoProto) -> str:
    shape = dims(value)
    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    return f"{'of unknown shape' if shape is None else shape_text(shape)} {kind}"


def _dtype(value: onnx.ValueInfoProto) -> str:
    """Return numpy's name of an input's element type."""
    if not value.type.HasField("tensor_type"):
        raise BadInput(
            f"input {quoted(value.name)} is a {value.type.WhichOneof('value')}, not a tensor",
            do="export a model that takes tensors",
        )
    kind = value.type.tensor_type.elem_type
    name = str(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind in _types() else ""
    if name not in DTYPES:
        raise BadInput(
            f"input {quoted(value.name)} has element type {_type_name(kind)}, which speedsheet cannot make",
            do=f"export the model with inputs of one of {', '.join(DTYPES)}",
        )
    return name


def _types() -> set[int]:
    return set(onnx.helper.get_all_tensor_dtypes())


def _type_name(kind: int) -> str:
    return str(onnx.TensorProto.DataType.Name(kind)) if kind in onnx.TensorProto.DataType.values() else str(kind)


def _asked(inputs: tuple[InputSpec, ...], types: Mapping[str, str]) -> dict[str, InputSpec]:
    """Return what was asked by name, with the model's element type where none was given."""
    asked: dict[str, InputSpec] = {}
    for spec in inputs:
        if spec.name not in types:
            raise BadInput(f"the model has no input {quoted(spec.name)}", do=did_you_mean(spec.name, types))
        if spec.name in asked:
            raise BadInput(f"input {quoted(spec.name)} is given twice", do="give each --input once")
        kind = types[spec.name]
        if spec.dtype not in {"", kind}:
            raise BadInput(
                f"input {quoted(spec.name)} is {kind} in the model, and was given as {spec.dtype}",
                do=f"write {kind}, or leave the type out",
            )
        asked[spec.name] = replace(spec, dtype=kind)
    return asked


def _draws(
    light: onnx.ModelProto,
    asked: Mapping[str, InputSpec],
    sizes: Sizes,
    carry: Mapping[str, str],
    types: Mapping[str, str],
) -> tuple[Drawn, ...]:
    tables = table_sizes(_inlined(light))
    chosen = []
    for value in graph_inputs(light):
        name, shape = value.name, sizes.shapes[value.name]
        base = asked.get(name, InputSpec(name, shape, types[name], 0.0, 0.0))
        axes = (None, *shape[1:]) if name in sizes.batched else shape
        state = looks_carried(name) and any(_agree(value, output) for output in light.graph.output)
        carried = state or name in carry.values()
        chosen.append(drawn(replace(base, shape=axes), carried=carried, table=tables.get(name)))
    return tuple(chosen)


def _inlined(light: onnx.ModelProto) -> onnx.ModelProto:
    if not light.functions:
        return light
    try:
        return onnx.inliner.inline_local_functions(light)
    except (RuntimeError, ValueError, TypeError) as error:
        raise BadModel(f"its functions cannot be written out: {one_line(error)}", do="export it again") from error


def _assumptions(chosen: tuple[Drawn, ...], sizes: Sizes, asked: Mapping[str, InputSpec]) -> tuple[str, ...]:
    """Say what was decided for the inputs that nobody described in full."""
    said = []
    for one in chosen:
        spec = asked.get(one.spec.name)
        if spec is None or (spec.low >= spec.high and one.spec.dtype != "bool"):
            shape = shape_text(sizes.shapes[one.spec.name])
            said.append(f"input {quoted(one.spec.name)}: {shape} {one.spec.dtype}, {one.words}")
    return tuple(said)


def own_artifact(path: Path | str, own: OwnModel, cache: Path) -> Artifact:
    """Return the user's model in the cache: its graph with the request's shapes written in, and a copy of its weights.

    The folder is named by the content of graph and weights and by the shapes, appears whole or not at all, and is
    taken as it is where it is there. Links are followed only inside the model's folder, by the same check as on
    reading. Raises BadModel, and RowFailed where the cache cannot be written.
    """
    file = Path(path)
    model = read_model(file)
    with located(file):
        sources = _data_files(model, file.parent)
        sha256 = _content_sha256(file, sources)
        shapes = json.dumps(sorted((name, list(shape)) for name, shape in own.shapes.items()))
        name = hashlib.sha256(f"{_FORM}\0{sha256}\0{shapes}".encode()).hexdigest()
        folder = cache / f"own-{name[:24]}"
        if not (folder / _RECORD).exists():
            _publish(model, own, sources, folder, sha256)
    return _recorded(folder)


def _data_files(model: onnx.ModelProto, folder: Path) -> dict[str, Path]:
    """Return the checked file behind each external location, in order of first use."""
    files: dict[str, Path] = {}
    for tensor in tensors(model):
        if external(tensor):
            location = next(entry.value for entry in tensor.external_data if entry.key == "location")
            if location not in files:
                files[location] = check_external(tensor, folder)
    return files


def _content_sha256(file: Path, sources: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, source in (("", file), *sources.items()):
        digest.update(f"{name}\0{source.stat().st_size}\0".encode())
        with source.open("rb") as stream:
            while part := stream.read(_READ_BYTES):
                digest.update(part)
    return digest.hexdigest()


def _publish(model: onnx.ModelProto, own: OwnModel, sources: Mapping[str, Path], folder: Path, sha256: str) -> None:
    needed = sum(source.stat().st_size for source in sources.values()) + model.ByteSize()
    remedy = f"free {needed / 1e6:.0f} MB there, or choose another cache folder"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder.parent).free < needed + _SPARE_BYTES:
            raise RowFailed("no room for a copy of the model", where=str(folder.parent), do=remedy)
        with tempfile.TemporaryDirectory(prefix=".own-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
            whole = Path(scratch) / "whole"
            whole.mkdir()
            _fill(model, own, sources, whole, sha256)
            with suppress(FileExistsError, NotADirectoryError):
                whole.rename(folder)
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
            facts = {entry.key: entry.value for entry in tensor.external_data}
            facts["location"] = names[facts["location"]]
            del tensor.external_data[:]
            for key in ("location", "offset", "length"):
                if key in facts:
                    tensor.external_data.add(key=key, value=facts[key])
    write_shapes(model, own.shapes)
    write_graph(model, whole / WHOLE_GRAPH)
    light = skeleton(model)
    macs, check = _macs(light, own), "the user's own file; no framework to prove it against"
    record = {
        "schema": "speedsheet.artifact/1",
        "model": own.workload.name,
        "source": own.workload.source,
        "sha256": sha256,
        "size_bytes": sum(entry.stat().st_size for entry in whole.iterdir()),
        "parameters": parameters(light.graph),
        "macs_per_sample": (macs or 0) // own.workload.batch_size,
        "check": check if macs is not None else f"{check}; its multiply-accumulates could not be counted",
    }
    (whole / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _macs(light: onnx.ModelProto, own: OwnModel) -> int | None:
    """Count one request; None where an operator's shapes are known to its engine only."""
    try:
        return count(light, own.shapes).macs
    except (SpeedsheetError, ValueError, LookupError, RuntimeError):
        return None


def _recorded(folder: Path) -> Artifact:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        known = {key: record[key] for key in ("sha256", "size_bytes", "parameters", "macs_per_sample", "check")}
    except (OSError, ValueError, KeyError) as error:
        raise RowFailed("the cached model is damaged", where=str(folder), do="delete this folder") from error
    return Artifact(folder=folder, **known)
