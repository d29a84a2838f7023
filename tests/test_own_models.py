"""A user's own file as a workload: shapes by rule, values that its operators accept, one copy in the cache."""

from __future__ import annotations

import pickle

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models import carried, conv, embedding, mlp, model, save, tensor, weights
from speedsheet.convert.data import input_pool
from speedsheet.convert.graph.shapes import dims
from speedsheet.convert.own.values import OwnDraw, drawn
from speedsheet.convert.own.workload import check_carry, own_artifact, own_workload, parse_input
from speedsheet.core.errors import BadInput, BadModel
from speedsheet.core.workload import InputSpec


@pytest.fixture
def load(tmp_path):
    """Save a model and read it as a workload."""

    def own(proto, *texts, batch_size=None, carry=None):
        path = save(proto, tmp_path / "my_model.onnx")
        return own_workload(path, inputs=tuple(map(parse_input, texts)), batch_size=batch_size, carry=carry or {})

    return own


def specs(own):
    return {spec.name: spec for spec in own.workload.inputs}


def line_of(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestShapes:
    def test_a_workload_is_named_by_its_file(self, load):
        workload = load(mlp()).workload
        assert (workload.name, workload.task, workload.framework) == ("my_model", "own model", "onnx")
        assert (workload.source, workload.thread_num, workload.batch_size) == ("my_model.onnx", 1, 1)

    def test_the_batch_fills_a_free_first_dimension(self, load):
        own = load(mlp(), batch_size=16)
        assert own.shapes == {"x": (16, 8)}
        assert own.workload.batch_size == 16
        assert specs(own)["x"].shape == (None, 8)

    def test_an_unset_dimension_is_as_free_as_a_named_one(self, load):
        assert load(mlp(None), batch_size=4).shapes == {"x": (4, 8)}

    def test_a_fixed_batch_is_the_row_s(self, load):
        own = load(mlp(7))
        assert own.workload.batch_size == 7
        assert specs(own)["x"].shape == (None, 8)

    def test_a_batch_that_nothing_can_take_is_refused(self, load):
        with pytest.raises(BadInput, match="no input has a free first dimension, and the shapes hold 7") as caught:
            load(mlp(7), batch_size=8)
        assert "leave --batch out" in line_of(caught)
        assert load(mlp(7), batch_size=7).workload.batch_size == 7

    def test_a_given_shape_wins_over_the_batch(self, load):
        assert load(mlp(), "x=4x8:float32").workload.batch_size == 4
        with pytest.raises(BadInput, match="shapes hold 4"):
            load(mlp(), "x=4x8:float32", batch_size=8)

    def test_a_batch_of_none_is_refused(self, load):
        with pytest.raises(BadInput, match="holds no sample"):
            load(mlp(), batch_size=0)
        with pytest.raises(BadInput, match="holds no sample"):
            load(mlp(), "x=0x8")
        nodes = [helper.make_node("Concat", ["x", "z"], ["y"], axis=0)]
        two = model(nodes, [tensor("x", [None, 8]), tensor("z", [None, 8])], [tensor("y", [None, 8])])
        with pytest.raises(BadInput, match="holds no sample"):
            load(two, "x=0x8")

    def test_free_height_and_width_of_either_layout(self, load):
        assert load(conv()).shapes == {"image": (1, 3, 224, 224)}
        assert load(conv(None, None)).shapes == {"image": (1, 3, 224, 224)}
        assert load(conv(48, None), batch_size=2).shapes == {"image": (2, 3, 48, 224)}
        nodes = [helper.make_node("Relu", ["x"], ["y"])]
        last = model(nodes, [tensor("x", [None, None, None, 3])], [tensor("y", [None, None, None, 3])])
        assert load(last).shapes == {"x": (1, 224, 224, 3)}

    def test_a_given_shape_is_written_as_given(self, load):
        assert load(conv(), "image=1x3x48x320:float32").shapes == {"image": (1, 3, 48, 320)}

    def test_channels_cannot_be_guessed(self, load):
        with pytest.raises(BadInput, match="axis 1 of input 'image'") as caught:
            load(conv(None, None, None))
        assert "--input image=1x3x" in line_of(caught)

    def test_features_cannot_be_guessed_either(self, load):
        nodes = [helper.make_node("Relu", ["x"], ["y"])]
        with pytest.raises(BadInput, match="axis 2 of input 'x'"):
            load(model(nodes, [tensor("x", [None, None, None])], [tensor("y", [None, None, None])]))

    def test_a_guess_that_the_weights_refute_is_refused(self, load):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        free = model(nodes, [tensor("x", [None, None])], [tensor("y", [None, 4])], [weights("w", 8, 4)])
        with pytest.raises(BadInput, match="do not fit the model: with 'x' 1x128") as caught:
            load(free)
        assert "--input" in line_of(caught)
        assert load(free, "x=1x8").shapes == {"x": (1, 8)}

    def test_an_unknown_rank_is_asked_for(self, load):
        proto = mlp()
        proto.graph.input[0].type.tensor_type.ClearField("shape")
        with pytest.raises(BadInput, match="no rank") as caught:
            load(proto)
        assert "--input x=" in line_of(caught)
        assert load(proto, "x=5x8").workload.batch_size == 5

    def test_a_symbol_means_one_size_everywhere(self, load):
        own = load(embedding(), "ids=2x40:int64")
        assert own.shapes == {"ids": (2, 40), "attention_mask": (2, 40), "flip": (2,)}
        assert own.workload.batch_size == 2
        with pytest.raises(BadInput, match="dimension 'seq' is 41 in input 'attention_mask', 40 in another"):
            load(embedding(), "ids=2x40:int64", "attention_mask=2x41:int64")

    @pytest.mark.parametrize("names", [("?", "?", "?"), ("None", "None", "None"), ("unk__6", "unk__7", "unk__8")])
    def test_what_exporters_write_for_any_size_is_no_symbol(self, load, names):
        nodes = [helper.make_node("Relu", ["x"], ["y"])]
        batch, height, width = names
        dims = [batch, 3, height, width]
        own = load(model(nodes, [tensor("x", dims)], [tensor("y", dims)]), batch_size=2)
        assert own.shapes == {"x": (2, 3, 224, 224)}

    def test_sequences_have_a_default_length(self, load):
        own = load(embedding(), batch_size=3)
        assert own.shapes == {"ids": (3, 128), "attention_mask": (3, 128), "flip": (3,)}

    def test_initialisers_among_the_inputs_are_not_inputs(self, load):
        """Files of IR version 3 list every weight as an input with a default."""
        proto = mlp()
        proto.graph.input.append(tensor("w2", [16, 3]))
        assert set(load(proto).shapes) == {"x"}

    def test_names_are_checked(self, load):
        with pytest.raises(BadInput, match="no input 'imag'; did you mean image"):
            load(conv(), "imag=1x3x8x8")
        with pytest.raises(BadInput, match="given twice"):
            load(mlp(), "x=1x8", "x=2x8")

    def test_types_are_checked(self, load):
        with pytest.raises(BadInput, match="'x' is float32 in the model, and was given as int64"):
            load(mlp(), "x=1x8:int64")

    def test_what_is_no_array_of_numbers_is_refused(self, load):
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        text = model(nodes, [tensor("x", [1], TensorProto.STRING)], [tensor("y", [1], TensorProto.STRING)])
        with pytest.raises(BadInput, match="element type STRING"):
            load(text)
        sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1])
        out = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, [1])
        with pytest.raises(BadInput, match="sequence_type, not a tensor"):
            load(model(nodes, [sequence], [out]))

    @pytest.mark.parametrize(
        ("output", "words"),
        [
            (helper.make_tensor_sequence_value_info("p", TensorProto.FLOAT, [1]), "'p' is a sequence_type, not a"),
            (tensor("p", [1], TensorProto.STRING), "'p' has element type STRING"),
        ],
    )
    def test_answers_that_are_no_arrays_of_numbers_are_refused(self, load, output, words):
        """What scikit-learn's classifiers give: maps of probabilities, and labels that are texts."""
        text = output.type.HasField("tensor_type")
        make = helper.make_node("Cast", ["x"], ["p"], to=TensorProto.STRING)
        nodes = [make if text else helper.make_node("SequenceConstruct", ["x"], ["p"])]
        with pytest.raises(BadModel, match=words) as caught:
            load(model(nodes, [tensor("x", [1])], [output]))
        assert "zipmap" in line_of(caught)

    def test_the_file_is_named_in_every_complaint(self, load):
        with pytest.raises(BadInput) as caught:
            load(mlp(), "x=1x9")
        assert "my_model.onnx: " in line_of(caught)


