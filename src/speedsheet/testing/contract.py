"""The contract of an engine, as a test suite: subclass it, name the engine, and know whether it fits.

    class TestMine(EngineContract):
        engine = MyEngine()

Needs pytest (for `tmp_path`) in the environment that runs it, and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from speedsheet.core.arrays import aligned
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Engine, EngineInfo, GivingUp, Session, Setup
from speedsheet.core.errors import SpeedsheetError
from speedsheet.core.workload import Arrays

_BATCH, _WIDTH = 4, 8


class EngineContract:
    """What the product relies on, each promise a test. `tolerance` is relative to the largest output."""

    engine: ClassVar[Engine]
    tolerance: ClassVar[float] = 1e-4

    def test_probe_tells_a_version_and_at_least_one_device(self) -> None:
        """An engine that is there says what it can execute, and where by default."""
        info = self.info()
        assert info.version
        assert info.default_device in info.devices
        assert all("fp32" in precisions for precisions in info.precisions.values())

    def test_outputs_are_right_and_in_host_memory_when_run_returns(self, tmp_path: Path) -> None:
        """A run computes the model, for inputs of several types and a scalar."""
        session, feed = self.session(tmp_path), example_feed(0)
        request = session.bind(feed, {})
        request.run()
        self.check(request.outputs(), feed, tmp_path)

    def test_outputs_are_written_where_the_product_says(self, tmp_path: Path) -> None:
        """An array given to `bind` holds the output after the run."""
        session, feed = self.session(tmp_path), example_feed(1)
        room = aligned((_BATCH, _WIDTH), np.float32)
        room.fill(np.nan)
        session.bind(feed, {"y": room}).run()
        self.check({"y": room}, feed, tmp_path)

    def test_each_request_keeps_its_own_outputs(self, tmp_path: Path) -> None:
        """Running one request leaves what another one holds as it was."""
        session, feeds = self.session(tmp_path), [example_feed(seed) for seed in range(3)]
        requests = [session.bind(feed, {}) for feed in feeds]
        for request in requests:
            request.run()
        for request, feed in zip(requests, feeds, strict=True):
            self.check(request.outputs(), feed, tmp_path)

    def test_outputs_are_copies(self, tmp_path: Path) -> None:
        """What `outputs` returned does not change when the request runs again."""
        session, feed = self.session(tmp_path), example_feed(4)
        request = session.bind(feed, {})
        request.run()
        before = request.outputs()
        before["y"][...] = -1
        request.run()
        self.check(request.outputs(), feed, tmp_path)

    def test_clients_run_at_once_without_mixing(self, tmp_path: Path) -> None:
        """Four threads with a request each get their own answers."""
        session, feeds = self.session(tmp_path, thread_num=4), [example_feed(seed) for seed in range(4)]
        requests = [session.bind(feed, {}) for feed in feeds]
        threads = [threading.Thread(target=lambda r=request: [r.run() for _ in range(50)]) for request in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for request, feed in zip(requests, feeds, strict=True):
            self.check(request.outputs(), feed, tmp_path)

    def test_what_is_given_up_ends_and_harms_nobody(self, tmp_path: Path) -> None:
        """Runs that are given up end, or raise; what others hold stays, and the session serves on."""
        session, feeds = self.session(tmp_path, thread_num=4), [example_feed(seed) for seed in range(5)]
        *busy, idle = [session.bind(feed, {}) for feed in feeds]
        if not isinstance(idle, GivingUp):
            return  # this engine's runs are waited for
        idle.run()
        stop: list[bool] = []
        threads = [threading.Thread(target=_until, args=(request.run, stop), daemon=True) for request in busy]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        stop.append(True)
        for request in busy:
            assert isinstance(request, GivingUp)
            request.give_up()
        for thread in threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads)
        self.check(idle.outputs(), feeds[-1], tmp_path)
        fresh = session.bind(feeds[0], {})
        fresh.run()
        self.check(fresh.outputs(), feeds[0], tmp_path)

    def test_what_executed_is_told_as_shares(self, tmp_path: Path) -> None:
        """An audited session tells the share of each type, and fp32 is fp32."""
        session = self.session(tmp_path, audit=True)
        session.bind(example_feed(0), {}).run()
        shares = session.executed({"up": 4 * 8 * 16, "down": 4 * 16 * 8})
        assert set(shares) <= {"fp32", "fp16", "bf16", "int8"}
        assert abs(sum(shares.values()) - 1) < 1e-9
        assert shares.get("fp32", 0) == 1
        session.close()

    def test_compiling_is_marked_once(self, tmp_path: Path) -> None:
        """The product learns where reading ends and compiling begins."""
        marks: list[int] = []
        self.engine.load(example_artifact(tmp_path), self.setup(), lambda: marks.append(1)).close()
        assert marks == [1]

    def test_a_damaged_model_is_refused_in_one_line(self, tmp_path: Path) -> None:
        """What the engine's library raises arrives as an error of ours."""
        artifact = example_artifact(tmp_path)
        artifact.graph.write_bytes(b"\x08\x09garbage" * 40)
        try:
            self.engine.load(artifact, self.setup(), lambda: None)
        except SpeedsheetError as error:
            assert "\n" not in str(error)
        else:
            raise AssertionError("a damaged model was loaded")

    def info(self) -> EngineInfo:
        """Probe the engine; the contract is about engines that are there."""
        info = self.engine.probe()
        assert isinstance(info, EngineInfo), info
        return info

    def setup(self, *, thread_num: int = 1, audit: bool = False) -> Setup:
        """Return a setup on the default device, in fp32."""
        return Setup(self.info().default_device, "fp32", _BATCH, thread_num, 2, {}, audit)

    def session(self, folder: Path, *, thread_num: int = 1, audit: bool = False) -> Session:
        """Load the contract's small model."""
        setup = self.setup(thread_num=thread_num, audit=audit)
        return self.engine.load(example_artifact(folder), setup, lambda: None)

    def check(self, outputs: Arrays, feed: Arrays, folder: Path) -> None:
        """Compare outputs with ONNX's reference evaluator."""
        evaluator = ReferenceEvaluator(onnx.load(folder / "graph.onnx"))
        wanted = dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))
        for name in outputs.keys() & wanted.keys():
            scale = np.abs(wanted[name]).max()
            assert np.abs(outputs[name] - wanted[name]).max() <= self.tolerance * scale
        assert "y" in outputs


