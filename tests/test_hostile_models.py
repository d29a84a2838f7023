"""Files that are not what they say: each is refused in one line that names the file and what to do."""

from __future__ import annotations

import os
import random
import struct
import zipfile

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from models import carried, conv, embedding, mlp, model, point_outside, save, save_external, tensor, weights
from speedsheet.convert.graph.file import read_model
from speedsheet.convert.own.workload import own_workload
from speedsheet.core.errors import BadInput, BadModel, SpeedsheetError
from speedsheet.core.workload import InputSpec


def refused(path, *words):
    """Read the file, expect a refusal, and hold its message to the house's rule."""
    with pytest.raises(BadModel) as caught:
        read_model(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert line.isprintable()
    assert len(line) < 700 + len(str(path))
    assert caught.value.do
    for word in words:
        assert word in line
    return line


class TestWhatIsNotAModel:
    def test_a_missing_file(self, tmp_path):
        refused(tmp_path / "no.onnx", "no such file", "check the path")

    def test_a_directory(self, tmp_path):
        refused(tmp_path, "is a directory", "name the .onnx file in it")

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "m.onnx").touch()
        refused(tmp_path / "m.onnx", "is empty", "export or download")

    def test_a_pipe_is_not_opened(self, tmp_path):
        """Opening one would wait for ever."""
        os.mkfifo(tmp_path / "m.onnx")
        refused(tmp_path / "m.onnx", "is not a regular file")

    def test_a_path_that_no_file_can_have(self, tmp_path):
        with pytest.raises(BadModel, match="cannot be read"):
            read_model("a\0b.onnx")

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (b"hello, I am a text\n", "text"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
            (b"<!DOCTYPE html><html>404</html>", "web page"),
            (b'<?xml version="1.0"?><net name="m" version="11"></net>', "OpenVINO"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
            (b"\x1c\0\0\0TFL3\x14\0\x20\0", "TensorFlow Lite"),
            (b"\x89HDF\r\n\x1a\n", "Keras .h5"),
            (b"\x80\x02}q\0(X\x04\0\0\0", "pickle"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "gzip"),
            (struct.pack("<Q", 64) + b'{"weight":{"dtype":"F32"}}\xff', "safetensors"),
            (b"\x08\x01\x12\x9e\x80\x01\x0a\x10\x12\x05serve", "SavedModel"),
        ],
    )
    def test_other_formats_are_recognised(self, tmp_path, content, kind):
        (tmp_path / "m.onnx").write_bytes(content)
        refused(tmp_path / "m.onnx", kind)

    def test_a_torch_checkpoint(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "m.onnx", "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02.")
        refused(tmp_path / "m.onnx", "PyTorch .pt", "torch.onnx.export")

    def test_protobuf_of_another_kind(self, tmp_path):
        """A TensorFlow GraphDef: field 1 holds a node, where ONNX has a number."""
        (tmp_path / "m.onnx").write_bytes(b"\x0a\x0b\x0a\x01x\x12\x06\xc3\xa9holder")
        refused(tmp_path / "m.onnx", "ONNX")

    def test_a_truncated_model(self, tmp_path):
        whole = mlp().SerializeToString()
        (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2])
        refused(tmp_path / "m.onnx", "truncated")

    def test_a_file_above_what_protobuf_holds(self, tmp_path):
        path = save(mlp(), tmp_path / "m.onnx")
        os.truncate(path, 2**31 + 10)
        refused(path, "2 GiB", "save_as_external_data")


