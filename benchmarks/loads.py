"""Does every load of a model answer alike? The same graph is loaded again and again, and judged by FP32 right answers.

    python benchmarks/loads.py [MODEL] [--precision int8] [--engine openvino] [--threads 2] [--loads 24]

Each load is one of `speedsheet run`, without the clock: all clients run at once until each has had every batch of the
pool. They share one process, so that a load finds memory that others used. An engine that packs weights wrongly, now
and then, answers wrongly for as long as that model is loaded, at full speed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Thread

from speedsheet import __version__
from speedsheet.bench.clients import Call, bind
from speedsheet.bench.job import Prepared
from speedsheet.bench.judge import Kept, judge
from speedsheet.bench.row import Desk, readied
from speedsheet.bench.taken import load
from speedsheet.core.engine import Setup
from speedsheet.core.plan import LoadPlan
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Arrays
from speedsheet.host.facts import host_facts


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
    prepared, setup = Prepared.from_json(job["prepared"]), Setup(**job["setup"])
    feeds, answers = prepared.feeds(), prepared.answers()
    host = host_facts()
    print(f"{host['hostname']}: {host['cpu']}, {host['cores_allowed']} cores; speedsheet {__version__}")
    print(f"{asked.engine} {version(asked.engine)}: {asked.model} in {asked.precision}, thread_num {asked.threads}")
    said: Counter[str] = Counter()
    for _ in range(asked.loads):
        said[_judged(asked.engine, prepared, setup, feeds, answers)] += 1
    for words, count in said.most_common():
        print(f"  {count} of {asked.loads} loads: {words}")


def _judged(engine: str, prepared: Prepared, setup: Setup, feeds: Sequence[Arrays], answers: Sequence[Arrays]) -> str:
    """Load once, let every client run the whole pool, and say what the gate says."""
    session = load(engine, prepared, setup).session
    clients = bind(session, LoadPlan(setup.thread_num, 0.0, pool_batches=prepared.slots), feeds, answers, {})
    threads = [Thread(target=_run, args=(calls,)) for calls in clients.calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [Kept(c, call.slot, call.request.outputs()) for c, calls in enumerate(clients.calls) for call in calls]
    session.close()
    precision = "int8" if prepared.quantisation else setup.precision
    gate = judge(kept, answers, precision, prepared.limits.get(precision)).gate
    return f"{'right' if gate.passed else 'WRONG'}, {gate.metric} {gate.value:.3g}, allowed {gate.limit:.3g}"


def _run(calls: Sequence[Call]) -> None:
    for call in calls:
        call.request.run()


if __name__ == "__main__":
    main()
