"""The store: one immutable folder a row, with measurement.json and its tables.

    <store>/<utc>-<model>-<engine>-<8 hex>/
        measurement.json   schema, created_utc, row, conditions, samples, windows, seal
        samples.parquet    one row a request, see core.samples
        windows.parquet    one row a window of the run: what the host told of it, and what was flagged

`samples` holds the file's name, sha256, rows and measured window, `windows` the like of its file; `seal` is the SHA-256
of the canonical JSON without itself, so it covers the tables too. The folder may be moved or copied: nothing in it says
where it is. Records of schema 1, which have no windows, are read as well.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from speedsheet.core.errors import RecordDamaged
from speedsheet.core.folders import is_visible, publish, safe_name
from speedsheet.core.measurement import Measurement
from speedsheet.core.samples import Samples
from speedsheet.records import columns
from speedsheet.records.canonical import canonical, plain

RECORD_SCHEMA = "speedsheet.record/2"
_READ = frozenset({"speedsheet.record/1", RECORD_SCHEMA})
ROW_FILE, SAMPLES_FILE, WINDOWS_FILE = "measurement.json", "samples.parquet", "windows.parquet"
MAX_ROW_BYTES = 4 << 20
MAX_SAMPLES_BYTES = 4 << 30
MAX_SAMPLES_ROWS = 100_000_000
_REPAIR = "measure the row again, or restore the folder from a copy"


@dataclass(frozen=True, slots=True)
class SamplesInfo:
    """What a record says of its samples: the file's hash and rows, and the measured window on their clock."""

    file: str
    sha256: str
    rows: int
    open_ns: int
    close_ns: int


