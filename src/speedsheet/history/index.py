"""The index of a store: one row a record in a Parquet file of the cache, so that ten thousand are listed at once.

It is no part of the store and may be deleted at any time: records are immutable, so a record that is known by its
folder, size and time of change need not be read again. Two processes that refresh it at once each write a whole file.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.errors import RecordDamaged
from speedsheet.core.folders import is_hidden
from speedsheet.core.measurement import executed_kinds
from speedsheet.records import columns
from speedsheet.records.store import ROW_FILE, Record, present

#: Counts up when a record would be described otherwise.
_FORM = 1
_TEXT, _NUMBER, _WHOLE = np.object_, np.float64, np.int64

#: How a record is described: for each column its type, and what of the record it holds. Text is never null.
COLUMNS: Mapping[str, tuple[type, Callable[[Record], Any]]] = {
    "created_utc": (_TEXT, lambda record: record.created_utc),
    "model": (_TEXT, lambda record: record.measurement.model),
    "framework": (_TEXT, lambda record: record.measurement.framework),
    "task": (_TEXT, lambda record: record.measurement.task),
    "precision": (_TEXT, lambda record: record.measurement.precision),
    "executed": (_TEXT, lambda record: executed_kinds(record.measurement.precision_executed)),
    "batch_size": (_WHOLE, lambda record: record.measurement.batch_size),
    "thread_num": (_WHOLE, lambda record: record.measurement.thread_num),
    "engine": (_TEXT, lambda record: record.measurement.engine),
    "engine_version": (_TEXT, lambda record: record.measurement.engine_version),
    "device": (_TEXT, lambda record: record.measurement.device),
    "clock_state": (_TEXT, lambda record: record.measurement.clock_state),
    "samples_per_s": (_NUMBER, lambda record: record.measurement.throughput_samples_per_s.value),
    "samples_per_s_low": (_NUMBER, lambda record: record.measurement.throughput_samples_per_s.low),
    "samples_per_s_high": (_NUMBER, lambda record: record.measurement.throughput_samples_per_s.high),
    "mean_ms": (_NUMBER, lambda record: record.measurement.latency_ms.mean),
    "p50_ms": (_NUMBER, lambda record: record.measurement.latency_ms.p50),
    "p90_ms": (_NUMBER, lambda record: record.measurement.latency_ms.p90),
    "p95_ms": (_NUMBER, lambda record: record.measurement.latency_ms.p95),
    "p99_ms": (_NUMBER, lambda record: record.measurement.latency_ms.p99),
    "p99_9_ms": (_NUMBER, lambda record: record.measurement.latency_ms.p99_9),
    "requests": (_WHOLE, lambda record: record.measurement.requests or 0),
    "wall_s": (_NUMBER, lambda record: record.measurement.wall_s),
    "processes": (_WHOLE, lambda record: record.measurement.processes),
    "gate": (_TEXT, lambda record: {True: "pass", False: "fail", None: ""}[record.measurement.gate.passed]),
    "findings": (_TEXT, lambda record: " ".join(dict.fromkeys(note.code for note in record.measurement.findings))),
    "status": (_TEXT, lambda record: record.measurement.status),
    "error": (_TEXT, lambda record: record.measurement.error),
    "hostname": (_TEXT, lambda record: _host(record, "hostname")),
    "cpu": (_TEXT, lambda record: _host(record, "cpu")),
    "cores": (_WHOLE, lambda record: _host(record, "cores_allowed") or 0),
    "speedsheet": (_TEXT, lambda record: _host(record, "speedsheet")),
    "artifact_sha256": (_TEXT, lambda record: record.measurement.artifact_sha256),
    "request_sha256": (_TEXT, lambda record: record.conditions.get("request_sha256")),
}
#: What tells one record, and one state of it, from another; `problem` is why it is passed over, "" where it is not.
_KEYS: Mapping[str, type] = {"folder": _TEXT, "size": _WHOLE, "changed_ns": _WHOLE, "problem": _TEXT}

Row = dict[str, Any]


def refreshed(store: Path, cache: Path, told: Callable[[int, int], None] = lambda _done, _of: None) -> Path:
    """Bring the index of a store up to date and return its file; `told` hears how many of the new records are read.

    A record whose seal does not match, or of a schema that is not known, is in it with its `problem`.
    """
    path = cache / "history" / f"{hashlib.sha256(str(store.absolute()).encode()).hexdigest()[:24]}-{_FORM}.parquet"
    here = _states(store)
    if here and _indexed(path) == here:
        return path
    known = _known(path)
    fresh = [name for name, state in here.items() if known.get(name, _UNREAD)[:2] != state]
    if path.is_file() and not fresh and len(known) == len(here):
        return path
    kept = [row for name, (*_, row) in known.items() if name in here and name not in set(fresh)]
    for done, name in enumerate(fresh):
        told(done, len(fresh))
        kept.append({"folder": name, **dict(zip(("size", "changed_ns"), here[name], strict=True))} | _row(store / name))
    _write(kept, path)
    return path


_UNREAD: tuple[int, int] = (-1, -1)


def _states(store: Path) -> dict[str, tuple[int, int]]:
    """Return the size and time of change of each record's row, by the name of its folder."""
    found: dict[str, tuple[int, int]] = {}
    with suppress(FileNotFoundError), os.scandir(store) as folders:
        for folder in folders:
            if not is_hidden(folder.name):
                with suppress(OSError):
                    state = os.stat(os.path.join(folder.path, ROW_FILE))  # noqa: PTH116, PTH118  half the time of Path's
                    found[folder.name] = state.st_size, state.st_mtime_ns
                    continue
                if folder.is_dir():
                    found[folder.name] = 0, 0
    return found


