"""A record measured again, as it was asked, on this host.

A record may be a stranger's. What it asks for is measured only where that can do no harm: engines of this installation,
and settings that name neither a file nor a module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from speedsheet.bench.choose import AUTO
from speedsheet.bench.job import request_from_json
from speedsheet.core.errors import RecordDamaged, UsageError
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import AS_IS, RowRequest
from speedsheet.plugins import engine_names
from speedsheet.records import store

_NO_FILE = "give where it is now: --model FILE.onnx"
#: Engines of the package's own, and what in a setting's name or value could reach a file or a module.
_OURS = "speedsheet."
_FILES, _PATHS = ("path", "file", "dir", "library"), ("/", "\\", ":")


def request_of(folder: Path, model: Path | None = None) -> RowRequest:
    """Return the request that measures a record's row again: the same model, inputs and engine, for as long.

    An engine that `auto` chose is asked for by its name. `model` is where a user's own file is now. Raises UsageError
    where the record cannot be read, a file that it names is not there, or it asks for what a record may not.
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
    _refuse(request)
    if model is not None:
        request = replace(request, model=str(model))
    for path in (Path(request.model) if request.own else None, request.data, request.reference):
        if path is not None and not path.is_file():
            raise UsageError("the file that was measured is not there", where=str(path), do=_NO_FILE)
    return request


def _refuse(request: RowRequest) -> None:
    """Raise UsageError for an engine that is not of this installation, and for settings that could reach files."""
    if request.engine not in {AUTO, *engine_names()} and not request.engine.startswith(_OURS):
        what = f"the record was measured on the engine {request.engine!r}, which is not of this installation"
        raise UsageError(what, do="measure it yourself: speedsheet run MODEL --engine NAME")
    for name, value in request.settings.items():
        if any(word in name.lower() for word in _FILES) or any(letter in value for letter in _PATHS):
            what = f"the record sets {name}={value}, which may name a file or a module"
            raise UsageError(what, do=f"measure it yourself: speedsheet run MODEL --set {name}=...")


def same_model(before: Measurement, now: Measurement) -> bool:
    """Whether a row that was measured again is of the same graph and weights."""
    return before.artifact_sha256 == now.artifact_sha256 or before.precision in {"int8", AS_IS}


def _asked(conditions: Mapping[str, Any]) -> RowRequest:
    try:
        return request_from_json(conditions["request"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        where = "conditions.request"
        raise UsageError(f"the record does not say how it was measured ({error})", where=where, do="") from error
