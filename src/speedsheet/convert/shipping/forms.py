"""How Keras spells a few operators while it is converted, so that the graph is valid and reads as engines expect.

Each form computes what Keras's own computes (the proof of every shipped model compares them); only the operators
that reach the graph differ.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any


@contextmanager
def onnx_forms() -> Iterator[None]:
    """Put the forms in place for the duration of a conversion."""
    import tensorflow as tf
    from keras.src import ops
    from keras.src.backend.tensorflow import numpy as backend
    from tf2onnx import optimizer

    # merging keeps any one of equal nodes, by the hash of the day; `layout` merges them, and keeps the first
    passes = {name: made for name, made in optimizer._optimizers.items() if name != "merge_duplication"}  # noqa: SLF001
    forms: list[tuple[Any, str, Any]] = [
        (tf.nn, "gelu", _gelu(tf.nn.gelu)),
        (backend, "take", _take),
        (ops, "layer_normalization", _layer_normalization),
        (ops, "matmul", _matmul(ops.matmul)),
        (optimizer, "_optimizers", passes),
    ]
    relative = sys.modules.get("keras_hub.src.models.xlnet.relative_attention")  # a large import, and rarely needed
    if relative is not None:
        forms.append((relative, "_rel_shift", _relative_shift))
    with ExitStack() as stack:
        for owner, name, form in forms:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, form)
        yield


def _gelu(original: Any) -> Any:
    """Exact GELU by erf: TensorFlow's own lowers to Erfc, which ONNX has not, and the file is invalid."""
    import tensorflow as tf

    def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
        if approximate:
            return original(features, approximate=True, name=name)
        return 0.5 * features * (1.0 + tf.math.erf(features * 0.5**0.5))

    return gelu


def _take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """One gather: ONNX's own reads negative indices from the end, as Keras does by nine nodes more."""
    import tensorflow as tf

    return tf.gather(tf.reshape(x, (-1,)) if axis is None else x, indices, axis=axis or 0)


def _layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: int = -1, epsilon: float = 1e-3, **_: Any
) -> Any:
    """The textbook order (subtract, square, mean, root, divide), which every engine fuses; Keras's scales first."""
    import tensorflow as tf

    centred = x - tf.reduce_mean(x, axis, keepdims=True)
    variance = tf.reduce_mean(tf.pow(centred, 2.0), axis, keepdims=True)
    out = centred / tf.sqrt(variance + epsilon)
    out = out if gamma is None else out * gamma
    return out if beta is None else out + beta


def _matmul(original: Any) -> Any:
    """One product for a dense layer on a sequence; TensorFlow reshapes around it, by shapes known at run time."""
    import tensorflow as tf

    def matmul(x1: Any, x2: Any) -> Any:
        ranks = x1.shape.rank, x2.shape.rank
        return tf.matmul(x1, x2) if ranks[0] > 2 and ranks[1] == 2 else original(x1, x2)  # noqa: PLR2004  matrices

    return matmul


def _relative_shift(x: Any, klen: int = -1) -> Any:
    """Shift each row of scores (batch, heads, queries, distances) by its query; Keras's own moves all axes twice."""
    from keras import ops

    _, heads, queries, distances = x.shape
    x = ops.reshape(x, (-1, heads, distances, queries))[:, :, 1:]
    return ops.reshape(x, (-1, heads, queries, distances - 1))[..., :klen]


def select(context: Any, node: Any, _: str, __: Any) -> None:
    """Convert SelectV2 to Where; tf2onnx multiplies by the mask and its complement instead."""
    context.remove_node(node.name)
    context.make_node("Where", node.input, outputs=node.output, name=node.name, skip_conversion=False)
