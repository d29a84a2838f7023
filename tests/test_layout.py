"""From a converter's graph to the one that ships, on graphs made by hand."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from speedsheet.convert.shipping.layout import finish
from speedsheet.convert.shipping.recipe import relayout
from speedsheet.convert.shipping.weights import Exported

KERNEL = (3, 3, 40, 50)


def exported(
    nodes: list[onnx.NodeProto], large: dict[str, tuple[int, ...]], constants: dict[str, np.ndarray] | None = None
) -> tuple[Exported, dict[str, tuple[int, ...]]]:
    """Return a converted graph of one input x and one output y, its large weights inputs named w0, w1, ..."""
    names = {f"w{index}": path for index, path in enumerate(large)}
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["unknown_7", None, None, None])]
    values += [helper.make_tensor_value_info(name, TensorProto.FLOAT, large[path]) for name, path in names.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["unknown_9", None])
    kept = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(nodes, "by chance", values, [output], kept)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 2)]
    return Exported(helper.make_model(graph, opset_imports=opsets), names, frozenset({"block", "conv"})), large


def half(path: str, shape: tuple[int, ...]) -> float:
    return 0.5


def test_layout_changes_of_weights_move_into_the_recipe():
    """Transposes, reshapes and identities before a product vanish; the steps give the shape that is stored."""
    nodes = [
        helper.make_node("Identity", ["w0"], ["a"]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[3, 2, 0, 1]),
        helper.make_node("Reshape", ["b", "sizes"], ["c"]),
        helper.make_node("Conv", ["x", "c"], ["y"], name="model_1/conv_4/convolution__90"),
    ]
    sizes = np.array([0, -1, 3, 3])
    graph, (weight,) = finish(*exported(nodes, {"conv/kernel": KERNEL}, {"sizes": sizes}), half)
    assert weight.steps == (("transpose", (3, 2, 0, 1)), ("reshape", (50, 40, 3, 3)))
    assert (weight.initializer, weight.limit, weight.length) == ("conv/kernel", 0.5, 4 * 9 * 40 * 50)
    assert [(node.op_type, node.name, list(node.input)) for node in graph.graph.node] == [
        ("Conv", "conv/Conv", ["x", "conv/kernel"])
    ]
    assert [tuple(tensor.dims) for tensor in graph.graph.initializer] == [(50, 40, 3, 3)]
    kernel = np.arange(np.prod(KERNEL), dtype=np.float32).reshape(KERNEL)
    assert np.array_equal(relayout(kernel, weight.steps), kernel.transpose(3, 2, 0, 1))


def test_a_weight_in_two_layouts_is_stored_twice_and_in_one_once():
    """Readers of equal layouts share a tensor, and a second layout lies behind the first on a page of its own."""
    nodes = [
        helper.make_node("Transpose", ["w0"], ["a"], perm=[1, 0]),
        helper.make_node("Transpose", ["w0"], ["b"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w0"], ["c"]),
        helper.make_node("MatMul", ["c", "a"], ["d"]),
        helper.make_node("MatMul", ["d", "b"], ["y"]),
    ]
    graph, weights = finish(*exported(nodes, {"tied": (130, 140)}), half)
    assert [(weight.initializer, weight.steps) for weight in weights] == [
        ("tied", ()),
        ("tied@2", (("transpose", (1, 0)),)),
    ]
    assert weights[1].offset == -(-weights[0].length // 4096) * 4096
    assert [list(node.input)[1] for node in graph.graph.node] == ["tied", "tied@2", "tied@2"]


def test_equal_nodes_become_one_and_unused_ones_none():
    """What is computed twice alike is computed once, what nothing reads is gone, and unused domains with it."""
    one = np.float32(1)
    nodes = [
        helper.make_node("Add", ["x", "one"], ["a"]),
        helper.make_node("Add", ["x", "uno"], ["b"]),
        helper.make_node("Neg", ["x"], ["unused"]),
        helper.make_node("Mul", ["a", "b"], ["y"]),
    ]
    graph, weights = finish(*exported(nodes, {}, {"one": one, "uno": one, "left": one}), half)
    assert weights == ()
    assert [node.op_type for node in graph.graph.node] == ["Add", "Mul"]
    assert len(set(graph.graph.node[1].input)) == 1
    assert [opset.domain for opset in graph.opset_import] == [""]
    assert len(graph.graph.initializer) == 1


def test_names_do_not_depend_on_the_converter():
    """The same graph under other names, in another order, ships as the same bytes."""

    def made(names: list[str], scope: str, *, backwards: bool) -> bytes:
        a, b, c = names
        nodes = [
            helper.make_node("Add", ["x", c], [a], name=f"{scope}/block/add__{len(a)}"),
            helper.make_node("Neg", ["x"], [b], name=f"{scope}/block_{len(b)}/neg"),
            helper.make_node("Mul", [a, b], ["y"], name=f"{scope}/mul:0"),
        ]
        order = [nodes[1], nodes[0], nodes[2]] if backwards else nodes
        graph, _ = finish(*exported(order, {}, {c: np.float32(2)}), half)
        return graph.SerializeToString(deterministic=True)

    left = made(["t1", "t2", "const_fold_opt__9"], "model", backwards=False)
    assert left == made(["another", "name", "k"], "model_3", backwards=True)


def test_the_batch_is_named_in_and_out():
    """Whatever the converter called the first axis, inputs and outputs call it batch."""
    graph, _ = finish(*exported([helper.make_node("Relu", ["x"], ["y"])], {}), half)
    for value in (*graph.graph.input, *graph.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
