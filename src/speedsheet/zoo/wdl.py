"""Wide & Deep Learning for recommenders (Cheng et al. 2016, https://arxiv.org/abs/1606.07792)."""

from __future__ import annotations

from math import sqrt
from typing import Any

from speedsheet.convert.shipping import tensorflow, weights
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core.workload import Workload, limits_found
from speedsheet.zoo import criteo

_WIDTH = 16
_DEEP = (1024, 512, 256)
_HEAD = "deep_score"


def _network() -> Any:
    """Sum a linear model of all features and a deep one of their embeddings."""
    import keras
    from keras import layers, ops

    given = criteo.keras_inputs()
    wide = [*criteo.keras_tables("wide", 1, given["sparse"]), layers.Dense(1, name="wide_dense")(given["dense"])]
    x = ops.concatenate([*criteo.keras_tables("embedding", _WIDTH, given["sparse"]), given["dense"]], axis=1)
    for n, width in enumerate(_DEEP):
        x = layers.Dense(width, activation="relu", name=f"deep_{n}")(x)
    score = ops.sum(ops.concatenate(wide, axis=1), axis=1, keepdims=True) + layers.Dense(1, name=_HEAD)(x)
    return keras.Model(given, {"click_probability": ops.sigmoid(score)}, name="wdl")


def _limit(path: str, shape: Shape) -> float:
    """He for the deep layers, embeddings of unit length; the wide score varies by a third."""
    if path.startswith("wide"):
        return sqrt(3.0 / criteo.FIELDS) * 0.3
    return sqrt(3.0 / _WIDTH) if path.startswith("embedding") else weights.he(path, shape)


def _settle(model: Any) -> None:
    """Scale the deep score so that click probabilities lie about 0.3 and neither end is saturated."""
    tensorflow.settle_head(model, _HEAD, criteo.draw(weights.SEED, 4096), mean=-1.0, spread=1.0)


WORKLOADS = (
    Workload(
        name="wdl",
        task="click-through prediction",
        framework="tensorflow",
        source="DNN 1024-512-256, embeddings of 16, Criteo's 13 dense and 26 sparse fields, tables capped at 100 000 "
        "rows, https://arxiv.org/abs/1606.07792; STCP920 v1.2.0rc1 sheet",
        inputs=criteo.inputs(),
        batch_size=1200,
        thread_num=16,
        draw=criteo.draw,
        build=tensorflow.Keras("wdl", _network, _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=(0.9998, 0.021)),
    ),
)
