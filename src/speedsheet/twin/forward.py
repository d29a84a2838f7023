"""A graph computed on the CPU with numpy, node by node: what the quantiser must see, with no engine installed.

onnx's reference evaluator computes the operators; those in which it takes minutes at full size (convolutions, pooling,
erf) have a vectorised form here. A graph is computed in several lanes at once, which differ in what a watcher hands
to its products, so that lanes can be compared at every product without keeping their tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from speedsheet.convert.graph.check import check_external, one_line
from speedsheet.convert.graph.walk import external, subgraphs
from speedsheet.core.errors import BadModel
from speedsheet.core.workload import Arrays
from speedsheet.twin.folding import fold_scales

Array = NDArray[Any]
#: Operators that multiply by a stored weight, and are computed in INT8: the second input is the weight.
WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_MATRIX = 2
_FACTORS = (2, 3)
_Compute = Callable[[Sequence[Array | None]], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class Step:
    """One node, the constants among its inputs, and what may be forgotten behind it."""

    node: onnx.NodeProto
    inputs: tuple[str, ...]
    compute: _Compute
    spent: tuple[str, ...]
    weighted: bool

    @property
    def name(self) -> str:
        """The node's name, or its first output's."""
        return str(self.node.name or self.node.output[0])


@dataclass(frozen=True, slots=True)
class Program:
    """A graph that can be computed: its steps in order, and its stored tensors, which stay on disk until read."""

    steps: tuple[Step, ...]
    stored: Mapping[str, Array]
    outputs: tuple[str, ...]


class Watch(Protocol):
    """What looks at a computation, and may hand a product other inputs in one lane than in another."""

    def hand(self, step: Step, lane: int, inputs: list[Array | None]) -> list[Array | None]:
        """Return what a weighted product computes with in this lane."""

    def see(self, step: Step, outputs: list[Array]) -> None:
        """Look at the first output of a step, by lane."""


def program(model: onnx.ModelProto, folder: Path) -> Program:
    """Prepare a graph whose external weights lie in `folder`. Raises BadModel where they are not there."""
    graph = onnx.inliner.inline_local_functions(model).graph if model.functions else model.graph
    wanted = frozenset(value.name for value in graph.output)
    nodes, stored = fold_scales(graph.node, {t.name: _stored(t, folder) for t in graph.initializer}, wanted)
    last: dict[str, int] = {}
    reads = [_reads(node) for node in nodes]
    for index, names in enumerate(reads):
        last.update(dict.fromkeys(names, index))
    steps = []
    for index, (node, names) in enumerate(zip(nodes, reads, strict=True)):
        spent = [name for name in (*names, *node.output) if last.get(name, index) == index and name not in wanted]
        weighted = node.op_type in WEIGHTED and node.input[1] in stored and stored[node.input[1]].dtype == np.float32
        compute = _compute(node, names, model.opset_import)
        steps.append(Step(node, names, compute, tuple(name for name in spent if name not in stored), weighted))
    return Program(tuple(steps), stored, tuple(value.name for value in graph.output))


def forward(program: Program, feed: Arrays, watch: Watch, *, lanes: int = 1) -> list[Arrays]:
    """Compute a request in each lane and return the outputs of each.

    Until a watcher hands them different inputs, lanes share what they computed. Raises BadModel with the node where an
    operator has no reference implementation, or fails.
    """
    known: list[dict[str, Array]] = [dict(feed) for _ in range(lanes)]
    for step in program.steps:
        outputs = _in_lanes(step, program, known, watch)
        for lane, made in zip(known, outputs, strict=True):
            lane.update({name: array for name, array in zip(step.node.output, made, strict=False) if name})
        watch.see(step, [made[0] for made in outputs])
        for lane in known:
            for name in step.spent:
                lane.pop(name, None)
    return [{name: _found(name, lane, program) for name in program.outputs} for lane in known]


def _in_lanes(
    step: Step, program: Program, known: Sequence[Mapping[str, Array]], watch: Watch
) -> list[Sequence[Array]]:
    outputs: list[Sequence[Array]] = []
    before: list[list[Array | None]] = []
    for lane, values in enumerate(known):
        inputs = [_found(name, values, program) if name else None for name in step.inputs]
        if step.weighted:
            inputs = watch.hand(step, lane, inputs)
        twin = next((n for n, other in enumerate(before) if _same(inputs, other)), None)
        outputs.append(_computed(step, inputs) if twin is None else outputs[twin])
        before.append(inputs)
    return outputs


def _same(inputs: Sequence[Array | None], others: Sequence[Array | None]) -> bool:
    return all(one is other for one, other in zip(inputs, others, strict=True))


def _computed(step: Step, inputs: Sequence[Array | None]) -> Sequence[Array]:
    try:
        return step.compute(inputs)
    except Exception as error:
        raise BadModel(
            f"cannot be computed here: {one_line(error)}",
            where=f"{step.node.op_type} {step.name}",
            do="the reference evaluator of onnx has to know every operator of the model",
        ) from error


def _found(name: str, values: Mapping[str, Array], program: Program) -> Array:
    return values[name] if name in values else program.stored[name]


def _stored(tensor: onnx.TensorProto, folder: Path) -> Array:
    if not external(tensor):
        return np.asarray(numpy_helper.to_array(tensor))
    path = check_external(tensor, folder)
    facts = {entry.key: entry.value for entry in tensor.external_data}
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    shape = tuple(tensor.dims)
    if not prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", int(facts.get("offset", 0)), shape)


def _reads(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return what a node reads: its inputs, then what its subgraphs take from outside."""
    outside: dict[str, None] = {}
    for graph in subgraphs(node):
        made = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer} | {""}
        for inner in graph.node:
            outside.update(dict.fromkeys(name for name in _reads(inner) if name not in made))
            made.update(inner.output)
        outside.update(dict.fromkeys(value.name for value in graph.output if value.name not in made))
    return (*node.input, *(name for name in outside if name not in node.input))