class TestState:
    def test_recurrent_state_is_zeros_and_no_batch(self, load):
        own = load(carried(2), "sr=:int64:16000:16001")
        assert own.workload.batch_size == 2
        assert specs(own)["state"].shape == (2, 2, 128)
        assert specs(own)["input"].shape == (None, 576)
        feed = own.workload.draw(1, 2)
        assert not feed["state"].any()
        assert feed["sr"] == 16000
        assert feed["sr"].shape == ()
        assert any("zeros at each request" in text for text in own.assumptions)

    def test_a_name_alone_makes_no_state(self, load):
        """Hidden states that a decoder reads are features, not state: no output has their shape."""
        nodes = [helper.make_node("ReduceMean", ["encoder_hidden_states"], ["y"], keepdims=0)]
        own = load(model(nodes, [tensor("encoder_hidden_states", ["b", "seq", 16])], [tensor("y", [])]))
        assert own.workload.draw(1, 1)["encoder_hidden_states"].std() > 0.1

    def test_features_between_layers_are_no_state(self, load):
        """A transformer's layer gives hidden states of the shape that it takes: they are data, and hold the batch."""
        nodes = [helper.make_node("Relu", ["hidden_states"], ["y"])]
        for first, length in ((4, 16), (None, None)):
            dims = [first, length, 8]
            own = load(model(nodes, [tensor("hidden_states", dims)], [tensor("y", dims)]), batch_size=4)
            assert own.shapes == {"hidden_states": (4, length or 128, 8)}
            assert own.workload.batch_size == 4
            assert own.workload.draw(1, 4)["hidden_states"].std() > 0.1

    def test_a_state_that_is_all_that_is_served_holds_the_batch(self, load):
        """A policy takes the state of its world, as many as the model was exported for."""
        nodes = [helper.make_node("ReduceMean", ["state"], ["y"], keepdims=0)]
        own = load(model(nodes, [tensor("state", [32, 8])], [tensor("y", [])]))
        assert own.workload.batch_size == 32

    def test_free_dimensions_of_a_state_are_the_batch(self, load):
        nodes = [helper.make_node("Identity", ["h"], ["hn"]), helper.make_node("Relu", ["x"], ["y"])]
        own = load(
            model(nodes, [tensor("x", [None, 8]), tensor("h", [1, None, 4])], [tensor("y", None), tensor("hn", None)]),
            batch_size=6,
        )
        assert own.shapes == {"x": (6, 8), "h": (1, 6, 4)}

    def test_what_is_carried_is_zeros_whatever_its_name(self, load):
        nodes = [helper.make_node("Add", ["x", "z"], ["y"])]
        proto = model(nodes, [tensor("x", [1, 4]), tensor("z", [1, 4])], [tensor("y", [1, 4])])
        assert load(proto).workload.draw(1, 1)["z"].any()
        own = load(proto, carry={"y": "z"})
        assert not own.workload.draw(1, 1)["z"].any()
        assert own.carry == {"y": "z"}

    @pytest.mark.parametrize(
        ("carry", "words"),
        [
            ({"stateM": "state"}, "no output 'stateM'.*did you mean stateN"),
            ({"stateN": "stat"}, "no input 'stat'.*did you mean state"),
            ({"stateN": "input"}, "2x1x128 float.*cannot become input 'input' .1x576"),
            ({"stateN": "sr"}, "a scalar int64"),
        ],
    )
    def test_what_cannot_be_carried_is_refused(self, load, carry, words):
        with pytest.raises(BadInput, match=words) as caught:
            load(carried(), carry=carry)
        assert "--carry" in line_of(caught)

    def test_two_outputs_cannot_become_one_input(self):
        nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1]), tensor("z", [1])])
        check_carry(proto, {"y": "x"})
        with pytest.raises(BadInput, match="same input"):
            check_carry(proto, {"y": "x", "z": "x"})