@dataclass(frozen=True, slots=True)
class WindowsInfo:
    """What a record says of its windows: the file's hash and rows."""

    file: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed row. `conditions` is what the row was measured under; `measurement.record` is this folder."""

    folder: Path
    created_utc: str
    measurement: Measurement
    conditions: Mapping[str, Any]
    samples: SamplesInfo | None
    windows: WindowsInfo | None
    seal: str

    @property
    def tables(self) -> tuple[SamplesInfo | WindowsInfo, ...]:
        """The tables beside the row."""
        return tuple(table for table in (self.samples, self.windows) if table is not None)


@dataclass(frozen=True, slots=True)
class Listing:
    """The records of a store, newest first, and for each folder that was passed over the reason."""

    records: tuple[Record, ...]
    skipped: tuple[tuple[Path, str], ...]


def seal(store: Path, measurement: Measurement, samples: Samples | None, conditions: Mapping[str, Any]) -> Measurement:
    """Write one row as a new immutable folder of `store`; return the row with `record` set to it.

    Atomic against kills and other writers. Raises OSError where the store cannot be written.
    """
    created = datetime.now(UTC)
    stamp = created.strftime("%Y%m%dT%H%M%SZ")
    model = safe_name(measurement.model.rpartition("/")[2].removesuffix(".onnx"), "model")
    engine = safe_name(measurement.engine or "", "none", limit=20)

    def fill(folder: Path) -> None:
        tables = {"samples": _write_samples(folder, samples), "windows": _write_windows(folder, samples)}
        body = _body(created, measurement, tables, conditions)
        text = json.dumps({**body, "seal": _seal_of(body)}, indent=1, allow_nan=False)
        (folder / ROW_FILE).write_text(text + "\n", encoding="ascii")

    folder = publish(store.absolute(), lambda: f"{stamp}-{model}-{engine}-{secrets.token_hex(4)}", fill)
    return replace(measurement, record=str(folder))


def read(folder: Path) -> Record:
    """Read a record and check its schema and seal; the samples are not touched. Raises RecordDamaged, naming what."""
    path = folder / ROW_FILE
    try:
        if path.stat().st_size > MAX_ROW_BYTES:
            raise _damaged(path, f"is larger than {MAX_ROW_BYTES >> 20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise _damaged(path, "is not a JSON object")
    if content.get("schema") not in _READ:
        raise _damaged(path, f"has schema {content.get('schema')!r}, not {RECORD_SCHEMA}")
    stated = content.pop("seal", None)
    try:
        sealed = _seal_of(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"holds what JSON has not: {error}") from error
    if stated != sealed:
        raise _damaged(path, "does not match its seal")
    try:
        return _record(folder, content, str(stated))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"lacks what its schema promises ({error})") from error


def present(folder: Path) -> Record:
    """Read a record and see that its tables are there. Raises RecordDamaged."""
    record = read(folder)
    for table in record.tables:
        if not (folder / table.file).is_file():
            raise _damaged(folder / table.file, "is missing")
    return record


def verify(folder: Path) -> Record:
    """Read a record and hash its tables again. Raises RecordDamaged, naming what does not match."""
    record = read(folder)
    for table in record.tables:
        _verify(folder / table.file, table)
    return record


def samples(folder: Path) -> Samples:
    """Return the raw samples of a record, after `verify`. Raises RecordDamaged; also where the row has none."""
    record = verify(folder)
    path = folder / SAMPLES_FILE
    if record.samples is None:
        raise RecordDamaged("the row has no samples", where=str(folder), do=_REPAIR)
    if record.samples.rows > MAX_SAMPLES_ROWS:
        raise _damaged(path, f"has more than {MAX_SAMPLES_ROWS} rows")
    try:
        taken = columns.read(path, record.samples.open_ns, record.samples.close_ns)
        path = folder / WINDOWS_FILE
        windows = () if record.windows is None else columns.read_windows(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    return replace(taken, windows=windows, steady=record.measurement.steady)


def listed(store: Path) -> Listing:
    """List a store, newest first; what is damaged or of another schema is passed over with its reason.

    Samples are looked for, not hashed: that is `verify`.
    """
    records, skipped = [], []
    for folder in _folders(store):
        try:
            record = present(folder)
        except RecordDamaged as error:
            skipped.append((folder, str(error)))
        else:
            records.append(record)
    records.sort(key=lambda record: (record.created_utc, record.folder.name), reverse=True)
    return Listing(tuple(records), tuple(skipped))


def find(store: Path, request_sha256: str) -> Record | None:
    """Return the newest record with status ok whose conditions carry this request, and which verifies; else None.

    One that a budget cut short does not count: the request was for more.
    """
    for record in listed(store).records:
        asked = record.conditions.get("request_sha256") == request_sha256 and record.conditions.get("complete", True)
        if record.measurement.status != "ok" or not asked:
            continue
        try:
            return verify(record.folder)
        except RecordDamaged:  # then an older one serves, or the row is measured again
            continue
    return None


def _folders(store: Path) -> Iterator[Path]:
    if store.is_dir():
        yield from sorted((path for path in store.iterdir() if is_visible(path)), reverse=True)


def _write_samples(folder: Path, taken: Samples | None) -> SamplesInfo | None:
    if taken is None:
        return None
    path = folder / SAMPLES_FILE
    rows = columns.write(taken, path)
    return SamplesInfo(SAMPLES_FILE, columns.sha256(path), rows, int(taken.open_ns), int(taken.close_ns))


def _write_windows(folder: Path, taken: Samples | None) -> WindowsInfo | None:
    if taken is None or not taken.windows:
        return None
    path = folder / WINDOWS_FILE
    rows = columns.write_windows(taken.windows, path)
    return WindowsInfo(WINDOWS_FILE, columns.sha256(path), rows)


def _verify(path: Path, table: SamplesInfo | WindowsInfo) -> None:
    try:
        if path.stat().st_size > MAX_SAMPLES_BYTES:
            raise _damaged(path, f"is larger than {MAX_SAMPLES_BYTES >> 30} GiB")
        if columns.sha256(path) != table.sha256:
            raise _damaged(path, "does not match its hash")
        found = columns.rows_in(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, f"cannot be read: {error}") from error
    if found != table.rows:
        raise _damaged(path, f"has {found} rows, not {table.rows}")


def _body(
    created: datetime, measurement: Measurement, tables: Mapping[str, Any], conditions: Mapping[str, Any]
) -> dict[str, Any]:
    body: dict[str, Any] = plain(
        {
            "schema": RECORD_SCHEMA,
            "created_utc": created.isoformat(timespec="microseconds"),
            "row": replace(measurement, record=None).to_json(),
            "conditions": conditions,
            **tables,
        }
    )
    return body


def _seal_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()


def _record(folder: Path, content: Mapping[str, Any], stated: str) -> Record:
    info = None if content["samples"] is None else SamplesInfo(**content["samples"])
    windows = None if content.get("windows") is None else WindowsInfo(**content["windows"])
    for table, name in ((info, SAMPLES_FILE), (windows, WINDOWS_FILE)):
        if table is not None and table.file != name:  # a record never names a file outside its folder
            raise ValueError(f"{name} is called {table.file!r}")
    return Record(
        folder=folder,
        created_utc=str(content["created_utc"]),
        measurement=replace(Measurement.from_json(content["row"]), record=str(folder)),
        conditions=dict(content["conditions"]),
        samples=info,
        windows=windows,
        seal=stated,
    )


def _damaged(path: Path, what: str) -> RecordDamaged:
    return RecordDamaged(f"{path.name} {what}", where=str(path.parent), do=_REPAIR)
