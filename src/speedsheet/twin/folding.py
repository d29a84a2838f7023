"""Scales behind products go into their weights, as the card's compiler does before it quantises (TVM FoldScaleAxis)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Array = NDArray[Any]


def fold_scales(
    nodes: Sequence[onnx.NodeProto], stored: Mapping[str, Array], outputs: frozenset[str]
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """Return the nodes without the multiplications that a convolution's weight can take on, and the stored tensors.

    Folded is a stored factor for each output channel, where nothing else reads the convolution and no other node its
    weight: what batch-norm leaves behind once it is written out.
    """
    readers = Counter(name for node in nodes for name in node.input)
    made = {name: place for place, node in enumerate(nodes) for name in node.output}
    kept: list[onnx.NodeProto | None] = [_copy(node) for node in nodes]
    tensors = dict(stored)
    for place, node in enumerate(nodes):
        found = _scaled_convolution(node, nodes, made, stored)
        if found is None:
            continue
        before, factor = found
        conv = kept[before]
        assert conv is not None
        own = [name for name in conv.input[1:] if name]
        private = all(name in stored and readers[name] == 1 for name in own)
        if not private or readers[conv.output[0]] != 1 or conv.output[0] in outputs:
            continue
        for name in own:
            weight = np.asarray(stored[name])
            tensors[name] = weight * factor.reshape(-1, *[1] * (weight.ndim - 1)).astype(weight.dtype)
        conv.output[0] = node.output[0]
        kept[place] = None
    return [node for node in kept if node is not None], tensors


def _scaled_convolution(
    node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto], made: Mapping[str, int], stored: Mapping[str, Array]
) -> tuple[int, Array] | None:
    """Return where the convolution before a multiplication is, and the factor of each of its channels."""
    if node.op_type != "Mul":
        return None
    for name, other in (node.input, reversed(node.input)):
        if name in made and nodes[made[name]].op_type == "Conv" and other in stored:
            weight = nodes[made[name]].input[1]
            factor = np.asarray(stored[other])
            if weight in stored and _per_channel(factor, stored[weight].shape):
                return made[name], np.broadcast_to(factor.reshape(-1), (stored[weight].shape[0],))
    return None


def _per_channel(factor: Array, weight: tuple[int, ...]) -> bool:
    """Whether an array broadcast over (N, C, spatial...) scales channels: (C, 1, 1), (1, C, 1, 1), or one number."""
    if factor.size == 1:
        return factor.ndim <= len(weight)
    spatial = len(weight) - 2
    return factor.size == weight[0] and factor.shape[-spatial - 1 :] == (weight[0], *[1] * spatial)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
