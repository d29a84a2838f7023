"""What records cost: sealed, listed, verified, and made into a page.

    python benchmarks/store.py [--records 10000] [--samples 1000000]

Rows are of simulated closed loops, with windows and figures as a worker makes them; nothing is measured but the time of
these four things themselves, each several times, of which the median is printed with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from speedsheet.bench.figures import figured
from speedsheet.core.measurement import Gate, Measurement
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples, Window
from speedsheet.history.index import refreshed
from speedsheet.history.recompute import verified
from speedsheet.history.sources import Run
from speedsheet.history.store import History
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.plugins import workloads
from speedsheet.records import store
from speedsheet.stats.estimates import ESTIMATOR
from speedsheet.testing.simulated import lognormal, simulate

_ROWS, _CLIENTS = 21, 8
_BESIDE = {"own_cpu_cores": 1.9, "others_cpu_cores": 0.01, "run_queue_wait_share": 0.1}


def main() -> None:
    """Time the four things and print what they take."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=1_000_000)
    asked = parser.parse_args()
    print(f"{platform.node()}: {host_facts()['cpu']}, {allowed_cores()} cores; Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        taken = loop(asked.samples, 0)
        row, conditions = measured("resnet50", taken)
        said(f"seal a row of {asked.samples} samples", 5, lambda: store.seal(place / "sealed", row, taken, conditions))
        rows = [sealed(place / "run", name, loop(asked.samples // _ROWS, n)) for n, name in enumerate(names())]
        said(f"verify {_ROWS} rows of {asked.samples} samples in all", 5, lambda: all_verify(rows))
        page(rows, place)
        listing(asked.records, rows[-1], place)


def page(rows: list[Measurement], place: Path) -> None:
    """Time the page; the first one also starts what draws."""
    from speedsheet.pages.page import render

    run = Run("run", "run", tuple(rows), host_facts())
    began = time.perf_counter()
    text = render([run], place / "cache")
    first = time.perf_counter() - began
    said(f"a page of {_ROWS} rows, {len(text) / 1e6:.1f} MB", 3, lambda: render([run], place / "cache"))
    print(f"  the first one, in a fresh process: {first:.2f} s")


def listing(records: int, row: Measurement, place: Path) -> None:
    """Time listing a large store: never read before, known, and with one more record."""
    many, cache = place / "many", place / "index"
    source = Path(str(row.record))
    for number in range(records):
        shutil.copytree(source, many / f"{source.name}-{number:06d}", copy_function=_linked)
    began = time.perf_counter()
    refreshed(many, cache)
    print(f"list {records} records that were never read: {time.perf_counter() - began:.2f} s, once")
    said(f"list {records} records", 5, lambda: History(many, refreshed(many, cache)).rows(limit=40))


def _linked(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def said(what: str, times: int, call: Callable[[], object]) -> None:
    """Call so often, and print how long it took."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    print(f"{what}: {statistics.median(took):.2f} s ({min(took):.2f} to {max(took):.2f})", flush=True)


def names() -> list[str]:
    """Return the names of twenty-one rows."""
    known = sorted(workloads())
    return [known[place % len(known)] for place in range(_ROWS)]


def all_verify(rows: list[Measurement]) -> None:
    """Verify; what does not fit would be a mistake of this file."""
    for row in rows:
        found = verified(Path(str(row.record)))
        assert found.ok, found.misfits or found.damage


def loop(requests: int, seed: int) -> Samples:
    """Simulate a run with a window a second."""
    taken = simulate(lognormal(), clients=_CLIENTS, requests=requests, seed=seed)
    ends = taken.end_ns[taken.window]
    count = max(int((ends[-1] - taken.open_ns) / 1e9), 1)
    edges = [taken.open_ns, *(int(ends[round(ends.size * part / count) - 1]) for part in range(1, count + 1))]
    latency_ns = taken.end_ns - taken.scheduled_ns
    windows = []
    for opened, closed in pairwise(edges):
        first, after = np.searchsorted(taken.end_ns, (opened, closed), "right").tolist()
        windows.append(Window(opened, closed, float(np.median(latency_ns[first:after])), _BESIDE))
    return replace(taken, windows=tuple(windows), steady=True)


def measured(model: str, taken: Samples) -> tuple[Measurement, dict[str, Any]]:
    """Return a row with the figures of these samples, and its conditions."""
    plan = LoadPlan(_CLIENTS, 10.0)
    gate = Gate(passed=True, metric="centred_cosine", value=0.99, limit=0.95)
    row = Measurement(
        model, "tensorflow", "image classification", 16, _CLIENTS, "fp16", "openvino", "1", "CPU", gate=gate
    )
    conditions = {"host": host_facts(), "plan": asdict(plan), "estimator": ESTIMATOR}
    return figured(row, taken, plan), conditions


def sealed(folder: Path, model: str, taken: Samples) -> Measurement:
    """Seal a row."""
    row, conditions = measured(model, taken)
    return store.seal(folder, row, taken, conditions)


if __name__ == "__main__":
    main()