def _compute(node: onnx.NodeProto, reads: Sequence[str], opsets: Any) -> _Compute:
    if node.domain in {"", "ai.onnx"} and node.op_type in _FAST:
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        fast = _FAST[node.op_type]
        if fast.fits(given) and len(node.output) == 1:
            return lambda inputs: (fast.compute(list(inputs), given),)
    names = [name for name in dict.fromkeys(reads) if name]
    values = [helper.make_empty_tensor_value_info(name) for name in names]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    alone = helper.make_model(helper.make_graph([node], "one", values, outputs), opset_imports=opsets)
    evaluators: list[ReferenceEvaluator] = []

    def run(inputs: Sequence[Array | None]) -> Sequence[Array]:
        if not evaluators:
            evaluators.append(ReferenceEvaluator(alone))
        feed = {name: array for name, array in zip(reads, inputs, strict=True) if name}
        made = iter(evaluators[0].run(None, feed))
        return [np.asarray(next(made)) if name else np.empty(0) for name in node.output]

    return run


@dataclass(frozen=True, slots=True)
class _Fast:
    """A vectorised operator, and whether it covers the attributes that a node has."""

    compute: Callable[[list[Any], Mapping[str, Any]], Array]
    fits: Callable[[Mapping[str, Any]], bool]


def _windows(x: Array, kernel: Sequence[int], given: Mapping[str, Any], fill: float) -> Array:
    """Return (N, C, out..., kernel...): what each place of the kernel covers, without copying it."""
    axes = len(kernel)
    strides, dilations = (given.get(name, [1] * axes) for name in ("strides", "dilations"))
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    pads = _pads(x.shape[2:], reach, strides, given)
    if any(pads):
        around = [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
        x = np.pad(x, around, constant_values=x.dtype.type(fill))
    windows = sliding_window_view(x, reach, axis=tuple(range(2, 2 + axes)))
    places = tuple(slice(None, None, step) for step in strides)
    taps = tuple(slice(None, None, step) for step in dilations)
    return np.asarray(windows[(slice(None), slice(None), *places, *taps)])


def _pads(sizes: Sequence[int], reach: Sequence[int], strides: Sequence[int], given: Mapping[str, Any]) -> list[int]:
    how = given.get("auto_pad", b"NOTSET")
    if how in {b"NOTSET", b""}:
        return list(given.get("pads", [0] * (2 * len(sizes))))
    if how == b"VALID":
        return [0] * (2 * len(sizes))
    totals = [
        max((-(-size // step) - 1) * step + span - size, 0)
        for size, span, step in zip(sizes, reach, strides, strict=True)
    ]
    lower = [(total + (how == b"SAME_LOWER")) // 2 for total in totals]
    return [*lower, *(total - part for total, part in zip(totals, lower, strict=True))]


def _conv(inputs: list[Any], given: Mapping[str, Any]) -> Array:
    """Convolve (N, C, spatial...) by (O, C/groups, kernel...): gather what each output sees, and multiply matrices."""
    x, weight, bias = (*inputs, None)[:3]
    groups, kernel = given.get("group", 1), weight.shape[2:]
    windows = _windows(x, kernel, given, 0.0)
    out, axes = windows.shape[2 : 2 + len(kernel)], len(kernel)
    if groups == x.shape[1] == weight.shape[0]:
        made = np.zeros((len(x), groups, *out), x.dtype)
        for tap in np.ndindex(*kernel):
            made += windows[(..., *tap)] * np.reshape(weight[(slice(None), 0, *tap)], (-1, *[1] * axes))
    else:
        taps = range(2 + axes, 2 + 2 * axes)
        columns = windows.transpose(0, 1, *taps, *range(2, 2 + axes)).reshape(len(x), groups, -1, prod(out))
        rows = np.ascontiguousarray(weight).reshape(groups, weight.shape[0] // groups, -1)
        made = np.matmul(rows, columns).reshape(len(x), weight.shape[0], *out)
    if bias is not None:
        made += np.reshape(bias, (-1, *[1] * axes))
    return np.asarray(made)


def _matmul(inputs: list[Any], _given: Mapping[str, Any]) -> Array:
    """Multiply contiguous copies: numpy leaves strided ones to a loop that is an order of magnitude slower."""
    left, right = (np.ascontiguousarray(array) for array in inputs)
    if right.ndim == _MATRIX and left.ndim > _MATRIX:
        return np.asarray((left.reshape(-1, left.shape[-1]) @ right).reshape(*left.shape[:-1], right.shape[1]))
    return np.asarray(np.matmul(left, right))


def _power(inputs: list[Any], _given: Mapping[str, Any]) -> Array:
    """Squares and cubes are products: numpy's power takes a logarithm for each element."""
    base, exponent = inputs
    factors = int(exponent.item()) if exponent.size == 1 and exponent in _FACTORS else 0
    made = base * base if factors else np.power(base, exponent)
    return np.asarray(made * base if factors == max(_FACTORS) else made, base.dtype)


def _max_pool(inputs: list[Any], given: Mapping[str, Any]) -> Array:
    (x,) = inputs
    kernel = given["kernel_shape"]
    windows = _windows(x, kernel, given, -np.inf)
    return np.asarray(windows.max(axis=tuple(range(-len(kernel), 0))))


def _average_pool(inputs: list[Any], given: Mapping[str, Any]) -> Array:
    (x,) = inputs
    kernel = given["kernel_shape"]
    axes = tuple(range(-len(kernel), 0))
    sums = _windows(x, kernel, given, 0.0).sum(axis=axes)
    if given.get("count_include_pad", 0):
        return np.asarray(sums / x.dtype.type(prod(kernel)))
    return np.asarray(sums / _windows(np.ones((1, 1, *x.shape[2:]), x.dtype), kernel, given, 0.0).sum(axis=axes))


def _erf(inputs: list[Any], _given: Mapping[str, Any]) -> Array:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7."""
    (x,) = inputs
    size = np.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - series * np.exp(-size * size)), x.dtype)


def _whole(given: Mapping[str, Any]) -> bool:
    """Pools whose last window is not cut off, and that return no indices."""
    return not given.get("ceil_mode", 0) and not given.get("storage_order", 0)


_FAST: Mapping[str, _Fast] = {
    "Conv": _Fast(_conv, lambda _: True),
    "MaxPool": _Fast(_max_pool, _whole),
    "AveragePool": _Fast(_average_pool, _whole),
    "Erf": _Fast(_erf, lambda _: True),
    "MatMul": _Fast(_matmul, lambda _: True),
    "Pow": _Fast(_power, lambda _: True),
}
