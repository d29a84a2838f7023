"""The raw samples of a row and its windows as Parquet files: written and read by DuckDB, from and to numpy columns."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import Samples, Window

#: The columns of samples.parquet and what they are in memory.
TYPES: dict[str, type[np.generic]] = {
    "client": np.int32,
    "slot": np.int32,
    "scheduled_ns": np.int64,
    "start_ns": np.int64,
    "end_ns": np.int64,
    "phase": np.int8,
    "failed": np.bool_,
    "process": np.int16,
}
#: Columns that records of earlier schemas lack; the samples say what stands for them.
_LATER = frozenset({"process"})
#: How the columns of windows.parquet that hold signals begin.
_SIGNAL = "signal_"
_BLOCK_BYTES = 1 << 20


def write(samples: Samples, path: Path) -> int:
    """Write the columns, zstd-compressed, in their order; return the number of rows."""
    return write_table(samples.columns(), path)


def write_windows(windows: Sequence[Window], path: Path) -> int:
    """Write one row a window: its process, times, median, flags (separated by spaces), and a column for each signal."""
    columns: dict[str, NDArray[Any]] = {
        "process": np.array([window.process for window in windows], np.int16),
        "opened_ns": np.array([window.opened_ns for window in windows], np.int64),
        "closed_ns": np.array([window.closed_ns for window in windows], np.int64),
        "median_ns": np.array([window.median_ns for window in windows], np.float64),
        "flags": np.array([" ".join(window.flags) for window in windows], np.object_),
    }
    for name in sorted({name for window in windows for name in window.signals}):
        told = [window.signals.get(name, np.nan) for window in windows]
        columns[f"{_SIGNAL}{name}"] = np.array(told, np.float64)
    return write_table(columns, path)


def write_table(columns: Mapping[str, NDArray[Any]], path: Path) -> int:
    """Write named columns of equal length, zstd-compressed, in their order; return the number of rows."""
    columns = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    with _cursor() as opened:
        opened.register("columns", columns)
        target = str(path).replace("'", "''")
        opened.execute(f"COPY columns TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
    return len(next(iter(columns.values())))


def rows_in(path: Path) -> int:
    """Return how many rows a Parquet file says it has. Raises ValueError where it is no Parquet file."""
    try:
        with _cursor() as opened:
            found = opened.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone()
    except duckdb.Error as error:
        raise ValueError(str(error)) from error
    return int(found[0]) if found else 0


def read(path: Path, open_ns: int, close_ns: int) -> Samples:
    """Read the columns back. Raises ValueError where one is missing, has nulls, or is of another type."""
    found = table(path)
    columns: dict[str, Any] = {}
    for name, kind in TYPES.items():
        column = found.get(name)
        if column is None and name in _LATER:
            continue
        if column is None or isinstance(column, np.ma.MaskedArray) or column.dtype != np.dtype(kind):
            raise ValueError(f"column {name} is missing or is not {np.dtype(kind).name}")
        columns[name] = column
    return Samples(**columns, open_ns=open_ns, close_ns=close_ns)


def read_windows(path: Path) -> tuple[Window, ...]:
    """Read the windows back. Raises ValueError where a column is missing or of another kind."""
    found = table(path)
    try:
        told = {name.removeprefix(_SIGNAL): found[name] for name in found if name.startswith(_SIGNAL)}
        signals = {name: np.ma.filled(values.astype(np.float64), np.nan).tolist() for name, values in told.items()}
        columns = [found[name].tolist() for name in ("opened_ns", "closed_ns", "median_ns", "flags", "process")]
        return tuple(
            Window(
                int(opened), int(closed), float(median),
                {name: float(of[place]) for name, of in signals.items() if not isnan(of[place])},
                tuple(flags.split()), int(process),
            )
            for place, (opened, closed, median, flags, process) in enumerate(zip(*columns, strict=True))
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"a column of the windows is missing or of another kind ({error})") from error


def table(path: Path, names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the columns of a Parquet file by name, masked where they hold nulls; those of `names` where given.

    Raises ValueError for another file, or where one is missing.
    """
    what = ", ".join(f'"{name}"' for name in names) or "*"
    try:
        with _cursor() as opened:
            found: dict[str, Any] = opened.execute(f"SELECT {what} FROM read_parquet(?)", [str(path)]).fetchnumpy()  # noqa: S608  names are ours
    except duckdb.Error as error:
        raise ValueError(str(error)) from error
    return found


def sha256(path: Path) -> str:
    """Hash a file in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _cursor() -> duckdb.DuckDBPyConnection:
    """Return a cursor of this process's one empty database: opening another takes longer than reading a small file."""
    return _database(os.getpid()).cursor()


@cache
def _database(_process: int) -> duckdb.DuckDBPyConnection:
    return connection()


def connection() -> duckdb.DuckDBPyConnection:
    """Open an empty database of one thread, beside a measurement, and without extensions: nothing is fetched."""
    return duckdb.connect(
        config={"threads": 1, "autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