class TestValues:
    def test_floats_are_of_both_signs(self, load):
        values = load(mlp(), batch_size=64).workload.draw(7, 64)["x"]
        assert values.dtype == np.float32
        assert -1 <= values.min() < -0.9
        assert 0.9 < values.max() < 1
        assert abs(values.mean()) < 0.1

    def test_images_are_smooth_as_scenes_are(self, load):
        image = load(conv()).workload.draw(7, 2)["image"]
        assert image.shape == (2, 3, 224, 224)
        neighbours = np.corrcoef(image[..., 1:].ravel(), image[..., :-1].ravel())[0, 1]
        assert neighbours > 0.7

    def test_ids_stay_inside_the_table_that_they_index(self, load):
        own = load(embedding(50), batch_size=8)
        ids = own.workload.draw(7, 8)["ids"]
        assert ids.dtype == np.int64
        assert ids.min() >= 0
        assert 20 < ids.max() < 50
        assert specs(own)["ids"].high == 50

    def test_ids_are_followed_through_functions(self, load):
        opsets = [helper.make_opsetid("", 18)]
        look = helper.make_node("Gather", ["t", "i"], ["e"])
        proto = model(
            [helper.make_node("LookUp", ["table", "ids"], ["y"], domain="my")],
            [tensor("ids", [None, 4], TensorProto.INT32)],
            [tensor("y", None)],
            [weights("table", 9, 2)],
            domains=("my",),
            functions=[helper.make_function("my", "LookUp", ["t", "i"], ["e"], [look], opsets)],
        )
        assert specs(load(proto))["ids"].high == 9

    def test_the_smallest_of_several_tables_decides(self, load):
        nodes = [helper.make_node("Gather", ["a", "i"], ["y"]), helper.make_node("Gather", ["b", "i"], ["z"], axis=1)]
        outputs = [tensor("y", None), tensor("z", None)]
        proto = model(nodes, [tensor("i", [4], TensorProto.INT64)], outputs, [weights("a", 30, 2), weights("b", 2, 11)])
        assert specs(load(proto))["i"].high == 11

    def test_what_exporters_write_to_allow_negative_ids_folds_away(self, load):
        """TensorFlow's ``ids + rows * (ids < 0)``: for ids from 0 the table's rows are the bound, not rows - rows."""
        nodes = [
            helper.make_node("Less", ["ids", "zero"], ["below"]),
            helper.make_node("Cast", ["below"], ["b"], to=TensorProto.INT64),
            helper.make_node("Add", ["ids", "rows"], ["wrapped"]),
            helper.make_node("Mul", ["b", "wrapped"], ["first"]),
            helper.make_node("Not", ["below"], ["above"]),
            helper.make_node("Cast", ["above"], ["a"], to=TensorProto.INT64),
            helper.make_node("Mul", ["ids", "a"], ["second"]),
            helper.make_node("Add", ["first", "second"], ["index"]),
            helper.make_node("Gather", ["table", "index"], ["y"]),
            helper.make_node("Where", ["below", "wrapped", "ids"], ["again"]),
            helper.make_node("Gather", ["table", "again"], ["z"]),
        ]
        stored = [weights("table", 20, 2)]
        stored += [
            numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (("zero", 0), ("rows", 20))
        ]
        ids = tensor("ids", [None, 3], TensorProto.INT64)
        own = load(model(nodes, [ids], [tensor("y", None), tensor("z", None)], stored))
        assert specs(own)["ids"].high == 20

    def test_offsets_into_one_large_table_are_subtracted(self, load):
        nodes = [helper.make_node("Add", ["ids", "starts"], ["at"]), helper.make_node("Gather", ["table", "at"], ["y"])]
        starts = numpy_helper.from_array(np.array([0, 10, 25], np.int64), "starts")
        ids = tensor("ids", [None, 3], TensorProto.INT64)
        own = load(model(nodes, [ids], [tensor("y", None)], [weights("table", 30, 2), starts]))
        assert specs(own)["ids"].high == 5

    def test_each_column_may_have_its_own_table(self, load):
        nodes = [
            helper.make_node("Gather", ["ids", "first"], ["i"], axis=1),
            helper.make_node("Gather", ["a", "i"], ["y"]),
            helper.make_node("Split", ["ids"], ["l", "r"], axis=1, num_outputs=2),
            helper.make_node("Gather", ["b", "r"], ["z"]),
        ]
        first = numpy_helper.from_array(np.array(0, np.int64), "first")
        ids = tensor("ids", [None, 2], TensorProto.INT64)
        stored = [weights("a", 30, 2), weights("b", 40, 2), first]
        own = load(model(nodes, [ids], [tensor("y", None), tensor("z", None)], stored))
        assert specs(own)["ids"].high == 30

    def test_masks_are_ones_and_booleans_vary(self, load):
        feed = load(embedding(), batch_size=64).workload.draw(7, 64)
        assert (feed["attention_mask"] == 1).all()
        assert feed["flip"].dtype == np.bool_
        assert 0.2 < feed["flip"].mean() < 0.8

    def test_a_mask_of_padding_is_of_none(self, load):
        """Torch's key_padding_mask is true where nothing is: all true, attention would answer NaN."""
        nodes = [helper.make_node("Not", ["src_key_padding_mask"], ["y"])]
        masks = tensor("src_key_padding_mask", ["batch", "seq"], TensorProto.BOOL)
        own = load(model(nodes, [masks], [tensor("y", ["batch", "seq"], TensorProto.BOOL)]), batch_size=2)
        assert not own.workload.draw(7, 2)["src_key_padding_mask"].any()
        assert any("false, as a mask of full length" in text for text in own.assumptions)

    def test_a_given_range_is_kept(self, load):
        own = load(embedding(), "ids=4x16:int64:10:20", "attention_mask=4x16::0:2")
        feed = own.workload.draw(7, 4)
        assert set(np.unique(feed["ids"])) <= set(range(10, 20))
        assert set(np.unique(feed["attention_mask"])) == {0, 1}

    @pytest.mark.parametrize(
        ("kind", "given", "words"),
        [
            (TensorProto.UINT8, "x=1x4::-5:300", "from 0 to 255"),
            (TensorProto.INT64, "x=1x4::0.2:0.8", "whole numbers"),
            (TensorProto.BOOL, "x=1x4::0:1", "leave out"),
            (TensorProto.FLOAT16, "x=1x4::0:70000", "65504"),
        ],
    )
    def test_a_given_range_must_be_one_of_the_model_s_type(self, load, kind, given, words):
        """A type that is left out is the model's, and its numbers are not wrapped round to fit."""
        proto = model([helper.make_node("Identity", ["x"], ["y"])], [tensor("x", [1, 4], kind)], [tensor("y", None)])
        proto.graph.output[0].type.tensor_type.elem_type = kind
        with pytest.raises(BadInput, match=words) as caught:
            load(proto, given)
        assert "my_model.onnx: " in line_of(caught)

    def test_what_was_assumed_is_said(self, load):
        own = load(embedding(), "flip=2:bool")
        assert own.assumptions == (
            "input 'ids': 2x128 int64, skewed ids in [0, 50), the rows of its smallest table",
            "input 'attention_mask': 2x128 int64, ones, as a mask of full length",
        )
        assert load(mlp(), "x=1x8:float32:0:1").assumptions == ()

    def test_draws_repeat_and_travel(self, load):
        draw = load(embedding(), batch_size=4).workload.draw
        again = pickle.loads(pickle.dumps(draw))
        for name, values in draw(5, 4).items():
            assert np.array_equal(values, again(5, 4)[name])
        assert not np.array_equal(draw(5, 4)["ids"], draw(6, 4)["ids"])

    @given(
        dtype=st.sampled_from(["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "uint64"]),
        bounds=st.tuples(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40)).map(sorted),
        rank=st.integers(0, 3),
    )
    def test_values_lie_in_their_range(self, dtype, bounds, rank):
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
        low, high = (min(max(float(bound), float(limits.min)), float(limits.max)) for bound in bounds)
        if low < high:
            spec = InputSpec("x", (3, 4, 5)[:rank], dtype, low, high)
            values = OwnDraw((drawn(spec, carried=False, table=None),))(3, 1)["x"]
            assert values.dtype == dtype
            assert values.shape == spec.shape
            assert (values >= low).all()
            assert (values < high).all()

    @pytest.mark.parametrize("dtype", ["int64", "uint64"])
    def test_the_whole_range_of_64_bits_can_be_asked_for(self, dtype):
        limits = np.iinfo(dtype)
        spec = InputSpec("x", (1000,), dtype, float(limits.min), float(limits.max) + 1)
        values = OwnDraw((drawn(spec, carried=False, table=None),))(3, 1)["x"].astype(np.float64)
        assert values.min() < float(limits.min) + 2.0**59
        assert values.max() > float(limits.max) - 2.0**59

    @pytest.mark.parametrize("made", [mlp, conv, embedding, carried])
    def test_the_model_runs_on_what_is_drawn(self, load, made, tmp_path):
        own = load(made())
        feed = input_pool(own.workload, own.workload.batch_size, 1, 3)[0]
        artifact = own_artifact(tmp_path / "my_model.onnx", own, tmp_path / "cache")
        outputs = ReferenceEvaluator(str(artifact.graph)).run(None, feed)
        shapes = [dims(value) for value in onnx.load(artifact.graph).graph.output]
        assert [output.shape for output in outputs] == shapes
        assert all(np.isfinite(output).all() for output in outputs)
