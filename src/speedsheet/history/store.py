"""A store as something to ask: records listed by what they are, and SQL over rows, samples and windows.

    history = History.of("~/results/records")
    history.rows(model="resnet50", engine="openvino")            # newest first, as dictionaries
    history.sql("SELECT model, max(samples_per_s) FROM records GROUP BY model").fetchall()
    history.sql("SELECT * FROM samples WHERE folder = ?", [name]).arrow()      # where pyarrow is installed

Relations are DuckDB's (https://duckdb.org/docs/stable/clients/python/overview): fetchall, fetchnumpy, df, arrow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from speedsheet.core.errors import UsageError
from speedsheet.history.index import COLUMNS, refreshed
from speedsheet.history.sources import store_in
from speedsheet.host.places import cache_folder, data_folder
from speedsheet.records import columns
from speedsheet.records.remote import local
from speedsheet.records.store import SAMPLES_FILE, WINDOWS_FILE

_INDEX = {
    "records": "SELECT * EXCLUDE (size, changed_ns, problem) FROM read_parquet('{index}') WHERE problem = '' "
    "ORDER BY created_utc DESC, folder DESC",
    "skipped": "SELECT folder, problem FROM read_parquet('{index}') WHERE problem <> '' ORDER BY folder",
}
_ASK = "ask of records, samples, windows"
#: Views over the tables of every record, made where a query names them.
_TABLES = {"samples": SAMPLES_FILE, "windows": WINDOWS_FILE}


@dataclass(frozen=True, slots=True)
class History:
    """A store with its index."""

    store: Path
    index: Path

    @classmethod
    def of(cls, store: str | Path | None = None, told: Callable[[int, int], None] = lambda _done, _of: None) -> History:
        """Open a store: a folder, or any URL that fsspec reads; your data folder's where none is given.

        Raises UsageError where there is none.
        """
        folder = local(str(store or data_folder()), cache_folder())
        if not folder.is_dir():
            raise UsageError("no such store", where=str(store), do="give the folder that holds records, by --store")
        folder = store_in(folder)
        return cls(folder, refreshed(folder, cache_folder(), told))

    def rows(self, model: str | None = None, *, limit: int | None = None, **wanted: Any) -> list[dict[str, Any]]:
        """Return the records whose columns are as `wanted`, newest first; `model` may be part of a name.

        Keys are those of `index.COLUMNS` and ``folder``; numbers that were not measured are null.
        """
        for name in wanted:
            if name not in COLUMNS:
                raise UsageError(f"records have no column {name!r}", do=f"known: {', '.join(COLUMNS)}")
        tests = [f"{name} = ?" for name in wanted] + (["contains(model, ?)"] if model else [])
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        most = f" LIMIT {int(limit)}" if limit is not None else ""
        values = [*wanted.values(), *([model] if model else [])]
        names, found = self.fetched(f"SELECT folder, {', '.join(COLUMNS)} FROM records{where}{most}", values)  # noqa: S608  names are ours
        return [dict(zip(names, map(_plain, row), strict=True)) for row in found]

    def count(self) -> int:
        """Return how many records there are."""
        _, ((counted,),) = self.fetched("SELECT count(*) FROM records")
        return int(counted)

    def skipped(self) -> list[tuple[str, str]]:
        """Return the folders that are no record of ours, with the reason."""
        _, found = self.fetched("SELECT folder, problem FROM skipped")
        return [(folder, problem) for folder, problem in found]

    def fetched(self, query: str, values: Sequence[Any] = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Return the names of the columns of an answer, and its rows. Raises UsageError."""
        relation = self.sql(query, values)
        with _explained():
            return list(relation.columns), relation.fetchall()

    def sql(self, query: str, values: Sequence[Any] = ()) -> duckdb.DuckDBPyRelation:
        """Ask in SQL of the views ``records``, ``skipped``, ``samples`` and ``windows``. Raises UsageError."""
        connection = columns.connection()
        with _explained():
            for name, view in _INDEX.items():
                connection.execute(f"CREATE VIEW {name} AS {view.format(index=_quoted(self.index))}")
            for name, file in _TABLES.items():
                if re.search(rf"\b{name}\b", query.lower()) and (files := self._files(connection, file)):
                    listed = ", ".join(f"'{_quoted(path)}'" for path in files)
                    table = f"read_parquet([{listed}], filename = true, union_by_name = true)"
                    columns_of = "* EXCLUDE (filename), parse_path(filename)[-2] AS folder"
                    connection.execute(f"CREATE VIEW {name} AS SELECT {columns_of} FROM {table}")  # noqa: S608  quoted paths
            found: duckdb.DuckDBPyRelation | None = (
                connection.sql(query, params=list(values)) if values else connection.sql(query)
            )
        if found is None:
            raise UsageError("asks for nothing", where="--sql", do=_ASK)
        return found

    def _files(self, connection: duckdb.DuckDBPyConnection, file: str) -> list[Path]:
        """Return the tables of that name of the records that are listed; what nobody lists is not read."""
        folders = connection.execute("SELECT folder FROM records").fetchall()
        return [path for (folder,) in folders if (path := self.store / folder / file).is_file()]


@contextmanager
def _explained() -> Iterator[None]:
    """Say in one line what DuckDB has against a question, or against a table that it should read."""
    try:
        yield
    except duckdb.Error as error:
        raise UsageError(" ".join(str(error).split()), where="--sql", do=_ASK) from error


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _plain(value: Any) -> Any:
    """Return null for what was not measured."""
    return None if value == "" or value != value else value  # noqa: PLR0124  NaN is the one value that is not itself
