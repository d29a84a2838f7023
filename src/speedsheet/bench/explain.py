"""Where the time of a model goes, by the engine's own profiler: on a session of its own, which nobody times."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import onnx

from speedsheet.bench.audit import loaded, macs_by_name
from speedsheet.bench.job import Prepared, Say
from speedsheet.core.engine import Explaining, Setup
from speedsheet.core.errors import RowFailed

#: What engines fuse into the product before it.
_FOLLOWING = frozenset({
    "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Gelu", "Erf", "Tanh", "Add", "Sub", "Mul",
    "Div", "BatchNormalization", "Cast", "Identity", "QuantizeLinear", "DequantizeLinear",
})  # fmt: skip
#: How engines end the names that they derive.
_ENDINGS = ("_nchwc", "_quant", "_fused", "/WithoutBiases", "/fq_output_0")
#: So long, and so many runs at the least: the first one allocates, and is left out.
_SECONDS, _RUNS = 3.0, 4


def explain(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: run the row's model alone with profiling, and return the engine's steps with their work.

    Raises RowFailed where the engine does not tell.
    """
    prepared = Prepared.from_json(job["prepared"])
    say(f"loading on {job['engine']}, with its profiler", None, None)
    session, _ = loaded(job["engine"], prepared.artifact, Setup(**{**job["setup"], "audit": True}))
    if not isinstance(session, Explaining):
        raise RowFailed(f"{job['engine']} does not tell where its time goes", do="choose another --engine")
    requests = [session.bind(feed, {}) for feed in prepared.feeds()]
    until, runs = time.monotonic() + _SECONDS, 0
    while runs < _RUNS or time.monotonic() < until:
        say("running with the profiler on", None, max(until - time.monotonic(), 0.0))
        requests[runs % len(requests)].run()
        runs += 1
    steps = [asdict(step) for step in session.operations()]
    session.close()
    owner = owners(onnx.load(prepared.artifact.graph, load_external_data=False))
    macs = macs_by_name(prepared)
    for step in steps:
        step["nodes"] = _nodes(step, owner)
    return {"steps": steps, "macs": macs, "runs": runs, "batch_size": prepared.batch_size}


def owners(model: onnx.ModelProto) -> dict[str, str]:
    """Return for every name of a graph, a node's or an output's, the node that the engine would fuse it into.

    A product, a pooling, a look-up owns itself; what is elementwise behind it is its; where two meet, the later one's.
    """
    owner: dict[str, str] = {}
    place = {node.name or node.output[0]: number for number, node in enumerate(model.graph.node)}
    for node in model.graph.node:
        name = node.name or node.output[0]
        before = [owner[source] for source in node.input if source in owner]
        follows = node.op_type in _FOLLOWING and before
        mine = max(before, key=lambda one: place[one]) if follows else name
        owner |= dict.fromkeys((name, *node.output), mine)
    return owner


def _nodes(step: Mapping[str, Any], owner: Mapping[str, str]) -> list[str]:
    """Return the nodes that a step stands for, as far as its names lead to any: engines add to them, and rename."""
    found: list[str] = []
    for told in (*step["nodes"], step["name"]):
        names = (told, *(told.removesuffix(ending) for ending in _ENDINGS))
        found += [owner[name] for name in names if name in owner]
    return list(dict.fromkeys(found))
