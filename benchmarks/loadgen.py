"""What a request costs in speedsheet's loop, against MLPerf LoadGen's SingleStream from Python.

    pip install "speedsheet[bench]"
    python benchmarks/loadgen.py [--pairs 15] [--time 3s]

One client, and a system under test that has nothing to do: speedsheet drives its null engine, LoadGen a Python
callback that answers inline. Both sides run in turn in one process, in an order that changes from pair to pair, with
the garbage collector frozen. Wall time per request is the whole time over the requests; for LoadGen its own figure,
"QPS w/ loadgen overhead", is used. Its settings are those that were found best for it: no trace, its fast interface,
one response object that is used again, and a list of queries as long as the run, from what a first run showed.
"""

from __future__ import annotations

import argparse
import gc
import platform
import re
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import mlperf_loadgen
import numpy as np

from speedsheet import __version__
from speedsheet.core.plan import LoadPlan
from speedsheet.core.units import NS_PER_S, parse_duration_s
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.load.drive import drive
from speedsheet.testing.null import NullRequest, null_call

_SAMPLES = 1024
#: LoadGen makes its list of queries for this latency, and ends when it has gone through the list or the time is up.
_FIRST_GUESS_NS = 2_000
_SPARE = 0.7


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run says: wall time per request, and the median of the latencies that it recorded, in nanoseconds."""

    wall_ns: float
    p50_ns: float


def main() -> None:
    """Run the pairs and print what they say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--time", type=parse_duration_s, default=3.0)
    asked = parser.parse_args()
    facts = host_facts()
    print(f"{facts['hostname']}: {facts['cpu']}, {allowed_cores()} cores; Python {platform.python_version()}")
    print(f"speedsheet {__version__}, mlcommons-loadgen {version('mlcommons-loadgen')}; null system, one client, "
          f"{asked.pairs} pairs of {asked.time:g} s")  # fmt: skip
    expected_ns = round(loadgen(0.5, _FIRST_GUESS_NS).wall_ns * _SPARE)
    sides = {"speedsheet": lambda: speedsheet(asked.time), "LoadGen": lambda: loadgen(asked.time, expected_ns)}
    report(pairs(sides, asked.pairs))


def pairs(sides: dict[str, Callable[[], Cost]], count: int) -> list[dict[str, Cost]]:
    """Run the sides in turn, the first of a pair second in the next."""
    names = list(sides)
    for name in names:
        sides[name]()
    return [{name: sides[name]() for name in (names if pair % 2 else names[::-1])} for pair in range(count)]


def report(found: Sequence[dict[str, Cost]]) -> None:
    """Print the median of each side, and of the ratios within pairs with the smallest and the largest."""
    for name in found[0]:
        wall_ns = statistics.median(pair[name].wall_ns for pair in found)
        p50_ns = statistics.median(pair[name].p50_ns for pair in found)
        print(f"{name}: {wall_ns:.0f} ns of wall time per request, recorded p50 {p50_ns:.0f} ns")
    for label, key in (("wall time per request", "wall_ns"), ("recorded p50", "p50_ns")):
        ratios = sorted(getattr(pair["speedsheet"], key) / getattr(pair["LoadGen"], key) for pair in found)
        print(f"{label}, speedsheet over LoadGen: {statistics.median(ratios):.3f} "
              f"(of {len(ratios)} pairs {ratios[0]:.3f} to {ratios[-1]:.3f})")  # fmt: skip


def speedsheet(window_s: float) -> Cost:
    """Drive null requests as a row's are driven."""
    runs = [NullRequest({}, null_call({})).run for _ in range(8)]
    samples = drive(LoadPlan(1, window_s, pool_batches=len(runs)), [runs])
    latency_ns = samples.latency_ns
    return Cost((samples.close_ns - samples.open_ns) / latency_ns.size, float(np.median(latency_ns)))


def loadgen(time_s: float, expected_ns: int) -> Cost:
    """Let LoadGen ask a callback that answers inline."""
    settings = mlperf_loadgen.TestSettings()
    settings.scenario = mlperf_loadgen.TestScenario.SingleStream
    settings.mode = mlperf_loadgen.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = expected_ns
    settings.min_duration_ms = settings.max_duration_ms = round(time_s * 1000)
    settings.min_query_count = 1
    with tempfile.TemporaryDirectory() as folder:
        log = mlperf_loadgen.LogSettings()
        log.enable_trace = False
        log.log_output.outdir = folder
        log.log_output.copy_summary_to_stdout = False
        system = mlperf_loadgen.ConstructFastSUT(answering(), lambda: None)
        library = mlperf_loadgen.ConstructQSL(_SAMPLES, _SAMPLES, lambda _samples: None, lambda _samples: None)
        with collector_frozen():  # as speedsheet does
            mlperf_loadgen.StartTestWithLogSettings(system, library, settings, log)
        mlperf_loadgen.DestroyQSL(library)
        mlperf_loadgen.DestroyFastSUT(system)
        return read_summary((Path(folder) / "mlperf_log_summary.txt").read_text(encoding="utf-8"))


def answering() -> Callable[[list[int], list[int]], None]:
    """Return the system under test: an answer of no bytes, at once, by the shortest way found."""
    complete = mlperf_loadgen.QuerySamplesComplete
    response = mlperf_loadgen.QuerySampleResponse(0, 0, 0)
    responses = [response]

    def issue(identities: list[int], _indices: list[int]) -> None:
        response.id = identities[0]
        complete(responses)

    return issue


def read_summary(text: str) -> Cost:
    """Read LoadGen's own summary; raises ValueError where it lacks a figure."""
    rate = _figure(text, r"QPS w/ loadgen overhead\s*:\s*([\d.e+]+)")
    p50_ns = _figure(text, r"50\.00 percentile latency \(ns\)\s*:\s*(\d+)")
    return Cost(NS_PER_S / rate, p50_ns)


def _figure(text: str, pattern: str) -> float:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"LoadGen's summary has no {pattern}: {text}")
    return float(match[1])


@contextmanager
def collector_frozen() -> Iterator[None]:
    """Keep garbage collection out of the run."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


if __name__ == "__main__":
    main()
