"""How long the modelled card takes to be asked.

    python benchmarks/twin.py

Prints seconds for the operators of the 21 published rows from their graphs and from the cache, for costing and flowing
all rows, for 10 000 simulated requests, and how far the closed form is from the simulation on every row.
"""

from __future__ import annotations

import platform
import tempfile
import time
from pathlib import Path

from speedsheet.core.plan import LoadPlan
from speedsheet.host.facts import host_facts
from speedsheet.published import read as published
from speedsheet.published.row import PublishedRow
from speedsheet.stats.estimates import estimate
from speedsheet.twin.calibration import best
from speedsheet.twin.cost import cost
from speedsheet.twin.device import load
from speedsheet.twin.network import Network, card_network, closed_form
from speedsheet.twin.pieces import zoo_piece
from speedsheet.twin.simulate import simulate
from speedsheet.twin.types import Workpiece

REQUESTS = 10_000


def main() -> None:
    """Read, cost, simulate, and print."""
    rows = published.load("stcp920").rows
    names = dict.fromkeys(row.model for row in rows)
    print(f"{platform.node()}, Python {platform.python_version()}: {host_facts().get('cpu')}")
    with tempfile.TemporaryDirectory() as folder:
        for said in ("from the graphs", "from cached operators"):
            began = time.perf_counter()
            pieces = {name: zoo_piece(name, Path(folder)) for name in names}
            networks = flowing(rows, pieces)
            print(f"{len(rows)} rows {said}: {time.perf_counter() - began:.2f} s")
    params = best(load("stcp920")).params
    began = time.perf_counter()
    apart = [agreement(row, network, params["service_cv"]) for row, network in zip(rows, networks, strict=True)]
    took_s = (time.perf_counter() - began) / len(rows)
    print(f"{REQUESTS} simulated requests: {took_s:.2f} s")
    worst, name = max(zip(map(abs, apart), (row.name for row in rows), strict=True))
    print(f"closed form against simulation: at most {100 * worst:.2f} % apart ({name})")


def flowing(rows: tuple[PublishedRow, ...], pieces: dict[str, Workpiece]) -> list[Network]:
    """Cost each row and let its clients flow; return the networks."""
    device = load("stcp920")
    params = best(device).params
    networks = []
    for row in rows:
        assert row.batch_size is not None
        assert row.thread_num is not None
        precision = (row.precision or "fp16").lower()
        spent = cost(pieces[row.model], device, params, batch_size=row.batch_size, precision=precision)
        networks.append(card_network(device, params, spent))
        closed_form(networks[-1], row.thread_num)
    return networks


def agreement(row: PublishedRow, network: Network, cv: float) -> float:
    """Return the closed form over the simulated throughput, less one."""
    clients = row.thread_num or 1
    samples = simulate(network, LoadPlan(clients, 0.0, warmup_requests=5), requests=REQUESTS, cv=cv)
    simulated = estimate(samples, batch_size=1, thread_num=clients).throughput_samples_per_s.value
    assert simulated is not None
    return closed_form(network, clients, cv=cv).requests_per_s / simulated - 1


if __name__ == "__main__":
    main()
