"""How often an interval holds where a target ended the run: simulated loops, stopped by the product's rule.

    python benchmarks/stopping.py [--runs 300]

A simulated second is 200 requests. Looks come as in the product: after six windows of a second, then each a quarter of
the run later. Beside each process: the share of the runs that its target ended before 80 s, how long these were on
average, and the share of their intervals that held the true throughput; then the same for runs of that length which
nobody watched.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from speedsheet.core.samples import WINDOW, Samples
from speedsheet.load.watch import Look, known
from speedsheet.stats.estimates import estimate
from speedsheet.stats.precision import half_width
from speedsheet.testing.simulated import Process, autoregressive, lognormal, regimes, simulate

SECOND, LONGEST_S, FIRST_S = 200, 80, 6
CASES = (
    (lognormal(), 1, 0.008), (lognormal(), 8, 0.006), (autoregressive(30), 1, 0.03), (autoregressive(30), 8, 0.03),
    (autoregressive(300), 1, 0.1), (regimes(), 1, 0.06),
)  # fmt: skip


def main() -> None:
    """Print a line for each process and number of clients."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=300)
    runs = parser.parse_args().runs
    for process, clients, target in CASES:
        ended = [end for seed in range(runs) if (end := stopped(process, clients, target, seed)) is not None]
        length = int(np.mean([requests for requests, _ in ended]))
        fixed = [holds(process, clients, seed, length) for seed in range(runs)]
        print(
            f"{process.name}, {clients} clients, target {target:.1%}: {len(ended) / runs:.0%} ended by it "
            f"after {length / SECOND:.0f} s, of which {np.mean([held for _, held in ended]):.1%} hold; "
            f"unwatched {np.mean(fixed):.1%}",
            flush=True,
        )


def stopped(process: Process, clients: int, target: float, seed: int) -> tuple[int, bool] | None:
    """Return after how many requests the target ended the run, and whether its interval holds; null where not."""
    samples = simulate(process, clients=clients, requests=LONGEST_S * SECOND, seed=seed)
    requests, looks = FIRST_S * SECOND, list[Look]()
    while requests <= LONGEST_S * SECOND:
        run = prefix(samples, requests // clients * clients)
        looks.append(Look(requests, (half_width(run, thread_num=clients),)))
        if known(looks, [target]):
            return requests, within(process, clients, run)
        requests = int(requests * 1.25)
    return None


def holds(process: Process, clients: int, seed: int, requests: int) -> bool:
    """Whether the interval of a run of that length holds."""
    return within(process, clients, simulate(process, clients=clients, requests=requests, seed=seed))


def within(process: Process, clients: int, samples: Samples) -> bool:
    """Whether the interval of throughput holds the true one."""
    said = estimate(samples, batch_size=1, thread_num=clients).throughput_samples_per_s
    return said.low is not None and said.high is not None and said.low <= process.requests_per_s(clients) <= said.high


def prefix(samples: Samples, requests: int) -> Samples:
    """Cut a run off after so many requests of its window."""
    first = int(np.flatnonzero(samples.phase == WINDOW)[0])
    columns: dict[str, Any] = {name: column[: first + requests] for name, column in samples.columns().items()}
    return Samples(**columns, open_ns=samples.open_ns, close_ns=int(columns["end_ns"][-1]))


if __name__ == "__main__":
    main()
