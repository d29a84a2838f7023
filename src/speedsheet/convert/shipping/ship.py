"""A developer's command: make the folder that ships for a model, and prove it against the model's framework.

    python -m speedsheet.convert.shipping.ship [--remake] MODEL...

Needs the extra `frameworks`. `--remake` makes the small arrays from data again instead of keeping those that ship.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from speedsheet import plugins
from speedsheet.convert.graph.count import count
from speedsheet.convert.shipping.assemble import assemble, draw_weights
from speedsheet.convert.shipping.layout import finish
from speedsheet.convert.shipping.recipe import (
    ARRAYS,
    GRAPH,
    RECIPE,
    TOLERANCE,
    WEIGHTS,
    Proof,
    Recipe,
    shipped,
    shipped_folder,
)
from speedsheet.convert.shipping.weights import SEED, Author, first, is_large
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineUnavailable, Setup
from speedsheet.core.errors import BadModel, MissingExtra, SpeedsheetError, UsageError
from speedsheet.core.workload import Arrays, Workload

_PROOF_SEED = 4
_PROOF_SAMPLES = 8
_FEWEST_SAMPLES = 3
#: What a proof may cost; a large model is proved on fewer samples.
_PROOF_MACS = 200_000_000_000

Run = Callable[[Artifact, Arrays, Arrays], Arrays]


def ship(name: str, folder: Path, run: Run, *, remake: bool = False) -> Recipe:
    """Make graph.onnx, arrays.npz and recipe.json of the model in `folder`, and return the proved recipe.

    `run(artifact, feed, like)` computes the outputs that `like` has; it must not optimise the graph. Raises BadModel
    where the graph does not compute what the framework computes; then no recipe is written.
    """
    workload = plugins.workload(name)
    author = author_of(workload)
    folder.mkdir(parents=True, exist_ok=True)
    if remake:
        (folder / ARRAYS).unlink(missing_ok=True)
        (folder / RECIPE).unlink(missing_ok=True)
    try:
        model = author()
    except ModuleNotFoundError as error:
        do = 'pip install "speedsheet[frameworks]"'
        raise MissingExtra(f"{error.name} is not installed", where=name, do=do) from error
    values = author.values(model)
    if not (folder / ARRAYS).exists():
        np.savez_compressed(folder / ARRAYS, **made_from_data(values, author))
    recipe = write_graph(workload, author, model, folder)
    (folder / RECIPE).write_text(recipe.to_json(), encoding="utf-8")
    try:
        proved = replace(recipe, proof=prove(workload, author, model, folder, run))
    except Exception:
        (folder / RECIPE).unlink()
        raise
    (folder / RECIPE).write_text(proved.to_json(), encoding="utf-8")
    return proved


def made_from_data(values: Arrays, author: Author) -> dict[str, Any]:
    """Return the small variables that no longer have the value that is drawn for them."""
    small = {path: value for path, value in values.items() if not is_large(value.shape)}
    return {path: value for path, value in small.items() if (value != first(path, value.shape, author.rule)).any()}


def author_of(workload: Workload) -> Author:
    """Return what builds and exports the model."""
    if not isinstance(workload.build, Author):
        raise UsageError("the model's build cannot be exported", where=workload.name, do="make it a convert.*.Author")
    return workload.build


def write_graph(workload: Workload, author: Author, model: Any, folder: Path) -> Recipe:
    """Export the model, write its graph into `folder`, and return the recipe, not yet proved."""
    shapes = {path: value.shape for path, value in author.values(model).items()}
    proto, weights = finish(author.export(model, workload.inputs), shapes, author.rule)
    graph = proto.SerializeToString(deterministic=True)
    (folder / GRAPH).write_bytes(graph)
    counts = count(proto, {spec.name: spec.at(1) for spec in workload.inputs})
    recipe = Recipe(
        model=workload.name,
        framework=workload.framework,
        seed=SEED,
        opset=max(opset.version for opset in proto.opset_import if opset.domain in {"", "ai.onnx"}),
        parameters=counts.parameters,
        macs_per_sample=counts.macs,
        graph_sha256=hashlib.sha256(graph).hexdigest(),
        weights_sha256="",
        weights_bytes=weights[-1].offset + weights[-1].length if weights else 0,
        versions={**author.versions(), "onnx": version("onnx")},
        proof=None,
        weights=weights,
    )
    with tempfile.TemporaryDirectory() as scratch:
        return replace(recipe, weights_sha256=draw_weights(recipe, Path(scratch) / WEIGHTS))


def prove(workload: Workload, author: Author, model: Any, folder: Path, run: Run) -> Proof:
    """Assemble what is in `folder` and compare it with the framework on drawn inputs."""
    feed = workload.draw(_PROOF_SEED, proof_samples(shipped(workload.name, folder)))
    reference = author.predict(model, feed)
    with tempfile.TemporaryDirectory() as cache:
        artifact = assemble(workload.name, Path(cache), folder=folder)
        onnx.checker.check_model(artifact.graph)  # here, since it wants the external weights beside the graph
        outputs = run(artifact, feed, reference)
    proof = compare(reference, outputs)
    if not proof.holds:
        raise BadModel(
            f"output {proof.output!r} is {proof.max_abs_error:.2e} off, of a scale of {proof.output_scale:.2e}",
            where=workload.name,
            do=f"mend the export: the limit is {TOLERANCE:.0e} of the scale",
        )
    return proof


def proof_samples(recipe: Recipe) -> int:
    """Return how many samples prove a model: eight, or fewer where they would take minutes to compute."""
    return max(_FEWEST_SAMPLES, min(_PROOF_SAMPLES, _PROOF_MACS // max(recipe.macs_per_sample, 1)))


def compare(reference: Arrays, outputs: Arrays) -> Proof:
    """Compare outputs with the framework's, by name; a missing output or a NaN is an infinite error."""
    proofs = []
    for name, wanted in reference.items():
        got = outputs.get(name)
        same = got is not None and got.shape == wanted.shape and bool(np.isfinite(got).all())
        error = float(np.abs(got - wanted).max()) if same else float("inf")
        scale = float(np.abs(wanted).max()) or float(np.finfo(np.float32).tiny)
        spread = float((wanted - wanted.mean(axis=0)).std()) / scale
        proofs.append(Proof(len(wanted), name, error, scale, spread))
    worst = max(proofs, key=lambda proof: proof.max_abs_error / proof.output_scale)
    return replace(worst, output_spread=min(proof.output_spread for proof in proofs))


