"""What executes: the row's own settings on a session that can tell, run once; its time is of use for planning alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import onnx

from speedsheet import plugins
from speedsheet.bench.job import Prepared, Say
from speedsheet.convert.graph.count import count
from speedsheet.convert.graph.shapes import WHOLE_GRAPH
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Session, Setup
from speedsheet.core.errors import BadModel, EngineFailed
from speedsheet.core.request import PRECISIONS


def audit(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: return which graph the engine loads, and the share of the work by the type that ran it.

    The shares are empty where the engine does not tell. `request_s` is how long the request took, the engine's account
    of itself included.
    """
    prepared = Prepared.from_json(job["prepared"])
    say(f"auditing what {job['engine']} executes", None, None)
    setup = Setup(**{**job["setup"], "audit": True})
    session, artifact = loaded(job["engine"], prepared.artifact, setup)
    request = session.bind(prepared.feeds()[0], {})
    began = time.perf_counter()
    request.run()
    request_s = time.perf_counter() - began
    shares = session.executed(macs_by_name(prepared))
    session.close()
    executed = {kind: float(shares.get(kind, 0.0)) for kind in PRECISIONS} if shares else {}
    return {"executed": executed, "graph_name": artifact.graph_name, "request_s": request_s}


def loaded(engine: str, artifact: Artifact, setup: Setup) -> tuple[Session, Artifact]:
    """Load the graph with its shapes written in; where that is refused, the one with free dimensions.

    A model whose branches take inputs of different sizes cannot have one of them written into both.
    """
    try:
        return plugins.engine(engine).load(artifact, setup, lambda: None), artifact
    except EngineFailed:
        free = replace(artifact, graph_name=WHOLE_GRAPH)
        with suppress(EngineFailed):
            return plugins.engine(engine).load(free, setup, lambda: None), free
        raise


def macs_by_name(prepared: Prepared) -> dict[str, int]:
    """Count the graph's own work, under each node's name and the names of its outputs."""
    model = onnx.load(prepared.artifact.graph, load_external_data=False)
    try:
        counts = count(model, {name: tuple(shape) for name, (_, *shape) in prepared.shapes.items()})
    except BadModel:  # shapes that depend on the data: engines that need the names do without
        return {}
    named = dict(counts.macs_by_node)
    for node in model.graph.node:
        macs = named.get(node.name or node.output[0], 0)
        named |= dict.fromkeys(node.output, macs)
    return named
