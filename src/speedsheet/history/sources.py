"""What a user may name to be looked at again: a record, a run, a store, or a sheet that somebody published.

latest, latest~1        the newest run, and the one before it
FOLDER                  a record (it holds measurement.json), a run (sheet.json), or a store (records)
sheet.json              a run
20261127T184707Z-...    a record or a run of the data folder, by its name
stcp920, FILE.csv       a published sheet, shipped or read from CSV, Markdown or HTML
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from speedsheet.core.errors import RecordDamaged, UnknownName, UsageError
from speedsheet.core.folders import is_visible
from speedsheet.core.measurement import Latency, Measurement, Throughput
from speedsheet.core.sheet import SHEET_SCHEMA
from speedsheet.host.places import data_folder
from speedsheet.plugins import did_you_mean
from speedsheet.published import read as published
from speedsheet.published.row import PublishedRow
from speedsheet.records import store
from speedsheet.records.remote import is_url, local

Kind = Literal["record", "run", "store", "published"]
SHEET_FILE, RECORDS, SHEETS = "sheet.json", "records", "sheets"
#: The clock of a figure that was printed by somebody else.
PUBLISHED_CLOCK = "published"
_MAX_SHEET_BYTES = 64 << 20
#: Facts of a host that make it another one.
HOST = ("hostname", "cpu", "cores_allowed", "memory_gib", "virtualisation")
_LATEST = re.compile(r"latest(?:~(\d{1,4}))?")
_TABLES = (".csv", ".tsv", ".md", ".markdown", ".html", ".htm")


@dataclass(frozen=True, slots=True)
class Run:
    """Rows with what is known of where they come from; rows of a published sheet have the clock "published".

    `document` is the front matter as it was printed, `host` the facts of the machine, both empty where unknown.
    """

    name: str
    kind: Kind
    rows: tuple[Measurement, ...]
    host: Mapping[str, Any] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    created_utc: str = ""

    @property
    def records(self) -> list[Path]:
        """The folders of the rows' records that are still there."""
        found = [Path(row.record) for row in self.rows if row.record]
        return [folder for folder in found if folder.is_dir()]


def load(name: str, cache: Path, data: Path | None = None) -> Run:
    """Return what `name` names. Raises UsageError, in one line that says what would have been known."""
    data = data or data_folder()
    path = _place(name, cache, data)
    if path is None:
        if name in published.shipped() or name.lower().endswith(_TABLES):
            return of_published(name)
        known = ["latest", *published.shipped(), *_names(data)]
        raise UnknownName(f"nothing is called {name!r}", do=f"{did_you_mean(name, known)}; give a record, run or sheet")
    if (path / store.ROW_FILE).is_file():
        return _record(path, name)
    if path.is_file() or (path / SHEET_FILE).is_file():
        return _run(path if path.is_file() else path / SHEET_FILE, name, data)
    if path.is_dir():
        return _store(path, name)
    raise UsageError("is no record, run or sheet", where=name, do="give a folder that holds one")


def runs(data: Path) -> list[Path]:
    """Return the folders of all runs, newest first."""
    folder = data / SHEETS
    found = [path for path in folder.iterdir() if is_visible(path)] if folder.is_dir() else []
    return sorted((path for path in found if (path / SHEET_FILE).is_file()), key=_age, reverse=True)


def of_published(name: str) -> Run:
    """Return a published sheet as a run of rows without intervals."""
    sheet = published.load(name)
    rows = tuple(as_measurement(row) for row in sheet.rows)
    said = {key: text for key, text in sheet.said.items() if key not in {"latency", "note"}}
    return Run(sheet.name, "published", rows, document=said)


def as_measurement(row: PublishedRow) -> Measurement:
    """Return a printed row in the form of a measured one: what was not printed is null, and there is no interval."""
    latency, p99, rate = row.latency_ms, row.p99_ms, row.throughput_samples_per_s
    return Measurement(
        row.model, row.framework or "", "", row.batch_size or 0, row.thread_num or 0, (row.precision or "").lower(),
        latency_ms=Latency(mean=latency.value if latency else None, p99=p99.value if p99 else None),
        throughput_samples_per_s=Throughput(rate.value if rate else None), clock=PUBLISHED_CLOCK,
    )  # fmt: skip


