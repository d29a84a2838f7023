"""A shipped model with trained weights in place of drawn ones: read and exported in its framework, proved, cached.

Only this needs the framework, once for each file of weights: an artifact in the cache is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speedsheet import __version__, plugins
from speedsheet.convert.graph.count import count
from speedsheet.convert.shipping.assemble import RECORD, SCHEMA, file_sha256
from speedsheet.convert.shipping.fetch import fetch
from speedsheet.convert.shipping.layout import finish
from speedsheet.convert.shipping.recipe import GRAPH, TOLERANCE, WEIGHTS, Weight, relayout, shipped
from speedsheet.convert.shipping.ship import author_of, compare, proof_samples, run_plain
from speedsheet.convert.shipping.weights import Author
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput, BadModel, MissingExtra, RowFailed
from speedsheet.core.folders import publish
from speedsheet.core.workload import Arrays, Workload

#: Counts up when the same weights would be stored otherwise.
_FORM = 1
_PROOF_SEED = 4
_KNOWN = ("sha256", "size_bytes", "parameters", "macs_per_sample", "check")

Tell = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """An artifact with trained weights, and where they came from: file and hash, or the framework's name for them."""

    artifact: Artifact
    source: str


def offered(name: str) -> tuple[str, ...]:
    """Return the names of the trained weights that the model's framework offers."""
    build = plugins.workload(name).build
    return tuple(build.offers) if isinstance(build, Author) else ()


def check_weights(name: str, weights: str) -> None:
    """Raise BadInput, before anything is built, for weights that the model `name` cannot be given."""
    author = author_of(plugins.workload(name))
    if weights in author.offers:
        return
    path = Path(weights)
    if not path.suffix and not path.exists():
        known = ", ".join(author.offers)
        what = f"the framework of {name} offers no weights called {weights!r}"
        raise BadInput(what, do=f"{f'it has {known}; ' if known else ''}give a file that the framework wrote")
    refusal = author.refusal(path)
    if not path.is_file():
        raise BadInput("no such file", where=weights, do="give a file of weights, or a name that the framework offers")
    if refusal is not None:
        raise refusal


def trained(name: str, weights: str, cache: Path, tell: Tell = lambda _done: None) -> Trained:
    """Return the shipped model with these weights, from the cache where they were exported before.

    `tell` hears how much of a download is done. Raises BadInput for a file that is damaged, hostile or another
    model's, MissingExtra without the framework, RowFailed where a download fails.
    """
    workload = plugins.workload(name)
    author = author_of(workload)
    offer = author.offers.get(weights)
    file = fetch(offer, cache, tell) if offer else Path(weights)
    sha256 = file_sha256(file)
    known = [_FORM, name, sha256, shipped(name).graph_sha256, __version__]
    folder = cache / f"trained-{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:24]}"
    if not (folder / RECORD).exists():
        _make(workload, author, file, folder)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    source = f"{weights}, {offer.url}" if offer else file.name
    return Trained(Artifact(folder, **{key: record[key] for key in _KNOWN}), f"{source}, sha256 {sha256}")


def _make(workload: Workload, author: Author, file: Path, folder: Path) -> None:
    try:
        model = author()
        author.load(model, file)
    except ModuleNotFoundError as error:
        do = 'pip install "speedsheet[frameworks]": trained weights are read and exported by the model\'s framework'
        raise MissingExtra(f"{error.name} is not installed", where=workload.name, do=do) from error
    try:
        publish(folder.parent, lambda: folder.name, lambda whole: _fill(whole, workload, author, model))
    except FileExistsError:  # another process was first
        pass
    except OSError as error:
        what = f"the artifact cannot be written: {error}"
        raise RowFailed(what, where=str(folder.parent), do="free room there, or choose another folder") from error


def _fill(whole: Path, workload: Workload, author: Author, model: Any) -> None:
    """Export, write graph and weights, prove them equal to the framework, and write what is known of them."""
    values = author.values(model)
    shapes = {path: value.shape for path, value in values.items()}
    proto, weights = finish(author.export(model, workload.inputs), shapes, author.rule)
    (whole / GRAPH).write_bytes(proto.SerializeToString(deterministic=True))
    _write(weights, values, whole / WEIGHTS)
    counts = count(proto, {spec.name: spec.at(1) for spec in workload.inputs})
    sha256 = hashlib.sha256((file_sha256(whole / GRAPH) + file_sha256(whole / WEIGHTS)).encode()).hexdigest()
    size_bytes = sum(path.stat().st_size for path in whole.iterdir())
    artifact = Artifact(whole, sha256, size_bytes, counts.parameters, counts.macs, "")
    record = {
        "schema": SCHEMA,
        "model": workload.name,
        "sha256": sha256,
        "size_bytes": size_bytes,
        "parameters": counts.parameters,
        "macs_per_sample": counts.macs,
        "check": _proof(workload, author, model, artifact),
        "made_with": {"speedsheet": __version__, "numpy": np.__version__, **author.versions()},
    }
    (whole / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _write(weights: tuple[Weight, ...], values: Arrays, path: Path) -> None:
    with path.open("wb") as stream:
        for weight in weights:
            stream.write(bytes(weight.offset - stream.tell()))
            stream.write(relayout(values[weight.variable], weight.steps).astype("<f4", copy=False).tobytes())


def _proof(workload: Workload, author: Author, model: Any, artifact: Artifact) -> str:
    feed = workload.draw(_PROOF_SEED, proof_samples(shipped(workload.name)))
    reference = author.predict(model, feed)
    proof = compare(reference, run_plain(artifact, feed, reference))
    if not proof.holds:
        raise BadModel(
            f"with these weights output {proof.output!r} is {proof.max_abs_error:.2e} off the framework's, of a scale "
            f"of {proof.output_scale:.2e}",
            where=workload.name,
            do=f"the limit is {TOLERANCE:.0e} of the scale: look for weights that overflow",
        )
    return proof.said(workload.framework)
