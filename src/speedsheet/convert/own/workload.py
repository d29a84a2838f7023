"""The user's own .onnx file as a workload: what each request holds, and what was assumed to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx

from speedsheet.convert.graph.file import located, read_model
from speedsheet.convert.graph.growth import inlined
from speedsheet.convert.graph.shapes import dims, shape_text, write_shapes
from speedsheet.convert.graph.walk import graph_inputs, skeleton
from speedsheet.convert.own.artifact import OwnModel, own_artifact
from speedsheet.convert.own.input_text import DTYPES, check_range, format_input, parse_input, ranged
from speedsheet.convert.own.sizes import Sizes, looks_carried, request_sizes
from speedsheet.convert.own.tables import table_sizes
from speedsheet.convert.own.values import Drawn, OwnDraw, drawn
from speedsheet.core.errors import BadInput, BadModel, quoted
from speedsheet.core.workload import InputSpec, Workload
from speedsheet.plugins import did_you_mean

__all__ = ["OwnModel", "check_carry", "own_artifact", "own_workload", "parse_input"]

_NOTHING_CARRIED: Mapping[str, str] = {}


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
        _check_outputs(light)
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
    kind = _type_name(value.type.tensor_type.elem_type).lower()
    return f"{'of unknown shape' if shape is None else shape_text(shape)} {kind}"


def _dtype(value: onnx.ValueInfoProto) -> str:
    """Return numpy's name of an input's element type."""
    if not value.type.HasField("tensor_type"):
        raise BadInput(
            f"input {quoted(value.name)} is a {value.type.WhichOneof('value')}, not a tensor",
            do="export a model that takes tensors",
        )
    kind = value.type.tensor_type.elem_type
    name = _numpy_name(kind)
    if name not in DTYPES:
        raise BadInput(
            f"input {quoted(value.name)} has element type {_type_name(kind)}, which speedsheet cannot make",
            do=f"export the model with inputs of one of {', '.join(DTYPES)}",
        )
    return name


def _check_outputs(model: onnx.ModelProto) -> None:
    """Raise BadModel where an output is no array of numbers: right ones could not be told from wrong ones."""
    for value in model.graph.output:
        form, kind = value.type.WhichOneof("value"), value.type.tensor_type.elem_type
        if form not in {None, "tensor_type"}:
            found = f"is a {form}, not a tensor"
        elif kind and _numpy_name(kind) not in DTYPES:
            found = f"has element type {_type_name(kind)}"
        else:
            continue
        raise BadModel(
            f"output {quoted(value.name)} {found}, and only tensors of numbers can be judged",
            do="export the model without it, or with numbers in its place (skl2onnx: options={'zipmap': False}, and "
            "classes that are numbers)",
        )


def _numpy_name(kind: int) -> str:
    """Return numpy's name of an element type, "" of one that ONNX does not know."""
    known = set(onnx.helper.get_all_tensor_dtypes())
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind)) if kind in known else ""


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
        if ranged(spec):
            check_range(asked[spec.name], format_input(asked[spec.name]))
    return asked


def _draws(
    light: onnx.ModelProto,
    asked: Mapping[str, InputSpec],
    sizes: Sizes,
    carry: Mapping[str, str],
    types: Mapping[str, str],
) -> tuple[Drawn, ...]:
    tables = table_sizes(inlined(light))
    chosen = []
    for value in graph_inputs(light):
        name, shape = value.name, sizes.shapes[value.name]
        base = asked.get(name, InputSpec(name, shape, types[name], 0.0, 0.0))
        axes = (None, *shape[1:]) if name in sizes.batched else shape
        state = looks_carried(name) and any(_agree(value, output) for output in light.graph.output)
        carried = state or name in carry.values()
        chosen.append(drawn(replace(base, shape=axes), carried=carried, table=tables.get(name)))
    return tuple(chosen)


def _assumptions(chosen: tuple[Drawn, ...], sizes: Sizes, asked: Mapping[str, InputSpec]) -> tuple[str, ...]:
    """Say what was decided for the inputs that nobody described in full."""
    said = []
    for one in chosen:
        spec = asked.get(one.spec.name)
        if spec is None or (spec.low >= spec.high and one.spec.dtype != "bool"):
            shape = shape_text(sizes.shapes[one.spec.name])
            said.append(f"input {quoted(one.spec.name)}: {shape} {one.spec.dtype}, {one.words}")
    return tuple(said)
