"""The ruler measured: what a request costs where the engine costs nothing, and up to how many calls clients are exact.

The null engine goes the way of every row: a worker process, requests of its session, `drive`, the same columns.

- **Floor**: p50 and p99 of a request that is answered at once, at the row's number of clients.
- **Exact up to**: an engine that answers after a known time, without the interpreter's lock, is asked by one client
  alone and by all of them at once. Alone, nobody waits for the lock: that is the truth. Together, every answer has to
  take the lock back; the time for it is the clients' own, and counts as latency. The delay is lengthened in steps until
  the clients' p50 and p90 are off the truth by at most `OFF`. The calls per second of that step are the limit.

No p99 decides: in a tenth of a second the machine's other work moves it by more than the clients do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from speedsheet import plugins
from speedsheet.bench.job import Say
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Setup
from speedsheet.core.errors import RowFailed
from speedsheet.core.measurement import Finding, Floor, Measurement
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_S
from speedsheet.load.drive import drive

#: Clients are exact while each of these percentiles is above the truth by at most such a share.
OFF = {0.5: 0.05, 0.9: 0.15}
#: A row's p50 is near the floor below so many floors: above it, the ruler's part is less than a tenth.
NEAR = 10.0
_ENGINE, _DELAY = "speedsheet.testing.null:ENGINE", "DELAY_US"
_FLOOR_S, _STEP_S = 0.5, 0.12
#: Calls per second that are asked, two steps to the half; above the first no interpreter of today is exact.
_ASKED_PER_S = tuple(68_000 / 2 ** (step / 2) for step in range(6))
_TRIES = 2
KNOWN: dict[tuple[int, str], Floor] = {}


def floor_at(thread_num: int, clocks: str, work: Callable[[str, Mapping[str, Any]], dict[str, Any]]) -> Floor | None:
    """Return the ruler at `thread_num` clients and `clocks`: measured once in a run, in a worker.

    Null where that fails.
    """
    if (thread_num, clocks) not in KNOWN:
        try:
            KNOWN[thread_num, clocks] = Floor(**work("ruler", {"thread_num": thread_num}))
        except RowFailed:
            return None
    return KNOWN[thread_num, clocks]


def ruler(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Worker task: measure the floor, and the calls per second up to which so many clients are exact."""
    clients = int(job["thread_num"])
    with tempfile.TemporaryDirectory() as folder:
        null = _Null(_artifact(Path(folder)))
        say("measuring the ruler", None, None)
        latency_us = null.driven(clients, 0.0, _FLOOR_S).latency_ns / 1000
        p50_us, p99_us = (float(np.quantile(latency_us, quantile)) for quantile in (0.5, 0.99))
        # one client waits for nobody: its calls are exact while the floor is a small part of them
        exact = 1e6 / p50_us / NEAR if clients == 1 else exact_calls_per_s(
            [clients / rate * 1e6 for rate in _ASKED_PER_S], lambda delay_us: null.step(clients, delay_us)
        )  # fmt: skip
    return asdict(Floor(p50_us, p99_us, exact))


@dataclass(frozen=True, slots=True)
class Step:
    """One delay: percentiles of one client alone and of all at once, in the order of `OFF`, and the latter's rate."""

    alone_us: tuple[float, ...]
    together_us: tuple[float, ...]
    calls_per_s: float

    @property
    def exact(self) -> bool:
        """Whether the clients see what is true."""
        pairs = zip(self.alone_us, self.together_us, OFF.values(), strict=True)
        return all(together <= alone * (1 + off) for alone, together, off in pairs)


def exact_calls_per_s(delays_us: Sequence[float], measure: Callable[[float], Step]) -> float | None:
    """Return the calls per second at the first of `delays_us` (rising) that is exact; null where none is.

    Each is tried twice: other work on the machine makes a step look worse, so one that is exact once is exact.
    """
    tried = (measure(delay_us) for delay_us in delays_us for _ in range(_TRIES))
    return next((step.calls_per_s for step in tried if step.exact), None)


def near_floor(row: Measurement) -> tuple[Finding, ...]:
    """Say of a measured row how much of its latency may be the ruler's, where that is more than a tenth.

    Of a row whose clients make more calls than are exact, and could be divided no further, say that too.
    """
    p50_ms, floor = row.latency_ms.p50 or row.latency_ms.mean, row.floor
    if p50_ms is None or floor is None:
        return ()
    if p50_ms * 1000 < NEAR * floor.p50_us:
        share = min(1.0, floor.p50_us / p50_ms / 1000)
        return (Finding("near_floor", f"a request of an empty engine takes {floor.p50_us:.2g} us here, and this row's "
                        f"p50 is {p50_ms * 1000:.3g} us: up to {share * 100:.0f} % of its latency may be the ruler's; "
                        "give it a larger --batch"),)  # fmt: skip
    calls_per_s = (row.throughput_samples_per_s.value or 0.0) / row.batch_size / row.client_processes
    if floor.exact_calls_per_s is None or calls_per_s <= floor.exact_calls_per_s:
        return ()
    return (Finding("near_floor", f"clients of one process are exact up to {floor.exact_calls_per_s:.0f} calls per "
                    f"second, and these make {calls_per_s:.0f}: their wait for each other is in the latency; give it "
                    "a larger --batch, or fewer --threads"),)  # fmt: skip


class _Null:
    """The null engine on a model of one node."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact

    def driven(self, clients: int, delay_us: float, window_s: float) -> Samples:
        """Drive clients whose answers take so long."""
        setup = Setup("CPU", "fp32", 1, clients, 1, {_DELAY: repr(delay_us)})
        session = plugins.engine(_ENGINE).load(self._artifact, setup, lambda: None)
        plan = LoadPlan(clients, window_s)
        runs = [session.bind({"x": np.zeros(1, np.float32)}, {}).run] * plan.pool_batches
        return drive(plan, [runs] * clients)

    def step(self, clients: int, delay_us: float) -> Step:
        """Compare all clients with one alone, for the same delay."""
        alone, together = (self.driven(count, delay_us, _STEP_S) for count in (1, clients))
        window_s = (together.close_ns - together.open_ns) / NS_PER_S
        return Step(_percentiles(alone), _percentiles(together), together.latency_ns.size / window_s)


def _percentiles(samples: Samples) -> tuple[float, ...]:
    return tuple(float(value) / 1000 for value in np.quantile(samples.latency_ns, list(OFF)))


def _artifact(folder: Path) -> Artifact:
    node = helper.make_node("Identity", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([node], "ruler", ends[:1], ends[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "graph.onnx"
    )
    return Artifact(folder, "0" * 64, (folder / "graph.onnx").stat().st_size, 0, 0, "made for the ruler")
