"""Facebook's deep learning recommendation model (Naumov et al. 2019, https://arxiv.org/abs/1906.00091)."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import sqrt
from typing import Any

from speedsheet.convert.shipping import pytorch, weights
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core.workload import Workload, limits_found
from speedsheet.zoo import criteo

_WIDTH = 16
_BOTTOM = (criteo.DENSE, 512, 256, 64, _WIDTH)
_TOP = (512, 256, 1)
#: The same network over tables of a million rows.
_MILLION = (1_000_000,) * criteo.FIELDS


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


def _limit(path: str, shape: Shape) -> float:
    """He for the perceptrons, whose kernels are (out, in); embeddings of unit length, so that their products tell."""
    return sqrt(3.0 / shape[-1]) if path.startswith("tables") else sqrt(6.0 / shape[-1])


def _settle(rows: tuple[int, ...], model: Any) -> None:
    """Scale the last layer so that click probabilities lie about 0.3 and neither end is saturated."""
    feed = criteo.draw(weights.SEED, 4096, rows=rows)
    pytorch.settle_head(model.top[-1], model.features, feed, mean=-1.0, spread=1.2)


def _workload(name: str, rows: tuple[int, ...], configuration: str, bf16: tuple[float, float]) -> Workload:
    return Workload(
        name=name,
        task="click-through prediction",
        framework="pytorch",
        source=f"https://github.com/facebookresearch/dlrm, Criteo Kaggle configuration, {configuration}, "
        "https://arxiv.org/abs/1906.00091; STCP920 v1.2.0rc1 sheet",
        inputs=criteo.inputs(rows),
        batch_size=1024,
        thread_num=8,
        draw=partial(criteo.draw, rows=rows),
        build=pytorch.Torch(name, partial(_network, rows), _limit, partial(_settle, rows)),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=bf16),
    )


WORKLOADS = (
    _workload("dlrm", criteo.ROWS, "tables capped at 100 000 rows", (0.9997, 0.026)),
    _workload("dlrm_1M", _MILLION, "26 tables of 1 000 000 rows", (0.9998, 0.025)),
)
