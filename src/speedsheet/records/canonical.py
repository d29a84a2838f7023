"""Values as JSON that every reader accepts, and the one byte string that a seal is taken over."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Return `value` as JSON-ready data: mappings, lists, text, numbers, booleans, null.

    NaN and infinities become null, for JSON has neither and neither is a measurement.
    """
    if isinstance(value, bool | int | str | float | None):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return plain(_opened(value))


def _opened(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy, scalars too
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no spaces, ASCII only: the same bytes for the same content."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
