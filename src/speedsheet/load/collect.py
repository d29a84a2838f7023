"""From the clients' logs to samples: who is counted, from where on, and what of it was disturbed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, WINDOW, Samples, Window
from speedsheet.load.log import Log
from speedsheet.stats.interference import flags


@dataclass(frozen=True, slots=True)
class Host:
    """How the host is asked what it does: `read` takes a reading, `between` makes signals by name of two.

    `cores` are the processors of the machine, whoever uses them.
    """

    read: Callable[[], Any] = lambda: None
    between: Callable[[Any, Any], Mapping[str, float]] = lambda _before, _after: {}
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the main thread cut the run: the instant, the completions of each client by then, the host's reading."""

    at_ns: int
    counts: tuple[int, ...]
    reading: Any


def collect(
    plan: LoadPlan,
    logs: Sequence[Log],
    counts: Sequence[int],
    cuts: Sequence[Cut],
    host: Host,
    opened: int = 0,
    steady: bool | None = None,
    busy_ns: int = 0,
) -> Samples:
    """Return the first `counts` requests of each client as samples.

    The first cut is where every client has warmed up, the last where the run ended; those between move to the
    nearest completion that ends a round (thread_num completions), since clients that keep step complete in bursts, and
    part of a burst is no fair share of a round. The measured window opens at cut `opened` and closes on the last round
    in which every client is busy, which all are until `busy_ns` at least.
    """
    client, slot, start_ns, end_ns = _columns(plan, logs, counts)
    latency_ns = end_ns - start_ns
    # until the first client's last completion every client is busy, so nothing drains before it
    busy_ns = max(busy_ns, min(log.end(count - 1) for log, count in zip(logs, counts, strict=True)))
    kept, edges = _edges(end_ns, cuts, busy_ns, len(logs))
    windows = [
        Window(
            int(end_ns[first - 1]), int(end_ns[after - 1]), float(np.median(latency_ns[first:after])),
            dict(host.between(before.reading, then.reading)),
        )
        for (before, then), (first, after) in zip(pairwise(kept), pairwise(edges), strict=True)
    ]  # fmt: skip
    first = next(place for place, cut in enumerate(kept) if cut.at_ns >= cuts[opened].at_ns or cut is kept[-2])
    flagged = flags([window.signals for window in windows], host.cores)
    phase = np.full(end_ns.size, WINDOW, np.int8)
    phase[: edges[first]], phase[edges[-1] :] = WARMUP, AFTER
    if not all(flagged[first:]):  # then nothing else is left to measure by
        for place in range(first, len(windows)):
            phase[edges[place] : edges[place + 1]] = FLAGGED if flagged[place] else WINDOW
    return Samples(
        client=client,
        slot=slot,
        scheduled_ns=start_ns,
        start_ns=start_ns,
        end_ns=end_ns,
        phase=phase,
        failed=np.zeros(end_ns.size, np.bool_),
        open_ns=int(end_ns[edges[first] - 1]),
        close_ns=int(end_ns[edges[-1] - 1]),
        windows=tuple(_flagged(window, names) for window, names in zip(windows, flagged, strict=True)),
        steady=steady,
    )


def _flagged(window: Window, names: tuple[str, ...]) -> Window:
    return Window(window.opened_ns, window.closed_ns, window.median_ns, window.signals, names)


def _columns(
    plan: LoadPlan, logs: Sequence[Log], counts: Sequence[int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return client, input batch, start and end of every request, in order of completion."""
    pairs = [log.columns(count) for log, count in zip(logs, counts, strict=True)]
    end_ns = np.concatenate([ends for _, ends in pairs])
    order = np.argsort(end_ns, kind="stable")
    start_ns = np.concatenate([starts for starts, _ in pairs])[order]
    client = np.repeat(np.arange(len(logs), dtype=np.int32), counts)
    slots = [plan.slot(np.array([number]), np.arange(count)).astype(np.int32) for number, count in enumerate(counts)]
    return client[order], np.concatenate(slots)[order], start_ns, end_ns[order]


def _edges(
    end_ns: NDArray[np.int64], cuts: Sequence[Cut], busy_ns: int, thread_num: int
) -> tuple[list[Cut], list[int]]:
    """Move cuts to the ends of rounds; return those that stay apart, and for each the row after its completion."""
    first = int(np.searchsorted(end_ns, cuts[0].at_ns, "right"))
    rounds = max((int(np.searchsorted(end_ns, busy_ns, "right")) - first) // thread_num, 1)
    kept, places = [cuts[0]], [0]
    for cut in cuts[1:-1]:
        place = round((int(np.searchsorted(end_ns, cut.at_ns, "right")) - first) / thread_num)
        if places[-1] < place < rounds:
            kept.append(cut)
            places.append(place)
    last = min(first + rounds * thread_num, end_ns.size)
    return [*kept, cuts[-1]], [*(first + place * thread_num for place in places), last]
