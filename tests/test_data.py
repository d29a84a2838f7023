"""The pool of inputs: drawn or from the user's file, always of the shape of one request."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedsheet.convert.data import data_pool, input_pool
from speedsheet.core import draws
from speedsheet.core.arrays import ALIGNMENT_BYTES, aligned_copy
from speedsheet.core.errors import BadInput, SpeedsheetError
from speedsheet.core.workload import InputSpec, Workload

BATCHED = (InputSpec("x", (None, 3)), InputSpec("ids", (None, 2), "int64", 0, 9))
MIXED = (
    *BATCHED,
    InputSpec("state", (2, 4)),
    InputSpec("sr", (), "int64", 16000, 16001),
    InputSpec("flag", (3,), "bool"),
)


def workload(inputs=BATCHED, draw=None):
    def make(seed, samples):
        return {
            spec.name: (draws.unit(seed, spec.name, int(np.prod(spec.at(samples)))) * 9)
            .reshape(spec.at(samples))
            .astype(spec.dtype)
            for spec in inputs
        }

    return Workload("w", "t", "onnx", "s", inputs, 4, 1, draw or make)


def saved(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def refused(path, *words, inputs=BATCHED):
    with pytest.raises(BadInput) as caught:
        data_pool(path, workload(inputs), 4, 2)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert caught.value.do
    for word in words:
        assert word in line


class TestInputPool:
    @pytest.mark.parametrize("inputs", [BATCHED, MIXED])
    def test_every_feed_is_one_request_that_an_engine_can_read_in_place(self, inputs):
        feeds = input_pool(workload(inputs), 4, 8, 1)
        assert len(feeds) == 8
        for feed in feeds:
            assert list(feed) == [spec.name for spec in inputs]
            for spec in inputs:
                array = feed[spec.name]
                assert array.shape == spec.at(4)
                assert array.dtype == spec.dtype
                assert array.flags.c_contiguous
                assert array.ctypes.data % ALIGNMENT_BYTES == 0

    @pytest.mark.parametrize("inputs", [BATCHED, MIXED])
    def test_batches_are_distinct_and_repeat_with_the_seed(self, inputs):
        first, again = input_pool(workload(inputs), 4, 8, 1), input_pool(workload(inputs), 4, 8, 1)
        assert len({feed["x"].tobytes() for feed in first}) == 8
        assert all(np.array_equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a)
        if inputs is MIXED:
            assert len({feed["state"].tobytes() for feed in first}) == 8

    def test_a_model_that_draws_what_it_did_not_declare_is_refused(self):
        for draw in (
            lambda seed, samples: {"x": np.zeros((samples, 3), np.float32)},
            lambda seed, samples: {"x": np.zeros((samples, 4), np.float32), "ids": np.zeros((samples, 2), np.int64)},
            lambda seed, samples: {"x": np.zeros((samples, 3), np.float32), "ids": np.full((samples, 2), 0.5)},
        ):
            with pytest.raises(BadInput, match="declared") as caught:
                input_pool(workload(draw=draw), 4, 2, 1)
            assert "\n" not in str(caught.value)

    def test_no_more_memory_is_asked_for_than_an_input_may_have(self, tmp_path):
        """A model file may declare any size, and a batch may be any number: neither is drawn, nor taken from a file."""
        huge = workload((InputSpec("x", (None, 2**40)),))
        with pytest.raises(BadInput, match=r"'x' of one request is 4x1099511627776 float32, above 2 GiB.*--batch"):
            input_pool(huge, 4, 8, 1)
        path = saved(tmp_path, x=np.zeros((8, 3), np.float32), ids=np.ones((8, 2), np.int64))
        for read in (
            lambda: input_pool(workload(), 2**31 - 1, 8, 1),
            lambda: data_pool(path, workload(), 2**31 - 1, 1),
        ):
            with pytest.raises(BadInput, match="above 2 GiB"):
                read()

    def test_scalars_and_empty_arrays_can_be_aligned(self):
        for array in (np.float32(3), np.zeros((2, 0, 3)), np.asfortranarray(np.arange(6).reshape(2, 3))):
            copy = aligned_copy(np.asarray(array), np.dtype("float64"))
            assert copy.shape == np.shape(array)
            assert np.array_equal(copy, array)


class TestDataPool:
    def test_samples_fill_the_batches_in_order(self, tmp_path):
        x = np.arange(24, dtype=np.float32).reshape(8, 3)
        path = saved(tmp_path, x=x, ids=np.ones((8, 2), np.int64), labels=np.zeros(8))
        feeds, source = data_pool(path, workload(), 4, 2)
        assert np.array_equal(np.concatenate([feed["x"] for feed in feeds]), x)
        assert source == "data.npz: 8 distinct samples"
        assert all(array.ctypes.data % ALIGNMENT_BYTES == 0 for feed in feeds for array in feed.values())

    def test_too_few_are_taken_round_and_too_many_left(self, tmp_path):
        x, ids = np.arange(9, dtype=np.float32).reshape(3, 3), np.ones((3, 2), np.int64)
        feeds, source = data_pool(saved(tmp_path, x=x, ids=ids), workload(), 4, 2)
        assert np.array_equal(feeds[0]["x"], x[[0, 1, 2, 0]])
        assert np.array_equal(feeds[1]["x"], x[[1, 2, 0, 1]])
        assert source == "data.npz: 3 distinct samples, taken round to fill 8"
        assert data_pool(tmp_path / "data.npz", workload(), 1, 2)[1] == "data.npz: 2 distinct samples of 3"

    def test_inputs_without_a_batch_come_once_or_one_per_request(self, tmp_path):
        x, ids, flag = np.zeros((8, 3), np.float32), np.ones((8, 2), np.int64), np.ones(3, bool)
        state = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
        path = saved(tmp_path, x=x, ids=ids, flag=flag, state=state, sr=np.int64(16000))
        feeds, _ = data_pool(path, workload(MIXED), 4, 4)
        assert [feed["sr"].shape for feed in feeds] == [()] * 4
        assert [np.array_equal(feed["state"], state[slot % 3]) for slot, feed in enumerate(feeds)] == [True] * 4
        only_state = (InputSpec("state", (2, 4)),)
        np.savez(tmp_path / "state.npz", state=state)
        assert data_pool(tmp_path / "state.npz", workload(only_state), 1, 8)[1] == "state.npz: 3 distinct requests"

    def test_inputs_without_a_batch_may_be_left_out(self, tmp_path):
        """State and sample rates are not data; what was drawn in their place is said."""
        path = saved(tmp_path, x=np.zeros((8, 3), np.float32), ids=np.ones((8, 2), np.int64), flag=np.ones(3, bool))
        feeds, source = data_pool(path, workload(MIXED), 4, 2)
        assert feeds[0]["state"].shape == (2, 4)
        assert source == "data.npz: 8 distinct samples; state, sr drawn"
        refused(saved(tmp_path, labels=np.zeros(3)), "no array for input 'state'", inputs=(InputSpec("state", (2, 4)),))

    def test_casts_that_keep_the_values_are_made(self, tmp_path):
        path = saved(tmp_path, x=np.full((4, 3), 0.1), ids=np.ones((4, 2), np.uint8))
        feeds, _ = data_pool(path, workload(), 4, 1)
        assert feeds[0]["x"].dtype == np.float32
        assert feeds[0]["ids"].dtype == np.int64
        path = saved(tmp_path, x=np.full((4, 3), 255, np.uint8), ids=np.ones((4, 2), np.int64))
        assert data_pool(path, workload(), 4, 1)[0][0]["x"].max() == 255.0

    @pytest.mark.parametrize(
        ("x", "ids", "word"),
        [
            (np.full((4, 3), 1e300), np.ones((4, 2), np.int64), "'x' is float64"),
            (np.zeros((4, 3), np.float32), np.ones((4, 2), np.float32), "'ids' is float32"),
            (np.zeros((4, 3), np.float32), np.full((4, 2), 2**63, np.uint64), "'ids' is uint64"),
            (np.full((4, 3), 2**24 + 1, np.int32), np.ones((4, 2), np.int64), "'x' is int32"),
            (np.zeros((4, 3), np.complex64), np.ones((4, 2), np.int64), "'x' is complex64"),
            (np.full((4, 3), "a"), np.ones((4, 2), np.int64), "'x' is <U1"),
        ],
    )
    def test_casts_that_lose_values_are_refused(self, tmp_path, x, ids, word):
        refused(saved(tmp_path, x=x, ids=ids), word, "save it as")

    def test_names_are_checked(self, tmp_path):
        x, ids = np.zeros((4, 3), np.float32), np.ones((4, 2), np.int64)
        refused(saved(tmp_path, x=x), "no array for input 'ids'")
        refused(saved(tmp_path, x=x, ids=ids, idz=ids), "'idz' is no input", "did you mean ids")

    def test_shapes_are_checked(self, tmp_path):
        ids = np.ones((4, 2), np.int64)
        refused(saved(tmp_path, x=np.zeros((4, 5), np.float32), ids=ids), "'x' is 4x5", "samplesx3")
        refused(saved(tmp_path, x=np.zeros(3, np.float32), ids=ids), "'x' is 3")
        refused(saved(tmp_path, x=np.zeros((0, 3), np.float32), ids=ids), "at least one sample")
        refused(saved(tmp_path, x=np.zeros((5, 3), np.float32), ids=ids), "'x' 5, 'ids' 4")
        state = (InputSpec("state", (2, 4)),)
        refused(saved(tmp_path, state=np.zeros((4, 2), np.float32)), "'state' is 4x2", "2x4 or one such", inputs=state)


class TestHostileData:
    def test_what_is_no_archive(self, tmp_path):
        refused(tmp_path / "none.npz", "no such file")
        refused(tmp_path, "cannot be read")
        (tmp_path / "a.npz").write_bytes(b"hello")
        refused(tmp_path / "a.npz", "not an .npz")
        (tmp_path / "b.npz").write_bytes(b"")
        refused(tmp_path / "b.npz", "not an .npz")
        np.save(tmp_path / "c.npy", np.zeros(3))
        refused(tmp_path / "c.npy", "numpy.savez")

    def test_objects_are_never_unpickled(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "sprung",))

        array = np.empty((4, 3), object)
        array[:] = Trap()
        refused(saved(tmp_path, x=array, ids=np.ones((4, 2), np.int64)), "Python objects")
        assert not (tmp_path / "sprung").exists()

    def test_an_archive_that_unpacks_to_more_than_is_read_is_refused_unread(self, tmp_path):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 3)})
        with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in ("x.npy", "ids.npy"):
                archive.writestr(name, header.getvalue() + bytes(1000))
        refused(tmp_path / "data.npz", "declares 1099511627776x3", "stored")
        data = bytearray((tmp_path / "data.npz").read_bytes())
        for mark, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
            place = data.find(mark)
            while place >= 0:
                data[place + at : place + at + 4] = (0xF0000000).to_bytes(4, "little")
                place = data.find(mark, place + 1)
        (tmp_path / "data.npz").write_bytes(bytes(data))
        refused(tmp_path / "data.npz", "above 4 GiB")

    @pytest.mark.parametrize(
        "header",
        [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3",
            "{1: 2, 'shape': (4, 3)}",
            "{'descr': '(,f4', 'fortran_order': False, 'shape': (4, 3)}",
            "-" * 9000 + "1",
        ],
    )
    def test_a_header_that_is_no_header(self, tmp_path, header):
        """It is read as Python's literals, which complain in many ways: each is one line that names the file."""
        body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
        with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
            for name in ("x.npy", "ids.npy"):
                archive.writestr(name, body)
        refused(tmp_path / "data.npz", "header is damaged", "numpy.savez")

    def test_other_compressions_are_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("x.npy", bytes(1000))
        refused(tmp_path / "data.npz", "compressed in a way")

    @settings(max_examples=300, deadline=None)
    @given(places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4), share=st.floats(0, 1.5))
    def test_no_damage_gets_further_than_a_refusal(self, tmp_path_factory, places, share):
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=np.zeros((4, 3), np.float32), ids=np.ones((4, 2), np.int64))
        data = bytearray(buffer.getvalue()[: int(share * len(buffer.getvalue()))])
        for place, value in places if data else ():
            data[int(place * len(data))] = value
        path = tmp_path_factory.getbasetemp() / "damaged.npz"
        path.write_bytes(bytes(data))
        said = ""
        try:
            data_pool(path, workload(), 4, 2)
        except SpeedsheetError as error:
            said = str(error)
        assert "\n" not in said
