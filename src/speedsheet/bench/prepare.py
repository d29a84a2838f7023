"""Everything of a row that the engine under test takes no part in: artifact, inputs, right answers.

Cached by content, in `<cache>/prepared/`: the second measurement of a row begins at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx

from speedsheet import plugins
from speedsheet.bench.inputs import (
    Model,
    calibration_feeds,
    calibration_rows,
    calibration_samples,
    input_feeds,
    sha256_of,
)
from speedsheet.bench.job import Prepared, Say, request_from_json
from speedsheet.bench.judge import check_finite
from speedsheet.bench.labelled import labelled_set
from speedsheet.bench.reference import JUDGE, judge_version, reference_outputs
from speedsheet.convert.graph.shapes import fix_shapes
from speedsheet.convert.own.workload import own_artifact, own_workload
from speedsheet.convert.quantise import float_layers, quantise
from speedsheet.convert.shipping.assemble import assemble
from speedsheet.convert.shipping.recipe import shipped
from speedsheet.convert.shipping.trained import trained
from speedsheet.core import arrays
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput
from speedsheet.core.folders import publish
from speedsheet.core.macs import of_integers
from speedsheet.core.plan import POOL_BATCHES
from speedsheet.core.request import AS_IS, RowRequest
from speedsheet.core.workload import Arrays
from speedsheet.host.facts import allowed_cores
from speedsheet.host.places import cache_folder

#: Counts up when the same request would be prepared otherwise, so that an older cache is not taken for a current one.
_FORM = 2
_CACHE_BYTES = 8 << 30
_IN_USE_S = 3600.0


def prepare(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: return a `Prepared` as JSON, from the cache where it is there."""
    request = request_from_json(job["request"])
    model = _own(request) if request.own else _shipped(request, say)
    say("preparing inputs", None, None)
    feeds, source = input_feeds(request, model, model.batch_size, POOL_BATCHES, request.seed)
    inputs_sha256 = sha256_of(feeds)
    right = _right(request, model)
    known = [_FORM, right.sha256, right.graph_name, inputs_sha256, judge_version()]
    folder = cache_folder() / "prepared" / hashlib.sha256(json.dumps(known).encode()).hexdigest()[:24]
    _used(model.artifact.folder, right.folder)
    if not folder.exists():
        _sweep(cache_folder())
        answers = reference_outputs(right, feeds, allowed_cores(), _telling(say, "computing right answers"))
        check_finite(answers)
        _publish(folder, feeds, answers)
    told = _telling(say, "computing right answers for the labelled samples")
    labelled = labelled_set(request, model, right, cache_folder(), allowed_cores(), told)
    _used(folder, *([labelled.folder] if labelled else []))
    prepared = _prepared(request, model, right, folder, feeds, source, inputs_sha256)
    prepared = replace(prepared, labelled=labelled, weights_source=model.weights_source)
    if prepared.precision == AS_IS:
        prepared = replace(prepared, quantisation=_found_quantised(model.artifact))
    if prepared.precision == "int8":
        say("quantising to int8", None, None)
        prepared = _quantised(prepared, request, model, feeds)
    return prepared.to_json()


def _shipped(request: RowRequest, say: Say) -> Model:
    workload = plugins.workload(request.model)
    batch_size = request.batch_size or workload.batch_size
    if request.weights is None:
        artifact = assemble(request.model, cache_folder(), tell=lambda done: say("drawing weights", done, None))
        source = f"drawn, seed {shipped(request.model).seed}"
    else:
        say("reading and exporting the weights", None, None)
        tell = lambda done: say("fetching the weights", done, None)  # noqa: E731
        found = trained(request.model, request.weights, cache_folder(), tell)
        artifact, source = found.artifact, found.source
        workload = replace(workload, limits={})  # those were found with drawn weights
    shapes = {spec.name: spec.at(batch_size) for spec in workload.inputs}
    return Model(workload, fix_shapes(artifact, shapes), batch_size, source)


def _own(request: RowRequest) -> Model:
    path = Path(request.model)
    own = own_workload(path, inputs=request.inputs, batch_size=request.batch_size, carry=request.carry)
    artifact = own_artifact(path, own, cache_folder())
    return Model(own.workload, artifact, own.workload.batch_size, "the file's own", own.assumptions)


