"""What the estimates are made of: the undisturbed requests of a run, cut into rounds of thread_num completions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import Samples

#: Longer runs are folded to at most so many bins of whole rounds; what is sought is slower than a bin.
MOST_BINS = 4096


@dataclass(frozen=True, slots=True)
class Rounds:
    """The kept requests of a run in order of completion, and its rounds.

    `latency_ns` (requests,) holds every kept request. A round is `thread_num` consecutive completions, so that clients
    that keep step, and complete in bursts, count whole bursts; requests of a stretch that do not fill a round, at its
    beginning, are in none. `in_rounds_ns` (rounds, thread_num) are the latencies, `cycle_ns` of that shape the times
    from a client's last completion to this one.

    A stretch lasts as long as the cycles in it, but for its edges: requests are under way when it begins and when it
    ends. `edge_variance` is what this adds to the variance of the mean duration of a round, in ns squared.
    """

    latency_ns: NDArray[np.int64]
    in_rounds_ns: NDArray[np.int64]
    cycle_ns: NDArray[np.int64]
    edge_variance: float
    kept_ns: int

    @property
    def count(self) -> int:
        """How many whole rounds there are."""
        return len(self.in_rounds_ns)

    def binned(self, in_rounds: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return the means over bins of a series (rounds, thread_num); what fills no bin is left out at the beginning.

        A bin is one round, or several where there are more than `MOST_BINS`.
        """
        length = max(-(-self.count // MOST_BINS), 1)
        used = in_rounds[self.count % length :]
        means: NDArray[np.float64] = used.reshape(self.count // length, -1).mean(axis=1)
        return means


def cut(samples: Samples, thread_num: int) -> Rounds:
    """Cut the undisturbed stretches of a run into rounds."""
    served = samples.window
    cycle_ns = _cycles(samples, thread_num)
    in_rounds, edges, kept_ns = np.zeros(served.size, np.bool_), [np.empty(0, np.int64)], 0
    stretches = samples.segments()
    for first, after, opened_ns in stretches:
        start = after - (after - first) // thread_num * thread_num
        in_rounds[start:after] = True
        edges.append(np.arange(start - 1, after, thread_num))
        kept_ns += int(samples.end_ns[after - 1]) - opened_ns
    latency_ns = samples.end_ns - samples.scheduled_ns
    rows = np.concatenate(edges)
    ages = _ages(samples, cycle_ns, thread_num)[rows[rows >= 0]]
    rounds = int(in_rounds.sum()) // thread_num
    edge_variance = 2 * len(stretches) * float(ages.var(ddof=1)) / rounds**2 if rounds else 0.0
    return Rounds(
        latency_ns[served],
        latency_ns[in_rounds].reshape(-1, thread_num),
        cycle_ns[in_rounds].reshape(-1, thread_num),
        edge_variance if thread_num > 1 else 0.0,
        kept_ns,
    )


def _cycles(samples: Samples, thread_num: int) -> NDArray[np.int64]:
    """Return for each request the time since its client's last completion; for a client's first, since its start."""
    if thread_num == 1:
        return np.diff(samples.end_ns, prepend=samples.start_ns[:1])
    order = np.argsort(samples.client.astype(np.int16), kind="stable")  # sixteen bits are sorted by radix
    client, end_ns = samples.client[order], samples.end_ns[order]
    last_ns = np.concatenate([[0], end_ns[:-1]])
    first = np.concatenate([[True], client[1:] != client[:-1]])
    last_ns[first] = samples.start_ns[order[first]]
    cycle_ns = np.empty_like(end_ns)
    cycle_ns[order] = end_ns - last_ns
    return cycle_ns


def _ages(samples: Samples, cycle_ns: NDArray[np.int64], thread_num: int) -> NDArray[np.float64]:
    """Return, at each completion, how long ago the clients' last completions were on average, but for a constant."""
    return np.asarray((samples.end_ns - samples.end_ns[0]) - np.cumsum(cycle_ns) / thread_num, np.float64)
