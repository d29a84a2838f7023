"""The artifact cache: assembled once, the same everywhere, safe against interruption, rivals and damage."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from speedsheet.convert.shipping.assemble import assemble, shipped
from speedsheet.convert.shipping.recipe import Recipe, shipped_arrays, shipped_folder
from speedsheet.core.errors import BadModel, RowFailed
from speedsheet.core.folders import UNFINISHED

NAME = "dssm_mock"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the folder that ships, to be damaged."""
    folder = tmp_path / "shipped"
    shutil.copytree(str(shipped_folder(NAME)), folder)
    return folder


def test_an_artifact_is_whole(tmp_path: Path):
    """Graph, weights and record are there, hash to what shipped, and ONNX finds nothing wrong with them."""
    artifact, recipe = assemble(NAME, tmp_path), shipped(NAME)
    assert {path.name for path in artifact.folder.iterdir()} == {"graph.onnx", "weights.bin", "record.json"}
    assert hashlib.sha256(artifact.graph.read_bytes()).hexdigest() == recipe.graph_sha256
    assert hashlib.sha256((artifact.folder / "weights.bin").read_bytes()).hexdigest() == recipe.weights_sha256
    assert artifact.size_bytes == sum((artifact.folder / name).stat().st_size for name in ("graph.onnx", "weights.bin"))
    assert artifact.folder.name == f"{NAME}-{artifact.sha256[:16]}"
    assert json.loads((artifact.folder / "record.json").read_text())["sha256"] == artifact.sha256
    onnx.checker.check_model(artifact.graph)


def test_weights_are_drawn_in_the_layout_of_the_graph(tmp_path: Path):
    """Each initialiser holds its variable's draw, moved from the framework's layout, within its limit."""
    model, recipe = onnx.load(assemble(NAME, tmp_path).graph), shipped(NAME)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for weight in recipe.weights:
        assert np.array_equal(held[weight.initializer], weight.draw(recipe.seed))
        assert np.abs(held[weight.initializer]).max() <= np.float32(weight.limit)


def test_the_second_time_nothing_is_drawn(tmp_path: Path):
    """What is there and whole is returned as it is."""
    told: list[float] = []
    first = assemble(NAME, tmp_path, tell=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    before = (first.folder / "weights.bin").stat()
    told.clear()
    assert assemble(NAME, tmp_path, tell=told.append) == first
    assert (told, (first.folder / "weights.bin").stat().st_mtime_ns) == ([], before.st_mtime_ns)


def test_rivals_agree(tmp_path: Path):
    """Processes that assemble at once all return the one whole artifact and leave nothing behind."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        artifacts = pool.starmap(assemble, [(NAME, tmp_path)] * 8, chunksize=1)
    assert len(set(artifacts)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [artifacts[0].folder.name]


def test_an_interrupted_assembly_leaves_nothing(tmp_path: Path):
    """Whatever stops it, the cache holds no half of an artifact, and the next attempt succeeds."""

    def stop(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        assemble(NAME, tmp_path, tell=stop)
    assert list(tmp_path.iterdir()) == []
    assert assemble(NAME, tmp_path).folder.exists()


def test_the_rest_of_a_killed_process_is_passed_over_and_later_swept(tmp_path: Path):
    """A half-written folder is not taken for an artifact; after an hour it is removed."""
    for name, age_s in ((f"{UNFINISHED}fresh", 0), (f"{UNFINISHED}old", 7200)):
        (tmp_path / name / "whole").mkdir(parents=True)
        (tmp_path / name / "whole" / "weights.bin").write_bytes(b"half")
        changed = (tmp_path / name).stat().st_mtime - age_s
        os.utime(tmp_path / name, (changed, changed))
    artifact = assemble(NAME, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {artifact.folder.name, f"{UNFINISHED}fresh"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "no record", "wrong record", "graph", "no weights"])
def test_a_damaged_cache_is_mended(tmp_path: Path, damage: str):
    """A changed, cut or missing file is noticed, and the artifact is made again in its place."""
    folder = assemble(NAME, tmp_path).folder
    weights = folder / "weights.bin"
    match damage:
        case "flip":
            with weights.open("r+b") as stream:
                stream.seek(1000)
                stream.write(b"\xff")
        case "truncate":
            os.truncate(weights, 5000)
        case "no record":
            (folder / "record.json").unlink()
        case "wrong record":
            (folder / "record.json").write_text("[]")
        case "graph":
            (folder / "graph.onnx").write_bytes((folder / "graph.onnx").read_bytes()[:-1])
        case "no weights":
            weights.unlink()
    artifact = assemble(NAME, tmp_path)
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == shipped(NAME).weights_sha256
    onnx.checker.check_model(artifact.graph)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_copied_cache_is_read_again_and_taken(tmp_path: Path):
    """Another time of change alone is no damage."""
    artifact = assemble(NAME, tmp_path)
    os.utime(artifact.folder / "weights.bin", (1, 1))
    told: list[float] = []
    assert assemble(NAME, tmp_path, tell=told.append) == artifact
    assert told == []


def test_weights_that_come_out_otherwise_are_refused(tmp_path: Path, copied: Path):
    """A machine that draws other numbers is told so, and nothing is cached."""
    recipe = shipped(NAME)
    (copied / "recipe.json").write_text(replace(recipe, seed=recipe.seed + 1).to_json())
    with pytest.raises(RowFailed, match=f"{NAME}: the drawn weights hash to .*; report it"):
        assemble(NAME, tmp_path / "cache", folder=copied)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_package_is_refused(tmp_path: Path, copied: Path):
    """A shipped graph that is not the recipe's is refused before anything is drawn."""
    (copied / "graph.onnx").write_bytes(b"not it")
    with pytest.raises(RowFailed, match="reinstall"):
        assemble(NAME, tmp_path / "cache", folder=copied)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path):
    """The message names the folder, and what to do."""
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(RowFailed, match=r"cannot be written.*choose another folder"):
        assemble(NAME, tmp_path / "cache")


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "speedsheet.recipe/9"}', "[1]"])
def test_a_recipe_that_does_not_read_is_refused(copied: Path, text: str):
    """One line says which file, and no traceback of the parser's comes through."""
    (copied / "recipe.json").write_text(text)
    with pytest.raises(BadModel, match=r"recipe\.json: the recipe"):
        shipped(NAME, copied)


def test_a_model_without_a_recipe_is_refused():
    """The message says how a developer makes one."""
    with pytest.raises(BadModel, match=r"python -m speedsheet\.convert\.shipping\.ship nothing_like_it"):
        shipped("nothing_like_it")
    assert shipped_arrays("nothing_like_it") is None


def test_a_recipe_survives_writing(copied: Path):
    """What is written is read back equal."""
    recipe = shipped(NAME)
    assert Recipe.from_json(recipe.to_json(), "here") == recipe