def _until(run: Callable[[], object], stop: list[bool]) -> None:
    """Run until told to stop; what is given up meanwhile may raise whatever the engine raises."""
    with suppress(Exception):
        while not stop:
            run()


def example_model() -> onnx.ModelProto:
    """Make a model of two products with a float input, integer ids, a boolean mask and a scalar."""
    draw = np.random.default_rng(920)
    weights = [
        numpy_helper.from_array(draw.standard_normal((_WIDTH, 16)).astype(np.float32), "w0"),
        numpy_helper.from_array(draw.standard_normal((16, _WIDTH)).astype(np.float32), "w1"),
        numpy_helper.from_array(draw.standard_normal((10, _WIDTH)).astype(np.float32), "table"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
        helper.make_node("Where", ["mask", "x", "rows"], ["mixed"], name="mix"),
        helper.make_node("MatMul", ["mixed", "w0"], ["wide"], name="up"),
        helper.make_node("Relu", ["wide"], ["active"], name="relu"),
        helper.make_node("MatMul", ["active", "w1"], ["narrow"], name="down"),
        helper.make_node("Mul", ["narrow", "gain"], ["y"], name="scale"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [_BATCH, _WIDTH]),
        helper.make_tensor_value_info("ids", TensorProto.INT64, [_BATCH]),
        helper.make_tensor_value_info("mask", TensorProto.BOOL, [_BATCH, _WIDTH]),
        helper.make_tensor_value_info("gain", TensorProto.FLOAT, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [_BATCH, _WIDTH])]
    graph = helper.make_graph(nodes, "contract", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def example_feed(seed: int) -> Arrays:
    """Draw one request for `example_model`."""
    draw = np.random.default_rng(seed)
    return {
        "x": draw.standard_normal((_BATCH, _WIDTH)).astype(np.float32),
        "ids": draw.integers(0, 10, _BATCH),
        "mask": draw.random((_BATCH, _WIDTH)) < 0.5,
        "gain": np.array(1 + seed, np.float32),
    }


def example_artifact(folder: Path) -> Artifact:
    """Write `example_model` as an artifact."""
    onnx.save(example_model(), folder / "graph.onnx")
    return Artifact(
        folder, "0" * 64, (folder / "graph.onnx").stat().st_size, 336, 2 * _WIDTH * 16, "made for the contract"
    )