class TestSizesThatLie:
    def test_raw_data_shorter_than_the_shape(self, tmp_path):
        proto = mlp()
        proto.graph.initializer[0].raw_data = proto.graph.initializer[0].raw_data[:-4]
        refused(save(proto, tmp_path / "m.onnx"), "'w1'", "512", "508")

    def test_a_shape_that_no_memory_holds(self, tmp_path):
        proto = mlp()
        proto.graph.initializer[0].dims[:] = [2**31, 2**31, 2**31]
        refused(save(proto, tmp_path / "m.onnx"), "'w1'", "impossible shape")

    def test_more_axes_than_arrays_have(self, tmp_path):
        """The product of a million dimensions is not even tried."""
        proto = mlp()
        proto.graph.initializer[0].dims.extend([1] * 63)
        refused(save(proto, tmp_path / "m.onnx"), "'w1'", "impossible shape")
        wide = model([helper.make_node("Relu", ["x"], ["y"])], [tensor("x", [1] * 65)], [tensor("y", None)])
        refused(save(wide, tmp_path / "wide.onnx"), "'x' has more than 64 axes")

    def test_a_negative_dimension(self, tmp_path):
        proto = mlp()
        proto.graph.initializer[0].dims[:] = [-8, -16]
        refused(save(proto, tmp_path / "m.onnx"), "impossible shape")

    def test_typed_fields_count_too(self, tmp_path):
        proto = mlp()
        stored = proto.graph.initializer[1]
        stored.ClearField("raw_data")
        stored.float_data.extend([0.0] * 15)
        refused(save(proto, tmp_path / "m.onnx"), "'b1'", "16", "15")

    def test_an_unknown_element_type(self, tmp_path):
        proto = mlp()
        proto.graph.initializer[0].data_type = 77
        refused(save(proto, tmp_path / "m.onnx"), "element type 77")

    def test_a_tensor_inside_a_branch_is_checked(self, tmp_path):
        proto = carried()
        branch = next(node for node in proto.graph.node if node.op_type == "If").attribute[0].g
        branch.initializer.append(weights("deep", 4))
        branch.initializer[0].dims[:] = [400]
        refused(save(proto, tmp_path / "m.onnx"), "'deep'")

    @pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.BFLOAT16, TensorProto.COMPLEX64])
    def test_odd_types_of_the_right_size_pass(self, tmp_path, kind):
        proto = mlp()
        proto.graph.initializer.append(helper.make_tensor("odd", kind, [3], [1, 0, 1]))
        read_model(save(proto, tmp_path / "m.onnx"))


class TestExternalData:
    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "model").mkdir()
        (tmp_path / "secret").write_bytes(bytes(4096))
        return save_external(mlp(), tmp_path / "model" / "m.onnx")

    def test_beside_the_graph_it_is_fine_and_not_loaded(self, path):
        assert not any(tensor.raw_data for tensor in read_model(path).graph.initializer)

    def test_a_missing_file(self, path):
        (path.parent / "model.data").unlink()
        refused(path, "'model.data'", "missing", "beside the .onnx")

    def test_a_truncated_file(self, path):
        os.truncate(path.parent / "model.data", 600)
        refused(path, "only 600", "truncated")

    @pytest.mark.parametrize(
        "location", ["../secret", "/etc/passwd", "sub/../../secret", "C:\\secret", "..\\secret", "\\\\host\\share"]
    )
    def test_paths_out_of_the_folder(self, path, location):
        refused(point_outside(path, location=location), "outside the model's folder")

    def test_a_link_out_of_the_folder(self, path):
        (path.parent / "model.data").unlink()
        (path.parent / "model.data").symlink_to(path.parent.parent / "secret")
        refused(path, "a link that leaves", "cp -rL")

    def test_a_linked_folder_out_of_the_folder(self, path):
        (path.parent / "sub").symlink_to(path.parent.parent)
        refused(point_outside(path, location="sub/secret"), "a link that leaves")

    def test_a_link_that_goes_round(self, path):
        (path.parent / "model.data").unlink()
        (path.parent / "model.data").symlink_to("model.data")
        refused(path, "missing or cannot be read")

    def test_a_link_within_the_folder_is_fine(self, path):
        (path.parent / "model.data").rename(path.parent / "blob")
        (path.parent / "model.data").symlink_to("blob")
        read_model(path)

    def test_a_device_is_not_read(self, path):
        (path.parent / "model.data").unlink()
        os.mkfifo(path.parent / "model.data")
        refused(path, "not a regular file")

    @pytest.mark.parametrize("offset", ["-1", "1e3", "", "99999999999999999999", "0x10"])
    def test_an_offset_that_is_none(self, path, offset):
        refused(point_outside(path, offset=offset), "offset")

    def test_an_offset_past_the_end(self, path):
        refused(point_outside(path, offset="900000"), "only")

    def test_a_length_that_is_not_the_shape(self, path):
        refused(point_outside(path, length="4"), "declares 4")

    @pytest.mark.parametrize("location", ["", "\0", "a\0b"])
    def test_no_location(self, path, location):
        refused(point_outside(path, location=location), "names no external data")


