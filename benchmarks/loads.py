"""Does every load of a model answer alike? The same graph is loaded again and again, and judged by FP32 right answers.

    python benchmarks/loads.py [MODEL] [--precision int8] [--engine openvino] [--threads 2] [--loads 24]

Each load is one of `speedsheet run`, for its gate alone: all clients run at once until each has had every batch of the
pool. They share one process, so that a load finds memory that others used.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speedsheet import __version__
from speedsheet.bench.clients import bind
from speedsheet.bench.job import Prepared
from speedsheet.bench.row import Desk, readied
from speedsheet.bench.taken import load, verdict_of
from speedsheet.core.engine import Setup
from speedsheet.core.plan import LoadPlan
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Arrays
from speedsheet.host.facts import host_facts
from speedsheet.load.drive import drive


def main() -> None:
    """Load, run, judge, and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", default="resnet101")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loads", type=int, default=24)
    asked = parser.parse_args()
    request = RowRequest(asked.model, asked.engine, precision=asked.precision, thread_num=asked.threads)
    with tempfile.TemporaryDirectory() as folder:
        job = readied(request, Desk(Path(folder), 120.0), lambda *_: None).job
    prepared = Prepared.from_json(job["prepared"])
    feeds, answers = prepared.feeds(), prepared.answers()
    host = host_facts()
    print(f"{host['hostname']}: {host['cpu']}, {host['cores_allowed']} cores; speedsheet {__version__}")
    print(f"{asked.engine} {version(asked.engine)}: {asked.model} in {asked.precision}, thread_num {asked.threads}")
    said: Counter[str] = Counter()
    for _ in range(asked.loads):
        said[_judged(job, prepared, feeds, answers)] += 1
    for words, count in said.most_common():
        print(f"  {count} of {asked.loads} loads: {words}")


def _judged(job: Mapping[str, Any], prepared: Prepared, feeds: Sequence[Arrays], answers: Sequence[Arrays]) -> str:
    """Load once, let every client run the whole pool, and say what the gate says."""
    setup = Setup(**job["setup"])
    session = load(job["engine"], prepared, setup).session
    plan = LoadPlan(setup.thread_num, 0.1, requests_per_client=prepared.slots, pool_batches=prepared.slots)
    clients = bind(session, plan, feeds, answers, job["carry"])
    samples = drive(plan, [[call.request.run for call in calls] for calls in clients.calls])
    gate = verdict_of(prepared, clients, samples, answers, setup, job["row"]["precision_executed"]).gate
    session.close()
    return f"{'right' if gate.passed else 'WRONG'}, {gate.metric} {gate.value:.3g}, allowed {gate.limit:.3g}"


if __name__ == "__main__":
    main()
