"""ResNet-50 on OpenVINO: throughput of speedsheet against OpenVINO's own benchmark_app.

    python benchmarks/benchmark_app.py [--precision bf16|fp32] [--batch 1|16] [--pairs 7] [--time 4s]

The same graph with the same shapes, the same streams, threads, precision hint and requests in flight; runs take
turns, each in processes of its own, in an order that changes from pair to pair. benchmark_app counts from its first
request to the end of its last, speedsheet a window in which every client is busy. Beside the throughput stands the
share of wall time that each tool's latencies leave unexplained: 1 - requests per second x mean latency / requests in
flight.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speedsheet import __version__
from speedsheet.bench.row import Desk, measure_row
from speedsheet.convert.graph.shapes import fix_shapes
from speedsheet.convert.shipping.assemble import assemble
from speedsheet.core.request import RowRequest
from speedsheet.core.units import parse_duration_s
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.host.places import cache_folder
from speedsheet.plugins import workload

MODEL = "resnet50"
IN_FLIGHT = 4
_HINTS = {"bf16": "bf16", "fp32": "f32"}
_STALL_S = 120.0


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison; `streams` and `threads` are OpenVINO's."""

    precision: str
    batch_size: int
    streams: int
    threads: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Speed:
    """What one run says."""

    samples_per_s: float
    mean_latency_ms: float
    unexplained: float


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", choices=sorted(_HINTS), action="append")
    parser.add_argument("--batch", type=int, action="append")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--time", type=parse_duration_s, default=4.0)
    asked = parser.parse_args()
    cores, facts = allowed_cores(), host_facts()
    print(f"{facts['hostname']}: {facts['cpu']}, {cores} cores; Python {platform.python_version()}")
    print(f"speedsheet {__version__}, openvino {version('openvino')} with its benchmark_app; {MODEL}, {IN_FLIGHT} "
          f"requests in flight, {cores} streams, {cores} threads, {asked.pairs} pairs of {asked.time:g} s")  # fmt: skip
    for precision in asked.precision or sorted(_HINTS):
        for batch_size in asked.batch or [1, 16]:
            report(Case(precision, batch_size, cores, cores, asked.time), asked.pairs)


def report(case: Case, count: int) -> None:
    """Run the pairs of one case and print what they say."""
    graph = fixed_graph(case.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "records", _STALL_S)
        sides: dict[str, Callable[[], Speed]] = {
            "speedsheet": lambda: speedsheet(case, desk),
            "benchmark_app": lambda: benchmark_app(case, graph, Path(folder)),
        }
        sides["speedsheet"]()  # prepares and audits the row, once
        names = list(sides)
        found = [{name: sides[name]() for name in (names if pair % 2 else names[::-1])} for pair in range(count)]
    print(f"{case.precision}, batch {case.batch_size}:")
    for name in names:
        runs = [pair[name] for pair in found]
        print(f"  {name}: {_median(run.samples_per_s for run in runs):.2f} samples per second, mean latency "
              f"{_median(run.mean_latency_ms for run in runs):.2f} ms, unexplained "
              f"{_median(run.unexplained for run in runs) * 100:.2f} %")  # fmt: skip
    ratios = sorted(pair["speedsheet"].samples_per_s / pair["benchmark_app"].samples_per_s for pair in found)
    print(f"  throughput, speedsheet over benchmark_app: {statistics.median(ratios):.4f} "
          f"(of {count} pairs {ratios[0]:.4f} to {ratios[-1]:.4f})", flush=True)  # fmt: skip


def fixed_graph(batch_size: int) -> Path:
    """Return the graph that speedsheet loads, with the batch size written in."""
    shapes = {spec.name: spec.at(batch_size) for spec in workload(MODEL).inputs}
    return fix_shapes(assemble(MODEL, cache_folder()), shapes).graph


def speedsheet(case: Case, desk: Desk) -> Speed:
    """Measure a row as the command does, its outputs judged."""
    settings = {"NUM_STREAMS": str(case.streams), "INFERENCE_NUM_THREADS": str(case.threads)}
    request = RowRequest(
        MODEL, engine="openvino", precision=case.precision, batch_size=case.batch_size, thread_num=IN_FLIGHT,
        window_s=case.time_s, settings=settings,
    )  # fmt: skip
    row = measure_row(request, desk, lambda *_: None)
    rate, latency_ms = row.throughput_samples_per_s.value, row.latency_ms.mean
    if rate is None or latency_ms is None or row.little_residual is None:
        raise SystemExit(f"speedsheet: {row.error}")
    return Speed(rate, latency_ms, row.little_residual)


def benchmark_app(case: Case, graph: Path, folder: Path) -> Speed:
    """Run OpenVINO's tool on the same graph, and read its report."""
    tool = Path(sys.executable).with_name("benchmark_app")
    command = [
        tool, "-m", graph, "-d", "CPU", "-api", "async", "-hint", "none",
        "-nstreams", case.streams, "-nthreads", case.threads, "-nireq", IN_FLIGHT,
        "-infer_precision", _HINTS[case.precision], "-t", max(1, round(case.time_s)),
        "-json_stats", "-report_type", "no_counters", "-report_folder", folder,
    ]  # fmt: skip
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=os.environ)
    if ended.returncode:
        raise SystemExit(f"benchmark_app: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return read_report(json.loads((folder / "benchmark_report.json").read_text(encoding="utf-8")), case.batch_size)


def read_report(report_: Mapping[str, Any], batch_size: int) -> Speed:
    """Read benchmark_app's own report: milliseconds with two decimals."""
    found = report_["execution_results"]
    requests_per_s = float(found["total number of iterations"]) / float(found["total execution time (ms)"]) * 1000
    latency_ms = float(found["avg latency"])
    return Speed(requests_per_s * batch_size, latency_ms, 1 - requests_per_s * latency_ms / 1000 / IN_FLIGHT)


def _median(values: Iterable[float]) -> float:
    return float(statistics.median(values))


if __name__ == "__main__":
    main()
