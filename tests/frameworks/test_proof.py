"""The proof: a shipped graph is what its framework exports today, and computes what the framework computes.

Every test runs for every model of the zoo, grouped by model, since building one takes seconds and gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from speedsheet import plugins
from speedsheet.convert.recipe import shipped, shipped_arrays, shipped_folder
from speedsheet.convert.ship import compare, made_from_data, run_plain, ship
from speedsheet.convert.weights import is_large
from speedsheet.core.errors import BadModel
from speedsheet.core.workload import Arrays

pytestmark = pytest.mark.frameworks
SABOTAGE_SAMPLES = 3


def zeroed(weight: np.ndarray, axis: int) -> np.ndarray:
    return np.zeros_like(weight)


def doubled(weight: np.ndarray, axis: int) -> np.ndarray:
    return 2 * weight


def swapped(weight: np.ndarray, axis: int) -> np.ndarray:
    """Exchange two output channels, the first and one half way."""
    order = np.arange(weight.shape[axis])
    half = len(order) // 2
    order[[0, half]] = order[[half, 0]]
    return np.take(weight, order, axis=axis)


@pytest.fixture(params=sorted(plugins.workloads()), scope="module")
def today(request, today_of):
    return today_of(request.param)


def shipped_graph(name: str) -> onnx.ModelProto:
    return onnx.load_from_string(shipped_folder(name).joinpath("graph.onnx").read_bytes())


def lines(graph: onnx.GraphProto) -> list[str]:
    """Return one line a node: what it is, reads, makes and is set to."""
    return [
        f"{node.op_type} {node.name} {list(node.input)} -> {list(node.output)} "
        + " ".join(sorted(str(onnx.helper.get_attribute_value(a)) for a in node.attribute))
        for node in graph.node
    ]


def sizes(graph: onnx.GraphProto) -> dict[str, list[int | str]]:
    """Return the shape of every input, output and constant."""
    found: dict[str, list[int | str]] = {tensor.name: [tensor.data_type, *tensor.dims] for tensor in graph.initializer}
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type
        found[value.name] = [kind.elem_type, *(size.dim_value or size.dim_param for size in kind.shape.dim)]
    return found


def test_the_same_nodes_and_shapes(today):
    """Operators, attributes, names, wiring and shapes of today's export are those that ship."""
    graph = shipped_graph(today.workload.name).graph
    assert lines(today.graph.graph) == lines(graph)
    assert sizes(today.graph.graph) == sizes(graph)
    assert today.weights == today.recipe.weights


def test_the_same_constants(today):
    """What is inline in the graph (biases, folded norms, small kernels) is what the framework folds today."""
    ships = {tensor.name: tensor for tensor in shipped_graph(today.workload.name).graph.initializer}
    for tensor in today.graph.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            left, right = onnx.numpy_helper.to_array(tensor), onnx.numpy_helper.to_array(ships[tensor.name])
            np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7, err_msg=tensor.name)


def test_the_same_small_arrays(today):
    """The arrays that ship are the model's own small variables, all that are not drawn, and none besides."""
    arrays = shipped_arrays(today.workload.name)
    own = made_from_data(today.values, today.author)
    assert own.keys() == arrays.keys()
    assert all(np.array_equal(own[path], arrays[path]) for path in arrays)
    assert not [path for path in arrays if is_large(today.values[path].shape)]


def test_the_same_weights(today):
    """Every large variable of the framework is a weight of the recipe, drawn as the recipe draws it."""
    large = {path for path, value in today.values.items() if is_large(value.shape)}
    assert large == {weight.variable for weight in today.recipe.weights}
    for weight in today.recipe.weights[:: max(1, len(today.recipe.weights) // 5)]:
        drawn = weight.draw(today.recipe.seed)
        assert np.array_equal(np.sort(drawn, axis=None), np.sort(today.values[weight.variable], axis=None))


def test_it_computes_what_the_framework_computes(today):
    """FP32, within 1e-4 of the output's scale, for every output and sample."""
    proof = compare(today.reference, run_plain(today.artifact, today.feed, today.reference))
    assert proof.holds, proof
    assert proof.output_spread > 0.02


@pytest.mark.parametrize("depth", ["first", "middle", "last"])
@pytest.mark.parametrize("harm", [zeroed, doubled, swapped])
def test_damage_is_caught(today, damageable, depth: str, harm: Callable[[np.ndarray, int], np.ndarray]):
    """A layer zeroed, doubled, or with two channels exchanged fails the proof, at any depth."""
    products = [weight for weight in today.recipe.weights if _reader(today.graph, weight.initializer)]
    weight = products[{"first": 0, "middle": len(products) // 2, "last": -1}[depth]]
    artifact = damageable(today.artifact)
    shape = next(tuple(t.dims) for t in today.graph.graph.initializer if t.name == weight.initializer)
    stored = np.memmap(artifact.folder / "weights.bin", np.float32, "r+", weight.offset, shape)
    original = np.array(stored)
    axis = _channel_axis(_reader(today.graph, weight.initializer))
    few = {name: array[:SABOTAGE_SAMPLES] for name, array in today.feed.items()}
    reference = {name: array[:SABOTAGE_SAMPLES] for name, array in today.reference.items()}
    try:
        stored[:] = harm(original, axis)
        stored.flush()
        proof = compare(reference, run_plain(artifact, few, reference))
    finally:
        stored[:] = original
        stored.flush()
    assert not proof.holds, f"{weight.initializer}: {proof}"


def test_a_missing_or_unfinite_output_fails_the_proof(today):
    """Nothing, another shape, and a single NaN are infinite errors."""
    name, wanted = next(iter(today.reference.items()))
    spoilt = wanted.copy()
    spoilt.flat[1] = np.nan
    cases: list[Arrays] = [{}, {name: wanted[:1]}, {name: spoilt}]
    for outputs in cases:
        assert not compare(today.reference, {**today.reference, name: None} | outputs).holds


def _reader(model: onnx.ModelProto, initializer: str) -> onnx.NodeProto | None:
    """Return the product that reads a weight; None for a table, of which three samples read few rows."""
    nodes = [node for node in model.graph.node if initializer in node.input]
    return nodes[0] if nodes[0].op_type in {"Conv", "MatMul", "Gemm"} else None


def _channel_axis(node: onnx.NodeProto | None) -> int:
    """Return which axis of the stored weight counts output channels."""
    assert node is not None
    rows = node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if rows else 1


@pytest.mark.parametrize("name", ["dssm_mock", "dlrm"])
def test_shipping_again_changes_nothing(name: str, tmp_path):
    """The developer's command makes the same bytes again, in either framework."""
    recipe = ship(name, tmp_path, run_plain)
    assert recipe.weights_sha256 == shipped(name).weights_sha256
    for file in ("graph.onnx", "arrays.npz"):
        assert (tmp_path / file).read_bytes() == shipped_folder(name).joinpath(file).read_bytes()
    assert shipped(name, tmp_path) == recipe


def test_a_wrong_graph_is_not_shipped(tmp_path):
    """Where outputs are not the framework's, the command says by how much and leaves no recipe."""

    def wrong(artifact, feed: Arrays, like: Arrays) -> Arrays:
        return {name: value + np.float32(0.01) for name, value in like.items()}

    with pytest.raises(BadModel, match=r"click_probability.*of a scale of.*mend the export"):
        ship("dlrm", tmp_path, wrong)
    assert not (tmp_path / "recipe.json").exists()