def run_plain(artifact: Artifact, feed: Arrays, like: Arrays) -> Arrays:
    """Compute on ONNX Runtime with graph optimisation off: the judge of every export."""
    engine = plugins.engine("onnxruntime")
    info = engine.probe()
    if isinstance(info, EngineUnavailable):
        raise MissingExtra(info.reason, where=info.name, do=info.do)
    samples = len(next(iter(feed.values())))
    settings = {"graph_optimization_level": "disable"}
    setup = Setup(info.default_device, "fp32", samples, 1, os.cpu_count() or 1, settings)
    session = engine.load(artifact, setup, lambda: None)
    try:
        request = session.bind(feed, {name: np.empty_like(value) for name, value in like.items()})
        request.run()
        return request.outputs()
    finally:
        session.close()


def main(arguments: list[str]) -> int:
    """Ship each named model; progress goes to standard error, since this is a developer's tool and not the product."""
    names = [argument for argument in arguments if argument != "--remake"]
    for name in names:
        try:
            recipe = ship(name, Path(str(shipped_folder(name))), run_plain, remake="--remake" in arguments)
        except SpeedsheetError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        sys.stderr.write(
            f"{name}: {recipe.parameters / 1e6:.2f} M, {2e-9 * recipe.macs_per_sample:.6f} GFLOP, {recipe.proof}\n"
        )
    return 0 if names else 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
