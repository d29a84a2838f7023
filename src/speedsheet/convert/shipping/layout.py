"""From a converter's graph to the one that ships: layouts folded into the recipe, weights outside, names that stay.

A converter names nodes by counters that depend on what ran before in the process; here every name comes from the
graph itself, so that two exports can be compared line by line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import onnx
from onnx import numpy_helper

from speedsheet.convert.shipping.recipe import WEIGHTS, Shape, Step, Weight
from speedsheet.convert.shipping.weights import Exported, Rule

#: Weights begin on a page, so that an engine can map the file.
PAGE_BYTES = 4096
_IR_VERSION = 10
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor that the graph reads: a variable, the steps from the framework's layout, and the shape after them."""

    variable: str
    steps: tuple[Step, ...]
    shape: Shape


def finish(exported: Exported, shapes: Mapping[str, Shape], rule: Rule) -> tuple[onnx.ModelProto, tuple[Weight, ...]]:
    """Return the graph that ships and the weights it wants, in the order in which it uses them.

    `shapes` are the framework's, by variable; `rule` gives each weight the limit that it was drawn with.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(exported.proto)
    graph = proto.graph
    stored = _fold_layouts(graph, {name: _Stored(path, (), shapes[path]) for name, path in exported.large.items()})
    _merge_equal_nodes(graph)
    _sort(graph)
    names = _rename(graph, stored, exported.scopes, shapes.keys())
    wanted = _attach(graph, {names[tensor]: origin for tensor, origin in stored.items()}, shapes, rule)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    domains = {"", *(node.domain for node in graph.node)}
    _replace(proto.opset_import, [opset for opset in proto.opset_import if opset.domain in domains])
    for noise in (graph.value_info, graph.metadata_props, proto.metadata_props, proto.functions):
        del noise[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    graph.name, graph.doc_string, proto.doc_string = "main", "", ""
    proto.producer_name, proto.producer_version, proto.ir_version = "speedsheet", "", _IR_VERSION
    return proto, wanted


def _fold_layouts(graph: onnx.GraphProto, stored: dict[str, _Stored]) -> dict[str, _Stored]:
    """Take out nodes that only move a large weight's elements about; return what the other nodes read instead."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in _ordered(graph):
        origin = stored.get(node.input[0]) if node.input else None
        step = _step(node, origin.shape, constants) if origin else None
        if origin is None or step is None:
            kept.append(node)
            continue
        kind, sizes, shape = step
        steps = (*origin.steps, (kind, sizes)) if kind else origin.steps
        stored[node.output[0]] = replace(origin, steps=steps, shape=shape)
    _replace(graph.node, kept)
    _merge_equal_weights(graph, stored)
    read = {name for node in graph.node for name in node.input}
    inputs = [value for value in graph.input if value.name not in stored]
    _replace(graph.input, inputs)
    return {name: origin for name, origin in stored.items() if name in read}


