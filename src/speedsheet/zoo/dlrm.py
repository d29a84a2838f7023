"""Facebook's deep learning recommendation model (Naumov et al. 2019, https://arxiv.org/abs/1906.00091)."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np

from speedsheet.convert import pytorch, weights
from speedsheet.convert.recipe import Shape
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Limit, Workload

#: Rows of the 26 categorical fields of the Criteo Kaggle display-advertising data, as in the DLRM repository.
_CRITEO_ROWS = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
_MOST_ROWS = 100_000
ROWS = tuple(min(rows, _MOST_ROWS) for rows in _CRITEO_ROWS)
DENSE = 13
_WIDTH = 16
_BOTTOM = (DENSE, 512, 256, 64, _WIDTH)
_TOP = (512, 256, 1)

_INPUTS = (
    InputSpec("dense", (None, DENSE), "float32", 0.0, 12.0),
    InputSpec("sparse", (None, len(ROWS)), "int64", 0, min(ROWS)),
)


def draw_criteo(seed: int, samples: int) -> Arrays:
    """Draw rows like Criteo's: log1p of lognormal counts, and one Zipf-like index for each categorical field."""
    counts = np.exp(1.0 + 1.5 * draws.normal(seed, "dense", samples * DENSE).reshape(samples, DENSE))
    sparse = np.stack([draws.zipf(seed, f"sparse/{n}", samples, rows) for n, rows in enumerate(ROWS)], axis=1)
    return {"dense": np.log1p(np.floor(counts)).astype(np.float32), "sparse": sparse}


def _network(rows: tuple[int, ...]) -> Any:
    """Return the module: two perceptrons, one table a field, and the dot products of every pair between them."""
    import torch
    from torch import nn

    def perceptron(sizes: tuple[int, ...]) -> Any:
        linear = [nn.Linear(*pair) for pair in pairwise(sizes)]
        return nn.ModuleList(linear)

    class Dlrm(nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            vectors = len(rows) + 1
            self.bottom = perceptron(_BOTTOM)
            self.tables = nn.ModuleList([nn.Embedding(count, _WIDTH) for count in rows])
            self.top = perceptron((_WIDTH + vectors * (vectors - 1) // 2, *_TOP))
            pairs = torch.tril_indices(vectors, vectors, offset=-1)
            self.register_buffer("pairs", pairs[0] * vectors + pairs[1], persistent=False)

        def features(self, dense: Any, sparse: Any) -> Any:
            """What the last layer reads."""
            x = dense
            for layer in self.bottom:
                x = torch.relu(layer(x))
            vectors = torch.stack([x, *(table(sparse[:, n]) for n, table in enumerate(self.tables))], dim=1)
            products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
            x = torch.cat([x, products.index_select(1, self.pairs)], dim=1)
            for layer in self.top[:-1]:
                x = torch.relu(layer(x))
            return x

        def forward(self, dense: Any, sparse: Any) -> dict[str, Any]:
            return {"click_probability": torch.sigmoid(self.top[-1](self.features(dense, sparse)))}

    return Dlrm()


def _kaggle() -> Any:
    return _network(ROWS)


def _limit(path: str, shape: Shape) -> float:
    """He for the perceptrons, whose kernels are (out, in); embeddings of unit length, so that their products tell."""
    return sqrt(3.0 / shape[-1]) if path.startswith("tables") else sqrt(6.0 / shape[-1])


def _settle(model: Any) -> None:
    """Scale the last layer so that click probabilities lie about 0.3 and neither end is saturated."""
    pytorch.settle_head(model.top[-1], model.features, draw_criteo(weights.SEED, 4096), mean=-1.0, spread=1.2)


WORKLOADS = (
    Workload(
        name="dlrm",
        task="click-through prediction",
        framework="pytorch",
        source="https://github.com/facebookresearch/dlrm, Criteo Kaggle configuration, tables capped at 100 000 rows, "
        "https://arxiv.org/abs/1906.00091; STCP920 v1.2.0rc1 sheet",
        inputs=_INPUTS,
        batch_size=1024,
        thread_num=8,
        draw=draw_criteo,
        build=pytorch.Torch("dlrm", _kaggle, _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits={
            "fp32": Limit(0.999999, 1e-4, "docs/gate-limits.md"),
            "bf16": Limit(0.9997, 0.026, "docs/gate-limits.md"),
        },
    ),
)
