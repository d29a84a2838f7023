"""DeepFM: a factorisation machine beside a deep network (Guo et al. 2017, https://arxiv.org/abs/1703.04247)."""

from __future__ import annotations

from math import sqrt
from typing import Any

from speedsheet.convert.shipping import tensorflow, weights
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core.workload import Workload, limits_found
from speedsheet.zoo import criteo

#: Numbers of a latent vector, and units of the deep layers, as in the paper.
_LATENT = 10
_DEEP = (400, 400, 400)
_HEAD = "deep_score"


def _network() -> Any:
    """Sum what three parts say: each feature alone, each pair of fields, and all fields through the deep layers."""
    import keras
    from keras import layers, ops

    given = criteo.keras_inputs()
    alone = [*criteo.keras_tables("alone", 1, given["sparse"]), layers.Dense(1, name="alone_dense")(given["dense"])]
    latent = ops.stack(criteo.keras_tables("latent", _LATENT, given["sparse"]), axis=1)
    pairs = ops.square(ops.sum(latent, axis=1)) - ops.sum(ops.square(latent), axis=1)
    x = ops.concatenate([ops.reshape(latent, (-1, criteo.FIELDS * _LATENT)), given["dense"]], axis=1)
    for n, width in enumerate(_DEEP):
        x = layers.Dense(width, activation="relu", name=f"deep_{n}")(x)
    deep = layers.Dense(1, name=_HEAD)(x)
    score = ops.sum(ops.concatenate(alone, axis=1), axis=1, keepdims=True)
    score = score + 0.5 * ops.sum(pairs, axis=1, keepdims=True) + deep
    return keras.Model(given, {"click_probability": ops.sigmoid(score)}, name="deepfm")


def _limit(path: str, shape: Shape) -> float:
    """He for the deep layers; scores of features and pairs vary by a third and a half, and saturate nothing."""
    if path.startswith("alone"):
        return sqrt(3.0 / criteo.FIELDS) * 0.3
    return sqrt(3.0) * 0.094 if path.startswith("latent") else weights.he(path, shape)


def _settle(model: Any) -> None:
    """Scale the deep score so that click probabilities lie about 0.3 and neither end is saturated."""
    tensorflow.settle_head(model, _HEAD, criteo.draw(weights.SEED, 4096), mean=-1.0, spread=1.0)


WORKLOADS = (
    Workload(
        name="deepfm",
        task="click-through prediction",
        framework="tensorflow",
        source="DNN 400-400-400, k = 10, Criteo's 13 dense and 26 sparse fields, tables capped at 100 000 rows, "
        "https://arxiv.org/abs/1703.04247; STCP920 v1.2.0rc1 sheet",
        inputs=criteo.inputs(),
        batch_size=1024,
        thread_num=8,
        draw=criteo.draw,
        build=tensorflow.Keras("deepfm", _network, _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=(0.9997, 0.027)),
    ),
)
