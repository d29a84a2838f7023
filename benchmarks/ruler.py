"""What the ruler measures on this machine, and what dividing clients over processes gains.

    python benchmarks/ruler.py [--repeat 3]

First the floor and the exact rate for some numbers of clients, several times, as every run finds them. Then rows of 16
clients whose engine answers after 100 us, and so never gives more than 160 000 answers per second: asked from one
process, and from two.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path

import onnx

from speedsheet import __version__
from speedsheet.bench import ruler
from speedsheet.bench.sheet import measure_sheet
from speedsheet.bench.supervise import call
from speedsheet.core.measurement import Floor, Measurement
from speedsheet.core.request import RowRequest
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.testing.contract import example_model

CLIENTS = (1, 2, 8, 12, 16)
DELAY_US, WINDOW_S, STALL_S = 100, 2.0, 60.0


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    facts = host_facts()
    print(f"{facts['hostname']}: {facts['cpu']}, {allowed_cores()} cores; Python {platform.python_version()}; "
          f"speedsheet {__version__}")  # fmt: skip
    for clients in CLIENTS:
        found = [measured(clients) for _ in range(asked.repeat)]
        rates = ", ".join("-" if f.exact_calls_per_s is None else f"{f.exact_calls_per_s:.0f}" for f in found)
        print(f"{clients} clients: floor p50 {each([f.p50_us for f in found])} us, p99 "
              f"{each([f.p99_us for f in found])} us; exact up to {rates} calls per second", flush=True)  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for limit in (None, 1.0):  # never moved, and in any case
            row = asked_from(limit, Path(folder))
            rate = (row.throughput_samples_per_s.value or 0.0) / row.batch_size
            print(f"16 clients of answers after {DELAY_US} us, from {row.client_processes} process(es): "
                  f"{rate:.0f} calls per second, p50 {(row.latency_ms.p50 or 0) * 1000:.0f} us, p99 "
                  f"{(row.latency_ms.p99 or 0) * 1000:.0f} us")  # fmt: skip


def measured(clients: int) -> Floor:
    """Measure the ruler once, in a worker."""
    return Floor(**call("ruler", {"thread_num": clients}, tell=lambda *_: None, stall_limit_s=STALL_S))


def each(values: list[float]) -> str:
    """Write several values."""
    return ", ".join(f"{value:.2f}" for value in values)


def asked_from(exact_calls_per_s: float | None, folder: Path) -> Measurement:
    """Measure a row of 16 clients under a given limit of one process."""
    ruler.KNOWN[16, "default"] = Floor(0.1, 0.1, exact_calls_per_s)
    onnx.save(example_model(), folder / "small.onnx")
    request = RowRequest(
        str(folder / "small.onnx"), engine="speedsheet.testing.null:ENGINE", precision="fp32", thread_num=16,
        window_s=WINDOW_S, quick=True, settings={"DELAY_US": str(DELAY_US)},
    )  # fmt: skip
    (row,) = measure_sheet([request], store=folder / "records").rows
    return row


if __name__ == "__main__":
    main()
