"""Ceilings: what an engine reaches at its best, asked once, of real engines only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from speedsheet.bench.ceiling import ceilings, product_model, sum_model
from speedsheet.bench.supervise import call
from speedsheet.core.errors import RowFailed
from speedsheet.host.places import cache_folder
from speedsheet.pages.roofline import measured_roofs, point, roofs
from speedsheet.twin.device import load
from test_compare_records import HOST, served


def run(model, **feed):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


@pytest.mark.parametrize("quantised", [False, True])
def test_what_is_multiplied_is_what_is_counted(quantised):
    """Six products of the same weights; in int8 each of them between quantisers, and near the float ones."""
    model = product_model(quantised=quantised)
    onnx.checker.check_model(model)
    assert sum(node.op_type == "MatMul" for node in model.graph.node) == 6
    x = np.random.default_rng(1).standard_normal((512, 2048)).astype(np.float32)
    wide, found = run(product_model(quantised=False), x=x), run(model, x=x)
    assert np.corrcoef(wide.ravel(), found.ravel())[0, 1] > 0.9
    assert run(sum_model(), x=np.ones((1, 1 << 24), np.float32), z=np.ones((1, 1 << 24), np.float32)).sum() == 2 << 24


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_real_engines_reach_something_and_are_asked_once(engine):
    """Some gigaflops and some gigabytes a second; the second time nobody is asked."""
    asked: list[str] = []

    def work(task, job):
        asked.append(task)
        return call(task, job, tell=lambda *_: None, stall_limit_s=60.0)

    device = {"onnxruntime": "CPUExecutionProvider", "openvino": "CPU"}[engine]
    row = served(engine=engine, engine_version="1", device=device, precision_executed={"fp32": 1.0})
    found = ceilings([row, row], work)
    assert ceilings([row], work) == found
    assert asked == ["ceiling"]
    (reached,) = found.values()
    assert 1e9 < reached["flop_per_s"] < 1e14
    assert 1e8 < reached["bytes_per_s"] < 1e13


def test_who_does_not_multiply_has_no_ceiling():
    """Test engines, failed rows and mixed types are left out, and so is an engine that fails."""

    def fails(_task, _job):
        raise RowFailed("no")

    rows = [served(engine="speedsheet.testing.null:ENGINE", precision_executed={"fp32": 1.0}), served().failed("x"),
            served(precision_executed={"fp32": 0.5, "bf16": 0.5}),
            served(precision_executed={"fp32": 1.0})]  # fmt: skip
    assert ceilings(rows, fails) == {}


def test_roofs_come_from_the_run_and_from_the_card():
    """A run's own roofs are believed only as numbers above zero; the card's are its file's."""
    told = {"openvino CPU fp32": {"flop_per_s": 2e11, "bytes_per_s": 1e10}, "bad": {"flop_per_s": "x"},
            "zero": {"flop_per_s": 0, "bytes_per_s": 1}, "none": None}  # fmt: skip
    host = {**HOST, "ceilings": told}
    (roof,) = measured_roofs(host)
    assert (roof.device, roof.ridge) == ("openvino CPU fp32", 20.0)
    assert measured_roofs({**HOST, "ceilings": [1, 2]}) == []
    (card,) = roofs(load("stcp920"), ["fp16", "bf16"])
    assert card.flop_per_s == pytest.approx(131e12, rel=0.01)


def test_a_batch_shares_its_weights():
    """More samples in a request do more work for each byte; what is unknown or blank has no place."""
    one = served(model="resnet50", batch_size=1, precision_executed={"fp32": 1.0})
    many = replace(one, batch_size=64)
    places = [point(row, cache_folder(), 100.0, "wall") for row in (one, many)]
    assert places[0].flop_per_byte < places[1].flop_per_byte
    assert places[0].flop_per_s == places[1].flop_per_s == pytest.approx(100 * 7.72e9, rel=0.02)
    assert point(replace(one, model="mine.onnx"), cache_folder(), 1.0, "wall") is None
    assert point(one, cache_folder(), None, "published") is None
