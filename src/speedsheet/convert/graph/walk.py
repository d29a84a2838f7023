"""Walk an ONNX model without touching its weights: every graph, node and tensor, and a copy that is light."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import prod
from typing import Any

import onnx

from speedsheet.core.errors import BadModel

MAX_DEPTH = 16
#: Tensors above this many elements are weights; shapes, axes and scales that inference reads are far below it.
HEAVY_ELEMENTS = 1024


def walk(*roots: Any) -> Iterator[Any]:
    """Yield graphs or functions and every subgraph under them, parents first.

    Raises BadModel where subgraphs nest deeper than any exporter writes.
    """
    pending = deque((root, 0) for root in roots)
    while pending:
        graph, depth = pending.popleft()
        if depth > MAX_DEPTH:
            raise BadModel(f"its subgraphs nest deeper than {MAX_DEPTH}", do="export it with flatter control flow")
        yield graph
        pending.extend((inner, depth + 1) for node in graph.node for inner in subgraphs(node))


def graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """Yield the main graph, those of functions and of training, and every subgraph under them; parents come first."""
    training = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    return walk(model.graph, *model.functions, *training)


def subgraphs(node: onnx.NodeProto) -> list[Any]:
    """Return the graphs among a node's attributes: branches of If, bodies of Loop and Scan."""
    inner = []
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner.append(attribute.g)
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            inner.extend(attribute.graphs)
    return inner


def nodes(*roots: Any) -> Iterator[Any]:
    """Yield every node of graphs or functions and of the subgraphs under them."""
    for graph in walk(*roots):
        yield from graph.node


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every stored tensor: initialisers, constants in attributes, and the parts of sparse ones."""
    for graph in graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            attributes = []
        else:
            attributes = list(graph.attribute_proto)
        for attribute in (*attributes, *(attribute for node in graph.node for attribute in node.attribute)):
            yield from _attribute_tensors(attribute)


def initializer_names(graph: Any) -> set[str]:
    """Return the names that a graph stores; old files list these among the inputs too."""
    stored = {tensor.name for tensor in graph.initializer}
    return stored | {sparse.values.name for sparse in graph.sparse_initializer}


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return what a request must bring: the inputs that no initialiser fills."""
    stored = initializer_names(model.graph)
    return [value for value in model.graph.input if value.name not in stored]


def external(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor's bytes lie in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose weights are named and shaped but absent, so that inference costs what the graph costs."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    whole, bare = model.graph, light.graph
    bare.name = whole.name
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(bare, field).extend(getattr(whole, field))
    for tensor in whole.initializer:
        if heavy(tensor):
            bare.initializer.append(onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims))
            bare.initializer[-1].data_location = onnx.TensorProto.EXTERNAL
        else:
            bare.initializer.append(tensor)
    for tensor in tensors(light):
        if heavy(tensor):
            _hollow(tensor)
    return light


def heavy(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is a weight rather than a parameter of the graph's shape."""
    return external(tensor) or prod(tensor.dims) > HEAVY_ELEMENTS


def _hollow(tensor: onnx.TensorProto) -> None:
    bare = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    bare.data_location = onnx.TensorProto.EXTERNAL
    tensor.CopyFrom(bare)


def _attribute_tensors(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    if attribute.type == onnx.AttributeProto.TENSOR:
        yield attribute.t
    elif attribute.type == onnx.AttributeProto.TENSORS:
        yield from attribute.tensors
    elif attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    elif attribute.type == onnx.AttributeProto.SPARSE_TENSORS:
        for sparse in attribute.sparse_tensors:
            yield from (sparse.values, sparse.indices)