def _place(name: str, cache: Path, data: Path) -> Path | None:
    """Return the file or folder that is meant, None where there is none."""
    if is_url(name):
        return local(name, cache)
    if match := _LATEST.fullmatch(name):
        back, found = int(match[1] or 0), runs(data)
        if back >= len(found):
            what = f"there are {len(found)} runs" if found else "there is no run"
            raise UsageError(f"{what} in {data / SHEETS}", where=name, do="measure one: speedsheet sheet")
        return found[back]
    path = Path(name).expanduser()
    if path.is_dir() or path.suffix == ".json":
        return path.absolute()
    if Path(name).name == name:
        for place in (data / RECORDS / name, data / SHEETS / name):
            if place.is_dir():
                return place
    return None


def _names(data: Path) -> list[str]:
    return [path.name for path in runs(data)[:20]]


def _age(path: Path) -> tuple[str, int]:
    """Order runs by the time in their names; several of one second are numbered."""
    stamp, _, turn = path.name.partition("-")
    return stamp, int(turn) if turn.isdigit() else 1


def _record(folder: Path, name: str) -> Run:
    try:
        record = store.read(folder)
    except RecordDamaged as error:
        raise UsageError(error.what, where=error.where, do=error.do) from error
    host = record.conditions.get("host", {})
    return Run(name, "record", (record.measurement,), host, folder=folder, created_utc=record.created_utc)


def _run(file: Path, name: str, data: Path) -> Run:
    content = _content(file)
    try:
        if content["schema"] != SHEET_SCHEMA:
            raise UsageError(f"has schema {content['schema']!r}", where=name, do=f"this reads {SHEET_SCHEMA}")
        rows = tuple(_found(Measurement.from_json(row), file, data) for row in content["rows"])
        host, document = dict(content["host"]), dict(content["document"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"is no sheet of speedsheet: {error}", where=str(file), do="give another") from error
    return Run(name, "run", rows, host, document, file.parent, _instant(file.parent.name))


def _instant(name: str) -> str:
    """Return the time in a run's name as records write it; "" where there is none."""
    try:
        return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return ""


def _found(row: Measurement, file: Path, data: Path) -> Measurement:
    """Return a row whose record is where it was, or beside the run where both were moved together."""
    if not row.record or Path(row.record).is_dir():
        return row
    name = Path(row.record).name
    for place in (file.parent.parent.parent / RECORDS / name, data / RECORDS / name):
        if place.is_dir():
            return Measurement.from_json({**row.to_json(), "record": str(place)})
    return row


def _content(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > _MAX_SHEET_BYTES:
            raise UsageError(f"is larger than {_MAX_SHEET_BYTES >> 20} MiB", where=str(file), do="give another")
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", where=str(file), do="give a readable sheet.json"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"is not JSON: {error}", where=str(file), do="give a sheet.json") from error
    if not isinstance(content, dict):
        raise UsageError("is no sheet of speedsheet", where=str(file), do="give a sheet.json")
    return content


def _store(folder: Path, name: str) -> Run:
    """Return the newest record of each kind of row, of the host that measured last."""
    folder = store_in(folder)
    records = store.listed(folder).records
    if not records:
        raise UsageError("holds no record, run or sheet", where=name, do="give a folder that holds one")
    records = tuple(record for record in records if _host(record) == _host(records[0]))
    newest: dict[tuple[Any, ...], store.Record] = {}
    for record in records:
        newest.setdefault((*key(record.measurement), *own(record.measurement)), record)
    rows = tuple(record.measurement for record in newest.values())
    return Run(name, "store", rows, records[0].conditions.get("host", {}), folder=folder,
               created_utc=records[0].created_utc)  # fmt: skip


def _host(record: store.Record) -> tuple[Any, ...]:
    host = record.conditions.get("host")
    return tuple(host.get(fact) for fact in HOST) if isinstance(host, Mapping) else ()


def store_in(folder: Path) -> Path:
    """Return the folder of records: of a data folder (what --out takes) the one within it."""
    return folder / RECORDS if (folder / RECORDS).is_dir() else folder


def key(row: Measurement) -> tuple[Any, ...]:
    """Return what makes a row the same question, whoever answers it."""
    return Path(row.model).name, row.precision, row.batch_size, row.thread_num, row.clocks


def own(row: Measurement) -> tuple[Any, ...]:
    """Return what answered a question: the engine, its device, its settings."""
    return row.engine, row.device, tuple(sorted(row.engine_settings.items()))
