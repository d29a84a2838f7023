"""XLNet text encoders (Yang et al. 2019, https://arxiv.org/abs/1906.08237): attention by relative position."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from speedsheet.convert.shipping import tensorflow
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Workload, limits_found

#: Layers, heads, width and width of the feed-forward layers.
_LAYERS, _HEADS, _WIDTH, _INNER = 12, 12, 768, 3072
_LENGTH = 128
_WORDS = 32_000
_CLS, _SEP, _PAD = 3, 4, 5
_FIRST_WORD = 9  # the ids below are reserved
_CHOICE = 3.0
_CHOOSING = ("query/kernel", "key/kernel", "encoding/kernel")
#: Segments of the first text, the second, [CLS] and padding.
_FIRST, _SECOND, _CLASS, _NONE = range(4)


def draw(seed: int, samples: int) -> Arrays:
    """Draw pairs of texts as XLNet reads them: padding first, then each text and its [SEP], and [CLS] at the end."""
    words = draws.zipf(seed, "words", samples * _LENGTH, _WORDS - _FIRST_WORD, 1.1).reshape(samples, _LENGTH)
    shares = draws.unit(seed, "lengths", 2 * samples).reshape(2, samples, 1)
    used = np.floor(_LENGTH * (0.3 + 0.7 * shares[0])).astype(np.int64)
    begin = _LENGTH - used
    first = begin + np.floor(used * (0.3 + 0.4 * shares[1])).astype(np.int64)
    position = np.arange(_LENGTH)[None, :]
    ids = np.where(position < begin, _PAD, _FIRST_WORD + words)
    ids[(position == first) | (position == _LENGTH - 2)] = _SEP
    ids[:, -1] = _CLS
    segments = np.select(
        [position < begin, position <= first, position < _LENGTH - 1], [_NONE, _FIRST, _SECOND], _CLASS
    )
    return {
        "token_ids": ids.astype(np.int32),
        "segment_ids": segments.astype(np.int32),
        "padding_mask": (position >= begin).astype(np.int32),
    }


def _network() -> Any:
    """Return keras_hub's layers, wired so that a sample's answer does not depend on the others of its batch.

    XLNetBackbone's own wiring reshapes masks and positions from (length, batch) to (batch, length) where it should
    transpose them, so that samples of a batch are masked by one another's padding.
    """
    import keras
    import keras_hub
    from keras import ops

    backbone = keras_hub.models.XLNetBackbone(_WORDS, _LAYERS, _HEADS, _WIDTH, _INNER)
    given = {
        name: keras.Input((_LENGTH,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")
    }
    segments, used = given["segment_ids"], given["padding_mask"]
    itself = np.eye(_LENGTH, dtype=np.int32)[None]
    seen = ops.cast(ops.maximum(ops.expand_dims(used, 1), itself), "float32")
    apart = ops.not_equal(ops.expand_dims(segments, 2), ops.expand_dims(segments, 1))
    x = backbone.token_embedding(given["token_ids"])
    # every sample carries the positions, and every layer projects them: the authors' code does so
    positions = ops.add(_positions()[None], ops.zeros_like(x[:, :1, :1]))
    for layer in backbone.transformer_layers:
        x, _ = layer(output_content=x, attn_mask_content=seen, attn_mask_query=seen, pos_emb=positions, seg_mat=apart)
    return keras.Model(given, {"sequence_output": x}, name="xlnet")


def _positions() -> Any:
    """Return sines and cosines of the distances from +length to 1 - length, (2 length, width)."""
    distance = np.arange(_LENGTH, -_LENGTH, -1.0)
    frequency = 10_000.0 ** (-np.arange(0, _WIDTH, 2.0) / _WIDTH)
    angle = distance[:, None] * frequency[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _limit(path: str, shape: Shape) -> float:  # noqa: ARG001  a Rule takes both
    """Uniform with a standard deviation of 0.02; words of one, since no norm follows them as it does in BERT.

    What attention chooses by is drawn wider: at 0.02 throughout every token attends to all alike.
    """
    if path.endswith("embeddings"):
        return sqrt(3.0)
    return 0.02 * sqrt(3.0) * (_CHOICE if path.endswith(_CHOOSING) else 1.0)


def _settle(model: Any) -> None:
    """Leave all as drawn: layer norms keep their own statistics, so outputs follow the text."""


WORKLOADS = (
    Workload(
        name="xlnet",
        task="text encoding",
        framework="tensorflow",
        source=f"keras_hub's layers of XLNetBackbone({_WORDS}, {_LAYERS}, {_HEADS}, {_WIDTH}, {_INNER}), length "
        f"{_LENGTH}, https://arxiv.org/abs/1906.08237; STCP920 v1.2.0rc1 sheet",
        inputs=(
            InputSpec("token_ids", (None, _LENGTH), "int32", 0, _WORDS),
            InputSpec("segment_ids", (None, _LENGTH), "int32", 0, 4),
            InputSpec("padding_mask", (None, _LENGTH), "int32", 0, 2),
        ),
        batch_size=8,
        thread_num=8,
        draw=draw,
        build=tensorflow.Keras("xlnet", _network, _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=(0.9995, 0.036)),
    ),
)
