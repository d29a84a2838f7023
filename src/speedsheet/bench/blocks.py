"""One side of a comparison inside its worker: loaded once, runs blocks when told to, and is quiet in between."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from speedsheet.bench.clients import Clients, bind
from speedsheet.bench.job import Prepared, Say
from speedsheet.bench.taken import load, verdict_of
from speedsheet.core.engine import Setup
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_MS, NS_PER_S
from speedsheet.host.facts import clock_state
from speedsheet.load.drive import drive
from speedsheet.stats.comparison import counted

#: A block goes on until every client has so many requests in it.
_REQUESTS = 2

#: What the worker calls to learn what to do next, and to tell what came of it.
Hear = Callable[[], Mapping[str, Any]]
Answer = Callable[[Mapping[str, Any]], None]


def blocks(job: Mapping[str, Any], say: Say, hear: Hear, answer: Answer) -> dict[str, Any]:
    """Worker task: load, then run a block for each order until one says where the raw samples go; judge the outputs.

    An order is ``{"window_s": .., "warmup_s": ..}`` for a block, or ``{"samples": path or null}`` for the end.
    """
    prepared, setup = Prepared.from_json(job["prepared"]), Setup(**job["setup"])
    plan = LoadPlan(setup.thread_num, 0.0, requests_per_client=_REQUESTS, pool_batches=prepared.slots)
    feeds, answers = prepared.feeds(), prepared.answers()
    say(f"loading on {job['engine']}", None, None)
    loaded = load(job["engine"], prepared, setup)
    clients = bind(loaded.session, plan, feeds, answers, job["carry"])
    say("first inference", None, None)
    began = time.perf_counter_ns()
    clients.calls[0][0].request.run()
    first_ms = (time.perf_counter_ns() - began) / NS_PER_MS
    answer(
        {
            "engine_settings": dict(loaded.session.settings),
            "load_ms": loaded.load_ms,
            "compile_ms": loaded.compile_ms,
            "first_inference_ms": first_ms,
            "clock_state": clock_state(),
        }
    )
    taken: list[Samples] = []
    while "window_s" in (order := hear()):
        taken.append(
            _block(replace(plan, window_s=order["window_s"]), clients, round(order["warmup_s"] * NS_PER_S), say)
        )
        answer(_figures(taken[-1], prepared.batch_size, plan.thread_num))
    peak_rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say("judging the outputs", None, None)
    verdict = verdict_of(prepared, clients, taken[-1], answers, setup, job["row"]["precision_executed"])
    if order["samples"]:
        from speedsheet.records import columns

        columns.write(_joined(taken), Path(order["samples"]))
    return {
        "gate": asdict(verdict.gate),
        "gate_by_output": verdict.by_output,
        "findings": [asdict(finding) for finding in verdict.findings],
        "peak_rss_mb": peak_rss_mb,
    }


def _block(plan: LoadPlan, clients: Clients, warmup_ns: int, say: Say) -> Samples:
    """Run the loop once; a request of each client, and what completes in the first `warmup_ns`, is warm-up."""
    runs = [[call.request.run for call in calls] for calls in clients.calls]
    taken = drive(plan, runs, lambda *told: say("measuring", told[0], told[1]))
    return counted(taken, plan.thread_num, warmup_ns)


def _figures(block: Samples, batch_size: int, thread_num: int) -> dict[str, Any]:
    """Return what one block says; `round_s` is how long its clients take for a request each."""
    latency_ns = block.latency_ns
    window_s = (block.close_ns - block.open_ns) / NS_PER_S
    return {
        "open_ns": block.open_ns,
        "close_ns": block.close_ns,
        "requests": int(latency_ns.size),
        "throughput_samples_per_s": latency_ns.size * batch_size / window_s,
        "mean_ms": float(latency_ns.mean()) / NS_PER_MS,
        "p50_ms": float(np.median(latency_ns)) / NS_PER_MS,
        "round_s": window_s / latency_ns.size * thread_num,
    }


def _joined(blocks: Sequence[Samples]) -> Samples:
    """Return the samples of all blocks, one behind the other."""
    each = [block.columns() for block in blocks]
    columns: dict[str, Any] = {name: np.concatenate([named[name] for named in each]) for name in each[0]}
    return Samples(**columns, open_ns=blocks[0].open_ns, close_ns=blocks[-1].close_ns)
