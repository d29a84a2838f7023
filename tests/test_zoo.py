"""The zoo: what it declares is what ships, its inputs are realistic and repeatable, and it imports no framework."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest

from speedsheet import plugins
from speedsheet.convert.graph.count import count, infer
from speedsheet.convert.shipping.recipe import shipped, shipped_arrays, shipped_folder
from speedsheet.convert.shipping.weights import Author, is_large
from speedsheet.core.engine import EngineUnavailable
from speedsheet.core.errors import UsageError
from speedsheet.core.request import PRECISIONS

NAMES = sorted(plugins.workloads())
#: Parameters in millions and GFLOP a sample, as known of the architectures; None where BY_HAND has them exactly.
KNOWN = {
    "resnet34": (21.8, 7.33),
    "resnet50": (25.6, 7.72),
    "resnet50_v1p5": (25.6, 8.18),
    "resnet101": (44.7, 15.14),
    "densenet101": (7.98, 5.67),  # Keras says 8.06 of DenseNet-121: running means and variances fold into 0.08 fewer
    "mobilenet_v2": (3.54, 0.60),
    "bert_128": (109.5, 22.3),
    "bert_256": (109.5, 45.9),
    "bert_512": (109.5, 96.6),
    "bert_large_384": (335.1, 246.4),
    "xlnet": (116.7, None),
    "deepfm": (9.7, None),
    "wdl": (15.4, None),
    "dlrm": (13.9, None),
    "dlrm_1M": (416.5, None),
    "dssm_mock": (3.36, None),
    "mmoe": (0.0062, None),
}
#: The published rows (STCP920 v1.2.0rc1): framework, batch size, thread_num, precisions.
PUBLISHED = {
    "resnet34": ("keras_tf", 32, 16, "fp16", "int8"),
    "resnet50": ("tensorflow", 16, 12, "fp16", "int8"),
    "resnet50_v1p5": ("tensorflow", 16, 12, "fp16", "int8"),
    "resnet101": ("keras_tf", 16, 8, "fp16", "int8"),
    "densenet101": ("keras_tf", 8, 12, "fp16"),
    "mobilenet_v2": ("tensorflow", 32, 12, "fp16"),
    "bert_128": ("tensorflow", 8, 8, "fp16"),
    "bert_256": ("tensorflow", 4, 8, "fp16"),
    "bert_512": ("tensorflow", 2, 8, "fp16"),
    "bert_large_384": ("tensorflow", 1, 8, "fp16"),
    "xlnet": ("tensorflow", 8, 8, "fp16"),
    "deepfm": ("tensorflow", 1024, 8, "fp16"),
    "dlrm": ("pytorch", 1024, 8, "fp16"),
    "dssm_mock": ("tensorflow", 8, 16, "fp16"),
    "dlrm_1M": ("pytorch", 1024, 8, "fp16"),
    "mmoe": ("tensorflow", 51200, 16, "fp16"),
    "wdl": ("tensorflow", 1200, 16, "fp16"),
}
#: One layer of XLNet at 128 tokens of 768: queries, keys, values and outputs; positions, of which there are twice as
#: many as tokens, since a token looks both ways; scores by content, position and segment, and their sum; the
#: feed-forward layers. 26.6 GFLOP in all; 24.8, which is also met with, projects the positions once for two samples.
_XLNET_LAYER = (4 + 2) * 128 * 768**2 + (128 * 128 * 768) * (1 + 2 + 1) + 128 * 2 * 768 + 2 * 128 * 768 * 3072
_DLRM = 13 * 512 + 512 * 256 + 256 * 64 + 64 * 16 + 27 * 27 * 16 + (16 + 351) * 512 + 512 * 256 + 256
#: Multiply-accumulates by hand, where they are few: perceptrons, and what joins them.
BY_HAND = {
    "xlnet": 12 * _XLNET_LAYER,
    "deepfm": (26 * 10 + 13) * 400 + 400 * 400 + 400 * 400 + 400 + 13,
    "wdl": (26 * 16 + 13) * 1024 + 1024 * 512 + 512 * 256 + 256 + 13,
    "dlrm": _DLRM,
    "dlrm_1M": _DLRM,
    "dssm_mock": sum((n * 16) * 256 + 256 * 128 + 128 * 64 + 64 * 32 for n in (10, 7)) + 32 + 1,
    "mmoe": 40 * 8 * 16 + 2 * (40 * 8 + 8 * 16 + 16 * 8 + 8),
}
#: What the whole zoo may weigh in a wheel.
_WHEEL_BYTES = 10_000_000


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def graph_of(name: str) -> onnx.ModelProto:
    return onnx.load_from_string(shipped_folder(name).joinpath("graph.onnx").read_bytes())


def test_the_models_of_the_sheet_are_there():
    """Every model of the published sheet is declared, and its size is known."""
    assert set(PUBLISHED) == set(KNOWN) == set(NAMES)


def test_importing_the_zoo_imports_no_framework():
    """Declarations, draws and recipes need numpy alone; a user has no framework."""
    code = (
        "import sys; from speedsheet import plugins; from speedsheet.convert.shipping.recipe import shipped\n"
        "for name, workload in plugins.workloads().items(): workload.draw(1, 1); shipped(name)\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"tensorflow", "keras", "keras_hub", "torch", "tf2onnx", "onnxruntime", "openvino"} & set(loaded)


@pytest.mark.parametrize("group", ["models", "engines"])
def test_a_package_that_does_not_load_is_named(group: str, tmp_path, monkeypatch):
    """Models and engines of others may be broken in any way: one line says whose, and what to do."""
    (tmp_path / "theirs_broken.py").write_text("MINE = 1 / 0\n", encoding="utf-8")
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[speedsheet.{group}]\ntheirs = theirs_broken:MINE\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    if group == "models":
        with pytest.raises(UsageError, match=r"theirs_broken:MINE: .*ZeroDivisionError.*mend that package") as caught:
            plugins.workloads.__wrapped__()
        assert "\n" not in str(caught.value)
    else:
        assert "theirs" in plugins.engine_names()
        for name in ("theirs", "theirs_broken:MINE"):
            found = plugins.probe(name)
            assert isinstance(found, EngineUnavailable)
            assert "division by zero" in found.reason


def test_what_is_declared_ships(name: str):
    """Every model has a recipe that is its own and was proved, and can be built where its framework is."""
    workload, recipe = plugins.workload(name), shipped(name)
    assert (recipe.model, recipe.framework) == (name, workload.framework)
    assert recipe.proof is not None
    assert recipe.proof.holds
    assert recipe.proof.samples >= 3
    assert isinstance(workload.build, Author)
    assert set(workload.precisions) <= set(PRECISIONS)
    assert len(set(workload.precisions)) == len(workload.precisions)
    assert "http" in workload.source or "doi:" in workload.source


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_defaults_are_the_published_ones(name: str):
    """Framework, batch size and clients are those of the published rows, and FP16 comes first."""
    workload = plugins.workload(name)
    framework, batch_size, thread_num, *precisions = PUBLISHED[name]
    assert (workload.framework, workload.batch_size, workload.thread_num) == (framework, batch_size, thread_num)
    assert workload.precisions[0] == precisions[0] == "fp16"


def test_the_zoo_is_light():
    """All graphs together are smaller than one network's weights."""
    assert sum(file.stat().st_size for name in NAMES for file in shipped_folder(name).iterdir()) < _WHEEL_BYTES


