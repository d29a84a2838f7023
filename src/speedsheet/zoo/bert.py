"""BERT text encoders (Devlin et al. 2018, https://arxiv.org/abs/1810.04805); the length of the text is in the name."""

from __future__ import annotations

from functools import partial
from math import sqrt
from typing import Any

import numpy as np

from speedsheet.convert.shipping import tensorflow
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Workload, limits_found

#: Layers, heads, width and width of the feed-forward layers.
_BASE = (12, 12, 768, 3072)
_LARGE = (24, 16, 1024, 4096)
_WORDS = 30_522
_PAD, _CLS, _SEP = 0, 101, 102
_FIRST_WORD = 999  # the ids below are reserved
_CHOICE = 3.0


def draw(seed: int, samples: int, *, length: int) -> Arrays:
    """Draw pairs of sentences: words by a skewed vocabulary, [CLS] and [SEP] in place, padded to `length`."""
    words = _FIRST_WORD + draws.zipf(seed, "words", samples * length, _WORDS - _FIRST_WORD, 1.1).reshape(
        samples, length
    )
    shares = draws.unit(seed, "lengths", 2 * samples).reshape(2, samples)
    used = np.floor(length * (0.3 + 0.7 * shares[0])).astype(np.int64).clip(8, length)[:, None]
    first = np.floor(used * (0.3 + 0.4 * shares[1][:, None])).astype(np.int64)
    position = np.arange(length)[None, :]
    ids = np.where(position < used, words, _PAD)
    ids[:, 0] = _CLS
    ids[(position == first) | (position == used - 1)] = _SEP
    return {
        "token_ids": ids.astype(np.int32),
        "segment_ids": ((position > first) & (position < used)).astype(np.int32),
        "padding_mask": (position < used).astype(np.int32),
    }


def _backbone(layers: int, heads: int, width: int, inner: int) -> Any:
    import keras_hub

    return keras_hub.models.BertBackbone(_WORDS, layers, heads, width, inner)


def _limit(path: str, shape: Shape) -> float:  # noqa: ARG001  a Rule takes both
    """Uniform with BERT's own standard deviation of 0.02; queries and keys wider, so that attention has a choice.

    At 0.02 throughout every token attends to all alike, and long texts have one answer.
    """
    return 0.02 * sqrt(3.0) * (_CHOICE if path.endswith(("query/kernel", "key/kernel")) else 1.0)


def _settle(model: Any) -> None:
    """Leave all as drawn: layer norms keep their own statistics, so outputs follow the text."""


def _workload(
    name: str, size: tuple[int, int, int, int], length: int, batch_size: int, bf16: tuple[float, float]
) -> Workload:
    layers, heads, width, inner = size
    return Workload(
        name=name,
        task="text encoding",
        framework="tensorflow",
        source=f"keras_hub BertBackbone({_WORDS}, {layers}, {heads}, {width}, {inner}), length {length}, "
        "https://arxiv.org/abs/1810.04805; STCP920 v1.2.0rc1 sheet",
        inputs=(
            InputSpec("token_ids", (None, length), "int32", 0, _WORDS),
            InputSpec("segment_ids", (None, length), "int32", 0, 2),
            InputSpec("padding_mask", (None, length), "int32", 0, 2),
        ),
        batch_size=batch_size,
        thread_num=8,
        draw=partial(draw, length=length),
        build=tensorflow.Keras(name, partial(_backbone, *size), _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=bf16),
    )


WORKLOADS = (
    _workload("bert_128", _BASE, 128, 8, (0.9986, 0.066)),
    _workload("bert_256", _BASE, 256, 4, (0.9983, 0.071)),
    _workload("bert_512", _BASE, 512, 2, (0.9978, 0.082)),
    _workload("bert_large_384", _LARGE, 384, 1, (0.9945, 0.13)),
)
