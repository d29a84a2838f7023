"""What tests of records share: rows that were measured for real, and records that were altered and sealed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speedsheet.bench.sheet import measure_sheet
from speedsheet.core.request import RowRequest
from speedsheet.records import store
from speedsheet.records.canonical import canonical


def asked(model: Path, **changes: Any) -> RowRequest:
    """Ask for a short row of a small model on ONNX Runtime."""
    given = {"engine": "onnxruntime", "precision": "fp32", "thread_num": 2, "window_s": 0.5, **changes}
    return RowRequest(str(model), **given)


def measured(model: Path, folder: Path, **changes: Any) -> Path:
    """Measure a row in real processes; return its record."""
    (row,) = measure_sheet([asked(model, **changes)], store=folder).rows
    assert row.status == "ok", row.error
    return Path(str(row.record))


def altered(record: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change what a record says and seal it again, as who wants to deceive would."""
    path = record / store.ROW_FILE
    content = json.loads(path.read_text())
    change(content)
    content.pop("seal", None)
    content["seal"] = hashlib.sha256(canonical(content)).hexdigest()
    path.write_text(json.dumps(content))
    return record


def rehashed(content: dict[str, Any], table: str, path: Path) -> None:
    """Put a table's new hash into what a record says."""
    content[table]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
