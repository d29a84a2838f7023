"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

#: How a folder begins that is not whole; a later `publish` in the same place sweeps what was left.
UNFINISHED = ".unfinished-"
_ABANDONED_S = 3600.0
_NAME_TRIES = 1000


def publish(parent: Path, name: Callable[[], str], fill: Callable[[Path], None]) -> Path:
    """Fill a hidden folder in `parent`, then rename it to `name()`; a kill at any moment leaves nothing half-visible.

    `name` is asked again where another writer took the name first; nothing is ever overwritten. Raises OSError.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    hidden = parent / f"{UNFINISHED}{secrets.token_hex(8)}"
    hidden.mkdir()
    try:
        fill(hidden)
        for path in hidden.iterdir():
            _sync(path)
        _sync(hidden)
        final = _rename(hidden, parent, name)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    _sync(parent)
    return final


def is_visible(path: Path) -> bool:
    """Whether a folder of a store is one that `publish` finished."""
    return not is_hidden(path.name) and path.is_dir()


def is_hidden(name: str) -> bool:
    """Whether a folder's name is one that a store does not show: of what is not finished, or of the system's own."""
    return name.startswith(".")


def safe_name(text: str, fallback: str, limit: int = 40) -> str:
    """Return what of a hostile text can stand in a file name: ASCII letters, digits, ``_`` and inner ``.``."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    kept = re.sub(r"[^A-Za-z0-9_.]+", "_", ascii_text)
    return re.sub(r"\.{2,}", ".", kept)[:limit].strip("._") or fallback


def _rename(hidden: Path, parent: Path, name: Callable[[], str]) -> Path:
    for _ in range(_NAME_TRIES):
        final = parent / name()
        if final.exists():  # os.rename replaces an empty folder without a word
            continue
        try:
            hidden.rename(final)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        else:
            return final
    raise FileExistsError(errno.EEXIST, "every name that was tried is taken", str(final))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    """Remove what writers that were killed long ago left behind."""
    for path in parent.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # another writer swept it first
            continue