def _right(request: RowRequest, model: Model) -> Artifact:
    """Return the artifact whose FP32 outputs are the right ones: the model's own, or the reference that was given."""
    if request.reference is None:
        return model.artifact
    own = own_workload(request.reference, inputs=request.inputs, batch_size=request.batch_size)
    mine, theirs = (
        {spec.name: spec.at(model.batch_size) for spec in workload.inputs}
        for workload in (model.workload, own.workload)
    )
    if mine != theirs:
        raise BadInput(
            f"the reference takes {theirs}, the model {mine}",
            where=str(request.reference),
            do="give the model that this one was quantised from, with the same inputs",
        )
    return own_artifact(request.reference, own, cache_folder())


def _found_quantised(artifact: Artifact) -> dict[str, Any]:
    """Say what a file that was quantised elsewhere leaves in floating point; nothing where it is not quantised."""
    model = onnx.load(artifact.graph, load_external_data=False)
    if not any(node.op_type == "DequantizeLinear" or of_integers(node.op_type) for node in model.graph.node):
        return {}
    return {"tool": "the file's own", "float_layers": float_layers(model)}


def _quantised(prepared: Prepared, request: RowRequest, model: Model, feeds: Sequence[Arrays]) -> Prepared:
    """Put the int8 artifact in the place of the one that it is judged by."""
    calibration = calibration_feeds(request, model, feeds)
    made = quantise(model.artifact, calibration, sha256_of(calibration), cache_folder())
    _used(made.artifact.folder)
    facts = {key: value for key, value in asdict(made).items() if key != "artifact"}
    facts["calibration_samples"] = calibration_samples(request, model)
    shapes = {name: feed.shape for name, feed in feeds[0].items()}
    labelled = prepared.labelled
    if labelled:
        labelled = replace(labelled, left_out=calibration_rows(request, model, labelled.samples))
    return replace(prepared, artifact=fix_shapes(made.artifact, shapes), quantisation=facts, labelled=labelled)


def _publish(folder: Path, feeds: Sequence[Arrays], answers: Sequence[Arrays]) -> None:
    def fill(hidden: Path) -> None:
        for kind, pool in (("inputs", feeds), ("reference", answers)):
            (hidden / kind).mkdir()
            for slot, named in enumerate(pool):
                arrays.save(hidden / kind / str(slot), named, list(pool[0]))
        (hidden / "outputs.json").write_text(json.dumps(list(answers[0])), encoding="utf-8")

    with suppress(FileExistsError):  # another process prepared the same meanwhile
        publish(folder.parent, lambda: folder.name, fill)


def _prepared(
    request: RowRequest,
    model: Model,
    right: Artifact,
    folder: Path,
    feeds: Sequence[Arrays],
    source: str,
    inputs_sha256: str,
) -> Prepared:
    workload = model.workload
    return Prepared(
        model=request.model,
        framework=workload.framework,
        task=workload.task,
        source=workload.source,
        batch_size=model.batch_size,
        thread_num=request.thread_num or workload.thread_num,
        precision=request.precision or workload.precisions[0],
        artifact=model.artifact,
        right=right,
        folder=folder,
        slots=len(feeds),
        inputs=tuple(feeds[0]),
        outputs=tuple(json.loads((folder / "outputs.json").read_text(encoding="utf-8"))),
        inputs_sha256=inputs_sha256,
        inputs_source=source,
        reference=f"{JUDGE} {judge_version()}, fp32, graph optimisation off; {right.check}",
        shapes={name: [str(array.dtype), *array.shape] for name, array in feeds[0].items()},
        limits=dict(workload.limits),
    )


def _telling(say: Say, stage: str) -> Callable[[float], None]:
    """Return what tells which share of a stage is done."""
    return lambda done: say(stage, done, None)


def _used(*folders: Path) -> None:
    """Note that folders of the cache are in use: the next sweep, of whichever process, passes them over."""
    for folder in folders:
        os.utime(folder)


def _sweep(cache: Path) -> None:
    """Drop what was used longest ago while inputs and users' models are above their size; what may be in use stays."""
    kinds = ("prepared/*", "own-*", "int8-*", "trained-*", "fetched-*")
    entries = sorted((path.stat().st_mtime, path) for kind in kinds for path in cache.glob(kind))
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for _, path in entries}
    total = sum(sizes.values())
    for used, path in entries:
        if total <= _CACHE_BYTES or time.time() - used < _IN_USE_S:
            return
        shutil.rmtree(path, ignore_errors=True)
        total -= sizes[path]
