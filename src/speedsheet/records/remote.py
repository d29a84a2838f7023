"""Stores elsewhere: any URL of fsspec (s3://bucket/store, gs://..., sftp://...), copied to and mirrored from.

A row is sealed on this machine's disk first and then copied: its tables, and measurement.json last, so that whoever
lists the store sees whole records only. Nothing is overwritten; two writers never share a folder, since its name ends
in random letters. To read, records that are not here yet are copied into the cache, each as a folder that appears
whole. https://filesystem-spec.readthedocs.io
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from speedsheet.core.errors import MissingExtra, UsageError
from speedsheet.core.folders import is_hidden, publish
from speedsheet.records.store import MAX_ROW_BYTES, MAX_SAMPLES_BYTES, ROW_FILE, SAMPLES_FILE, WINDOWS_FILE

#: The files of a record, the one that makes it visible last, with the most bytes that each may have.
_FILES = {SAMPLES_FILE: MAX_SAMPLES_BYTES, WINDOWS_FILE: MAX_SAMPLES_BYTES, ROW_FILE: MAX_ROW_BYTES}
_NAME_LETTERS = 200


def is_url(place: str) -> bool:
    """Whether a store is named by a URL, and not by a path."""
    return "://" in place


def local(place: str, cache: Path) -> Path:
    """Return the folder in which a store's records can be read: its own, or the mirror of what a URL holds."""
    return mirrored(place, cache) if is_url(place) else Path(place).expanduser().absolute()


def pushed(record: Path, url: str) -> str:
    """Copy a record into the store at a URL; return where it is. Raises UsageError where it cannot be written."""
    with _reached(url) as (system, root):
        place = f"{root}/{record.name}"
        if system.exists(f"{place}/{ROW_FILE}"):
            raise UsageError(f"there is a record {record.name}", where=url, do="records are not overwritten")
        system.makedirs(place, exist_ok=True)
        for name in _FILES:
            if (record / name).is_file():
                system.put_file(str(record / name), f"{place}/{name}")
    return f"{url.rstrip('/')}/{record.name}"


def mirrored(url: str, cache: Path, told: Callable[[str], None] = lambda _name: None) -> Path:
    """Copy the records of the store at a URL that are not in the cache yet; return the folder that holds them all.

    Raises UsageError where the URL cannot be read.
    """
    folder = cache / "stores" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    with _reached(url) as (system, root):
        if not system.isdir(root):
            raise UsageError("no such store", where=url, do="give the folder that holds records")
        system.invalidate_cache(root)
        for entry in system.ls(root, detail=False):
            name = str(entry).rstrip("/").rpartition("/")[2]
            if is_hidden(name) or not _plain(name):
                continue
            if not (folder / name).exists() and system.exists(f"{entry}/{ROW_FILE}"):
                told(name)
                publish(folder, partial(str, name), partial(_fetch, system, str(entry)))
    return folder


def _plain(name: str) -> bool:
    """Whether a name is one that a folder may have: no separator, no way up."""
    return len(name) <= _NAME_LETTERS and name == Path(name).name and name not in {"", ".", ".."} and "\\" not in name


def _fetch(system: Any, place: str, whole: Path) -> None:
    for name, most_bytes in _FILES.items():
        path = f"{place}/{name}"
        if not system.exists(path):
            continue
        if system.info(path)["size"] > most_bytes:
            raise UsageError(f"{name} is larger than {most_bytes >> 20} MiB", where=place, do="look at what it is")
        system.get_file(path, str(whole / name))


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """Open the file system behind a URL; whatever it raises becomes one line."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra("stores at a URL need fsspec", where=url, do='pip install "speedsheet[remote]"') from error
    try:
        system, root = fsspec.core.url_to_fs(url)
        yield system, str(root).rstrip("/")
    except UsageError:
        raise
    except Exception as error:
        do = "see that the URL is right, its driver is installed (s3fs, gcsfs, ...) and you may use it"
        raise UsageError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", where=url, do=do) from error
