"""A comparison on disk: one immutable folder with every block and the raw samples.

    <store>/<utc>-<model>-<8 hex>/
        comparison.json            schema, created_utc, comparison, blocks, conditions, samples, seal
        samples-<side>-<n>.parquet one row a request of side a or b in the n-th start, see core.samples

A block counts the requests of its file that completed after its `open_ns` and until its `close_ns`. `seal` is the
SHA-256 of the canonical JSON without itself; it covers the samples' hashes.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from speedsheet.core.comparison import COMPARE_SCHEMA, Block, Comparison
from speedsheet.core.errors import RecordDamaged
from speedsheet.core.folders import publish, safe_name
from speedsheet.records import columns
from speedsheet.records.canonical import canonical, plain

FILE = "comparison.json"
_REPAIR = "compare again, or restore the folder from a copy"


def seal(
    store: Path, comparison: Comparison, blocks: Sequence[Block], taken: Path | None, conditions: Mapping[str, Any]
) -> Comparison:
    """Write a comparison as a new folder of `store`, the files of samples in `taken` moved into it.

    Return it with `record` set to the folder. Raises OSError where the store cannot be written.
    """
    created = datetime.now(UTC)
    model = safe_name(comparison.a.model.rpartition("/")[2].removesuffix(".onnx"), "model")
    files = sorted(taken.glob("*.parquet")) if taken else []

    def fill(folder: Path) -> None:
        for path in files:
            shutil.move(path, folder / path.name)
        body: dict[str, Any] = plain(
            {
                "schema": COMPARE_SCHEMA,
                "created_utc": created.isoformat(timespec="microseconds"),
                "comparison": comparison.to_json(),
                "blocks": [asdict(block) for block in blocks],
                "conditions": conditions,
                "samples": {path.name: columns.sha256(folder / path.name) for path in files},
            }
        )
        text = json.dumps({**body, "seal": _seal_of(body)}, indent=1, allow_nan=False)
        (folder / FILE).write_text(text + "\n", encoding="ascii")

    name = f"{created.strftime('%Y%m%dT%H%M%SZ')}-{model}"
    folder = publish(store.absolute(), lambda: f"{name}-{secrets.token_hex(4)}", fill)
    return replace(comparison, record=str(folder))


def verify(folder: Path) -> dict[str, Any]:
    """Return the content of a comparison's file after its seal and the hashes of its samples were checked.

    Raises RecordDamaged, naming what does not match.
    """
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        stated = content.pop("seal", None)
        found = {name: columns.sha256(folder / Path(name).name) for name in content["samples"]}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecordDamaged(f"{FILE} cannot be read: {error}", where=str(folder), do=_REPAIR) from error
    if content.get("schema") != COMPARE_SCHEMA or stated != _seal_of(content):
        raise RecordDamaged(f"{FILE} does not match its seal", where=str(folder), do=_REPAIR)
    if found != content["samples"]:
        wrong = ", ".join(sorted(name for name in found if found[name] != content["samples"][name]))
        raise RecordDamaged(f"{wrong} does not match its hash", where=str(folder), do=_REPAIR)
    return content


def _seal_of(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()
