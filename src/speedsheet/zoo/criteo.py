"""What models of the Criteo display-advertising data share: its 13 counts and 26 categories, and rows like them.

Declares no model of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Workload

#: Rows of the 26 categorical fields of the Criteo Kaggle data, as in the DLRM repository.
_KAGGLE_ROWS = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)
_MOST_ROWS = 100_000
ROWS = tuple(min(rows, _MOST_ROWS) for rows in _KAGGLE_ROWS)
FIELDS = len(ROWS)
DENSE = 13


def inputs(rows: tuple[int, ...] = ROWS) -> tuple[InputSpec, ...]:
    """Declare counts and indices; an index is below the rows of its own table, of which the smallest bounds them."""
    return (
        InputSpec("dense", (None, DENSE), "float32", 0.0, 12.0),
        InputSpec("sparse", (None, len(rows)), "int64", 0, min(rows)),
    )


def draw(seed: int, samples: int, *, rows: tuple[int, ...] = ROWS) -> Arrays:
    """Draw rows like Criteo's: log1p of lognormal counts, and one Zipf-like index for each categorical field."""
    counts = np.exp(1.0 + 1.5 * draws.normal(seed, "dense", samples * DENSE).reshape(samples, DENSE))
    sparse = np.stack([draws.zipf(seed, f"sparse/{n}", samples, count) for n, count in enumerate(rows)], axis=1)
    return {"dense": np.log1p(np.floor(counts)).astype(np.float32), "sparse": sparse}


def keras_inputs() -> dict[str, Any]:
    """Return the inputs of a Keras model of these fields, by name."""
    import keras

    return {spec.name: keras.Input(spec.shape[1:], dtype=spec.dtype, name=spec.name) for spec in inputs()}


def keras_tables(name: str, width: int, sparse: Any) -> list[Any]:
    """Look each field up in a table of its own, `width` numbers a row; layers are called NAME_FIELD."""
    import keras

    return [keras.layers.Embedding(count, width, name=f"{name}_{n}")(sparse[:, n]) for n, count in enumerate(ROWS)]


WORKLOADS: tuple[Workload, ...] = ()
