"""A sheet as JSON, for scripts: every key always there, null where unmeasured, nothing rounded."""

from __future__ import annotations

import json
from typing import Any

from speedsheet.core.sheet import SHEET_SCHEMA, Sheet
from speedsheet.records.canonical import plain


def document(sheet: Sheet) -> dict[str, Any]:
    """Return `schema`, `host` and `rows`; NaN and infinities are null."""
    data: dict[str, Any] = plain(
        {"schema": SHEET_SCHEMA, "host": sheet.host, "rows": [row.to_json() for row in sheet.rows]}
    )
    return data


def render(sheet: Sheet) -> str:
    """Return the document as ASCII JSON text."""
    return json.dumps(document(sheet), indent=2, allow_nan=False) + "\n"
