"""A sheet as JSON, for scripts: every key always there, null where unmeasured, nothing rounded."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from speedsheet.core.sheet import SHEET_SCHEMA
from speedsheet.records.canonical import plain
from speedsheet.sheets.cost import Cost
from speedsheet.sheets.document import Document


def content(document: Document) -> dict[str, Any]:
    """Return `schema`, `document`, `host` and `rows`; NaN and infinities are null. Keys are English in any language."""
    price = document.price
    front = asdict(document.front) | {
        "lang": document.words.lang,
        "price_per_hour": price.per_hour if price else None,
        "currency": price.currency or None if price else None,
    }
    rows = [
        row.to_json()
        | {"cost_per_million_samples": asdict(price.of_million(row.throughput_samples_per_s) if price else Cost())}
        for row in document.sheet.rows
    ]
    data: dict[str, Any] = plain({"schema": SHEET_SCHEMA, "document": front, "host": document.sheet.host, "rows": rows})
    return data


def render(document: Document, **more: Any) -> str:
    """Return the document as ASCII JSON text, with more keys behind its own."""
    return json.dumps(content(document) | plain(more), indent=2, allow_nan=False) + "\n"