class TestOperators:
    def test_an_unknown_domain(self, tmp_path):
        nodes = [helper.make_node("Magic", ["x"], ["y"], name="trick", domain="my.ops")]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1])], domains=("my.ops",))
        refused(save(proto, tmp_path / "m.onnx"), "'Magic'", "'my.ops'", "'trick'", "standard ONNX operators")

    def test_an_operator_that_the_standard_lacks(self, tmp_path):
        proto = model([helper.make_node("Erfc", ["x"], ["y"])], [tensor("x", [1])], [tensor("y", [1])])
        refused(save(proto, tmp_path / "m.onnx"), "'Erfc'", "(node 'y')", "opset 18")

    def test_an_operator_that_its_opset_lacks_yet(self, tmp_path):
        proto = model([helper.make_node("Gelu", ["x"], ["y"])], [tensor("x", [1])], [tensor("y", [1])], opset=18)
        refused(save(proto, tmp_path / "m.onnx"), "'Gelu'", "opset 18")

    def test_an_operator_inside_a_branch(self, tmp_path):
        proto = carried()
        branch = next(node for node in proto.graph.node if node.op_type == "If").attribute[0].g
        branch.node[0].op_type = "Sneaky"
        refused(save(proto, tmp_path / "m.onnx"), "'Sneaky'")

    def test_those_of_onnx_runtime_pass(self, tmp_path):
        nodes = [helper.make_node("FastGelu", ["x"], ["y"], domain="com.microsoft")]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1])], domains=("com.microsoft",))
        assert read_model(save(proto, tmp_path / "m.onnx")).graph.node[0].op_type == "FastGelu"

    def test_the_models_own_functions_pass(self, tmp_path):
        opsets = [helper.make_opsetid("", 18)]
        twice = helper.make_function("my", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets)
        nodes = [helper.make_node("Twice", ["x"], ["y"], domain="my")]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1])], domains=("my",), functions=[twice])
        read_model(save(proto, tmp_path / "m.onnx"))
        assert own_workload(tmp_path / "m.onnx").workload.batch_size == 1

    def test_an_opset_from_the_future(self, tmp_path):
        refused(save(_opset(mlp(), 999), tmp_path / "m.onnx"), "opset 999", "pip install -U onnx")

    def test_a_format_from_the_future(self, tmp_path):
        proto = mlp()
        proto.ir_version = 999
        refused(save(proto, tmp_path / "m.onnx"), "IR version 999", "update onnx")


def _opset(proto, version):
    proto.opset_import[0].version = version
    return proto


