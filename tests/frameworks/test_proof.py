"""The proof: a shipped graph is what its framework exports today, and computes what the framework computes.

Every test runs for every model of the zoo, grouped by model, since building one takes seconds and gigabytes; it is
built in a process of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from speedsheet.convert.shipping.evidence import collect
from speedsheet.convert.shipping.recipe import shipped, shipped_arrays, shipped_folder
from speedsheet.convert.shipping.ship import compare, run_plain, ship
from speedsheet.convert.shipping.weights import is_large
from speedsheet.core import draws
from speedsheet.core.errors import BadModel
from speedsheet.core.workload import Arrays

pytestmark = pytest.mark.frameworks
PRODUCTS = {"Conv", "MatMul", "Gemm"}
#: A sample of more work than this is damaged alone.
DEAR_MACS = 3e9


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
    graph = today.evidence.graph.graph
    assert lines(graph) == lines(today.shipped_graph.graph)
    assert sizes(graph) == sizes(today.shipped_graph.graph)
    assert today.evidence.weights == today.recipe.weights


def test_the_same_constants(today):
    """What is inline in the graph (biases, folded norms, small kernels) is what the framework folds today."""
    ships = {tensor.name: tensor for tensor in today.shipped_graph.graph.initializer}
    for tensor in today.evidence.graph.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            left, right = onnx.numpy_helper.to_array(tensor), onnx.numpy_helper.to_array(ships[tensor.name])
            np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7, err_msg=tensor.name)


def test_the_same_small_arrays(today):
    """The arrays that ship are the model's own small variables, all that are not drawn, and none besides."""
    arrays, own = shipped_arrays(today.workload.name), today.evidence.small
    assert own.keys() == arrays.keys()
    assert all(np.array_equal(own[path], arrays[path]) for path in arrays)
    assert not [path for path in arrays if is_large(arrays[path].shape)]


def test_the_same_weights(today):
    """Every large variable of the framework is a weight of the recipe, and holds what the recipe draws, bit by bit."""
    large = today.evidence.large_sha256
    assert large.keys() == {weight.variable for weight in today.recipe.weights}
    for weight in today.recipe.weights[:: max(1, len(today.recipe.weights) // 5)]:
        drawn = draws.symmetric(today.recipe.seed, weight.variable, weight.shape, weight.limit)
        assert hashlib.sha256(drawn.data).hexdigest() == large[weight.variable]


def test_no_parameter_is_lost(today):
    """The graph holds what the framework's model holds, but for about one in a hundred that norms fold away."""
    assert today.recipe.parameters == pytest.approx(today.evidence.parameters, rel=0.012)


def test_conversion_fits_a_small_machine(today):
    """Converting takes at most 12 GiB and 150 s."""
    assert today.evidence.peak_bytes < 12 * 2**30
    assert today.evidence.convert_s < 150


def test_it_computes_what_the_framework_computes(today):
    """FP32, within 1e-4 of the output's scale, for every output and sample."""
    evidence = today.evidence
    proof = compare(evidence.reference, run_plain(today.artifact, evidence.feed, evidence.reference))
    assert proof.holds, proof
    assert proof.output_spread > 0.02


def test_a_sample_stands_alone(today):
    """What a sample is answered does not depend on the others of its batch."""
    alone = {name: array[-1:] for name, array in today.evidence.feed.items()}
    wanted = {name: array[-1:] for name, array in today.evidence.reference.items()}
    proof = compare(wanted, run_plain(today.artifact, alone, wanted))
    assert proof.holds, proof


@pytest.mark.parametrize("depth", ["first", "middle", "last"])
@pytest.mark.parametrize("harm", [zeroed, doubled, swapped])
def test_damage_is_caught(today, depth: str, harm: Callable[[np.ndarray, int], np.ndarray]):
    """A layer zeroed, doubled, or with two channels exchanged fails the proof, at any depth."""
    held = {tensor.name: tensor.dims for tensor in today.shipped_graph.graph.initializer}
    products = [n for n in today.shipped_graph.graph.node if n.op_type in PRODUCTS and n.input[1] in held]
    products = [n for n in products if held[n.input[1]][_channel_axis(n)] > 1]
    node = products[{"first": 0, "middle": len(products) // 2, "last": -1}[depth]]
    weight = harm(today.initializer(node.input[1]), _channel_axis(node))
    samples = 1 if today.recipe.macs_per_sample > DEAR_MACS else 3
    few = {name: array[:samples] for name, array in today.evidence.feed.items()}
    reference = {name: array[:samples] for name, array in today.evidence.reference.items()}
    proof = compare(reference, run_plain(today.with_weight(node.input[1], weight), few, reference))
    assert not proof.holds, f"{node.name}: {proof}"


def test_a_missing_or_unfinite_output_fails_the_proof(today):
    """Nothing, another shape, and a single NaN are infinite errors."""
    reference = today.evidence.reference
    name, wanted = next(iter(reference.items()))
    spoilt = wanted.copy()
    spoilt.flat[1] = np.nan
    cases: list[Arrays] = [{}, {name: wanted[:1]}, {name: spoilt}]
    for outputs in cases:
        assert not compare(reference, {**reference, name: None} | outputs).holds


def _channel_axis(node: onnx.NodeProto) -> int:
    """Return which axis of the stored weight counts output channels."""
    rows = node.op_type == "Conv" or any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if rows else -1


@pytest.mark.parametrize("name", ["dssm_mock", "dlrm"])
def test_shipping_again_changes_nothing(name: str, tmp_path):
    """The developer's command makes the same bytes again, in either framework."""
    recipe = ship(name, tmp_path, run_plain)
    assert recipe.weights_sha256 == shipped(name).weights_sha256
    for file in ("graph.onnx", "arrays.npz"):
        assert (tmp_path / file).read_bytes() == shipped_folder(name).joinpath(file).read_bytes()
    assert shipped(name, tmp_path) == recipe


def test_a_model_that_does_not_export_is_named(tmp_path):
    """The process that exports fails in one line that says which model, and why."""
    with pytest.raises(BadModel, match=r"no_such: the framework's model does not export.*no model is called.*mend"):
        collect("no_such", tmp_path)


def test_a_wrong_graph_is_not_shipped(tmp_path):
    """Where outputs are not the framework's, the command says by how much and leaves no recipe."""

    def wrong(artifact, feed: Arrays, like: Arrays) -> Arrays:
        return {name: value + np.float32(0.01) for name, value in like.items()}

    with pytest.raises(BadModel, match=r"click_probability.*of a scale of.*mend the export"):
        ship("dlrm", tmp_path, wrong)
    assert not (tmp_path / "recipe.json").exists()
