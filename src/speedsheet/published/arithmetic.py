"""What a sheet's figures say of each other: Little's law, and rows that contradict rows.

In a closed loop of n clients throughput x mean latency = n x batch size (Little, Operations Research 9, 1961). So the
figures of a row tell how many requests were in flight, whether or not it is stated; and rounding bounds how exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from speedsheet.core.measurement import Finding
from speedsheet.published.row import Figure, PublishedRow

#: A loop may spend so much of its time outside requests before its row is doubtful.
LOST_SHARE = 0.05
#: And the clients may seem so many more than stated, beyond rounding, before the row contradicts itself.
_EXCESS_SHARE = 0.01
#: Figures of fewer digits are equal by rounding alone.
_TELLING_DIGITS = 3


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests in flight as the figures imply them: from `low` to `high` by rounding, `clients` where a number fits.

    `stated` says that the row itself names the clients; `lost_share` is the time in no latency, 1 - n / clients.
    """

    value: float
    low: float
    high: float
    clients: int | None
    stated: bool

    @property
    def lost_share(self) -> float | None:
        """The share of the clients' time that no latency explains."""
        return None if self.clients is None else 1.0 - self.value / self.clients

    @property
    def exact(self) -> bool:
        """Whether rounding alone explains what is left."""
        return self.clients is not None and self.low <= self.clients <= self.high


def in_flight(row: PublishedRow) -> InFlight | None:
    """Return how many requests the row's figures imply; None where one of them is not printed."""
    throughput, latency, batch = row.throughput_samples_per_s, row.latency_ms, row.batch_size
    if throughput is None or latency is None or batch is None:
        return None
    low, value, high = (
        rate * ms / 1000 / batch
        for rate, ms in (
            (throughput.low, latency.low), (throughput.value, latency.value), (throughput.high, latency.high),
        )
    )  # fmt: skip
    clients = row.thread_num or _whole_number(low, value, high)
    return InFlight(value, low, high, clients, row.thread_num is not None)


def latency_is_derived(rows: Sequence[PublishedRow]) -> bool:
    """Whether rounding alone separates every row from Little's law: then latency was computed from throughput.

    Measured latencies leave some of the clients' time unexplained; five rows that leave none do so by construction.
    """
    implied = [found for row in rows if (found := in_flight(row)) and found.stated]
    least = 5
    return len(implied) >= least and all(found.exact for found in implied)


def contradictions(rows: Sequence[PublishedRow]) -> list[tuple[Finding, ...]]:
    """Return for each row what its own figures, and those of the other rows, say against it."""
    usual = _usual_clients(rows)
    return [
        (*_own(row), *_unusual(row, usual), *_against(row, [other for other in rows if other is not row]))
        for row in rows
    ]


def _whole_number(low: float, value: float, high: float) -> int | None:
    """Return the fewest clients that explain the figures, with at most `LOST_SHARE` of their time lost."""
    clients = max(1, round(value))
    for candidate in (clients, clients + 1):
        if low * (1 - _EXCESS_SHARE) <= candidate <= high / (1 - LOST_SHARE):
            return candidate
    return None


def _own(row: PublishedRow) -> tuple[Finding, ...]:
    found = []
    if row.p99_ms and row.latency_ms and row.p99_ms.high < row.latency_ms.low:
        text = f"the 99th percentile, {row.p99_ms.value:g} ms, is below the mean, {row.latency_ms.value:g} ms"
        found.append(Finding("p99_below_mean", text))
    implied = in_flight(row)
    if implied is None:
        return tuple(found)
    said = f"throughput x latency / batch size = {implied.value:.3g}"
    if implied.clients is None:
        per_sample = abs(implied.value * (row.batch_size or 1) - 1) <= LOST_SHARE
        why = "latency is then that of one sample, not of a batch" if per_sample else "no whole number of clients fits"
        found.append(Finding("per_sample" if per_sample else "no_concurrency_fits", f"{said}: {why}"))
    elif implied.stated and implied.low > implied.clients * (1 + _EXCESS_SHARE):
        found.append(Finding("more_in_flight", f"{said}, and {implied.clients} clients are stated: too many"))
    elif implied.stated and implied.high < implied.clients * (1 - LOST_SHARE):
        solo = abs(implied.value - 1) <= LOST_SHARE
        why = "the latency is that of one request alone" if solo else "the rest of their time is in no latency"
        found.append(Finding("fewer_in_flight", f"{said}, and {implied.clients} clients are stated: {why}"))
    return tuple(found)


def _usual_clients(rows: Sequence[PublishedRow]) -> tuple[int, int] | None:
    """Return the number of clients that most rows imply where none is stated, and on how many rows."""
    counts = Counter(
        found.clients for row in rows if (found := in_flight(row)) and not found.stated and found.clients is not None
    )
    return counts.most_common(1)[0] if counts else None


def _unusual(row: PublishedRow, usual: tuple[int, int] | None) -> tuple[Finding, ...]:
    implied = in_flight(row)
    if usual is None or implied is None or implied.stated or implied.clients in {None, usual[0]}:
        return ()
    text = (
        f"{implied.clients} requests in flight, {usual[0]} on {usual[1]} other rows: not comparable, and nowhere stated"
    )
    return (Finding("unstated_concurrency", text),)


def _against(row: PublishedRow, others: Sequence[PublishedRow]) -> tuple[Finding, ...]:
    found = []
    for other in others:
        same = (other.model, other.precision, other.thread_num) == (row.model, row.precision, row.thread_num)
        if not same:
            continue
        if other.batch_size == row.batch_size and _figures(other) != _figures(row):
            found.append(Finding("said_twice", f"line {other.line} says other figures of the same row"))
        elif other.batch_size != row.batch_size and _telling_equal(row, other):
            text = (
                f"the same throughput at batch {other.batch_size}: batches change nothing here, or it was not measured"
            )
            found.append(Finding("batch_without_effect", text))
    return tuple(found)


def _figures(row: PublishedRow) -> tuple[Figure | None, ...]:
    return row.latency_ms, row.throughput_samples_per_s


def _telling_equal(one: PublishedRow, other: PublishedRow) -> bool:
    a, b = one.throughput_samples_per_s, other.throughput_samples_per_s
    return (
        a is not None and b is not None and a.value == b.value and a.value >= 10 ** (_TELLING_DIGITS - 1) * a.rounding
    )
