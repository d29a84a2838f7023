"""Where operators come from: the zoo's shipped graphs, a user's own file, or what a sheet says of a model's work.

Operators that were read once are kept as JSON in a cache folder, by the hash of the graph.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnx.inliner

from speedsheet.convert.graph.file import located, read_model
from speedsheet.convert.graph.shapes import write_shapes
from speedsheet.convert.graph.walk import skeleton
from speedsheet.convert.own.sizes import request_sizes
from speedsheet.convert.shipping.recipe import GRAPH, shipped_folder
from speedsheet.core.errors import BadModel
from speedsheet.core.workload import InputSpec
from speedsheet.plugins import workload, workloads
from speedsheet.published.row import PublishedRow
from speedsheet.twin.operators import workpiece
from speedsheet.twin.types import Operator, Workpiece

#: Counts up when the same graph would be read otherwise, so that older readings are not taken for current ones.
_FORM = 2


def zoo_piece(name: str, cache: Path | None = None) -> Workpiece:
    """Return the operators of a shipped model. Raises UnknownName for a name that is none."""
    inputs = {spec.name: spec.at(1) for spec in workload(name).inputs}
    try:
        data = shipped_folder(name).joinpath(GRAPH).read_bytes()
    except OSError as error:
        raise BadModel("no graph ships for this model", where=name, do="give its .onnx file") from error
    kept = _kept(cache, data)
    if kept is None:
        kept = workpiece(onnx.ModelProto.FromString(data), name, inputs)
        _keep(cache, data, kept)
    return kept


def own_piece(path: Path, inputs: Sequence[InputSpec] = ()) -> Workpiece:
    """Return the operators of a user's .onnx file; what `inputs` leaves out gets a sensible size.

    Raises BadModel for the file, BadInput that names the input whose shape is needed.
    """
    model = read_model(path)
    with located(path):
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        sizes = request_sizes(model, {spec.name: spec for spec in inputs}, None)
        light = skeleton(model)
        write_shapes(light, sizes.shapes)
        return workpiece(light, path.stem, sizes.shapes, samples=max(sizes.batch, 1))


def stated_piece(name: str, gmac_per_sample: float, params_millions: float | None) -> Workpiece:
    """Return a model of which only its work is stated, as one product; what its inputs hold is not known."""
    macs = round(gmac_per_sample * 1e9)
    whole = Operator(name, "conv", m=1, k=macs, n=1, weight_elements=round((params_millions or 0.0) * 1e6))
    return Workpiece(name, (whole,), input_bytes=0, output_bytes=0, input_elements=0)


def row_piece(row: PublishedRow, cache: Path | None = None) -> Workpiece | None:
    """Return the work of a published row: the zoo's graph of its model, or what the sheet states; None for neither."""
    if row.model in workloads():
        return zoo_piece(row.model, cache)
    if row.gmac_per_sample is None or row.gmac_per_sample.value <= 0:
        return None
    params = row.params_millions
    return stated_piece(row.model, row.gmac_per_sample.value, params.value if params else None)


def zoo_or_own(name: str, inputs: Sequence[InputSpec] = (), cache: Path | None = None) -> Workpiece:
    """Return the operators of a model by name, or of an .onnx file."""
    return own_piece(Path(name), inputs) if name.endswith(".onnx") else zoo_piece(name, cache)


def _place(cache: Path, data: bytes) -> Path:
    return cache / "twin" / f"{hashlib.sha256(data).hexdigest()[:24]}-{_FORM}.json"


def _kept(cache: Path | None, data: bytes) -> Workpiece | None:
    if cache is None:
        return None
    try:
        content: dict[str, Any] = json.loads(_place(cache, data).read_text(encoding="utf-8"))
        return Workpiece(**{**content, "operators": tuple(Operator(**item) for item in content["operators"])})
    except (OSError, ValueError, TypeError, KeyError):  # absent, or written by another version: read the graph again
        return None


def _keep(cache: Path | None, data: bytes, piece: Workpiece) -> None:
    """Write a reading beside the others, whole or not at all; a cache that cannot be written is none."""
    if cache is None:
        return
    place = _place(cache, data)
    draft = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(asdict(piece)), encoding="utf-8")
        draft.replace(place)
    except OSError:
        with suppress(OSError):
            draft.unlink()