def test_a_shipped_graph_is_light_and_closed(name: str):
    """Large weights point into one file, page-aligned and end to end; the rest is inline; nothing else is named."""
    graph, recipe = graph_of(name).graph, shipped(name)
    outside = {tensor.name: tensor for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL}
    assert set(outside) == {weight.initializer for weight in recipe.weights}
    end = 0
    for weight in recipe.weights:
        where = {entry.key: entry.value for entry in outside[weight.initializer].external_data}
        assert where == {"location": "weights.bin", "offset": str(weight.offset), "length": str(weight.length)}
        assert weight.offset % 4096 == 0
        assert end <= weight.offset < end + 4096
        assert is_large(weight.shape)
        end = weight.offset + weight.length
    assert end == recipe.weights_bytes
    assert sum(file.stat().st_size for file in shipped_folder(name).iterdir()) < 1_600_000


def test_no_kernel_is_moved_at_run_time(name: str):
    """Layout changes of weights are in the recipe, not in the graph."""
    graph = graph_of(name).graph
    weights = {weight.initializer for weight in shipped(name).weights}
    assert not [n.name for n in graph.node if n.op_type in {"Transpose", "Reshape"} and n.input[0] in weights]


def test_inputs_and_outputs_are_named_and_batched(name: str):
    """The graph's inputs are the declared ones, and a free first axis called batch goes in and comes out."""
    graph, workload = graph_of(name).graph, plugins.workload(name)
    assert {value.name for value in graph.input} == {spec.name for spec in workload.inputs}
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        assert sizes[0].dim_param == "batch"
        assert all(size.dim_value > 0 for size in sizes[1:])
        assert value.name.replace("_", "").isalpha()


