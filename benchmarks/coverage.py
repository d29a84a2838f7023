"""How often the intervals of a row hold the truth, counted on simulated runs; writes docs/coverage.md.

    python benchmarks/coverage.py [--runs 1000] [--processes 2]

Nothing is measured here: latencies are drawn from processes whose mean and percentiles are known, clients send one
request after the other in simulated time, and the product's own estimator is asked. Half to one hour on two cores.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from speedsheet import __version__
from speedsheet.host.facts import host_facts
from speedsheet.stats.checked import ENDED, FIXED
from speedsheet.testing.coverage import QUANTITIES, Cell, Count, Ended, count, count_ended
from speedsheet.testing.simulated import PROCESSES, autoregressive, heavy_tail, lognormal, regimes

_BLANK = "\N{EN DASH}"
_OUT = Path(__file__).parent.parent / "docs/coverage.md"
_CLIENTS, _REQUESTS = (1, 8, 16), (100, 400, 1_600, 6_400, 25_600)
_LONG, _FLAGGED, _PROCESSES, _OFFSETS = 1_638_400, 0.2, 3, (0.0, 0.01, 0.02)
#: A run whose true effective n is at least so large is promised an interval that holds, in nine of ten runs.
PROMISED = {"throughput": 50, "mean": 50, "p50": 50, "p90": 100, "p99": 700, "p99_9": 7_000}
_LEAST, _MOST, _WITHHELD, _MORE = 0.92, 0.98, 0.10, 10
#: Runs that a target ends: the process, the clients, and the half-width of throughput that ends them.
_ENDING = (
    (lognormal(), 1, 0.008), (lognormal(), 8, 0.006), (autoregressive(30), 1, 0.03), (autoregressive(30), 8, 0.03),
    (heavy_tail(), 8, 0.008), (regimes(), 8, 0.06), (autoregressive(300), 1, 0.1),
)  # fmt: skip


def cells() -> dict[str, list[Cell]]:
    """Return what is counted, by the title of its table."""
    grid = [Cell(process, n, size) for process in PROCESSES.values() for n in _CLIENTS for size in _REQUESTS]
    return {
        "One process": grid,
        "Long runs": [Cell(process, 16, _LONG) for process in (lognormal(), autoregressive(300), regimes())],
        "A fifth of the windows flagged and left out": [
            Cell(process, n, 8_000, _FLAGGED) for process in PROCESSES.values() for n in _CLIENTS
        ],
        "Three processes, alike, and differing by 1 and 2 %": [
            Cell(process, 8, 9_600, 0.0, _PROCESSES, offset)
            for process in (lognormal(), autoregressive(30), regimes())
            for offset in _OFFSETS
        ],
    }


def main() -> None:
    """Count, and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    tables: dict[str, list[tuple[Cell, Mapping[str, Count]]]] = {}
    with ProcessPoolExecutor(asked.processes) as pool:
        endings = [pool.submit(_count_ended, place, asked.runs) for place in range(len(_ENDING))]
        for title, some in cells().items():
            tables[title] = []
            counted = pool.map(partial(_count, title, asked.runs), range(len(some)))
            for cell, found in zip(some, counted, strict=True):
                tables[title].append((cell, found))
                print(title, _named(cell), f"{found['throughput'].coverage:.1%}", file=sys.stderr, flush=True)
        ended = [one.result() for one in endings]
    _OUT.write_text("\n".join(report(tables, ended, asked.runs)) + "\n", encoding="utf-8")
    print(f"{_OUT.relative_to(Path.cwd()) if _OUT.is_relative_to(Path.cwd()) else _OUT} is written")


def _count(title: str, runs: int, place: int) -> dict[str, Count]:
    """Count one cell, which is told by its place: distributions are functions, and do not go to another process.

    One that comes out beyond what is promised is counted anew with many more runs, and those stand.
    """
    cell = cells()[title][place]
    found = count(cell, runs, seed=place * 1_000_000)
    return (
        count(cell, runs * _MORE, seed=place * 1_000_000 + runs) if _broken(found) and cell.requests < _LONG else found
    )


def _broken(found: Mapping[str, Count]) -> bool:
    """Whether any promise is not kept."""
    made = [one for name, one in found.items() if one.effective_n >= PROMISED[name]]
    return any(not _LEAST <= one.coverage <= _MOST or one.withheld > _WITHHELD for one in made)


def _count_ended(place: int, runs: int) -> Ended:
    return count_ended(*_ENDING[place], runs)


def report(
    tables: Mapping[str, Sequence[tuple[Cell, Mapping[str, Count]]]], ended: Sequence[Ended], runs: int
) -> Iterator[str]:
    """Yield the lines of the document."""
    host = host_facts()
    yield "# How often the intervals hold"
    yield ""
    yield from _filled(_INTRODUCTION.format(
        date=datetime.now(UTC).date().isoformat(), version=__version__, host=f"{host['cpu']}", runs=runs
    ))  # fmt: skip
    yield ""
    everything = [pair for table in tables.values() for pair in table]
    yield from _promises(everything)
    yield ""
    yield from _beyond(tables)
    yield from _filled(_CHECKED.format(fixed=FIXED, ended=ENDED, least=FIXED.requests[0], most=FIXED.requests[1]))
    yield ""
    yield from _checked(everything)
    for title, table in tables.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield f"| latencies | clients | requests | {' | '.join(map(_title, QUANTITIES))} |"
        yield f"|---|---:|---:|{'---|' * len(QUANTITIES)}"
        for cell, found in table:
            yield f"| {_named(cell)} | {cell.clients} | {cell.requests} | {' | '.join(map(_cell, found.items()))} |"
    yield from _ended(ended)


