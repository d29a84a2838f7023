"""What the estimates are made of: the undisturbed requests of a run, cut into rounds of thread_num completions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.samples import Samples
from speedsheet.stats.autocorrelation import bin_means

#: Longer runs are folded to at most so many bins of whole rounds; what is sought is slower than a bin.
MOST_BINS = 4096


@dataclass(frozen=True, slots=True)
class Rounds:
    """The kept requests of a run in order of completion, and its rounds.

    `latency_ns` (requests,) holds every kept request. A round is `thread_num` consecutive completions, so that clients
    that keep step, and complete in bursts, count whole bursts; requests of a stretch that do not fill a round, at its
    beginning, are in none. `in_rounds_ns` (rounds, thread_num) are the latencies, `cycle_ns` of that shape the times
    from a client's last completion to this one: their mean is the time of a round, whatever is under way when a stretch
    begins and when it ends.
    """

    latency_ns: NDArray[np.int64]
    in_rounds_ns: NDArray[np.int64]
    cycle_ns: NDArray[np.int64]
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
        return bin_means(in_rounds.ravel(), length * in_rounds.shape[1])


def cut(samples: Samples, thread_num: int) -> Rounds:
    """Cut the undisturbed stretches of a run into rounds."""
    served = samples.window
    in_rounds, kept_ns = np.zeros(served.size, np.bool_), 0
    for first, after, opened_ns in samples.segments():
        in_rounds[after - (after - first) // thread_num * thread_num : after] = True
        kept_ns += int(samples.end_ns[after - 1]) - opened_ns
    latency_ns = samples.end_ns - samples.scheduled_ns
    return Rounds(
        latency_ns[served],
        latency_ns[in_rounds].reshape(-1, thread_num),
        _cycles(samples, thread_num)[in_rounds].reshape(-1, thread_num),
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
