"""Refuse what an ONNX file must not ask for: sizes that lie, files outside its folder, operators nobody knows."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from functools import cache
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from speedsheet.convert.graph.walk import external, graphs, nodes, skeleton, tensors
from speedsheet.core.errors import BadModel, quoted

MAX_NODES = 1_000_000
MAX_TENSOR_ELEMENTS = 2**40
#: As many axes as numpy has; the product of a million dimensions takes minutes.
MAX_AXES = 64
#: How deep functions may call each other: inference goes down once for each call.
MAX_CALLS = 100
_LINE_LETTERS = 300
_CONTRIB = "com.microsoft"
_STANDARD = ("", "ai.onnx.ml")
#: Element types that are not a whole number of bytes; 6-bit ones have no agreed packing yet.
_SUB_BYTE_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in (("UINT4", 4), ("INT4", 4), ("FLOAT4E2M1", 4), ("UINT2", 2), ("INT2", 2))
    if hasattr(TensorProto, name)
}
_UNPACKED = {getattr(TensorProto, name) for name in ("FLOAT6E2M3", "FLOAT6E3M2") if hasattr(TensorProto, name)}
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)
_AGAIN = "export or download the model again"


def check(model: onnx.ModelProto, folder: Path) -> None:
    """Raise BadModel unless the model is bounded, whole, inside `folder`, and made of known operators."""
    _check_names(model)
    _check_size(model)
    for tensor in tensors(model):
        _check_tensor(tensor, folder)
    _check_opsets(model)
    _check_operators(model)
    _check_standard(model)


def one_line(error: BaseException) -> str:
    """Return what a library said, folded into one line that can be read and printed."""
    printable = "".join(letter if letter.isprintable() else " " for letter in str(error))
    folded = " ".join(printable.replace("[ShapeInferenceError]", "").split())
    return folded if len(folded) <= _LINE_LETTERS else f"{folded[: _LINE_LETTERS - 3]}..."


def _check_names(model: onnx.ModelProto) -> None:
    """Protobuf hands over names that are not UTF-8 as bytes; no later code expects those."""
    for graph in graphs(model):
        names = [graph.name]
        names += [text for node in graph.node for text in (node.name, node.op_type, node.domain, node.overload)]
        names += [text for node in graph.node for text in (*node.input, *node.output)]
        names += [
            text
            for node in graph.node
            for attribute in node.attribute
            for text in (attribute.name, attribute.ref_attr_name)
        ]
        if isinstance(graph, onnx.GraphProto):
            values = (*graph.input, *graph.output, *graph.value_info)
            names += [value.name for value in (*values, *graph.initializer)]
            names += [dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim]
        else:
            names += [graph.domain, graph.overload, *graph.input, *graph.output]
        for name in names:
            if not isinstance(name, str):
                raise BadModel(f"holds a name that is not UTF-8: {quoted(name)}", do=_AGAIN)


def _check_size(model: onnx.ModelProto) -> None:
    if not model.graph.node:
        raise BadModel("its graph has no operators", do=_AGAIN)
    if not model.graph.output:
        raise BadModel("its graph has no outputs", do="export the model with at least one output")
    for value in model.graph.input:
        if len(value.type.tensor_type.shape.dim) > MAX_AXES:
            raise BadModel(f"its input {quoted(value.name)} has more than {MAX_AXES} axes", do=_AGAIN)
    if expanded_nodes(model) > MAX_NODES:
        raise BadModel(
            f"has more than {MAX_NODES} operators once its functions are expanded", do="give a smaller model"
        )


def expanded_nodes(model: onnx.ModelProto) -> int:
    """Count the nodes that are left when every local function is written out where it is called.

    Functions may call each other, so a short file can stand for more nodes than any memory holds.
    Raises BadModel where a function calls itself, or where they call each other deeper than any exporter writes.
    """
    bodies = {_function_key(function): function for function in model.functions}
    calls = {key: _calls(nodes(function), bodies) for key, function in bodies.items()}
    sizes: dict[tuple[str, ...], int] = {}
    depth = 0
    while len(sizes) < len(calls):
        ready = [key for key in calls if key not in sizes and all(callee in sizes for callee in calls[key])]
        if not ready:
            stuck = next(key for key in calls if key not in sizes)
            raise BadModel(f"its function {quoted(stuck[1])} calls itself", do="export the model without recursion")
        if depth == MAX_CALLS:
            raise BadModel(f"its functions call each other deeper than {MAX_CALLS}", do="export it with fewer levels")
        depth += 1
        for key in ready:
            sizes[key] = len(list(nodes(bodies[key]))) + sum(sizes[callee] for callee in calls[key])
    main = list(nodes(model.graph))
    return len(main) + sum(sizes[callee] for callee in _calls(main, bodies))


def _function_key(function: onnx.FunctionProto) -> tuple[str, ...]:
    return (function.domain, function.name, function.overload)


def _calls(within: Iterable[Any], bodies: Mapping[tuple[str, ...], Any]) -> list[tuple[str, ...]]:
    keys = ((node.domain, node.op_type, node.overload) for node in within)
    return [key for key in keys if key in bodies]


def _check_tensor(tensor: onnx.TensorProto, folder: Path) -> None:
    """Refuse a tensor whose declared size is not the size of what is stored for it."""
    name = f"tensor {quoted(tensor.name)}"
    if tensor.data_type not in TensorProto.DataType.values() or tensor.data_type == TensorProto.UNDEFINED:
        raise BadModel(f"{name} has the unknown element type {tensor.data_type}", do="update onnx, or export again")
    if len(tensor.dims) > MAX_AXES or min(tensor.dims, default=0) < 0 or prod(tensor.dims) > MAX_TENSOR_ELEMENTS:
        raise BadModel(f"{name} declares the impossible shape {quoted(list(tensor.dims))}", do=_AGAIN)
    if tensor.HasField("segment"):
        raise BadModel(f"{name} is stored in segments, which no engine reads", do="save it whole")
    if external(tensor):
        check_external(tensor, folder)
        return
    if tensor.data_type in _UNPACKED:
        return
    wanted, stored = _declared_and_stored(tensor)
    if wanted != stored:
        shape = quoted(list(tensor.dims))
        raise BadModel(f"{name} declares shape {shape}, {wanted} values or bytes, but stores {stored}", do=_AGAIN)


def _declared_and_stored(tensor: onnx.TensorProto) -> tuple[int, int]:
    """Count bytes where the data is raw, else the entries of the typed field."""
    count = prod(tensor.dims)
    if tensor.HasField("raw_data") and tensor.data_type != TensorProto.STRING:
        return bytes_of(tensor), len(tensor.raw_data)
    if tensor.data_type in _SUB_BYTE_BITS:
        count = -(-count * _SUB_BYTE_BITS[tensor.data_type] // 8)
    if tensor.data_type in _COMPLEX:
        count *= 2
    return count, len(getattr(tensor, onnx.helper.tensor_dtype_to_field(tensor.data_type)))


def bytes_of(tensor: onnx.TensorProto) -> int:
    """Return how many bytes a tensor's declared shape and type take."""
    bits = _SUB_BYTE_BITS.get(tensor.data_type)
    if bits is None:
        bits = 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    return -(-int(prod(tensor.dims)) * bits // 8)


def check_external(tensor: onnx.TensorProto, folder: Path) -> Path:
    """Return the file that holds a tensor, after proving that it lies in `folder` and is long enough.

    Links are followed before the comparison: a location that leaves the folder through one would read any file of
    the user's (the class of CVE-2022-25882, CVE-2024-27318 and their successors).
    """
    name, facts = f"tensor {quoted(tensor.name)}", {entry.key: entry.value for entry in tensor.external_data}
    file = _external_file(facts.get("location", ""), folder, name)
    offset, length = (_natural(facts.get(key), key, name) for key in ("offset", "length"))
    wanted = length if tensor.data_type in _UNPACKED and length is not None else bytes_of(tensor)
    if length is not None and length != wanted:
        raise BadModel(f"{name} takes {wanted} bytes but declares {length} in {file.name}", do=_AGAIN)
    size = file.stat().st_size
    if (offset or 0) + wanted > size:
        raise BadModel(
            f"{name} ends at byte {(offset or 0) + wanted} of {quoted(file.name)}, which has only {size}",
            do="the data file is truncated or not this model's: download or export both again",
        )
    return file


def _external_file(location: object, folder: Path, name: str) -> Path:
    into = "keep the weights in the model's own folder and save the model again"
    if not isinstance(location, str) or not location or "\0" in location:
        raise BadModel(f"{name} names no external data file", do=_AGAIN)
    parts = (*PurePosixPath(location).parts, *PureWindowsPath(location).parts)
    if PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor or ".." in parts:
        raise BadModel(f"{name} wants its data from {quoted(location)}, outside the model's folder", do=into)
    file = folder / location
    try:
        resolved = file.resolve(strict=True)
        regular = stat.S_ISREG(resolved.stat().st_mode)
    except (OSError, RuntimeError) as error:
        raise BadModel(
            f"its external data file {quoted(location)} is missing or cannot be read",
            do="put the file beside the .onnx file; a graph and its data belong together",
        ) from error
    if not resolved.is_relative_to(folder.resolve()):
        raise BadModel(
            f"{name} wants its data from {quoted(location)}, a link that leaves the model's folder",
            do="copy the folder with its links followed: cp -rL FROM TO",
        )
    if not regular:
        raise BadModel(f"its external data {quoted(location)} is not a regular file", do=into)
    return resolved


def _natural(text: object, key: str, name: str) -> int | None:
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,18}", text):
        raise BadModel(f"{name} has the {key} {quoted(text)} in its external data, which is no size", do=_AGAIN)
    return int(text)


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _check_opsets(model: onnx.ModelProto) -> None:
    newest = {domain: _newest(domain) for domain in _STANDARD}
    for owner in (model, *model.functions):
        for opset in owner.opset_import:
            domain = opset.domain if isinstance(opset.domain, str) else quoted(opset.domain)
            if opset.version > newest.get(_domain(domain), opset.version) or opset.version < 1:
                raise BadModel(
                    f"wants opset {opset.version} of domain {quoted(domain or 'ai.onnx')}, and onnx {onnx.__version__} "
                    f"knows 1 to {newest.get(_domain(domain), 'any')}",
                    do="update onnx (pip install -U onnx), or export with an older opset_version",
                )
    if model.ir_version > onnx.IR_VERSION:
        raise BadModel(
            f"has IR version {model.ir_version}, and onnx {onnx.__version__} knows up to {onnx.IR_VERSION}",
            do="update onnx (pip install -U onnx), or export with an older one",
        )


