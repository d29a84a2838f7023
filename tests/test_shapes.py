"""Shapes written into a graph, and inputs as people type them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from models import carried, conv, mlp, model, save, save_external, tensor, weights
from speedsheet.convert.graph.file import read_model
from speedsheet.convert.graph.shapes import dims, fix_shapes, write_shapes
from speedsheet.convert.own.input_text import DTYPES, format_input, parse_input
from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import BadInput, UsageError
from speedsheet.core.workload import InputSpec


def shapes_of(values):
    return {value.name: dims(value) for value in values}


class TestWriteShapes:
    def test_inner_values_and_outputs_follow_the_inputs(self):
        proto = conv()
        write_shapes(proto, {"image": (2, 3, 48, 320)})
        assert shapes_of(proto.graph.input)["image"] == (2, 3, 48, 320)
        assert shapes_of(proto.graph.value_info)["c"] == (2, 4, 24, 160)
        assert shapes_of(proto.graph.output) == {"scores": (2, 5)}

    def test_what_the_exporter_left_behind_is_dropped(self):
        """Shapes of another batch in value_info and outputs would stop an engine that believes them."""
        proto = mlp()
        proto.graph.value_info.append(tensor("a", [7, 16]))
        proto.graph.output[0].CopyFrom(tensor("y", [7, 3]))
        write_shapes(proto, {"x": (4, 8)})
        assert shapes_of(proto.graph.value_info)["a"] == (4, 16)
        assert shapes_of(proto.graph.output) == {"y": (4, 3)}

    def test_weights_stay_bit_for_bit(self):
        proto = mlp()
        before = [tensor.SerializeToString() for tensor in proto.graph.initializer]
        write_shapes(proto, {"x": (4, 8)})
        assert [tensor.SerializeToString() for tensor in proto.graph.initializer] == before

    def test_branches_get_their_shapes(self):
        proto = carried()
        write_shapes(proto, {"input": (1, 576), "state": (2, 1, 128), "sr": ()})
        branches = next(node for node in proto.graph.node if node.op_type == "If").attribute
        assert [shapes_of(branch.g.output) for branch in branches] == [{"e": (1, 576)}, {"t": (1, 576)}]
        assert shapes_of(proto.graph.output)["stateN"] == (2, 1, 128)
        assert shapes_of(proto.graph.input)["sr"] == ()

    def test_behind_an_operator_of_an_engine_the_rank_and_symbols_remain(self):
        nodes = [helper.make_node("Secret", ["x"], ["y"], domain="com.microsoft")]
        proto = model(nodes, [tensor("x", ["N", 8])], [tensor("y", ["N", 3])], domains=("com.microsoft",))
        write_shapes(proto, {"x": (4, 8)})
        assert shapes_of(proto.graph.output) == {"y": (4, None)}

    def test_a_fixed_dimension_is_not_overwritten(self):
        with pytest.raises(BadInput, match=r"'x' is \?x8 in the model, and was given as 4x9") as caught:
            write_shapes(mlp(None), {"x": (4, 9)})
        assert "\n" not in str(caught.value)

    def test_another_rank_is_refused(self):
        with pytest.raises(BadInput, match="batchx8 in the model, and was given as 4x8x1"):
            write_shapes(mlp(), {"x": (4, 8, 1)})

    def test_an_unknown_input_is_refused_with_the_nearest_name(self):
        with pytest.raises(BadInput, match="no input 'imag'; did you mean image"):
            write_shapes(conv(), {"imag": (1, 3, 8, 8)})

    def test_shapes_that_inference_proves_wrong_are_refused(self):
        """A free dimension can still be wrong: the weights behind it say so."""
        free = model(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
            [tensor("x", ["N", "K"])],
            [tensor("y", ["N", 4])],
            [weights("w", 8, 4)],
        )
        write_shapes(free, {"x": (2, 8)})
        free.graph.input[0].CopyFrom(tensor("x", ["N", "K"]))
        with pytest.raises(BadInput, match="do not fit the model: with 'x' 2x7") as caught:
            write_shapes(free, {"x": (2, 7)})
        assert "MatMul" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_fault_that_the_model_had_before_is_not_blamed_on_the_shapes(self):
        nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Relu", ["x"], ["y"])]
        stored = [weights("a", 2, 3), weights("b", 4, 5)]
        proto = model(nodes, [tensor("x", ["N", 8])], [tensor("y", ["N", 8])], stored)
        write_shapes(proto, {"x": (4, 8)})
        assert shapes_of(proto.graph.output) == {"y": (4, 8)}

    def test_what_is_written_is_valid(self, tmp_path):
        for proto, shapes in (
            (mlp(), {"x": (4, 8)}),
            (conv(), {"image": (1, 3, 32, 32)}),
            (carried(), {"input": (1, 576), "state": (2, 1, 128), "sr": ()}),
        ):
            write_shapes(proto, shapes)
            onnx.checker.check_model(proto, full_check=True)
            read_model(save(proto, tmp_path / "written.onnx"))


class TestFixShapes:
    @pytest.fixture
    def artifact(self, tmp_path):
        save_external(conv(), tmp_path / "graph.onnx", "weights.bin")
        return Artifact(tmp_path, "0" * 64, 1, 1, 1, "none")

    def test_a_copy_lies_beside_the_same_weights(self, artifact):
        fixed = fix_shapes(artifact, {"image": (2, 3, 64, 64)})
        assert fixed.graph != artifact.graph
        assert fixed.graph.parent == artifact.folder
        loaded = onnx.load(fixed.graph)
        assert shapes_of(loaded.graph.input) == {"image": (2, 3, 64, 64)}
        assert np.array_equal(
            onnx.numpy_helper.to_array(loaded.graph.initializer[0]),
            onnx.numpy_helper.to_array(conv().graph.initializer[0]),
        )

    def test_weights_are_never_read(self, artifact):
        (artifact.folder / "weights.bin").unlink()
        assert fix_shapes(artifact, {"image": (2, 3, 64, 64)}).graph.exists()

    def test_the_same_shapes_are_written_once_and_others_elsewhere(self, artifact):
        first = fix_shapes(artifact, {"image": (2, 3, 64, 64)})
        stamp = first.graph.stat().st_mtime_ns
        assert fix_shapes(first, {"image": (2, 3, 64, 64)}) == first
        assert first.graph.stat().st_mtime_ns == stamp
        other = fix_shapes(first, {"image": (4, 3, 64, 64)})
        assert other.graph != first.graph
        assert sorted(path.name for path in artifact.folder.iterdir()) == sorted(
            ["graph.onnx", "weights.bin", first.graph_name, other.graph_name]
        )

    def test_a_refused_shape_leaves_nothing_behind(self, artifact):
        with pytest.raises(BadInput):
            fix_shapes(artifact, {"image": (2, 4, 64, 64)})
        assert len(list(artifact.folder.iterdir())) == 2


class TestInputText:
    @pytest.mark.parametrize(
        ("text", "spec"),
        [
            ("x=1x3x48x320:float32", InputSpec("x", (1, 3, 48, 320), "float32", 0.0, 0.0)),
            ("ids=1x128:int64:0:30000", InputSpec("ids", (1, 128), "int64", 0.0, 30000.0)),
            ("sr=:int64:16000:16001", InputSpec("sr", (), "int64", 16000.0, 16001.0)),
            ("serving_default_x:0=1x3:float32", InputSpec("serving_default_x:0", (1, 3), "float32", 0.0, 0.0)),
            ("a/b.c=d=4", InputSpec("a/b.c=d", (4,), "", 0.0, 0.0)),
            ("x=2x3::-1:1", InputSpec("x", (2, 3), "", -1.0, 1.0)),
            ("flag=", InputSpec("flag", (), "", 0.0, 0.0)),
            ("past=1x12x0x64:float16", InputSpec("past", (1, 12, 0, 64), "float16", 0.0, 0.0)),
        ],
    )
    def test_forms(self, text, spec):
        assert parse_input(text) == spec
        assert parse_input(format_input(spec)) == spec

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("", "NAME=SHAPE:DTYPE"),
            ("x", "NAME=SHAPE:DTYPE"),
            ("=1x3", "NAME=SHAPE:DTYPE"),
            ("x=1x3:float32:0", "NAME=SHAPE:DTYPE"),
            ("x=1xN:float32", "NAME=SHAPE:DTYPE"),
            ("x=-1x3", "NAME=SHAPE:DTYPE"),
            ("x=1x3:flot32", "float32"),
            ("x=1x3:float32:1:1", "LOW must be below HIGH"),
            ("x=1x3:float32:2:1", "LOW must be below HIGH"),
            ("x=1x3:float32:0:1e999", "LOW must be below HIGH"),
            ("x=1x3:int8:0:200", "-128 to 127"),
            ("x=1x3:int8:0.5:2", "whole numbers"),
            ("x=1x3:float16:0:70000", "65504"),
            ("x=2:bool:0:1", "leave out"),
            ("x=99999x99999x99999:float32", "smaller shape"),
            ("x=99999999999999999999", "NAME=SHAPE"),
            ("x\n=1\n", "NAME=SHAPE"),
        ],
    )
    def test_bad_text_is_refused_in_one_line_that_helps(self, text, hint):
        with pytest.raises(UsageError) as caught:
            parse_input(text)
        assert hint in str(caught.value)
        assert "\n" not in str(caught.value)

    @given(
        name=st.text(min_size=1, max_size=20),
        shape=st.lists(st.integers(0, 40), max_size=4).map(tuple),
        dtype=st.sampled_from(["", *DTYPES]),
        bounds=st.none() | st.tuples(st.integers(0, 126), st.integers(0, 126)),
    )
    def test_what_is_written_is_read_back(self, name, shape, dtype, bounds):
        low, high = (float(bound) for bound in sorted(bounds or (0, 0)))
        if low == high or dtype == "bool":
            low = high = 0.0
        spec = InputSpec(name, shape, dtype, low, high)
        assert parse_input(format_input(spec)) == spec

    @given(low=st.floats(allow_nan=False, allow_infinity=False), high=st.floats(allow_nan=False, allow_infinity=False))
    def test_every_finite_range_is_read_back(self, low, high):
        if low < high:
            spec = InputSpec("x", (1, 2), "float64", low, high)
            assert parse_input(format_input(spec)) == spec

    @given(st.text(max_size=40))
    def test_any_text_is_a_spec_or_a_usage_error(self, text):
        spec, said = None, ""
        try:
            spec = parse_input(text)
        except UsageError as error:
            said = str(error)
        assert "\n" not in said
        assert spec is None or parse_input(format_input(spec)) == spec
