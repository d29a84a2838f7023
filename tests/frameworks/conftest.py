"""Each model is built, exported, assembled and computed once for all tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest

from speedsheet import plugins
from speedsheet.convert.assemble import assemble
from speedsheet.convert.layout import finish
from speedsheet.convert.recipe import Recipe, Weight, shipped
from speedsheet.convert.ship import PROOF_SAMPLES, author_of
from speedsheet.convert.weights import Author
from speedsheet.core.artifact import Artifact
from speedsheet.core.workload import Arrays, Workload


@dataclass(frozen=True)
class Today:
    """What the installed framework makes of a model, beside what ships."""

    workload: Workload
    author: Author
    recipe: Recipe
    artifact: Artifact
    graph: onnx.ModelProto
    weights: tuple[Weight, ...]
    values: Arrays
    feed: Arrays
    reference: Arrays


@pytest.fixture(scope="session")
def today_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function from a model's name to what its framework makes of it; one model is kept at a time."""
    store = tmp_path_factory.mktemp("artifacts")
    held: dict[str, Today] = {}

    def make(name: str) -> Today:
        if name not in held:
            held.clear()
            held[name] = _today(name, store)
        return held[name]

    return make


@pytest.fixture(scope="session")
def damageable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a function from an artifact to a copy whose weights may be written; one copy is kept at a time."""
    root = tmp_path_factory.mktemp("damaged")

    @cache
    def copy(artifact: Artifact) -> Artifact:
        for left in root.iterdir():
            shutil.rmtree(left)
        shutil.copytree(artifact.folder, root / artifact.folder.name)
        return replace(artifact, folder=root / artifact.folder.name)

    yield copy
    shutil.rmtree(root)


def _today(name: str, store: Path) -> Today:
    workload = plugins.workload(name)
    author = author_of(workload)
    model = author()
    values = author.values(model)
    shapes = {path: value.shape for path, value in values.items()}
    graph, weights = finish(author.export(model, workload.inputs), shapes, author.rule)
    feed = workload.draw(11, PROOF_SAMPLES)
    reference = author.predict(model, feed)
    return Today(workload, author, shipped(name), assemble(name, store), graph, weights, values, feed, reference)
