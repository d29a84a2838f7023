"""Does the ledger see a neighbour, and does it cry wolf? Counted on recorded signals, and on real runs.

    python benchmarks/interference.py                    what the shipped recordings say, as the test counts it
    python benchmarks/interference.py --record [--add]   record them anew, or more, on a machine that is quiet
    python benchmarks/interference.py --trust [--runs N] N real runs of each kind; writes docs/trust-interference.md

A run is the product's own loop in a process of its own: a model that takes one core, or many clients that fill all of
them. Its neighbour is one process that keeps one core busy, or half of one, for some seconds. A run is reported where
any of its windows is flagged. What else ran on the machine is known from the accounts of all other processes, which the
ledger does not read: a run beside which these worked counts neither as quiet nor as disturbed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import timeit
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from speedsheet import plugins
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Setup
from speedsheet.core.plan import LoadPlan
from speedsheet.core.units import NS_PER_S
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.host.kernel import content
from speedsheet.host.signals import Reading, between, read
from speedsheet.load.collect import Host
from speedsheet.load.drive import drive
from speedsheet.stats.interference import Window, flags
from speedsheet.testing.recorded import FILE, QUIET, Recorded, recorded, reported

_BESIDE_S = 3.0
#: Less than this was used by other processes: the run had the machine for itself.
_ALONE_CORES = 0.03
#: So much of a window with the neighbour is all of it.
_WHOLE = 0.95
_SIMULATED = 2000
_THREADS, _READINGS = 30, 500
_HERE = Path(__file__).parent.parent
#: Spins for so many seconds, of each tenth of a second this share.
_SPIN = """
import sys, time
end, share = time.monotonic() + float(sys.argv[1]), float(sys.argv[2])
while (now := time.monotonic()) < end:
    while time.monotonic() < now + 0.1 * share: pass
    time.sleep(0.1 * (1 - share)) if share < 1 else None
