"""Multi-gate mixture of experts (Ma et al. 2018, doi:10.1145/3219819.3220007), of the published row's size.

Two tasks share eight experts, and each weighs them by a gate of its own. The publisher does not state the inputs: with
40 FP32 features a batch of 51 200 is 8.2 MB, which its host link carries at the published rate; with many more it
could not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from speedsheet.convert.shipping import tensorflow, weights
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Workload, limits_found

_FEATURES = InputSpec("features", (None, 40), "float32", 0.0, 12.0)
_EXPERTS = 8
_UNITS = 16
_TOWER = 8
_TASKS = ("click", "conversion")


def draw(seed: int, samples: int) -> Arrays:
    """Draw features as recommenders keep them: log1p of lognormal counts, most of them small and a few large."""
    width = _FEATURES.at(1)[1]
    counts = np.exp(0.5 + 1.2 * draws.normal(seed, "features", samples * width).reshape(samples, width))
    return {_FEATURES.name: np.log1p(np.floor(counts)).astype(np.float32)}


def _network() -> Any:
    """All experts in one layer, mixed for each task, and a tower on each mixture."""
    import keras
    from keras import layers, ops

    features = keras.Input(_FEATURES.shape[1:], name=_FEATURES.name)
    experts = layers.Dense(_EXPERTS * _UNITS, activation="relu", name="experts")(features)
    experts = ops.reshape(experts, (-1, _EXPERTS, _UNITS))
    outputs = {}
    for task in _TASKS:
        gate = layers.Dense(_EXPERTS, activation="softmax", name=f"{task}_gate")(features)
        mixture = ops.matmul(ops.expand_dims(gate, 1), experts)
        x = layers.Dense(_TOWER, activation="relu", name=f"{task}_tower")(ops.squeeze(mixture, 1))
        outputs[f"{task}_probability"] = layers.Dense(1, activation="sigmoid", name=f"{task}_score")(x)
    return keras.Model({_FEATURES.name: features}, outputs, name="mmoe")


def _settle(means: tuple[float, ...], model: Any) -> None:
    """Scale both scores so that neither end is saturated; conversions are rarer than clicks."""
    feed = draw(weights.SEED, 4096)
    for task, mean in zip(_TASKS, means, strict=True):
        tensorflow.settle_head(model, f"{task}_score", feed, mean=mean, spread=1.0)


WORKLOADS = (
    Workload(
        name="mmoe",
        task="multi-task ranking",
        framework="tensorflow",
        source="8 experts of 16 units, two towers of 8, 40 FP32 inputs, doi:10.1145/3219819.3220007; "
        "STCP920 v1.2.0rc1 sheet",
        inputs=(_FEATURES,),
        batch_size=51_200,
        thread_num=16,
        draw=draw,
        build=tensorflow.Keras("mmoe", _network, weights.he, partial(_settle, (-1.0, -2.0))),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=(0.9998, 0.02)),
    ),
)
