"""What executes: the row's own settings on a session that can tell, run once and never timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from speedsheet import plugins
from speedsheet.bench.job import Prepared
from speedsheet.bench.worker import Say
from speedsheet.convert.count import count
from speedsheet.core.engine import Setup


def audit(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: return the share of the multiply-accumulates by the type that ran them."""
    prepared = Prepared.from_json(job["prepared"])
    say(f"auditing what {job['engine']} executes", None, None)
    setup = Setup(**{**job["setup"], "audit": True})
    session = plugins.engine(job["engine"]).load(prepared.artifact, setup, lambda: None)
    request = session.bind(prepared.feeds()[0], {})
    request.run()
    shares = session.executed(_macs_by_name(prepared))
    session.close()
    return {"executed": {kind: float(shares.get(kind, 0.0)) for kind in ("fp32", "fp16", "bf16", "int8")}}


def _macs_by_name(prepared: Prepared) -> dict[str, int]:
    """Count the graph's own work, under each node's name and the names of its outputs."""
    model = onnx.load(prepared.artifact.graph, load_external_data=False)
    counts = count(model, {name: tuple(shape) for name, (_, *shape) in prepared.shapes.items()})
    named = dict(counts.macs_by_node)
    for node in model.graph.node:
        named |= {output: named[node.name] for output in node.output if node.name in named}
    return named