"""


@dataclass(frozen=True, slots=True)
class Load:
    """One load: an engine, its clients, and a network of `layers` products of `rows` x `width` x `width`."""

    engine: str
    clients: int
    layers: int
    rows: int
    width: int


#: From one busy core to queues on all of them; requests of tens of milliseconds and of tens of microseconds.
LOADS = {
    "one client, one thread": Load("onnxruntime", 1, 8, 64, 1024),
    "one client, short requests": Load("onnxruntime", 1, 2, 8, 128),
    "8 clients on ONNX Runtime": Load("onnxruntime", 8, 8, 64, 1024),
    "16 clients on ONNX Runtime": Load("onnxruntime", 16, 8, 64, 1024),
    "16 clients, short requests": Load("onnxruntime", 16, 2, 64, 256),
    "8 clients on OpenVINO": Load("openvino", 8, 8, 64, 1024),
    "16 clients on OpenVINO": Load("openvino", 16, 8, 64, 1024),
}
#: The neighbour's share of a core.
NEIGHBOURS = {QUIET: 0.0, "busy": 1.0, "half busy": 0.5}


@dataclass(frozen=True, slots=True)
class Run:
    """The windows of one run: how much of each had the neighbour beside it, and what else ran on the machine then.

    `foreign_cores` is what all other processes used by their own accounts, for each window.
    """

    load: str
    kind: str
    windows: tuple[Window, ...]
    beside: tuple[float, ...]
    foreign_cores: tuple[float, ...]

    @property
    def flagged(self) -> list[tuple[str, ...]]:
        """What the ledger says of each window."""
        return flags(self.windows, os.cpu_count() or 1)

    @property
    def alone(self) -> bool:
        """Whether nobody else worked, beside the neighbour."""
        return max(self.foreign_cores, default=0.0) < _ALONE_CORES


def run(load: str, kind: str, seconds: float) -> Run:
    """Run one load in its own process, its neighbour beside it from some moment on for some seconds."""
    command = [sys.executable, __file__, "--load", load, "--seconds", str(seconds)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout
    worker.stdout.readline()  # it is warm
    came_ns, gone_ns, accounts = _watched(worker, kind, seconds)
    found = json.loads(worker.stdout.read())
    spans = [(span["from_ns"], span["to_ns"]) for span in found]
    beside = [max(0, min(to, gone_ns) - max(start, came_ns)) / (to - start) for start, to in spans]
    at_ns, used_s = zip(*accounts, strict=True)
    foreign = [float(np.diff(np.interp(span, at_ns, used_s))[0]) / (span[1] - span[0]) * NS_PER_S for span in spans]
    return Run(load, kind, tuple(span["signals"] for span in found), tuple(beside), tuple(foreign))


def _watched(worker: subprocess.Popen[str], kind: str, seconds: float) -> tuple[int, int, list[tuple[int, float]]]:
    """Start the neighbour at some moment; return when it came and went, and the accounts of others meanwhile."""
    spin = [sys.executable, "-c", _SPIN, str(_BESIDE_S), str(NEIGHBOURS[kind])]
    comes_ns = time.monotonic_ns() + int(random.uniform(0.2, max(0.3, seconds - _BESIDE_S - 0.5)) * NS_PER_S)
    came_ns = gone_ns = 0
    neighbour: subprocess.Popen[bytes] | None = None
    accounts = []
    while worker.poll() is None:
        accounts.append(_foreign({os.getpid(), worker.pid, neighbour.pid if neighbour else 0}))
        if kind != QUIET and neighbour is None and time.monotonic_ns() >= comes_ns:
            came_ns, neighbour = time.monotonic_ns(), subprocess.Popen(spin)
        if neighbour and not gone_ns and neighbour.poll() is not None:
            gone_ns = time.monotonic_ns()
        time.sleep(0.1)
    if neighbour and not gone_ns:
        gone_ns = time.monotonic_ns()
        neighbour.wait()
    return came_ns, gone_ns, accounts


def _foreign(own: set[int]) -> tuple[int, float]:
    """Return the time, and the seconds that all processes but our own have used, with those of their dead children."""
    ticks = 0
    for process in Path("/proc").iterdir():
        fields = content(process / "stat").rpartition(b") ")[2].split() if process.name.isdigit() else []
        if len(fields) > 14 and fields[1] not in {b"0", b"2"} and int(process.name) not in own:  # kernel threads
            ticks += sum(int(field) for field in fields[11:15])
    return time.monotonic_ns(), ticks / os.sysconf("SC_CLK_TCK")


def inside(load: Load, seconds: float) -> None:
    """Be the worker: drive the load as a row is driven, print its windows."""
    calls = _calls(load)
    said: list[str] = []

    def tell(*_: object) -> None:
        if not said:
            said.append("warm")
            print(*said, flush=True)

    host = Host(partial(read, ours=(os.getppid(),)), _told, os.cpu_count() or 1)
    samples = drive(LoadPlan(load.clients, seconds), calls, tell, host)
    spans = [{"from_ns": one.opened_ns, "to_ns": one.closed_ns, "signals": one.signals} for one in samples.windows]
    print(json.dumps(spans, default=dict), flush=True)
    os._exit(0)


def _told(before: Reading, after: Reading) -> dict[str, float]:
    return {name: value for name, value in between(before, after).items() if value is not None}


def _calls(load: Load) -> list[list[Any]]:
    """Load the network on the engine, and bind a request for each client."""
    draw = np.random.default_rng(920)
    names = ["x", *(f"h{place}" for place in range(load.layers - 1)), "y"]
    shape = [load.rows, load.width]
    drawn = [draw.standard_normal([load.width] * 2) / load.width**0.5 for _ in range(load.layers)]
    weights = [numpy_helper.from_array(array.astype(np.float32), f"w{place}") for place, array in enumerate(drawn)]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(load.layers)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "load", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "graph.onnx")
        device = "CPUExecutionProvider" if load.engine == "onnxruntime" else "CPU"
        setup = Setup(device, "fp32", load.rows, load.clients, 1 if load.clients == 1 else allowed_cores())
        session = plugins.engine(load.engine).load(Artifact(Path(folder), "", 0, 0, 0, ""), setup, lambda: None)
    feeds = [{"x": draw.standard_normal(shape).astype(np.float32)} for _ in range(load.clients)]
    return [[session.bind(feed, {}).run] for feed in feeds]


def runs(rounds: int, seconds: float) -> Iterator[Run]:
    """Run every load alone and beside each neighbour, so many rounds."""
    for _ in range(rounds):
        for load, kind in itertools.product(LOADS, NEIGHBOURS):
            one = run(load, kind, seconds)
            names = sorted({name for names in one.flagged for name in names})
            said = "reported: " + ", ".join(names) if names else "not reported"
            others = "" if one.alone else f"; others worked ({max(one.foreign_cores, default=0):.2f} cores)"
            print(f"{load}, {kind}: {len(one.windows)} windows, {said}{others}", flush=True)
            yield one


def compact(done: Sequence[Run], onto: Recorded | None = None) -> Recorded:
    """Keep whole windows with the neighbour and windows with nobody, rounded."""
    loads: dict[str, dict[str, list[Window]]] = {
        load: {kind: [*(onto.loads[load][kind] if onto else ())] for kind in NEIGHBOURS} for load in LOADS
    }
    for one in done:
        for window, beside, foreign in zip(one.windows, one.beside, one.foreign_cores, strict=True):
            kind = QUIET if beside == 0 else one.kind if beside > _WHOLE else None
            if kind and foreign < _ALONE_CORES:
                short = {name: None if value is None else round(value, 4) for name, value in window.items()}
                loads[one.load][kind].append(short)
    return Recorded(_host(), os.cpu_count() or 1, loads)


def simulation(found: Recorded) -> str:
    """Return the table of simulated runs that are reported."""
    lines = [f"| load | {' | '.join(NEIGHBOURS)} |", f"|---|{'---:|' * len(NEIGHBOURS)}"]
    for load, kinds in found.loads.items():
        cells = [
            f"{reported(kinds, kind, found.cores, _SIMULATED) * 100:.1f} % ({len(kinds[kind])} windows)"
            for kind in NEIGHBOURS
        ]
        lines.append(f"| {load} | {' | '.join(cells)} |")
    return "\n".join(lines)


def counted(done: Sequence[Run]) -> str:
    """Return the table of real runs that were reported; quiet are those that had the machine for themselves."""
    valid = [one for one in done if one.alone or one.kind != QUIET]
    lines = [f"| load | {' | '.join(NEIGHBOURS)} |", f"|---|{'---:|' * len(NEIGHBOURS)}"]
    for load in [*LOADS, "all"]:
        here = [[one for one in valid if load in {one.load, "all"} and one.kind == kind] for kind in NEIGHBOURS]
        cells = [f"{sum(any(one.flagged) for one in some)} of {len(some)}" for some in here]
        lines.append(f"| {load} | {' | '.join(cells)} |")
    parts = [part for one in done for part in zip(one.flagged, one.beside, one.foreign_cores, strict=True)]
    alone = [bool(names) for names, beside, foreign in parts if beside == 0 and foreign < _ALONE_CORES]
    beside = [bool(names) for names, share, _ in parts if share > _WHOLE]
    foreign = [any(one.flagged) for one in done if one not in valid]
    return "\n".join([
        *lines,
        "",
        f"Windows with nobody else: {sum(alone)} of {len(alone)} flagged.",
        f"Windows with the neighbour in all of them: {sum(beside)} of {len(beside)} flagged.",
        f"Not counted as quiet, since others worked beside them: {len(foreign)} runs, {sum(foreign)} reported.",
    ])  # fmt: skip


def cost() -> str:
    """Say what one reading takes, in a process of so many threads as clients and engine have."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait, daemon=True) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    taken_us = sorted(timeit.repeat(read, number=1, repeat=_READINGS))
    done.set()
    middle, most = taken_us[_READINGS // 2] * 1e6, taken_us[_READINGS * 99 // 100] * 1e6
    return f"One reading of all signals with {_THREADS} threads: p50 {middle:.0f} us, p99 {most:.0f} us."


def _host() -> str:
    facts = host_facts()
    return f"{facts['cpu']}, {facts['cores_logical']} cores, {facts['virtualisation']}, {facts['kernel']}"


_DOCUMENT = """# The ledger of interference, counted

Written by `python benchmarks/interference.py --trust --runs {rounds}` on {date}, {host}.
Runs of {seconds:.0f} s; the neighbour is one process, beside the run for {beside:.0f} s of it.

{cost}

## Real runs that were reported
{real}

## Simulated runs of recorded windows ({recorded}), {simulated} each
{table}
"""


def main() -> None:
    """Do what was asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--trust", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--load", choices=LOADS)
    asked = parser.parse_args()
    if asked.load:
        inside(LOADS[asked.load], asked.seconds)
    done = list(runs(asked.runs, asked.seconds)) if asked.record or asked.trust else []
    if asked.record:
        data = json.dumps(compact(done, recorded() if asked.add else None).to_json(), separators=(",", ":"))
        (_HERE / "src/speedsheet/data" / FILE).write_text(data.replace("],[", "],\n[") + "\n", encoding="ascii")
    table = simulation(recorded())
    if asked.trust:
        text = _DOCUMENT.format(
            rounds=asked.runs, date=time.strftime("%Y-%m-%d"), host=_host(), seconds=asked.seconds, beside=_BESIDE_S,
            cost=cost(), real=counted(done), recorded=recorded().host, simulated=_SIMULATED, table=table,
        )  # fmt: skip
        (_HERE / "docs/trust-interference.md").write_text(text, encoding="utf-8")
        print(text)
    else:
        print(f"{_host()}\n{cost()}\n\n{table}")


if __name__ == "__main__":
    main()