class TestStructure:
    def test_no_operators(self, tmp_path):
        refused(save(model([], [tensor("x", [1])], [tensor("x", [1])]), tmp_path / "m.onnx"), "no operators")

    def test_an_input_that_nothing_makes(self, tmp_path):
        proto = model([helper.make_node("Relu", ["ghost"], ["y"])], [tensor("x", [1])], [tensor("y", [1])])
        refused(save(proto, tmp_path / "m.onnx"), "not valid ONNX", "ghost")

    def test_functions_that_stand_for_more_nodes_than_memory_holds(self, tmp_path):
        """Sixty functions of two calls each: a kilobyte that inlining would make 2^60 nodes."""
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
        functions = [
            helper.make_function("my", "F0", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], opsets)
        ]
        for level in range(1, 60):
            calls = [
                helper.make_node(f"F{level - 1}", ["a"], ["c"], domain="my"),
                helper.make_node(f"F{level - 1}", ["c"], ["b"], domain="my"),
            ]
            functions.append(helper.make_function("my", f"F{level}", ["a"], ["b"], calls, opsets))
        nodes = [helper.make_node("F59", ["x"], ["y"], domain="my")]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1])], domains=("my",), functions=functions)
        refused(save(proto, tmp_path / "m.onnx"), "more than 1000000 operators")

    def test_a_function_that_calls_itself(self, tmp_path):
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
        call = helper.make_node("Loop", ["a"], ["b"], domain="my")
        loop = helper.make_function("my", "Loop", ["a"], ["b"], [call], opsets)
        nodes = [helper.make_node("Loop", ["x"], ["y"], domain="my")]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1])], domains=("my",), functions=[loop])
        refused(save(proto, tmp_path / "m.onnx"), "'Loop' calls itself")

    def test_functions_that_call_each_other_without_end(self, tmp_path):
        """Inference goes down once for each call: a file of some kilobytes would end the process."""
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
        calls = [helper.make_node("Neg", ["a"], ["b"])]
        calls += [helper.make_node(f"F{level}", ["a"], ["b"], domain="my") for level in range(100)]
        functions = [
            helper.make_function("my", f"F{level}", ["a"], ["b"], [call], opsets) for level, call in enumerate(calls)
        ]
        nodes = [helper.make_node("F100", ["x"], ["y"], domain="my")]
        proto = model(nodes, [tensor("x", [1])], [tensor("y", [1])], domains=("my",), functions=functions)
        refused(save(proto, tmp_path / "m.onnx"), "deeper than 100")
        proto.graph.node[0].op_type = "F99"
        del proto.functions[100]
        read_model(save(proto, tmp_path / "fine.onnx"))

    @pytest.mark.parametrize("form", ["plain", "in a function"])
    def test_shapes_that_are_joined_to_themselves(self, tmp_path, form):
        """Forty joints in a row make 2^40 elements, which inference would write out: a small file ends a process."""
        opsets, domain = [helper.make_opsetid("", 18)], "" if form == "plain" else "my"
        join = helper.make_node("Concat", ["a", "a"], ["b"], axis=0)
        functions = [helper.make_function("my", "Concat", ["a"], ["b"], [join], opsets)] if domain else []
        nodes = [helper.make_node("Shape", ["x"], ["s0"])]
        for n in range(40):
            given, kinds = ([f"s{n}"], {}) if domain else ([f"s{n}"] * 2, {"axis": 0})
            nodes.append(helper.make_node("Concat", given, [f"s{n + 1}"], domain=domain, **kinds))
        outputs = [tensor("s40", None, TensorProto.INT64)]
        proto = model(nodes, [tensor("x", [1])], outputs, domains=("my",) if domain else (), functions=functions)
        refused(save(proto, tmp_path / "m.onnx"), "more than 16777216 elements")

    def test_branches_nested_without_end(self, tmp_path):
        inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], [tensor("y", [1])])
        for _ in range(20):
            choice = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
            inner = helper.make_graph([choice], "g", [], [tensor("y", [1])])
            choice.attribute[1].ClearField("g")
            choice.attribute[1].type = onnx.AttributeProto.INT
            inner.node[0].CopyFrom(choice)
        proto = model(list(inner.node), [tensor("x", [1]), tensor("c", [1], TensorProto.BOOL)], [tensor("y", [1])])
        refused(save(proto, tmp_path / "m.onnx"), "nest deeper")

    def test_a_name_that_is_no_text(self, tmp_path):
        data = mlp().SerializeToString().replace(b"first", b"f\xff\xfest")
        (tmp_path / "m.onnx").write_bytes(data)
        refused(tmp_path / "m.onnx", "UTF-8")

    def test_a_name_cannot_write_to_the_terminal(self, tmp_path):
        """A node called by an escape sequence, or by a page of letters, is quoted and cut."""
        for name in ("\x1b[2J\nrow ok", "x" * 100_000):
            proto = model([helper.make_node(name, ["x"], ["y"], name=name)], [tensor("x", [1])], [tensor("y", [1])])
            refused(save(proto, tmp_path / "m.onnx"), "does not exist")

    def test_nor_can_the_name_of_an_input_where_it_is_suggested(self, tmp_path):
        """Names that are offered in place of a wrong one are cut and escaped too, and not thousands of them."""
        names = ["\x1b[2J", "x" * 100_000, *(f"column_{n}" for n in range(500))]
        nodes = [helper.make_node("Identity", [name], [f"y{n}"]) for n, name in enumerate(names)]
        outputs = [tensor(f"y{n}", [1]) for n in range(len(names))]
        path = save(model(nodes, [tensor(name, [1]) for name in names], outputs), tmp_path / "m.onnx")
        for wrong in ("\x1b[2K", "unlike"):
            with pytest.raises(BadInput) as caught:
                own_workload(path, inputs=(InputSpec(wrong, (1,), "", 0.0, 0.0),))
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 1000 + len(str(path))


WHOLE = {
    name: made().SerializeToString()
    for name, made in (("mlp", mlp), ("conv", conv), ("ids", embedding), ("lstm", carried))
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


def _survives(path, data):
    path.write_bytes(data)
    said = f"{path}: fine"
    try:
        own_workload(path)
    except SpeedsheetError as error:
        said = str(error)
    assert said.isprintable()
    assert said.startswith(f"{path}: ")


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(WHOLE)), share=st.floats(0, 1))
def test_no_truncation_gets_further_than_a_refusal(folder, kind, share):
    data = WHOLE[kind]
    _survives(folder / "cut.onnx", data[: int(len(data) * share)])


def damaged(data, source, hits):
    """Damage that falls into a weight is only a number: aim at the nodes, which come first, and the ends."""
    whole = bytearray(data)
    for _ in range(hits):
        place = source.choice((source.randrange(min(len(whole), 2500)), len(whole) - 1 - source.randrange(300)))
        whole[place] = source.choice((source.randrange(256), 0, 1, 127, 128, 255))
    return bytes(whole)


@settings(max_examples=400, deadline=None)
@given(kind=st.sampled_from(sorted(WHOLE)), seed=st.integers(0, 2**32), hits=st.integers(1, 4))
def test_no_damage_gets_further_than_a_refusal(folder, kind, seed, hits):
    _survives(folder / "hit.onnx", damaged(WHOLE[kind], random.Random(seed), hits))