def _promises(everything: Sequence[tuple[Cell, Mapping[str, Count]]]) -> Iterator[str]:
    """Say for each figure how the promise is kept where it is made."""
    yield "| figure | from a true effective n of | cells | hold in | withheld in at most | outside 92 to 98 % |"
    yield "|---|---:|---:|---|---:|---:|"
    for name in QUANTITIES:
        made = [found[name] for _, found in everything if found[name].effective_n >= PROMISED[name]]
        shares = [one.coverage for one in made]
        broken = sum(not _LEAST <= share <= _MOST for share in shares)
        withheld = max(one.withheld for one in made)
        yield (
            f"| {_title(name)} | {PROMISED[name]} | {len(made)} | {_percent(min(shares))} to {_percent(max(shares))} "
            f"| {_percent(withheld)} | {broken} |"
        )


def _beyond(tables: Mapping[str, Sequence[tuple[Cell, Mapping[str, Count]]]]) -> Iterator[str]:
    """Name each cell in which a promise is not kept."""
    some = [
        f"- {title}; {_named(cell)}, {cell.clients} client{'s'[: cell.clients > 1]}, {cell.requests} requests: "
        f"{', '.join(beyond)}"
        for title, table in tables.items()
        for cell, found in table
        if (beyond := [f"{_title(one[0])} {_cell(one)}" for one in found.items() if _broken(dict([one]))])
    ]
    if some:
        yield "Beyond the promise (of several processes they hold more often than said, which costs width, not trust):"
        yield from ("", *some, "")


def _checked(everything: Sequence[tuple[Cell, Mapping[str, Count]]]) -> Iterator[str]:
    yield "| figure | runs with an interval | of these checked | hold, checked | hold, not checked |"
    yield "|---|---:|---:|---:|---:|"
    for name in QUANTITIES:
        some = [found[name] for _, found in everything]
        printed, held = sum(one.printed for one in some), sum(one.held for one in some)
        inside, good = sum(one.checked for one in some), sum(one.checked_held for one in some)
        outside = _percent((held - good) / (printed - inside)) if printed > inside else _BLANK
        yield f"| {_title(name)} | {printed} | {inside} | {_percent(good / inside) if inside else _BLANK} | {outside} |"


def _ended(ended: Sequence[Ended]) -> Iterator[str]:
    yield ""
    yield "## Runs that a target ended"
    yield ""
    yield from _filled(_ENDED)
    yield ""
    yield "| latencies | clients | target | ended by it | after | hold | of these checked | hold, checked |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for one in ended:
        checked = _percent(one.checked_held / one.checked) if one.checked else _BLANK
        yield (
            f"| {one.process} | {one.clients} | {one.target:.1%} | {_percent(one.ended / one.runs)} "
            f"| {one.requests:.0f} requests | {_percent(one.held / one.ended)} | {_percent(one.checked / one.ended)} "
            f"| {checked} |"
        )


def _cell(named: tuple[str, Count]) -> str:
    """Write one count: the share that hold, the share without an interval, and a mark where nothing is promised."""
    name, found = named
    if not found.printed:
        return _BLANK
    withheld = f", {_percent(found.withheld, 0)} withheld" if found.withheld >= 0.005 else ""
    promised = found.effective_n >= PROMISED[name]
    return f"{_percent(found.coverage)}{withheld}" if promised else f"({_percent(found.coverage)}{withheld})"


def _named(cell: Cell) -> str:
    differ = f", processes differ by {cell.offset:.0%}" if cell.offset else ""
    return cell.process.name + differ


def _title(name: str) -> str:
    return name.replace("_", ".")


def _percent(share: float, places: int = 1) -> str:
    return f"{share * 100:.{places}f} %"


def _filled(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 120, break_on_hyphens=False, break_long_words=False)


_INTRODUCTION = """
Written by `python benchmarks/coverage.py` on {date}, speedsheet {version}, {host}. Every cell counts {runs} simulated
runs: clients that never pause, latencies drawn from a process whose mean and percentiles are known exactly
(`src/speedsheet/testing/simulated.py`), and the estimator of the product. The standard error of a share is 0.7 %;
a cell that comes out beyond the promise is counted anew with ten times as many runs, whose standard error is 0.2 %, and
those stand.
"Autoregressive, tau 30" means that a request tells as much as a thirtieth of an independent one; the neighbour who
comes and goes makes requests half as slow again, for 50 of each 200. An interval may be withheld where a run is too
short for it. In parentheses: runs whose true effective n is below what the promise is made for."""
_CHECKED = """
A run does not know its true effective n. `coverage_checked` on a row is true where what it tells of itself lies inside
what was counted here: {least} to {most} requests in at least {fixed.least_rounds} rounds of all clients, an effective
n of at least {fixed.least_effective_n:.0f} by its own estimate, an integrated autocorrelation time of at most
{fixed.most_tau:.0f} requests, at most {fixed.most_clients} clients and {fixed.most_processes} processes; where a target
ended the run, an effective n of at least {ended.least_effective_n:.0f}, a time of at most {ended.most_tau:.0f} requests
and one process. Of all simulated runs, those too short for the promise among them:"""
_ENDED = """
`--precision-target` ends a run when the half-width is small enough, at looks that lie ever further apart, as in the
product (a simulated second is 200 requests). Stopping on a narrow interval makes intervals that are narrow by chance
more frequent; what changes slowly pays most."""

if __name__ == "__main__":
    main()
