"""A record measured again, as it was asked, on this host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speedsheet.bench.job import request_from_json
from speedsheet.core.errors import RecordDamaged, UsageError
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import AS_IS, RowRequest
from speedsheet.records import store

_NO_FILE = "give where it is now: --model FILE.onnx"


def request_of(folder: Path, model: Path | None = None) -> RowRequest:
    """Return the request that measures a record's row again: the same model, inputs and engine, for as long.

    An engine that `auto` chose is asked for by its name. `model` is where a user's own file is now. Raises UsageError
    where the record cannot be read, or a file that it names is not there.
    """
    try:
        record = store.read(folder)
        asked = _asked(record.conditions)
    except RecordDamaged as error:
        raise UsageError(error.what, where=error.where, do=error.do) from error
    row = record.measurement
    request = replace(
        asked, engine=row.engine or asked.engine, device=row.device or asked.device, precision=row.precision,
        batch_size=row.batch_size, thread_num=row.thread_num,
    )  # fmt: skip
    if model is not None:
        request = replace(request, model=str(model))
    for path in (Path(request.model) if request.own else None, request.data, request.reference):
        if path is not None and not path.is_file():
            raise UsageError("the file that was measured is not there", where=str(path), do=_NO_FILE)
    return request


def same_model(before: Measurement, now: Measurement) -> bool:
    """Whether a row that was measured again is of the same graph and weights."""
    return before.artifact_sha256 == now.artifact_sha256 or before.precision in {"int8", AS_IS}


def _asked(conditions: Mapping[str, Any]) -> RowRequest:
    try:
        return request_from_json(conditions["request"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = "conditions.request"
        raise UsageError(f"the record does not say how it was measured ({error})", where=where, do="") from error