@cache
def _newest(domain: str) -> int:
    return max(
        int(schema.since_version) for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == domain
    )


def _check_operators(model: onnx.ModelProto) -> None:
    """Every operator is standard, of ONNX Runtime's own domain, or one of the model's functions."""
    functions = {(_domain(function.domain), function.name) for function in model.functions}
    trained = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    for owner, versions in (
        *((graph, opsets) for graph in (model.graph, *trained)),
        *((body, {opset.domain: opset.version for opset in body.opset_import}) for body in model.functions),
    ):
        known = {_domain(domain): version for domain, version in versions.items()}
        for node in nodes(owner):
            domain = _domain(node.domain)
            if (domain, node.op_type) not in functions and domain != _CONTRIB:
                _check_operator(node, domain, known.get(domain))


def _check_operator(node: onnx.NodeProto, domain: str, opset: int | None) -> None:
    at = f"(node {quoted(node.name or (node.output[0] if node.output else ''))})"
    operator = f"operator {quoted(node.op_type)}"
    if domain not in _STANDARD:
        raise BadModel(
            f"{operator} of domain {quoted(domain)} {at} is not one that engines know",
            do="export the model with standard ONNX operators only",
        )
    if opset is None:
        raise BadModel(
            f"{operator} {at} is of domain {quoted(domain or 'ai.onnx')}, for which no opset is set", do=_AGAIN
        )
    try:
        known = (
            onnx.defs.has(node.op_type, opset, domain)
            and not onnx.defs.get_schema(node.op_type, opset, domain).deprecated
        )
    except onnx.defs.SchemaError:
        known = False
    if not known:
        raise BadModel(
            f"{operator} {at} does not exist in opset {opset} of domain {quoted(domain or 'ai.onnx')}",
            do="export it with an opset that has this operator, or without custom operators",
        )


def _check_standard(model: onnx.ModelProto) -> None:
    """Let onnx judge the structure; weights are left out, so it neither copies them nor opens a file."""
    light = skeleton(model)
    for tensor in tensors(light):
        if external(tensor):
            # declared empty, the checker wants no data of it
            tensor.CopyFrom(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0]))
    for value in (*light.graph.input, *light.graph.output):
        if value.type.HasField("tensor_type"):
            # the checker wants a shape even of an unknown rank; engines do not
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(light)
    except (onnx.checker.ValidationError, RuntimeError, ValueError, TypeError, DecodeError) as error:
        raise BadModel(f"is not valid ONNX: {one_line(error)}", do="export it again with a current exporter") from error