@pytest.mark.parametrize("samples", [1, 3])
def test_draws_fit_the_declaration(name: str, samples: int):
    """Names, shapes and types are those declared, and the same seed draws the same."""
    workload = plugins.workload(name)
    feed = workload.draw(7, samples)
    assert {spec.name: (spec.at(samples), spec.dtype) for spec in workload.inputs} == {
        key: (array.shape, str(array.dtype)) for key, array in feed.items()
    }
    again, other = workload.draw(7, samples), workload.draw(8, samples)
    assert all(np.array_equal(feed[key], again[key]) for key in feed)
    assert any(not np.array_equal(feed[key], other[key]) for key in feed)
    for spec in workload.inputs:
        if spec.dtype == "float32":
            assert spec.low <= feed[spec.name].min()
            assert feed[spec.name].max() < spec.high


def test_samples_differ_from_one_another(name: str):
    """No two samples of a pool are alike: a cache would flatter the engine, and a swap would not be seen."""
    feed = plugins.workload(name).draw(1, 6)
    rows = {b"".join(np.ascontiguousarray(array[n]).tobytes() for array in feed.values()) for n in range(6)}
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("name", "width"), [("dlrm", 16), ("dlrm_1M", 16), ("dssm_mock", 16), ("deepfm", 10), ("wdl", 16)]
)
def test_indices_stay_inside_their_tables(name: str, width: int):
    """Every table that a graph gathers from is as long as the largest index that its field draws."""
    model, workload = graph_of(name), plugins.workload(name)
    known = infer(model, {spec.name: spec.at(2) for spec in workload.inputs})
    tables = [known[node.input[0]] for node in model.graph.node if node.op_type == "Gather"]
    rows = [shape[0] for shape in tables if len(shape) == 2 and shape[1] == width]
    feed = workload.draw(2, 20_000)
    drawn = [array[:, n].max() for array in feed.values() if array.dtype == np.int64 for n in range(array.shape[1])]
    assert len(rows) == len(drawn)
    assert all(top < count for top, count in zip(drawn, rows, strict=True))
    assert all(array.min() >= 0 for array in feed.values())


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("bert")])
def test_texts_are_texts(name: str):
    """A text begins with [CLS], its two sentences end with [SEP], and nothing but padding follows."""
    feed = plugins.workload(name).draw(3, 64)
    ids, segments, mask = feed["token_ids"], feed["segment_ids"], feed["padding_mask"]
    used = mask.sum(axis=1)
    assert (ids[:, 0] == 101).all()
    assert ((ids == 102).sum(axis=1) == 2).all()
    assert (ids[np.arange(64), used - 1] == 102).all()
    assert ((ids != 0) == (mask == 1)).all()
    assert ((segments == 1) <= (mask == 1)).all()
    assert (segments.max(axis=1) == 1).all()
    assert len(set(used.tolist())) > 10
    assert ids.max() < 30_522