def _indexed(path: Path) -> dict[str, tuple[int, int]]:
    """Return the states of the records in the index, by folder; nothing where it cannot be read."""
    try:
        folder, size, changed_ns = columns.table(path, ("folder", "size", "changed_ns")).values()
    except (OSError, ValueError):
        return {}
    return dict(zip(folder.tolist(), zip(size.tolist(), changed_ns.tolist(), strict=True), strict=True))


def _known(path: Path) -> dict[str, tuple[int, int, Row]]:
    """Return what the index holds, by folder; nothing where it cannot be read."""
    try:
        table = {name: values.tolist() for name, values in columns.table(path).items()}
    except (OSError, ValueError):
        return {}
    if set(table) != {*_KEYS, *COLUMNS}:
        return {}
    rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    return {row["folder"]: (row["size"], row["changed_ns"], row) for row in rows}


def _row(folder: Path) -> Row:
    """Describe one record, its values of the types of the columns, or say why it is passed over."""
    try:
        record = present(folder)
        return {**{name: _typed(value(record), kind) for name, (kind, value) in COLUMNS.items()}, "problem": ""}
    except RecordDamaged as error:
        problem = error.what
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        problem = f"holds what no row of ours does ({error})"
    return {**dict.fromkeys(COLUMNS), "problem": problem}


def _typed(value: Any, kind: type) -> Any:
    """Return a value as the type of its column. Raises ValueError, TypeError or OverflowError where it has no such."""
    if value is None:
        return None
    return str(value) if kind is _TEXT else kind(value).item()


def _write(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    types = {**_KEYS, **{name: kind for name, (kind, _) in COLUMNS.items()}}
    hidden = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        columns.write_table({name: _column([row[name] for row in rows], kind) for name, kind in types.items()}, hidden)
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def _column(values: list[Any], kind: type) -> NDArray[Any]:
    if kind is _TEXT:
        return np.array(["" if value is None else str(value) for value in values], np.object_)
    blank = 0 if kind is _WHOLE else np.nan
    return np.array([blank if value is None else value for value in values], kind)


def _host(record: Record, key: str) -> Any:
    host = record.conditions.get("host")
    return host.get(key) if isinstance(host, Mapping) else None