def _step(
    node: onnx.NodeProto, shape: Shape, constants: Mapping[str, onnx.TensorProto]
) -> tuple[str, Shape, Shape] | None:
    """Return (kind, sizes, shape after) of a node that only rearranges a weight of `shape`; None if it does more."""
    if node.op_type == "Identity":
        return "", (), shape
    if node.op_type == "Transpose":
        axes = tuple(next((a.ints for a in node.attribute if a.name == "perm"), reversed(range(len(shape)))))
        return "transpose", axes, tuple(shape[axis] for axis in axes)
    if node.op_type == "Reshape" and node.input[1] in constants:
        asked = [int(size) for size in numpy_helper.to_array(constants[node.input[1]])]
        asked = [shape[axis] if size == 0 else size for axis, size in enumerate(asked)]
        known = prod(size for size in asked if size != -1)
        after = tuple(prod(shape) // known if size == -1 else size for size in asked)
        return "reshape", after, after
    return None


def _merge_equal_weights(graph: onnx.GraphProto, stored: dict[str, _Stored]) -> None:
    """Let nodes that read the same variable in the same layout read one tensor."""
    first: dict[_Stored, str] = {}
    alias = {name: first.setdefault(origin, name) for name, origin in stored.items()}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = alias.get(name, name)


def _merge_equal_nodes(graph: onnx.GraphProto) -> None:
    """Compute once what is computed twice alike: equal constants, then equal nodes, of which the first stays."""
    first: dict[object, str] = {}
    alias: dict[str, str] = {}
    for tensor in graph.initializer:
        name, tensor.name = tensor.name, ""
        alias[name] = first.setdefault(tensor.SerializeToString(deterministic=True), name)
        tensor.name = name
    kept, outputs = [], {value.name for value in graph.output}
    seen: dict[object, Sequence[str]] = {}
    for node in _ordered(graph):
        for index, name in enumerate(node.input):
            node.input[index] = alias.get(name, name)
        attributes = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        twin = seen.setdefault((node.domain, node.op_type, *node.input, *attributes), node.output)
        if twin is node.output or outputs & set(node.output):
            kept.append(node)
        else:
            alias |= dict(zip(node.output, twin, strict=True))
    _replace(graph.node, kept)


def _ordered(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that outputs depend on, in an order that depends on nothing but the graph."""
    maker = {name: node for node in graph.node for name in node.output}
    done: set[int] = set()
    order: list[onnx.NodeProto] = []
    for output in graph.output:
        waiting = [(maker[output.name], False)]
        while waiting:
            node, ready = waiting.pop()
            if id(node) in done:
                continue
            if ready:
                done.add(id(node))
                order.append(node)
                continue
            waiting.append((node, True))
            waiting.extend((maker[name], False) for name in reversed(node.input) if name in maker)
    return order


def _sort(graph: onnx.GraphProto) -> None:
    """Put nodes and initialisers in the order of use; drop what nothing uses."""
    _replace(graph.node, _ordered(graph))
    constants = {tensor.name: tensor for tensor in graph.initializer}
    used = dict.fromkeys(name for node in graph.node for name in node.input if name in constants)
    _replace(graph.initializer, [constants[name] for name in used])


def _rename(
    graph: onnx.GraphProto, stored: Mapping[str, _Stored], scopes: frozenset[str], variables: Collection[str]
) -> dict[str, str]:
    """Name nodes by layer and operator, tensors by the node that makes or first reads them; return the new names.

    A constant that has the name of a variable keeps it.
    """
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    names |= {tensor.name: tensor.name for tensor in graph.initializer if tensor.name in variables}
    layouts: dict[str, int] = defaultdict(int)
    for tensor, origin in stored.items():
        layouts[origin.variable] += 1
        count = layouts[origin.variable]
        names[tensor] = origin.variable if count == 1 else f"{origin.variable}@{count}"
    seen: dict[str, int] = defaultdict(int)
    for node in graph.node:
        held = [stored[name].variable if name in stored else name for name in node.input]
        held = [name for name in held if name in variables]
        scope = re.split(r"[/.](?=[^/.]*$)", held[0])[0] if held else _scope(node.name, scopes)
        stem = f"{scope}/{node.op_type}" if scope else node.op_type
        seen[stem] += 1
        node.name = stem if seen[stem] == 1 else f"{stem}_{seen[stem]}"
        for index, name in enumerate(node.input):
            if name:
                node.input[index] = names.setdefault(name, f"{node.name}/constant_{index}")
        for index, name in enumerate(node.output):
            if name:
                node.output[index] = names.setdefault(name, f"{node.name}/output_{index}")
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    return names


def _scope(name: str, scopes: frozenset[str]) -> str:
    """Return the layers that a node's name says it belongs to, without the counters that converters append."""
    parts = []
    for part in re.sub(r"__\d+.*", "", name).split("/")[:-1]:
        stem = re.sub(r"_\d+$", "", part)
        if part in scopes or stem in scopes:
            parts.append(part if part in scopes else stem)
    return "/".join(parts)


def _attach(
    graph: onnx.GraphProto, stored: Mapping[str, _Stored], shapes: Mapping[str, Shape], rule: Rule
) -> tuple[Weight, ...]:
    """Add an initialiser without data for each stored weight, and say where in the weights file it lies."""
    weights, offset = [], 0
    for name in dict.fromkeys(name for node in graph.node for name in node.input if name in stored):
        origin = stored[name]
        shape = shapes[origin.variable]
        length = prod(shape) * _FLOAT_BYTES
        limit = rule(origin.variable, shape)
        weights.append(Weight(name, origin.variable, shape, limit, origin.steps, offset, length))
        tensor = graph.initializer.add(name=name, data_type=onnx.TensorProto.FLOAT, dims=origin.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        offset += -(-length // PAGE_BYTES) * PAGE_BYTES
    return tuple(weights)


def _replace(field: Any, items: Sequence[Any]) -> None:
    """Set a repeated field to these messages, some of which may be its own."""
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    del field[:]
    field.extend(copies)
