"""From an ONNX graph to the operators that a compiler for such a card would make of it; weights are not read.

Bias, batch-norm, activation and residual additions join the product before them; what stands before a product and
cannot join an earlier one (the batch-norm and ReLU behind a concat) joins it. A reduction and the element-wise work
around it are one operator: so layer-norm is recognised, whoever exported it. Softmax between two products of
activations joins the first: so is attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from speedsheet.convert.graph.count import infer
from speedsheet.convert.graph.walk import graph_inputs, heavy, skeleton
from speedsheet.twin import reading
from speedsheet.twin.reading import Shapes
from speedsheet.twin.types import Kind, Operator, Workpiece

#: A table of no more rows than a vector unit has lanes is selected from, and not looked up.
_SELECTABLE_ROWS = 64
#: What a batch-norm is once its statistics are stored.
_AFFINE = frozenset({"Add", "Mul", "BatchNormalization"})


@dataclass(slots=True)
class _Draft:
    """An operator that later nodes may still join. `reads` and `writes` are tensors with their elements."""

    name: str
    kind: Kind
    product: reading.Product | None = None
    weights: int = 0
    reads: dict[str, int] = field(default_factory=dict)
    vector_ops: int = 0
    special_ops: int = 0
    gathers: int = 0
    inner: int = 0
    biased: bool = False
    straight: bool = True
    source: list[str] = field(default_factory=list)


class _Fusion:
    """One pass over the nodes in order: whose tail each tensor is, and which work waits for the product behind it."""

    def __init__(self, model: onnx.ModelProto, shapes: Shapes) -> None:
        self.shapes = shapes
        self.constants = {tensor.name: _small(tensor) for tensor in model.graph.initializer}
        self.drafts: list[_Draft] = []
        self.owner: dict[str, int] = {}
        #: Tensors as they lie in memory: a view leads to what it views.
        self.sources: dict[str, tuple[str, ...]] = {}
        #: Element-wise work on a view of several tensors: done by whoever reads it.
        self.waiting: dict[str, tuple[int, int, list[str]]] = {}
        self.shape_only: set[str] = set()
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        for value in graph_inputs(model):
            self.sources[value.name] = (value.name,)

    def elements(self, name: str) -> int:
        return prod(self.shapes.get(name, ()))

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that carry samples: neither stored nor arithmetic on shapes."""
        return [name for name in node.input if name and name not in self.constants and name not in self.shape_only]

    def add(self, node: onnx.NodeProto) -> None:
        """Take in the next node."""
        kind = node.op_type
        carried = self.activations(node)
        if kind == "Constant":
            self.constants |= {name: _attribute_value(node) for name in node.output}
        elif kind in {"Shape", "Size"} or not carried:
            target = self.shape_only if kind in {"Shape", "Size"} or self._shapely(node) else self.constants
            target.update(node.output) if isinstance(target, set) else target.update(dict.fromkeys(node.output))
        elif (found := reading.product(node, self.shapes)) is not None:
            self._product(node, found, carried)
        elif kind in reading.LOOKUPS and node.input[0] in self.constants:
            self._lookup(node, carried)
        elif kind in reading.VIEWS or kind in reading.LOOKUPS:
            self._view(node, carried)
        elif kind in reading.SIMPLE or kind in reading.SPECIAL:
            self._element_wise(node, carried)
        elif kind in reading.ROWS or kind in reading.REDUCTIONS | reading.POOLS | reading.GLOBAL_POOLS:
            self._reduction(node, carried)
        else:
            self._open(node, "unknown", carried)

    def _shapely(self, node: onnx.NodeProto) -> bool:
        return any(name in self.shape_only for name in node.input)

    def _open(self, node: onnx.NodeProto, kind: Kind, carried: list[str]) -> _Draft:
        """Begin an operator that reads these tensors and owns the node's outputs."""
        draft = _Draft(node.name or node.output[0], kind, source=[node.op_type])
        self.drafts.append(draft)
        place = len(self.drafts) - 1
        for name in carried:
            self._read(draft, place, name)
        self._own(place, node)
        return draft

    def _own(self, place: int, node: onnx.NodeProto) -> None:
        for name in node.output:
            if name:
                self.owner[name] = place
                self.sources[name] = (name,)

    def _read(self, draft: _Draft, place: int, name: str) -> None:
        """Let an operator read a tensor, and do the work that waits on it; its own tail costs no reading."""
        if self.owner.get(name) == place:
            return
        vector, special, said = self.waiting.get(name, (0, 0, []))
        draft.vector_ops += vector
        draft.special_ops += special
        draft.source += said
        if all(self.owner.get(source) == place for source in self.sources.get(name, (name,))):
            return
        draft.reads[name] = self.elements(name)

    def _product(self, node: onnx.NodeProto, found: reading.Product, carried: list[str]) -> None:
        dynamic = len(carried) > 1
        if dynamic and self._attends(node, found, carried):
            return
        kind: Kind = "product" if dynamic else "matmul"
        if "Conv" in node.op_type:
            kind = "depthwise" if found.groups > 1 and found.n == 1 else "conv"
        draft = self._open(node, kind, carried)
        draft.product = found
        stored = [name for name in node.input if name in self.constants]
        draft.weights = sum(self.elements(name) for name in stored)
        if any(len(self.shapes.get(name, ())) == 1 for name in stored[1:]):
            draft.vector_ops += self.elements(node.output[0])
            draft.biased = True

    def _attends(self, node: onnx.NodeProto, found: reading.Product, carried: list[str]) -> bool:
        """Join the product of a softmax's rows with the product that made its scores, where nothing else reads them."""
        place = self.owner.get(carried[0])
        draft = self.drafts[place] if place is not None else None
        if draft is None or place is None or draft.kind != "product" or draft.product is None:
            return False
        first = draft.product
        alone = self.uses.get(carried[0], 0) == 1
        fits = (first.m, first.groups, first.n) == (found.m, found.groups, found.k)
        if not (alone and fits and "Softmax" in draft.source):
            return False
        draft.kind, draft.inner = "attention", first.m * first.n * first.groups
        draft.product = replace(first, k=first.k + found.n)
        draft.source.append(node.op_type)
        for name in carried[1:]:
            self._read(draft, place, name)
        self._own(place, node)
        return True

    def _lookup(self, node: onnx.NodeProto, carried: list[str]) -> None:
        draft = self._open(node, "gather", carried)
        rows = self.shapes.get(node.input[0], (0,))[0]
        if rows > _SELECTABLE_ROWS:
            draft.gathers = self.elements(carried[-1])
        else:
            draft.vector_ops = self.elements(node.output[0])

    def _view(self, node: onnx.NodeProto, carried: list[str]) -> None:
        kept = tuple(dict.fromkeys(source for name in carried for source in self.sources.get(name, (name,))))
        waiting = [self.waiting[name] for name in carried if name in self.waiting]
        owners = {self.owner.get(source) for source in kept}
        for name in node.output:
            self.sources[name] = kept
            if len(owners) == 1 and (place := owners.pop()) is not None:
                self.owner[name] = place
                owners = {place}
            if waiting:
                self.waiting[name] = _joined(waiting)

    def _element_wise(self, node: onnx.NodeProto, carried: list[str]) -> None:
        vector, special = reading.vector_work(node, self.shapes, self.constants)
        host = self._host(carried)
        if host is None:
            waiting = [self.waiting[name] for name in carried if name in self.waiting]
            for name in node.output:
                self.sources[name] = tuple(
                    dict.fromkeys(source for tensor in carried for source in self.sources.get(tensor, (tensor,)))
                )
                self.waiting[name] = _joined([*waiting, (vector, special, [node.op_type])])
            return
        draft = self.drafts[host]
        for name in carried:
            self._read(draft, host, name)
        if self._folds(node, draft):
            vector = 0
        draft.vector_ops += vector
        draft.special_ops += special
        draft.source.append(node.op_type)
        self._own(host, node)

    def _host(self, carried: list[str]) -> int | None:
        """Return the operator that element-wise work joins: the last to produce an input; None where several do."""
        places = [self.owner.get(name) for name in carried]
        if all(place is None for place in places):
            return None
        if len(carried) == 1:
            return places[0]
        return max(place for place in places if place is not None)

    def _folds(self, node: onnx.NodeProto, draft: _Draft) -> bool:
        """Scales and shifts by stored numbers right behind a product fold into its weights; one bias stays."""
        by_stored = any(name in self.constants for name in node.input)
        if not (draft.straight and draft.weights and by_stored and node.op_type in _AFFINE):
            draft.straight = False
            return False
        free = draft.biased or node.op_type == "Mul"
        draft.biased = draft.biased or node.op_type != "Mul"
        return free

    def _reduction(self, node: onnx.NodeProto, carried: list[str]) -> None:
        vector, special = reading.reduction_work(node, self.shapes)
        place = self.owner.get(carried[0])
        draft = self.drafts[place] if place is not None else None
        joins = draft is not None and (
            draft.kind in {"norm", "softmax"} or (draft.kind == "product" and node.op_type == "Softmax")
        )
        if draft is None or place is None or not joins or len(self.sources.get(carried[0], ())) > 1:
            draft = self._open(node, _reduction_kind(node, self.shapes), carried)
        else:
            draft.source.append(node.op_type)
            self._own(place, node)
        draft.vector_ops += vector
        draft.special_ops += special

    def finish(self, outputs: list[str]) -> tuple[Operator, ...]:
        """Return the operators; work that still waits when the graph ends is an operator of its own."""
        for name in outputs:
            if name in self.waiting:
                draft = _Draft(name, "vector")
                self.drafts.append(draft)
                self._read(draft, len(self.drafts) - 1, name)
                self.owner[name] = len(self.drafts) - 1
        written = self._written(outputs)
        return tuple(self._operator(draft, written[place]) for place, draft in enumerate(self.drafts))

    def _written(self, outputs: list[str]) -> list[int]:
        """Count what each operator leaves for others: of the tensors of its tail, what is read elsewhere.

        Who reads a slice reads no more of its source; slices together are no more than the source.
        """
        wanted = [(place, name) for place, draft in enumerate(self.drafts) for name in draft.reads]
        wanted += [(-1, name) for name in outputs]
        parts: dict[str, set[str]] = {}
        for reader, name in wanted:
            for source in self.sources.get(name, (name,)):
                if self.owner.get(source, reader) != reader:
                    parts.setdefault(source, set()).add(name)
        written = [0] * len(self.drafts)
        for source, names in parts.items():
            whole = self.elements(source)
            written[self.owner[source]] += min(whole, sum(min(self.elements(name), whole) for name in names))
        return written

    def _operator(self, draft: _Draft, written: int) -> Operator:
        found = draft.product or reading.Product(0, 0, 0, 1, 1)
        return Operator(
            draft.name, draft.kind, found.m, found.k, found.n, found.groups, found.taps,
            weight_elements=draft.weights, input_elements=sum(draft.reads.values()), output_elements=written,
            vector_ops=draft.vector_ops, special_ops=draft.special_ops, gathers=draft.gathers,
            inner_elements=draft.inner, unknown=draft.kind == "unknown", source="+".join(draft.source),
        )  # fmt: skip


