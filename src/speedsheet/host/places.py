"""Where this user's records and artifacts live."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_folder() -> Path:
    """Return the folder of records and sheets: SPEEDSHEET_DATA, or the user's data folder. It may not exist yet."""
    return _place("SPEEDSHEET_DATA", platformdirs.user_data_path("speedsheet", appauthor=False))


def cache_folder() -> Path:
    """Return the folder of artifacts: SPEEDSHEET_CACHE, or the user's cache folder. It may not exist yet."""
    return _place("SPEEDSHEET_CACHE", platformdirs.user_cache_path("speedsheet", appauthor=False))


def clocks_file() -> Path:
    """Return the file that holds what the clocks were before they were locked. It exists only while they are."""
    return data_folder() / "clocks.json"


def _place(variable: str, usual: Path) -> Path:
    chosen = os.environ.get(variable, "").strip()
    return Path(chosen).expanduser().absolute() if chosen else usual
