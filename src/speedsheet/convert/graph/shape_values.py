"""Small values that follow from shapes: what exporters compute at run time to reshape by, worked out beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2, prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

#: A value of more elements is data, not a shape.
_MOST_ELEMENTS = 1024
#: What is combined on the way to a shape may have as many elements as this power of two.
_MOST_COMBINED_LOG2 = 22
#: Operators that arithmetic on shapes is made of; the last two make what size they are told.
_ARITHMETIC = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Concat", "Constant", "Div", "Equal", "Floor", "Gather", "Greater"}
    | {"GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "ReduceMax"}
    | {"ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Transpose"}
    | {"Unsqueeze", "Where", "ConstantOfShape", "Expand"}
)

_Values = dict[str, np.ndarray[Any, Any]]


def fold_shape_values(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Turn nodes of `model` whose small outputs follow from these shapes into initialisers; say whether any did."""
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if _inline(tensor)}
    kept, before = [], len(graph.node)
    for node in graph.node:
        made = _evaluate(model, node, values, shapes)
        values |= made
        graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in made.items())
        if not made:
            kept.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
    return len(copies) < before


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, values: _Values, shapes: Mapping[str, tuple[int, ...]]
) -> _Values:
    """Return a node's outputs where they follow and are small, else nothing."""
    if node.domain not in {"", "ai.onnx"}:
        return {}
    if node.op_type == "Shape" and node.input[0] in shapes:
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        chosen = shapes[node.input[0]][bounds.get("start", 0) : bounds.get("end")]
        return {node.output[0]: np.array(chosen, np.int64)}
    given = {name: values[name] for name in node.input if name in values}
    if node.op_type not in _ARITHMETIC or any(name and name not in given for name in node.input) or _grows(node, given):
        return {}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in given.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    alone = helper.make_model(helper.make_graph([node], "one", inputs, outputs), opset_imports=model.opset_import)
    try:
        results = ReferenceEvaluator(alone).run(None, dict(given))
    except Exception:  # noqa: BLE001  an operator that does not evaluate stays where it was, and its shape unknown
        return {}
    made = {output.name: np.asarray(result) for output, result in zip(outputs, results, strict=True)}
    return made if all(array.size <= _MOST_ELEMENTS for array in made.values()) else {}


def _inline(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location != onnx.TensorProto.EXTERNAL and prod(tensor.dims) <= _MOST_ELEMENTS)


def _grows(node: onnx.NodeProto, given: _Values) -> bool:
    """Whether a node would make more than a shape's worth: a hostile graph may ask for any size."""
    if node.op_type in {"ConstantOfShape", "Expand"}:
        wanted = [abs(int(size)) for size in given[node.input[-1]].ravel()]
        return prod(wanted) > _MOST_ELEMENTS
    sizes = [max(given[name].size, 1) for name in node.input if name]
    if node.op_type == "Concat":
        return sum(sizes) > _MOST_ELEMENTS
    # what is broadcast or gathered has at most an element for each combination of what is read
    return sum(map(log2, sizes)) > _MOST_COMBINED_LOG2
