"""The artifact cache: a shipped graph and its drawn weights, put together once, in seconds, without a framework."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from speedsheet import __version__
from speedsheet.convert.shipping.recipe import GRAPH, WEIGHTS, Recipe, shipped, shipped_folder
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import RowFailed
from speedsheet.core.folders import UNFINISHED, publish

RECORD = "record.json"
SCHEMA = "speedsheet.artifact/1"
_READ_BYTES = 1 << 22

Tell = Callable[[float], None]
__all__ = ["assemble", "shipped"]


def assemble(name: str, cache: Path, *, tell: Tell = lambda _: None, folder: Path | None = None) -> Artifact:
    """Return the artifact of a shipped model, drawing its weights into `cache` unless they are there and whole.

    Two processes may do this at once: each draws into a folder of its own, and the first to finish moves it into
    place. `tell` hears the share that is done. `folder` overrides where the shipped graph lies. Raises RowFailed
    where the weights do not come out as shipped, or the cache cannot be written.
    """
    recipe = shipped(name, folder)
    target = cache / f"{name}-{artifact_sha256(recipe)[:16]}"
    found = _verified(target, recipe)
    if found is not None:
        return found
    graph = (folder or shipped_folder(name)).joinpath(GRAPH).read_bytes()
    if hashlib.sha256(graph).hexdigest() != recipe.graph_sha256:
        raise RowFailed("the shipped graph is damaged", where=name, do="reinstall speedsheet")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if target.exists() and _verified(target, recipe) is None:
            _move_away(target)
        publish(cache, lambda: target.name, lambda whole: _fill(whole, recipe, graph, tell))
    except OSError as error:
        found = _verified(target, recipe)
        if found is not None:  # another process was first
            return found
        size_mb = recipe.weights_bytes / 1e6
        raise RowFailed(
            f"the artifact cannot be written: {error}",
            where=str(cache),
            do=f"free {size_mb:.0f} MB or choose another folder",
        ) from error
    return _artifact(target, recipe)


def artifact_sha256(recipe: Recipe) -> str:
    """Return the hash that names the artifact: of the graph's hash and the weights'."""
    return hashlib.sha256((recipe.graph_sha256 + recipe.weights_sha256).encode()).hexdigest()


def draw_weights(recipe: Recipe, path: Path, tell: Tell = lambda _: None) -> str:
    """Write weights.bin array by array and return its SHA-256; at most one array is in memory."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for weight in recipe.weights:
            padding = bytes(weight.offset - stream.tell())
            data = weight.draw(recipe.seed).astype("<f4", copy=False).reshape(-1).view(np.uint8).data
            for part in (padding, data):
                digest.update(part)
                stream.write(part)
            tell(stream.tell() / max(recipe.weights_bytes, 1))
    return digest.hexdigest()


def _fill(whole: Path, recipe: Recipe, graph: bytes, tell: Tell) -> None:
    """Write graph, weights and record; the record last, so that a folder with one is complete."""
    (whole / GRAPH).write_bytes(graph)
    drawn = draw_weights(recipe, whole / WEIGHTS, tell)
    if drawn != recipe.weights_sha256:
        raise RowFailed(
            f"the drawn weights hash to {drawn[:16]}, shipped were {recipe.weights_sha256[:16]}",
            where=recipe.model,
            do=f"report it with your CPU and numpy {np.__version__}: every machine must draw the same",
        )
    record = {
        "schema": SCHEMA,
        "model": recipe.model,
        "sha256": artifact_sha256(recipe),
        "graph_sha256": recipe.graph_sha256,
        "weights_sha256": recipe.weights_sha256,
        "parameters": recipe.parameters,
        "macs_per_sample": recipe.macs_per_sample,
        "check": _check(recipe),
        "made_with": {"speedsheet": __version__, "numpy": np.__version__},
        "weights_bytes": recipe.weights_bytes,
        "weights_mtime_ns": (whole / WEIGHTS).stat().st_mtime_ns,
    }
    (whole / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _move_away(damaged: Path) -> None:
    """Clear the place of an artifact that is not whole, in one step for whoever else looks there."""
    aside = damaged.with_name(f"{UNFINISHED}{damaged.name}-{time.time_ns()}")
    with suppress(FileNotFoundError):
        damaged.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _verified(target: Path, recipe: Recipe) -> Artifact | None:
    """Return the artifact in `target` if it is complete and as recorded.

    The weights are read again only if their size or time of change is not the recorded one.
    """
    try:
        record: Mapping[str, Any] = json.loads((target / RECORD).read_text(encoding="utf-8"))
        stat = (target / WEIGHTS).stat()
        whole = record["sha256"] == artifact_sha256(recipe) and stat.st_size == recipe.weights_bytes
        whole = whole and file_sha256(target / GRAPH) == recipe.graph_sha256
        if whole and stat.st_mtime_ns != record["weights_mtime_ns"]:
            whole = file_sha256(target / WEIGHTS) == recipe.weights_sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _artifact(target, recipe) if whole else None


def _artifact(target: Path, recipe: Recipe) -> Artifact:
    return Artifact(
        folder=target,
        sha256=artifact_sha256(recipe),
        size_bytes=(target / GRAPH).stat().st_size + recipe.weights_bytes,
        parameters=recipe.parameters,
        macs_per_sample=recipe.macs_per_sample,
        check=_check(recipe),
    )


def _check(recipe: Recipe) -> str:
    return "not compared with its framework" if recipe.proof is None else recipe.proof.said(recipe.framework)


def file_sha256(path: Path) -> str:
    """Hash a file, some megabytes at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while part := stream.read(_READ_BYTES):
            digest.update(part)
    return digest.hexdigest()
