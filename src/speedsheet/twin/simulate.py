"""The same network, one request at a time: a seeded discrete-event simulation that fills the columns of a measured run.

Time is in whole nanoseconds, and the spread of service times is drawn from raw generator bits: one seed is one run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count

import numpy as np
from numpy.typing import NDArray

from speedsheet.core import draws
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import AFTER, WARMUP, WINDOW, Samples
from speedsheet.twin.network import Network, Visit

_NS_PER_US = 1000
_CHUNK = 4096
#: Factors of mean one for service times: (coefficient of variation, seed, name, how many).
Law = Callable[[float, int, str, int], NDArray[np.float64]]


def lognormal(cv: float, seed: int, name: str, size: int) -> NDArray[np.float64]:
    """Draw log-normal factors: times that are never negative, with a tail and no bound."""
    if cv == 0:
        return np.ones(size)
    sigma = np.sqrt(np.log1p(cv**2))
    factors: NDArray[np.float64] = np.exp(sigma * draws.normal(seed, name, size) - sigma**2 / 2)
    return factors


def exponential(_cv: float, seed: int, name: str, size: int) -> NDArray[np.float64]:
    """Draw exponential factors, whose coefficient of variation is one: the case that theory knows exactly."""
    return -np.log1p(-draws.unit(seed, name, size))


def simulate(
    network: Network, plan: LoadPlan, *, requests: int = 10_000, cv: float = 0.0, seed: int = 920, law: Law = lognormal
) -> Samples:
    """Run the closed loop of `plan.thread_num` clients until `requests` have completed in the window, in whole rounds.

    Clients never pause. The window opens on the completion by which every client has finished its warm-up requests
    and closes on a completion, as it does where a row is measured. The plan's times do not count, `requests` does.
    """
    clients = plan.thread_num
    finished, warm = [0] * clients, 0
    opened, wanted = 0, 0
    ends: list[int] = []
    who: list[int] = []
    for now, client in _completions(network, _times(network, cv, seed, law), clients):
        if wanted and len(ends) >= wanted and now > ends[wanted - 1]:
            break
        ends.append(now)
        who.append(client)
        finished[client] += 1
        warm += finished[client] == plan.warmup_requests
        if warm == clients and not wanted:
            opened, wanted = now, len(ends) + -(-requests // clients) * clients
    return _samples(plan, np.array(who, np.int32), np.array(ends, np.int64), opened, ends[wanted - 1])


def _times(network: Network, cv: float, seed: int, law: Law) -> list[Iterator[int]]:
    """Return for each visit of the route its service times in turn, in nanoseconds."""

    def drawn(visit: Visit, name: str) -> Iterator[int]:
        for chunk in count():
            factors = law(cv, seed, f"{name}/{chunk}", _CHUNK)
            yield from np.rint(visit.service_us * _NS_PER_US * factors).astype(np.int64).tolist()

    return [drawn(visit, f"service/{step}") for step, visit in enumerate(network.route)]


def _completions(network: Network, times: Sequence[Iterator[int]], clients: int) -> Iterator[tuple[int, int]]:
    """Yield when a request leaves, and whose it is, in order; every client then enters again at once, without end."""
    names = [station.name for station in network.stations]
    at = [names.index(visit.station) for visit in network.route]
    free = [station.servers for station in network.stations]
    queues: list[deque[tuple[int, int]]] = [deque() for _ in names]
    hop_ns = round(network.hop_us * _NS_PER_US)
    order = count()  # what happens at one instant happens in the order in which it was foreseen
    # the step of an arrival, or ~step of the end of a service
    events = [(0, next(order), client, 0) for client in range(clients)]
    while True:
        now, _, client, step = heappop(events)
        if step < 0:
            place = at[~step]
            if queues[place]:
                served, there = queues[place].popleft()
                heappush(events, (now + next(times[there]), next(order), served, ~there))
            else:
                free[place] += 1
            step = -step  # the visit after the one that ended
            if step == len(at):
                yield now, client
                step = 0
            elif hop_ns:
                heappush(events, (now + hop_ns, next(order), client, step))
                continue
        place = at[step]
        if free[place]:
            free[place] -= 1
            heappush(events, (now + next(times[step]), next(order), client, ~step))
        else:
            queues[place].append((client, step))


def _samples(plan: LoadPlan, client: NDArray[np.int32], end_ns: NDArray[np.int64], opened: int, closed: int) -> Samples:
    """Fill the columns of a closed loop, in which each request of a client starts where its last one ended."""
    start_ns, request = np.zeros_like(end_ns), np.zeros_like(end_ns)
    for one in range(plan.thread_num):
        rows = np.flatnonzero(client == one)
        start_ns[rows[1:]] = end_ns[rows[:-1]]
        request[rows] = np.arange(rows.size)
    phase = np.full(end_ns.size, WINDOW, np.int8)
    phase[end_ns <= opened] = WARMUP
    phase[end_ns > closed] = AFTER
    return Samples(
        client=client,
        slot=np.asarray(plan.slot(client.astype(np.int64), request), np.int32),
        scheduled_ns=start_ns,
        start_ns=start_ns,
        end_ns=end_ns,
        phase=phase,
        failed=np.zeros(end_ns.size, np.bool_),
        open_ns=opened,
        close_ns=closed,
    )
