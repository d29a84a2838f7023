"""Small ONNX models, made on the spot: one for each thing that a user's file may ask of a bench."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
Dims = list[int | str | None]


def tensor(name: str, dims: Dims, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def weights(name: str, *shape: int, kind: type = np.float32) -> onnx.TensorProto:
    values = np.random.default_rng(len(name)).normal(0, 0.3, shape)
    return numpy_helper.from_array(values.astype(kind), name)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    stored: list[onnx.TensorProto] | None = None,
    *,
    domains: tuple[str, ...] = (),
    opset: int = OPSET,
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "main", inputs, outputs, stored or [])
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions or [])


def mlp(batch: int | str | None = "batch") -> onnx.ModelProto:
    """Take x (batch, 8) and give y (batch, 3)."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["a"], name="relu"),
        helper.make_node("MatMul", ["a", "w2"], ["y"], name="last"),
    ]
    stored = [weights("w1", 8, 16), weights("b1", 16), weights("w2", 16, 3)]
    return model(nodes, [tensor("x", [batch, 8])], [tensor("y", [batch, 3])], stored)


def conv(
    height: int | str | None = "H", width: int | str | None = "W", channels: int | str | None = 3
) -> onnx.ModelProto:
    """Take image (batch, channels, H, W) and give scores (batch, 5)."""
    nodes = [
        helper.make_node("Conv", ["image", "k"], ["c"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["scores"]),
    ]
    image = tensor("image", ["batch", channels, height, width])
    return model(nodes, [image], [tensor("scores", ["batch", 5])], [weights("k", 4, 3, 3, 3), weights("w", 4, 5)])


def carried(batch: int = 1) -> onnx.ModelProto:
    """Detect voices: audio (batch, 576), state (2, batch, 128) to carry, and a sample rate that chooses a branch."""
    nodes = [
        helper.make_node("Constant", [], ["rate"], value=numpy_helper.from_array(np.array(16000, np.int64))),
        helper.make_node("Equal", ["sr", "rate"], ["wide"]),
        helper.make_node(
            "If",
            ["wide"],
            ["chosen"],
            then_branch=helper.make_graph(
                [helper.make_node("Identity", ["input"], ["t"])], "wide", [], [tensor("t", [batch, 576])]
            ),
            else_branch=helper.make_graph(
                [helper.make_node("Neg", ["input"], ["e"])], "narrow", [], [tensor("e", [batch, 576])]
            ),
        ),
        helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array([0], np.int64))),
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array([1], np.int64))),
        helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2], np.int64))),
        helper.make_node("Unsqueeze", ["chosen", "zero"], ["steps"]),
        helper.make_node("Slice", ["state", "zero", "one", "zero"], ["h0"]),
        helper.make_node("Slice", ["state", "one", "two", "zero"], ["c0"]),
        helper.make_node(
            "LSTM", ["steps", "W", "R", "", "", "h0", "c0"], ["", "hn", "cn"], hidden_size=128, name="lstm"
        ),
        helper.make_node("Concat", ["hn", "cn"], ["stateN"], axis=0),
        helper.make_node("ReduceMean", ["hn"], ["mean"], keepdims=0),
        helper.make_node("Sigmoid", ["mean"], ["output"]),
    ]
    inputs = [
        tensor("input", [batch, 576]),
        tensor("state", [2, batch, 128]),
        tensor("sr", [], TensorProto.INT64),
    ]
    outputs = [tensor("output", []), tensor("stateN", [2, batch, 128])]
    return model(nodes, inputs, outputs, [weights("W", 1, 512, 576), weights("R", 1, 512, 128)])


def embedding(rows: int = 50) -> onnx.ModelProto:
    """Look up ids (batch, seq) in a table, behind a cast and a mask (batch, seq), and a boolean flip (batch)."""
    nodes = [
        helper.make_node("Cast", ["ids"], ["ids32"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table", "ids32"], ["words"], name="look_up"),
        helper.make_node("Cast", ["attention_mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["m3"]),
        helper.make_node("Mul", ["words", "m3"], ["kept"]),
        helper.make_node("ReduceMean", ["kept", "seq_axis"], ["mean"], keepdims=0),
        helper.make_node("Neg", ["mean"], ["negative"]),
        helper.make_node("Unsqueeze", ["flip", "last"], ["flip2"]),
        helper.make_node("Where", ["flip2", "negative", "mean"], ["pooled"]),
    ]
    stored = [
        weights("table", rows, 6),
        numpy_helper.from_array(np.array([-1], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "seq_axis"),
    ]
    inputs = [
        tensor("ids", ["batch", "seq"], TensorProto.INT64),
        tensor("attention_mask", ["batch", "seq"], TensorProto.INT64),
        tensor("flip", ["batch"], TensorProto.BOOL),
    ]
    return model(nodes, inputs, [tensor("pooled", ["batch", 6])], stored)


def save(proto: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def save_external(proto: onnx.ModelProto, path: Path, location: str = "model.data") -> Path:
    """Save with every initialiser in one file beside the graph."""
    onnx.save_model(
        proto, path, save_as_external_data=True, all_tensors_to_one_file=True, location=location, size_threshold=0
    )
    return path


def point_outside(path: Path, **facts: str) -> Path:
    """Rewrite the external data facts (location, offset, length) of every stored tensor."""
    proto = onnx.load(path, load_external_data=False)
    for stored in proto.graph.initializer:
        for entry in stored.external_data:
            entry.value = facts.get(entry.key, entry.value)
    return save(proto, path)
