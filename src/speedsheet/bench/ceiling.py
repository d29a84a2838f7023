"""What an engine reaches on this host at its best: a chain of large products, and a sum of large arrays.

The roofs of a roofline for the machine at hand, where no data sheet is to be believed (Williams, Waterman and Patterson
2009 measure theirs too). They are reached, not proved: an algorithm that multiplies less than it counts, such as
Winograd's for convolutions, may lie above.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from speedsheet import plugins
from speedsheet.bench.job import Say
from speedsheet.bench.remembered import remembered
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Setup
from speedsheet.core.errors import RowFailed
from speedsheet.core.measurement import Measurement, executed_kinds
from speedsheet.host.facts import allowed_cores, host_facts

_ROWS, _WIDTH, _LAYERS = 512, 2048, 6
_ELEMENTS = 1 << 24
_FLOAT_BYTES, _ARRAYS = 4, 3
_SECONDS, _RUNS = 1.0, 3
_FLOP_PER_MAC = 2
_OPSET = 18

Work = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def ceilings(rows: Sequence[Measurement], work: Work) -> dict[str, dict[str, float]]:
    """Return FLOP and bytes per second by engine, device and executed type, of all that measured these rows.

    Once for each host and version of an engine; an engine that cannot tell is left out.
    """
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        kind = executed_kinds(row.precision_executed)
        if row.status != "ok" or row.engine not in plugins.engine_names() or " " in kind or not kind:
            continue
        name = f"{row.engine} {row.device} {kind}"
        if name not in found:
            setup = Setup(row.device or "", kind, _ROWS, 1, allowed_cores())
            known = ["ceiling", row.engine, row.engine_version, asdict(setup), host_facts()["cpu"]]
            job = {"engine": row.engine, "setup": asdict(setup)}
            try:
                found[name] = remembered(known, partial(work, "ceiling", job))
            except RowFailed:
                continue
    return found


def ceiling(job: Mapping[str, Any], say: Say) -> dict[str, float]:
    """Worker task: run both graphs alone, with all cores, and return the best of each."""
    setup = Setup(**job["setup"])
    say(f"the most that {job['engine']} multiplies in {setup.precision}", None, None)
    product = product_model(quantised=setup.precision == "int8")
    x = np.random.default_rng(920).standard_normal((_ROWS, _WIDTH)).astype(np.float32)
    product_s = _fastest(job["engine"], setup, product, {"x": x})
    say(f"the most that {job['engine']} moves", None, None)
    summed = {name: np.ones((1, _ELEMENTS), np.float32) for name in ("x", "z")}
    sum_s = _fastest(job["engine"], Setup(**{**job["setup"], "precision": "fp32"}), sum_model(), summed)
    return {
        "flop_per_s": _FLOP_PER_MAC * _LAYERS * _ROWS * _WIDTH**2 / product_s,
        "bytes_per_s": _ARRAYS * _ELEMENTS * _FLOAT_BYTES / sum_s,
    }


def product_model(*, quantised: bool) -> onnx.ModelProto:
    """Return products of 512 x 2048 by 2048 x 2048, one after the other, each with the weights of all."""
    weights = np.random.default_rng(920).standard_normal((_WIDTH, _WIDTH)).astype(np.float32) / _WIDTH**0.5
    stored = [numpy_helper.from_array(weights, "w")]
    nodes: list[onnx.NodeProto] = []
    right = "w"
    if quantised:
        scale = float(np.abs(weights).max() / 63)  # seven bits: sums of products fit any processor
        stored = [
            numpy_helper.from_array(np.round(weights / scale).astype(np.int8), "wq"),
            numpy_helper.from_array(np.float32(scale), "ws"), numpy_helper.from_array(np.int8(0), "wz"),
            numpy_helper.from_array(np.float32(4 / 127), "s"), numpy_helper.from_array(np.uint8(128), "z"),
        ]  # fmt: skip
        nodes.append(helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], name="weights"))
        right = "wd"
    left = "x"
    for layer in range(_LAYERS):
        if quantised:
            nodes.append(helper.make_node("QuantizeLinear", [left, "s", "z"], [f"q{layer}"], name=f"quantise{layer}"))
            nodes.append(
                helper.make_node("DequantizeLinear", [f"q{layer}", "s", "z"], [f"d{layer}"], name=f"wide{layer}")
            )
            left = f"d{layer}"
        out = "y" if layer == _LAYERS - 1 else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [left, right], [out], name=f"product{layer}"))
        left = out
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [_ROWS, _WIDTH]) for name in ("x", "y")]
    return _model(nodes, ends[:1], ends[1:], stored)


def sum_model() -> onnx.ModelProto:
    """Return the sum of two arrays of 64 MiB, larger than any cache."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, _ELEMENTS]) for name in ("x", "z", "y")]
    return _model([helper.make_node("Add", ["x", "z"], ["y"], name="sum")], ends[:2], ends[2:], [])


def _model(nodes: Any, inputs: Any, outputs: Any, stored: Any) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "ceiling", inputs, outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=10)


def _fastest(engine: str, setup: Setup, model: onnx.ModelProto, feed: dict[str, Any]) -> float:
    """Return the time of the fastest run, in seconds; the first is not counted."""
    with tempfile.TemporaryDirectory(prefix="speedsheet-") as folder:
        onnx.save(model, Path(folder) / "graph.onnx")
        session = plugins.engine(engine).load(Artifact(Path(folder), "", 0, 0, 0, ""), setup, lambda: None)
        run = session.bind(feed, {}).run
        run()
        took_s: list[float] = []
        until = time.perf_counter() + _SECONDS
        while len(took_s) < _RUNS or time.perf_counter() < until:
            began = time.perf_counter()
            run()
            took_s.append(time.perf_counter() - began)
        session.close()
    return min(took_s)
