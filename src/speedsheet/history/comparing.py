"""One run against another: what differs between them first, then for each row the ratio and what may be said of it.

A winner is called only between rows that were measured on the same host, at the same clocks, while the host was as
fast: the ruler (the empty engine, measured with every row) tells whether it was. `across` calls winners all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from speedsheet.core.comparison import Ratio, Verdict
from speedsheet.core.measurement import Measurement, Throughput, executed_kinds
from speedsheet.history.sources import HOST, Run, key, own
from speedsheet.stats import independent

Outcome = Literal["faster", "slower", "none", "withheld"]
#: Facts of a host that make it another one, and those that are only worth knowing.
_HOST = (*HOST, "governor", "clock_state")
_SOFTWARE = ("kernel", "os", "python", "speedsheet")
#: An empty request that takes so much longer, or less long, was measured on a host that was not as fast.
RULER_DIFFERS = 1.25
_NO_RATIO = Ratio()
_FRONT = ("title", "publisher", "version", "date", "tool", "software", "hardware", "clock_note")


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same on both sides; `decides` says that no winner is called because of it."""

    what: str
    a: str
    b: str
    decides: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """The same question asked twice: B over A in throughput and mean latency, and what may be said of it.

    `why` is the reason for which nothing may be, and `differ` names what of the row itself is not the same.
    """

    a: Measurement
    b: Measurement
    throughput: Ratio = _NO_RATIO
    mean_latency: Ratio = _NO_RATIO
    outcome: Outcome = "withheld"
    verdict: Verdict | None = None
    why: str = ""
    differ: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs, what differs between them, and their rows side by side; the others are in one of them alone."""

    a: Run
    b: Run
    differences: tuple[Difference, ...]
    pairs: tuple[Pair, ...]
    only_a: tuple[Measurement, ...]
    only_b: tuple[Measurement, ...]
    across: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        """How many rows came out how."""
        found = Counter(pair.outcome for pair in self.pairs)
        return {outcome: found[outcome] for outcome in ("faster", "slower", "none", "withheld")}


def compare(a: Run, b: Run, *, across: bool = False, allow: float = 0.0) -> Compared:
    """Compare two runs row by row; two single rows are compared whatever they are of.

    With `allow` a row is faster or slower only where it is so by more than that share.
    """
    differences = tuple(_differences(a, b))
    barred = "" if across else "; ".join(f"another {one.what}" for one in differences if one.decides)
    met = {0: 0} if len(a.rows) == len(b.rows) == 1 else matched(a.rows, b.rows)
    return Compared(
        a, b, differences,
        tuple(paired(a.rows[one], b.rows[met[one]], barred, allow, across=across) for one in sorted(met)),
        tuple(row for place, row in enumerate(a.rows) if place not in met),
        tuple(row for place, row in enumerate(b.rows) if place not in met.values()),
        across,
    )  # fmt: skip


def matched(a: Sequence[Measurement], b: Sequence[Measurement]) -> dict[int, int]:
    """Return for rows of A, by their places, the row of B that asks the same question.

    Where several do, those meet that engine, device and settings answered alike, in their order; then those that are
    alone with their device, or their engine; and rows of another engine only where one row on each side asks at all.
    """
    met: dict[int, int] = {}
    for length in (3, 2, 1):
        ours, theirs = _left(a, met.keys(), length), _left(b, met.values(), length)
        for name, places in ours.items():
            others = theirs.get(name, [])
            if length == len(own(a[0])) or len(places) == len(others) == 1:
                met |= dict(zip(places, others, strict=False))
    ours, theirs = _left(a, (), 0), _left(b, (), 0)
    alone = {
        places[0]: theirs[name][0] for name, places in ours.items() if len(places) == len(theirs.get(name, ())) == 1
    }
    return alone | met


def _left(rows: Sequence[Measurement], met: Iterable[int], length: int) -> dict[tuple[Any, ...], list[int]]:
    """Return the places of the rows that are not met yet, by what they ask and so much of what answered."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for place in sorted(set(range(len(rows))) - set(met)):
        found.setdefault((*key(rows[place]), *own(rows[place])[:length]), []).append(place)
    return found


