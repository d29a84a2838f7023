"""The raw samples of a row as a Parquet file: written and read by DuckDB, straight from and to numpy columns."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from speedsheet.core.samples import Samples

#: The columns of samples.parquet and what they are in memory.
TYPES: dict[str, type[np.generic]] = {
    "client": np.int32,
    "slot": np.int32,
    "scheduled_ns": np.int64,
    "start_ns": np.int64,
    "end_ns": np.int64,
    "phase": np.int8,
    "failed": np.bool_,
}
_BLOCK_BYTES = 1 << 20


def write(samples: Samples, path: Path) -> int:
    """Write the columns, zstd-compressed, in their order; return the number of rows."""
    columns = {name: np.ascontiguousarray(column) for name, column in samples.columns().items()}
    with _connection() as connection:
        connection.register("samples", columns)
        target = str(path).replace("'", "''")
        connection.execute(f"COPY samples TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    return len(samples.client)


def rows_in(path: Path) -> int:
    """Return how many rows a Parquet file says it has. Raises ValueError where it is no Parquet file."""
    try:
        with _connection() as connection:
            found = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone()
    except duckdb.Error as error:
        raise ValueError(str(error)) from error
    return int(found[0]) if found else 0


def read(path: Path, open_ns: int, close_ns: int) -> Samples:
    """Read the columns back. Raises ValueError where one is missing, has nulls, or is of another type."""
    try:
        with _connection() as connection:
            table = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchnumpy()
    except duckdb.Error as error:
        raise ValueError(str(error)) from error
    columns: dict[str, Any] = {}
    for name, kind in TYPES.items():
        column = table.get(name)
        if column is None or isinstance(column, np.ma.MaskedArray) or column.dtype != np.dtype(kind):
            raise ValueError(f"column {name} is missing or is not {np.dtype(kind).name}")
        columns[name] = column
    return Samples(**columns, open_ns=open_ns, close_ns=close_ns)


def sha256(path: Path) -> str:
    """Hash a file in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _connection() -> Any:
    """One thread and no extensions: a record is written beside a measurement, and nothing is fetched for it."""
    return duckdb.connect(
        config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
