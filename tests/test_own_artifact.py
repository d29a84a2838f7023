"""The user's file in the cache: one copy by content, whole or not at all."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from models import conv, model, save, save_external, tensor, weights
from speedsheet.convert.graph.file import read_model
from speedsheet.convert.graph.shapes import dims, fix_shapes
from speedsheet.convert.own.workload import own_artifact, own_workload, parse_input
from speedsheet.core.errors import BadModel, RowFailed


@pytest.fixture
def path(tmp_path):
    (tmp_path / "model").mkdir()
    return save_external(conv(), tmp_path / "model" / "m.onnx")


def test_a_copy_with_the_request_s_shapes(path, tmp_path):
    own = own_workload(path, batch_size=2)
    artifact = own_artifact(path, own, tmp_path / "cache")
    names = {"graph.onnx", artifact.graph_name, "record.json", "weights-0.bin"}
    assert {entry.name for entry in artifact.folder.iterdir()} == names
    loaded = onnx.load(artifact.graph)
    assert dims(loaded.graph.input[0]) == (2, 3, 224, 224)
    kernel = numpy_helper.to_array(loaded.graph.initializer[0])
    assert np.array_equal(kernel, numpy_helper.to_array(conv().graph.initializer[0]))
    assert artifact.check == "the user's own file; no framework to prove it against"
    assert artifact.parameters == 4 * 3 * 9 + 4 * 5
    assert artifact.macs_per_sample == 112 * 112 * 4 * 27 + 20
    assert artifact.size_bytes == sum(
        (artifact.folder / name).stat().st_size for name in ("graph.onnx", "weights-0.bin")
    )


def test_it_is_made_once(path, tmp_path):
    own = own_workload(path)
    first = own_artifact(path, own, tmp_path / "cache")
    stamp = first.graph.stat().st_mtime_ns
    assert own_artifact(path, own, tmp_path / "cache") == first
    assert first.graph.stat().st_mtime_ns == stamp
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [first.folder.name]


def test_shapes_share_the_weights(path, tmp_path):
    first = own_artifact(path, own_workload(path), tmp_path / "cache")
    other = own_artifact(path, own_workload(path, batch_size=2), tmp_path / "cache")
    assert other.folder == first.folder
    assert other.graph != first.graph
    assert other.macs_per_sample == first.macs_per_sample
    larger = own_workload(path, inputs=(parse_input("image=1x3x448x448"),))
    assert own_artifact(path, larger, tmp_path / "cache").macs_per_sample > 3 * first.macs_per_sample


def test_content_names_it_and_the_path_does_not(path, tmp_path):
    first = own_artifact(path, own_workload(path), tmp_path / "cache")
    moved = tmp_path / "moved"
    shutil.copytree(path.parent, moved)
    assert own_artifact(moved / "m.onnx", own_workload(moved / "m.onnx"), tmp_path / "cache") == first
    with (moved / "model.data").open("r+b") as data:
        data.write(b"\1\2\3\4")
    changed = own_artifact(moved / "m.onnx", own_workload(moved / "m.onnx"), tmp_path / "cache")
    assert changed.sha256 != first.sha256
    assert changed.folder != first.folder


def test_large_weights_in_the_graph_are_moved_beside_it(tmp_path):
    """Else every set of shapes would be one more copy of them."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["y", "v"], ["z"])]
    stored = [weights("w", 600, 700), weights("v", 700, 500)]
    proto = model(nodes, [tensor("x", ["n", 600])], [tensor("z", ["n", 500])], stored)
    path = save(proto, tmp_path / "m.onnx")
    artifact = own_artifact(path, own_workload(path), tmp_path / "cache")
    assert artifact.graph.stat().st_size < 10_000
    loaded = onnx.load(artifact.graph)
    assert [numpy_helper.to_array(one).tobytes() for one in loaded.graph.initializer] == [
        numpy_helper.to_array(one).tobytes() for one in stored
    ]
    read_model(artifact.graph)