def paired(a: Measurement, b: Measurement, barred: str = "", allow: float = 0.0, *, across: bool = False) -> Pair:
    """Compare two rows; `barred` is why no winner may be called."""
    differ = tuple(_rows_differ(a, b))
    processes = (a.processes, b.processes)
    figures = a.throughput_samples_per_s, b.throughput_samples_per_s
    ratio = independent.ratio(*figures, processes)
    latency = independent.ratio(_latency(a), _latency(b), processes)
    why = next(_withheld(a, b, barred, [one for one in differ if one.decides and not across]), "")
    found = None if why else independent.verdict(*figures, processes, allow)
    outcome: Outcome = "withheld" if found is None else found.outcome
    return Pair(a, b, ratio, latency, outcome, found, why, differ)


def _latency(row: Measurement) -> Throughput:
    """Return the mean latency in the form that ratios take."""
    return Throughput(row.latency_ms.mean, row.latency_ms.low, row.latency_ms.high)


def _withheld(a: Measurement, b: Measurement, barred: str, deciding: Sequence[Difference]) -> Iterator[str]:
    """Yield the reasons for which nothing may be said, the plainest first."""
    for name, row in (("A", a), ("B", b)):
        if row.status != "ok" or row.throughput_samples_per_s.value is None:
            yield f"{name} has no number: {row.error or 'it was not printed'}"
    for name, row in (("A", a), ("B", b)):
        if row.throughput_samples_per_s.half_width is None:
            yield f"{name} has no interval" + ("" if row.clock == "wall" else f": its figures are {row.clock}")
    if barred:
        yield barred
    if deciding:
        yield "; ".join(f"another {one.what}" for one in deciding)


def _differences(a: Run, b: Run) -> Iterator[Difference]:
    """What differs between the runs as a whole, what decides first."""
    for name in _HOST:
        yield from _unlike(name, a.host.get(name), b.host.get(name), decides=bool(a.host and b.host))
    yield from _rulers(a.rows, b.rows)
    for name in _SOFTWARE:
        yield from _unlike(name, a.host.get(name), b.host.get(name))
    engines = [
        ", ".join(sorted({f"{row.engine} {row.engine_version or ''}".strip() for row in run.rows if row.engine}))
        for run in (a, b)
    ]
    yield from _unlike("engines", *engines)
    for name in _FRONT:
        yield from _unlike(name, a.document.get(name), b.document.get(name))


def _rulers(a: Sequence[Measurement], b: Sequence[Measurement]) -> Iterator[Difference]:
    """Whether an empty request took as long: by the median of the rows, since thread_num moves it too."""
    found = [{row.thread_num: row.floor.p50_us for row in rows if row.floor} for rows in (a, b)]
    shared = found[0].keys() & found[1].keys()
    if not shared:
        return
    one, other = (median(floors[count] for count in shared) for floors in found)
    if max(one, other) > RULER_DIFFERS * min(one, other):
        yield Difference(
            "speed of the host itself (an empty request)", f"{one:.2f} us", f"{other:.2f} us", decides=True
        )


def _rows_differ(a: Measurement, b: Measurement) -> Iterator[Difference]:
    yield from _unlike("model", a.model.rpartition("/")[2], b.model.rpartition("/")[2])
    yield from _unlike("precision", a.precision, b.precision)
    yield from _unlike("batch", a.batch_size, b.batch_size)
    yield from _unlike("thread_num", a.thread_num, b.thread_num)
    clocks = a.clock_state != b.clock_state or a.clocks != b.clocks
    if clocks and a.clock == b.clock == "wall":
        yield Difference("clock", f"{a.clocks}, {a.clock_state}", f"{b.clocks}, {b.clock_state}", decides=True)
    engines = [" ".join(part for part in (row.engine, row.engine_version) if part) for row in (a, b)]
    yield from _unlike("engine", *engines)
    yield from _unlike("device", a.device, b.device)
    yield from _unlike("executed", executed_kinds(a.precision_executed), executed_kinds(b.precision_executed))
    yield from _unlike("settings", _settings(a), _settings(b))
    yield from _unlike("artifact", (a.artifact_sha256 or "")[:12], (b.artifact_sha256 or "")[:12])
    yield from _unlike("weights", a.weights_source, b.weights_source)
    yield from _unlike("inputs", a.inputs_source, b.inputs_source)


def _settings(row: Measurement) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(row.engine_settings.items()))


def _unlike(what: str, a: Any, b: Any, *, decides: bool = False) -> Iterator[Difference]:
    """Yield a difference where both sides say something, and not the same."""
    if a not in (None, "") and b not in (None, "") and a != b:
        yield Difference(what, str(a), str(b), decides)
