"""The clients of one row divided over several processes at once, where one interpreter cannot serve them all.

The interpreter's lock lets one client of a process run at a time between calls, so beyond some rate of calls (the
ruler tells which) clients wait for each other, and that wait is in their latency. Each process has a session of its
own, on cores of its own; all are ready before the first begins, begin at one instant of the one clock that the system
has (CLOCK_MONOTONIC, clock_gettime(2)), and are looked at as one loop: `load.merge`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from math import ceil, inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from speedsheet.bench.job import Say
from speedsheet.bench.judge import Verdict, worst
from speedsheet.bench.shelf import found, leave, together
from speedsheet.bench.supervise import READY, call_together
from speedsheet.bench.taken import Taken, taken
from speedsheet.core.measurement import Finding, Floor, Measurement
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_S
from speedsheet.load.merge import merged

#: The rate that was found is held down by the lock itself, so processes are made for more.
_AMPLE = 1.5


def processes_for(samples: Samples, floor: Floor | None, setup: Mapping[str, Any]) -> int:
    """Return over how many processes the clients of a row are to be divided: one while they are exact in it.

    No more than clients, nor than cores: every session has at least one to itself.
    """
    if floor is None or floor.exact_calls_per_s is None or _calls_per_s(samples) <= floor.exact_calls_per_s:
        return 1
    wanted = max(2, ceil(_AMPLE * _calls_per_s(samples) / floor.exact_calls_per_s))
    return min(wanted, int(setup["thread_num"]), int(setup["cores"]))


def moved(samples: Samples, row: Measurement, processes: int) -> Finding:
    """Say that the clients of a row were divided, why, and what it means for the row."""
    exact = row.floor.exact_calls_per_s if row.floor else None
    text = (
        f"{row.thread_num} clients in one process made {_calls_per_s(samples):.0f} calls per second"
        f"{'' if exact is None else f', and are exact up to {exact:.0f}'}: they were moved to {processes} processes at "
        f"once, each with a session and a share of the cores of its own; compare with rows of {processes} sessions"
    )
    return Finding("client_processes", text)


def crowded(job: Mapping[str, Any], processes: int, first: Taken, say: Say) -> Taken:
    """Offer the load of a job from several processes at once, for as long as it was offered for `first` from one.

    The first process that fails fails the row. The plan returned ends when the first of them was to end.
    """
    with TemporaryDirectory(prefix="speedsheet-") as folder:
        jobs = list(_shares(job, processes, first, folder))
        told = call_together("share", jobs, tell=say, stall_limit_s=inf)
        samples, facts = found(Path(folder), processes)
    verdict = worst([Verdict.from_json(each["verdict"]) for each in told])
    whole = replace(together(facts), peak_rss_mb=sum(each.peak_rss_mb for each in facts))
    together_samples = merged(samples, int(job["setup"]["thread_num"]))
    plan = replace(first.plan, longest_s=None if job["until_s"] is None else min(each["longest_s"] for each in told))
    return replace(
        first, plan=plan, samples=together_samples, facts=whole, verdict=verdict, settings=told[0]["settings"]
    )


def share(
    job: Mapping[str, Any], say: Say, hear: Callable[[], Mapping[str, Any]], answer: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Worker task: serve a share of a row's clients, beginning with the others, and leave their samples."""

    def meet() -> Sequence[int]:
        answer(READY)
        told = hear()
        time.sleep(max(0.0, (told["begin_ns"] - time.perf_counter_ns()) / NS_PER_S))
        return [process for process in told["processes"] if process != os.getpid()]

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cpus"])
    run = taken(job, say, meet)
    leave(Path(job["into"]), job["part"], run.samples, run.facts)
    return {"verdict": asdict(run.verdict), "settings": dict(run.settings), "longest_s": run.plan.longest_s}


def _shares(job: Mapping[str, Any], processes: int, first: Taken, folder: str) -> Iterator[dict[str, Any]]:
    """Divide clients and cores, both as evenly as they go."""
    clients = _divided(range(int(job["setup"]["thread_num"])), processes)
    cpus = _divided(sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [], processes)
    offered_s = (first.samples.close_ns - int(first.samples.start_ns.min())) / NS_PER_S
    # each would find its own time to open and to stop: all go on for as long as one did, and are looked at together
    plan = {"window_s": offered_s, "targets": [], "steady_within_s": 0.0, "again_s": 0.0, "rounds": 0}
    for part in range(processes):
        mine = {"thread_num": len(clients[part])}
        yield {
            **job,
            "setup": {**job["setup"], **mine, "cores": max(1, job["setup"]["cores"] // processes)},
            "plan": {**job["plan"], **mine, **plan},
            "client_processes": processes, "cpus": cpus[part], "part": part, "into": folder,
        }  # fmt: skip


def _divided(of: Sequence[int], processes: int) -> list[list[int]]:
    return [part.tolist() for part in np.array_split(np.array(of, int), processes)]


def _calls_per_s(samples: Samples) -> float:
    return int(samples.with_flagged().window.sum()) / (samples.close_ns - samples.open_ns) * NS_PER_S
