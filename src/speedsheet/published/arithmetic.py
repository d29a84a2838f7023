"""What a sheet's figures say of each other: Little's law, and rows that contradict rows.

In a closed loop of n clients throughput x mean latency = n x batch size (Little, Operations Research 9, 1961). So the
figures of a row tell how many requests were in flight, whether or not it is stated; and rounding bounds how exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from speedsheet.core.measurement import Finding
from speedsheet.published.row import Figure, PublishedRow

#: What of a row it is compared by.
_Trait = Callable[[PublishedRow], Hashable]
#: A loop may spend so much of its time outside requests before its row is doubtful.
LOST_SHARE = 0.05
#: And the clients may seem so many more than stated, beyond rounding, before the row contradicts itself.
_EXCESS_SHARE = 0.01
#: Figures of fewer digits are equal by rounding alone.
_TELLING_DIGITS = 3
#: Rounding to coarser shares of a figure hides the time that measured latencies leave.
_FINE_SHARE = 1e-3


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

    Measured latencies leave some of the clients' time unexplained; five rows that leave none do so by construction,
    where they are printed finely enough to show it.
    """
    implied = [found for row in rows if (found := in_flight(row)) and found.stated]
    fine = [found for found in implied if found.high - found.low <= 2 * _FINE_SHARE * found.value]
    least = 5
    return len(fine) >= least and all(found.exact for found in implied)


def contradictions(rows: Sequence[PublishedRow]) -> list[tuple[Finding, ...]]:
    """Return for each row what its own figures, and those of the other rows, say against it."""
    usual = _usual_clients(rows)
    same, equal = _firsts(rows, _at_batch, _figures), _firsts(rows, _at_rate, _batch)
    return [
        (*_own(row), *_unusual(row, usual), *_against(row, same[_at_batch(row)], equal[_at_rate(row)])) for row in rows
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


def _firsts(
    rows: Sequence[PublishedRow], key: _Trait, value: _Trait
) -> Mapping[Hashable, Mapping[Hashable, PublishedRow]]:
    """Return for each key the first row of each value, by which a row finds one that differs without meeting all."""
    found: dict[Hashable, dict[Hashable, PublishedRow]] = {}
    for row in rows:
        found.setdefault(key(row), {}).setdefault(value(row), row)
    return found


def _against(
    row: PublishedRow, same: Mapping[Hashable, PublishedRow], equal: Mapping[Hashable, PublishedRow]
) -> Iterator[Finding]:
    """Say which is the first row of other figures at the same batch size, and of the same throughput at another."""
    other = _first_but(_figures(row), same)
    if other is not None:
        yield Finding("said_twice", f"line {other.line} says other figures of the same row")
    other = _first_but(_batch(row), equal)
    if other is not None and _telling(row.throughput_samples_per_s):
        text = f"the same throughput at batch {other.batch_size}: batches change nothing here, or it was not measured"
        yield Finding("batch_without_effect", text)


def _first_but(mine: Hashable, firsts: Mapping[Hashable, PublishedRow]) -> PublishedRow | None:
    return next((row for value, row in firsts.items() if value != mine), None)


def _at_batch(row: PublishedRow) -> Hashable:
    return row.model, row.precision, row.thread_num, row.batch_size


def _at_rate(row: PublishedRow) -> Hashable:
    rate = row.throughput_samples_per_s
    return row.model, row.precision, row.thread_num, rate and rate.value


def _figures(row: PublishedRow) -> Hashable:
    return row.latency_ms, row.throughput_samples_per_s


def _batch(row: PublishedRow) -> Hashable:
    return row.batch_size


def _telling(rate: Figure | None) -> bool:
    return rate is not None and rate.value >= 10 ** (_TELLING_DIGITS - 1) * rate.rounding
