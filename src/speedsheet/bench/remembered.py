"""Audits, remembered: what an engine executes does not change between rows, and loading a model twice takes time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from speedsheet import __version__
from speedsheet.host.facts import host_facts
from speedsheet.host.places import cache_folder

#: Counts up when an audit tells something else.
_FORM = 3


def remembered(known: list[Any], find: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `find` found for the same `known`, on this processor and by this version, or ask it now."""
    host = host_facts()
    text = json.dumps([_FORM, *known, host["cpu"], host["cpu_flags"], __version__], sort_keys=True, default=str)
    path = cache_folder() / "audits" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    found = find()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(found), encoding="utf-8")
    draft.replace(path)
    return found