def test_several_at_once_end_in_one(path, tmp_path):
    own = own_workload(path, batch_size=2)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: own_artifact(path, own, tmp_path / "cache"), range(16)))
    assert len(set(made)) == 1
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [made[0].folder.name]
    assert len(list(made[0].folder.iterdir())) == 4


def test_what_an_interrupted_copy_left_is_swept(path, tmp_path):
    (tmp_path / "cache" / ".unfinished-dead").mkdir(parents=True)
    os.utime(tmp_path / "cache" / ".unfinished-dead", (0, 0))
    own_artifact(path, own_workload(path), tmp_path / "cache")
    assert not (tmp_path / "cache" / ".unfinished-dead").exists()


def test_a_damaged_record_is_said(path, tmp_path):
    own = own_workload(path)
    artifact = own_artifact(path, own, tmp_path / "cache")
    (artifact.folder / "record.json").write_text("{")
    with pytest.raises(RowFailed, match="delete this folder"):
        own_artifact(path, own, tmp_path / "cache")


def test_names_in_the_model_cannot_overwrite_ours(tmp_path):
    (tmp_path / "model").mkdir()
    path = save_external(conv(), tmp_path / "model" / "m.onnx", "record.json")
    artifact = own_artifact(path, own_workload(path), tmp_path / "cache")
    assert onnx.load(artifact.graph).graph.initializer[0].raw_data


def test_a_place_that_is_named_twice_is_the_one_that_was_checked(path, tmp_path):
    """The last of two locations counts, as engines read it; the first is never opened."""
    proto = onnx.load(path, load_external_data=False)
    for stored in proto.graph.initializer:
        stored.external_data.insert(0, onnx.StringStringEntryProto(key="location", value="../elsewhere"))
    artifact = own_artifact(save(proto, path), own_workload(path), tmp_path / "cache")
    kernel = numpy_helper.to_array(onnx.load(artifact.graph).graph.initializer[0])
    assert np.array_equal(kernel, numpy_helper.to_array(conv().graph.initializer[0]))


def test_links_are_copied_as_what_they_lead_to(path, tmp_path):
    (path.parent / "model.data").rename(path.parent / "blob")
    (path.parent / "model.data").symlink_to("blob")
    artifact = own_artifact(path, own_workload(path), tmp_path / "cache")
    assert not (artifact.folder / "weights-0.bin").is_symlink()


def test_other_shapes_can_be_written_later(path, tmp_path):
    artifact = own_artifact(path, own_workload(path, batch_size=2), tmp_path / "cache")
    assert fix_shapes(artifact, {"image": (2, 3, 224, 224)}) == artifact
    assert fix_shapes(artifact, {"image": (4, 3, 224, 224)}).graph != artifact.graph


def test_a_full_disk_is_a_row_without_a_number(path, tmp_path, monkeypatch):
    own = own_workload(path)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("speedsheet.convert.own.artifact.shutil.disk_usage", lambda _: full)
    with pytest.raises(RowFailed, match=r"no room.*free"):
        own_artifact(path, own, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_is_a_file_is_said(path, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(RowFailed, match="cannot be written"):
        own_artifact(path, own_workload(path), tmp_path / "cache")


def test_a_file_that_went_bad_meanwhile_is_refused(path, tmp_path):
    own = own_workload(path)
    os.truncate(path.parent / "model.data", 8)
    with pytest.raises(BadModel):
        own_artifact(path, own, tmp_path / "cache")


def test_operators_that_cannot_be_counted_do_not_stop_it(tmp_path):
    nodes = [
        helper.make_node("Secret", ["x"], ["s"], domain="com.microsoft"),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
    ]
    proto = model(nodes, [tensor("x", [2, 8])], [tensor("y", None)], [weights("w", 8, 4)], domains=("com.microsoft",))
    path = save(proto, tmp_path / "m.onnx")
    artifact = own_artifact(path, own_workload(path), tmp_path / "cache")
    assert artifact.macs_per_sample == 0
    assert "not counted" in artifact.check


def test_what_is_in_the_cache_is_itself_a_valid_file(path, tmp_path):
    read_model(own_artifact(path, own_workload(path), tmp_path / "cache").graph)