def test_texts_of_xlnet_are_texts():
    """Padding comes first, each text ends with [SEP], [CLS] is last, and every part has its segment."""
    feed = plugins.workload("xlnet").draw(3, 64)
    ids, segments, mask = feed["token_ids"], feed["segment_ids"], feed["padding_mask"]
    used = mask.sum(axis=1)
    assert (ids[:, -1] == 3).all()
    assert (ids[:, -2] == 4).all()
    assert ((ids == 4).sum(axis=1) == 2).all()
    assert ((ids == 5) == (mask == 0)).all()
    assert ((segments == 3) == (mask == 0)).all()
    assert (np.diff(mask, axis=1) >= 0).all()
    assert ((segments == 0) & (ids == 4)).any(axis=1).all()
    assert ((segments == 1) & (ids == 4)).any(axis=1).all()
    assert len(set(used.tolist())) > 10
    assert ids.max() < 32_000


@pytest.mark.parametrize("name", [name for name in NAMES if plugins.workload(name).task == "image classification"])
def test_images_are_smooth(name: str):
    """Neighbouring pixels are nearly equal, as in photographs, and no two channels or images are alike."""
    (images,) = plugins.workload(name).draw(3, 4).values()
    steps = np.abs(np.diff(images, axis=2)).mean()
    assert steps < 0.6 * images.std()  # 1.1 of white noise
    assert np.abs(images[..., 0] - images[..., 1]).mean() > 0.02 * images.std()
    assert all(abs(np.corrcoef(images[0].ravel(), other.ravel())[0, 1]) < 0.9 for other in images[1:])


def test_indices_are_skewed():
    """Few rows of a table are asked for often, most hardly ever: caches see what they see in production."""
    feed = plugins.workload("dlrm_1M").draw(3, 20_000)
    _, counts = np.unique(feed["sparse"][:, 0], return_counts=True)
    top = np.sort(counts)[::-1]
    assert top[:100].sum() > 0.25 * counts.sum()
    assert len(counts) > 2_000


def test_counts_are_those_of_the_recipe(name: str):
    """What `models` prints is what the graph holds and does."""
    recipe, workload = shipped(name), plugins.workload(name)
    counts = count(graph_of(name), {spec.name: spec.at(1) for spec in workload.inputs})
    assert (counts.parameters, counts.macs) == (recipe.parameters, recipe.macs_per_sample)
    assert sum(counts.macs_by_node.values()) == counts.macs
    four = count(graph_of(name), {spec.name: spec.at(4) for spec in workload.inputs})
    assert four.macs == 4 * counts.macs


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_counts_are_those_known_of_the_architecture(name: str):
    """Parameters within 1 %, work within 2 % of the literature; exact where it can be added up by hand."""
    recipe, (millions, gflop) = shipped(name), KNOWN[name]
    assert recipe.parameters / 1e6 == pytest.approx(millions, rel=0.01)
    if gflop is not None:
        assert 2e-9 * recipe.macs_per_sample == pytest.approx(gflop, rel=0.02)
    else:
        assert recipe.macs_per_sample == BY_HAND[name]


def test_outputs_follow_the_input(name: str):
    """The proof's samples spread by a few per cent of the scale at least: accuracy can be judged."""
    proof = shipped(name).proof
    assert proof is not None
    assert proof.output_spread > 0.02


def test_small_arrays_are_plain_numbers(name: str):
    """What ships beside the graph is finite float32, small, and read without pickle."""
    arrays = shipped_arrays(name)
    assert arrays is not None
    for array in arrays.values():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
        assert not is_large(array.shape)
