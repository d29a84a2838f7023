"""The deep structured semantic model (Huang et al. 2013, doi:10.1145/2505515.2505665) with embedded fields.

The published row is a mock-up of unstated shape; this one has its parameter count: two towers over categorical
fields, and the cosine of their outputs.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from speedsheet.convert.shipping import tensorflow, weights
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Workload, limits_found

#: Rows of each field's table: the user (identity, sex, age, work, city, device, system, channel, last category and
#: brand) and the item (identity, category, brand, shop, price band, city, condition).
_ROWS = {
    "user": (100_000, 3, 12, 22, 350, 2_400, 8, 60, 1_200, 5_900),
    "item": (60_000, 1_200, 5_900, 22_000, 20, 350, 545),
}
_WIDTH = 16
_TOWER = (256, 128, 64, 32)
_HEAD = "match"
_INPUTS = tuple(InputSpec(f"{tower}_ids", (None, len(rows)), "int64", 0, min(rows)) for tower, rows in _ROWS.items())


def draw(seed: int, samples: int) -> Arrays:
    """Draw one Zipf-like index for each field of user and item."""
    return {
        f"{tower}_ids": np.stack(
            [draws.zipf(seed, f"{tower}/{n}", samples, count) for n, count in enumerate(rows)], axis=1
        )
        for tower, rows in _ROWS.items()
    }


def _network() -> Any:
    import keras

    ids = {
        f"{tower}_ids": keras.Input((len(rows),), dtype="int64", name=f"{tower}_ids") for tower, rows in _ROWS.items()
    }
    user, item = (_tower(tower, ids[f"{tower}_ids"]) for tower in _ROWS)
    cosine = keras.layers.Dot(axes=1, normalize=True, name="cosine")([user, item])
    score = keras.layers.Dense(1, activation="sigmoid", name=_HEAD)(cosine)
    return keras.Model(ids, {"match_probability": score}, name="dssm_mock")


def _tower(name: str, ids: Any) -> Any:
    from keras import layers, ops

    fields = [
        layers.Embedding(count, _WIDTH, name=f"{name}_field_{n}")(ids[:, n]) for n, count in enumerate(_ROWS[name])
    ]
    x = ops.concatenate(fields, axis=-1)
    for n, width in enumerate(_TOWER):
        x = layers.Dense(width, name=f"{name}_dense_{n}")(x)
        x = layers.BatchNormalization(name=f"{name}_norm_{n}")(x)
        x = layers.ReLU(name=f"{name}_relu_{n}")(x) if n < len(_TOWER) - 1 else x
    return x


def _limit(path: str, shape: Shape) -> float:
    """He for the towers; embeddings of unit length."""
    return sqrt(3.0 / _WIDTH) if "_field_" in path else weights.he(path, shape)


def _settle(model: Any) -> None:
    """Take batch-norm statistics from requests; scale the cosine so that neither end of the sigmoid is saturated."""
    feed = draw(weights.SEED, 4096)
    tensorflow.settle_batch_norms(model, feed)
    tensorflow.settle_head(model, _HEAD, feed, mean=-1.0, spread=1.2)


WORKLOADS = (
    Workload(
        name="dssm_mock",
        task="retrieval ranking",
        framework="tensorflow",
        source="two towers sized to 3.36 M parameters, doi:10.1145/2505515.2505665; STCP920 v1.2.0rc1 sheet",
        inputs=_INPUTS,
        batch_size=8,
        thread_num=16,
        draw=draw,
        build=tensorflow.Keras("dssm_mock", _network, _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=(0.9993, 0.053)),
    ),
)
