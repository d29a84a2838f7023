"""Write the shapes of one request into a graph, before any engine loads it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from speedsheet.convert.graph.check import one_line
from speedsheet.convert.graph.walk import graph_inputs, graphs, skeleton, subgraphs
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput, BadModel, quoted
from speedsheet.plugins import did_you_mean

Shape = tuple[int, ...]
#: A dimension as a graph declares it: a size, the name of one that is free, or None where nothing is said.
Dim = int | str | None

WHOLE_GRAPH = "graph.onnx"
#: What exporters write where they mean "any": two of these are not one size.
_NO_NAMES = frozenset({"", "?", "*", "-1", "None", "none", "unknown"})
#: Counts up when the same shapes would be written otherwise, so that older copies are not taken for current ones.
_FORM = 1


def dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...] | None:
    """Return the declared dimensions of an input, output or value; None where not even the rank is known."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(_dim(dim) for dim in value.type.tensor_type.shape.dim)


def known_shapes(model: onnx.ModelProto) -> dict[str, tuple[Dim, ...]]:
    """Return the dimensions of every value that the main graph declares or stores."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        found = dims(value)
        if found is not None:
            shapes[value.name] = found
    return shapes


def infer(model: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """Return a light copy of the model with every shape that follows from its inputs; its weights are left out.

    Raises BadModel where inference fails as a whole, or with `strict` at any operator.
    """
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=strict, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
        raise BadModel(f"shapes do not follow: {one_line(error)}", do="export the model again") from error


def write_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Make the model's inputs static, in place, and set what follows from them; weights are neither read nor copied.

    What an exporter wrote of inner values and outputs is dropped first: it may hold for another shape only.
    Raises BadInput where a shape contradicts the model.
    """
    light = skeleton(model)
    _forget(light)
    before = onnx.ModelProto()
    before.CopyFrom(light)
    symbols = _write_inputs(light, shapes)
    _refuse_misfits(before, light, shapes)
    inferred = infer(light)
    _write_inputs(model, shapes)
    declared = {value.name: dims(value) for value in model.graph.output}
    _forget(model)
    _take(model.graph, inferred.graph)
    for value in model.graph.output:
        if dims(value) is None:
            _keep_rank(value, declared[value.name], symbols)


def fix_shapes(artifact: Artifact, shapes: Mapping[str, Shape]) -> Artifact:
    """Return the artifact with its graph fixed to `shapes`: a copy beside the same weights, named by the shapes.

    A copy that is there is taken as it is; two processes may write it at once. Raises BadInput as write_shapes does.
    """
    known = json.dumps([_FORM, sorted((name, list(shape)) for name, shape in shapes.items())])
    name = f"graph-{hashlib.sha256(known.encode()).hexdigest()[:8]}.onnx"
    fixed = replace(artifact, graph_name=name)
    if not fixed.graph.exists():
        model = onnx.load(artifact.folder / WHOLE_GRAPH, load_external_data=False)
        write_shapes(model, shapes)
        write_graph(model, fixed.graph)
    return fixed


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph so that a reader sees all of it or none; external weights stay where they are."""
    try:
        data = model.SerializeToString()
    except (ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise BadModel(
            f"cannot be written: {one_line(error)}",
            where=str(path),
            do="save the model with save_as_external_data=True, so that the graph stays below 2 GiB",
        ) from error
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _dim(dim: Any) -> Dim:
    if dim.HasField("dim_value"):
        # exporters write 0 and -1 for "any"; an input of no elements would be named explicitly
        return int(dim.dim_value) if dim.dim_value > 0 else None
    return None if dim.dim_param in _NO_NAMES else str(dim.dim_param)


def _write_inputs(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Set the dimensions of the named inputs; return the size that each symbol got."""
    inputs = {value.name: value for value in graph_inputs(model)}
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise BadInput(f"the model has no input {quoted(name)}", do=did_you_mean(name, inputs))
        declared = dims(inputs[name])
        check_shape(name, shape, declared)
        symbols.update((dim, size) for dim, size in zip(declared or (), shape, strict=False) if isinstance(dim, str))
        target = inputs[name].type.tensor_type
        target.shape.Clear()
        for size in shape:
            target.shape.dim.add().dim_value = size
        if not shape:
            target.shape.SetInParent()
    return symbols


def check_shape(name: str, shape: Shape, declared: tuple[Dim, ...] | None) -> None:
    """Raise BadInput unless `shape` is one that the declared dimensions allow."""
    if declared is None:
        return
    fits = len(shape) == len(declared) and all(
        size == dim for size, dim in zip(shape, declared, strict=True) if isinstance(dim, int)
    )
    if not fits:
        raise BadInput(
            f"input {quoted(name)} is {shape_text(declared)} in the model, and was given as {shape_text(shape)}",
            do="give a shape that agrees where the model's is fixed, or export the model with free dimensions",
        )


def shape_text(shape: tuple[Dim, ...]) -> str:
    """Write a shape as people type it, with free dimensions by name or as ``?``; a scalar is said in words."""
    return "x".join(
        "?" if dim is None else ascii(dim)[1:-1] if isinstance(dim, str) else str(dim) for dim in shape
    ) or ("a scalar")


def _refuse_misfits(before: onnx.ModelProto, after: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Blame the shapes only for what inference did not already say of the model without them."""
    said = _complaints(after)
    old = _complaints(before) if said else []
    fresh = [line for line in said if line not in old]
    if fresh:
        given = ", ".join(f"{quoted(name)} {shape_text(shape)}" for name, shape in shapes.items())
        raise BadInput(
            f"the shapes do not fit the model: with {given}: {fresh[0]}",
            do="give shapes that the model can compute, one --input NAME=SHAPE:DTYPE per input",
        )


def _complaints(model: onnx.ModelProto) -> list[str]:
    try:
        onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError) as error:
        lines = str(error).replace("Inference error(s): ", "\n").splitlines()
        return [folded for line in lines if (folded := one_line(ValueError(line)))]
    return []


def _forget(model: onnx.ModelProto) -> None:
    """Drop what was said of inner values and outputs, in subgraphs too."""
    for graph in graphs(model):
        if not isinstance(graph, onnx.GraphProto):
            del graph.value_info[:]
            continue
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")


def _take(graph: onnx.GraphProto, inferred: onnx.GraphProto) -> None:
    """Copy shapes from the inferred graph, subgraph by subgraph; inference keeps the order of nodes."""
    for field in ("value_info", "output"):
        del getattr(graph, field)[:]
        getattr(graph, field).extend(getattr(inferred, field))
    for node, seen in zip(graph.node, inferred.node, strict=True):
        for inner, inner_seen in zip(subgraphs(node), subgraphs(seen), strict=True):
            _take(inner, inner_seen)


def _keep_rank(value: onnx.ValueInfoProto, declared: tuple[Dim, ...] | None, symbols: Mapping[str, int]) -> None:
    """Where inference cannot tell an output's shape, keep its rank and what the symbols of the inputs say."""
    for dim in declared or ():
        entry = value.type.tensor_type.shape.dim.add()
        if isinstance(dim, str) and dim in symbols:
            entry.dim_value = symbols[dim]