def workpiece(model: onnx.ModelProto, name: str, shapes: Mapping[str, tuple[int, ...]], samples: int = 1) -> Workpiece:
    """Return the operators of a model whose inputs have these shapes, which hold so many samples together.

    Raises BadModel where a product's shape does not follow.
    """
    light = skeleton(model)
    known = infer(light, shapes)
    fusion = _Fusion(light, known)
    for node in light.graph.node:
        fusion.add(node)
    inputs, outputs = graph_inputs(light), list(light.graph.output)
    return Workpiece(
        name,
        _named_apart(fusion.finish([value.name for value in outputs])),
        input_bytes=sum(_bytes(value, known) for value in inputs),
        output_bytes=sum(_bytes(value, known) for value in outputs),
        input_elements=sum(prod(known.get(value.name, ())) for value in inputs),
        samples=samples,
    )


def _named_apart(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    """Give operators that exporters left without a name of their own distinct ones."""
    seen: dict[str, int] = {}
    named = []
    for operator in operators:
        seen[operator.name] = seen.get(operator.name, 0) + 1
        count = seen[operator.name]
        named.append(operator if count == 1 else replace(operator, name=f"{operator.name}#{count}"))
    return tuple(named)


def _reduction_kind(node: onnx.NodeProto, shapes: Shapes) -> Kind:
    """Over the last axis with it kept: a norm. Over space: a pool."""
    kind = node.op_type
    if kind in reading.POOLS | reading.GLOBAL_POOLS:
        return "pool"
    if kind in reading.ROWS:
        return "softmax" if "oftmax" in kind else "norm"
    read, made = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
    same_rank = len(read) == len(made)
    return "norm" if same_rank and read and made[:-1] == read[:-1] else "pool"


def _joined(parts: list[tuple[int, int, list[str]]]) -> tuple[int, int, list[str]]:
    return sum(part[0] for part in parts), sum(part[1] for part in parts), [name for part in parts for name in part[2]]


def _small(tensor: onnx.TensorProto) -> float | None:
    """Return a stored scalar's value."""
    if heavy(tensor) or prod(tensor.dims) != 1:
        return None
    return float(np.asarray(numpy_helper.to_array(tensor)).reshape(-1)[0])


def _attribute_value(node: onnx.NodeProto) -> float | None:
    return next((_small(attribute.t) for attribute in node.attribute if attribute.name == "value"), None)


def _bytes(value: onnx.ValueInfoProto, shapes: Shapes) -> int:
    kind = value.type.tensor_type.elem_type
    width = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).itemsize if kind else 4
    return prod(shapes.get(value.name, ())) * width
