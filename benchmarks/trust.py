"""Do comparisons cry wolf, and do they find what is there? Counted in real time on this host; writes docs/trust.md.

    make trust                                   every part that is not complete, then docs/trust.md
    python benchmarks/trust.py null [--count N]  the empty engine against itself
    python benchmarks/trust.py real              ONNX Runtime on a small model against itself
    python benchmarks/trust.py slow              the same against itself slowed by 3 %, with 60 s of measuring each
    python benchmarks/trust.py interference      real runs with and without a neighbour (benchmarks/interference.py)
    python benchmarks/trust.py simulated         the same questions in simulated time, on hosts of many kinds
    python benchmarks/trust.py report            docs/trust.md from what has been counted

Each comparison is kept as it ends, so that a part goes on where it was ended (Ctrl-C); `--fresh` counts anew. What was
counted on another host, or by another version, is not counted in.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from speedsheet import __version__
from speedsheet.bench.live import said
from speedsheet.bench.match import Match
from speedsheet.bench.row import Desk, Ready, readied
from speedsheet.bench.sides import named
from speedsheet.core.comparison import Comparison, Design
from speedsheet.core.request import RowRequest
from speedsheet.core.units import format_duration
from speedsheet.host.facts import host_facts
from speedsheet.host.places import cache_folder
from speedsheet.stats.comparison import centre, log_interval
from speedsheet.stats.student import incomplete_beta, t_quantile
from speedsheet.testing.blocks import HOSTS, REALISTIC, log_ratios
from speedsheet.testing.contract import example_model

_HERE = Path(__file__).parent.parent
_NULL, _SLOWED = "speedsheet.testing.null:ENGINE", "speedsheet.testing.slowed:ENGINE"
_SLOWER = 0.03
_MODEL = "dssm_mock"
_MINUTE, _LEAST = Design(10, 6, 0.5), Design(6, 2, 0.5)
_SIMULATED = 1200


@dataclass(frozen=True, slots=True)
class Part:
    """One question: `count` comparisons of A and B, laid out as `design`, `at_once` of them side by side."""

    name: str
    title: str
    count: int
    design: Design
    settle_s: float
    at_once: int
    sides: Callable[[Path], tuple[RowRequest, RowRequest]]


def _null(folder: Path) -> tuple[RowRequest, RowRequest]:
    path = folder / "small.onnx"
    onnx.save(example_model(), path)
    request = RowRequest(str(path), _NULL, precision="fp32", thread_num=1)
    return request, request


def _real(_: Path) -> tuple[RowRequest, RowRequest]:
    request = RowRequest(_MODEL, "onnxruntime", precision="fp32", batch_size=1, thread_num=1)
    return request, request


def _slow(_: Path) -> tuple[RowRequest, RowRequest]:
    request = RowRequest(_MODEL, _SLOWED, precision="fp32", batch_size=1, thread_num=1)
    inner = {"inner": "onnxruntime", "intra_op_num_threads": "1"}
    a, b = ({**inner, "slower": slower} for slower in ("0%", f"{_SLOWER:.0%}"))
    return replace(request, settings=a), replace(request, settings=b)


PARTS = {
    part.name: part
    for part in (
        Part("null", "the empty engine against itself", 300, Design(6, 2, 0.05), 0.05, 2, _null),
        Part("real", f"ONNX Runtime on {_MODEL} against itself", 100, Design(6, 2, 0.1), 0.1, 1, _real),
        Part("slow", f"ONNX Runtime on {_MODEL} against itself slowed by 3 %", 10, _MINUTE, 0.25, 1, _slow),
    )
}


def main() -> None:
    """Count what was asked, or everything, and write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked = ("null", "real", "slow", "interference", "simulated", "report")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(asked))
    parser.add_argument("--count", type=int, help="so many comparisons")
    parser.add_argument("--fresh", action="store_true", help="forget what was counted before")
    given = parser.parse_args()
    for part in given.parts:
        if part not in asked:
            parser.error(f"no part is called {part!r}; known: {', '.join(asked)}")
    for part in given.parts or ("null", "real", "slow", "interference"):
        if part in PARTS:
            counted(PARTS[part], given.count or PARTS[part].count, fresh=given.fresh)
        elif part == "interference":
            runs = ["--runs", str(given.count)] if given.count else []
            subprocess.run([sys.executable, str(_HERE / "benchmarks/interference.py"), "--trust", *runs], check=True)
        elif part == "simulated":
            print("\n".join(simulated()))
    if not given.parts or "report" in given.parts:
        (_HERE / "docs/trust.md").write_text(report(), encoding="utf-8")
        print("docs/trust.md is written")


def counted(part: Part, count: int, *, fresh: bool) -> None:
    """Run a part's comparisons that have not been run, and say how it goes."""
    path, head = _kept(part), _head(part)
    done = [] if fresh else _found(part)
    if not done:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head) + "\n", encoding="utf-8")
    print(f"{part.name}: {part.title}; {len(done)} of {count} are counted", flush=True)
    if len(done) >= count:
        return
    with tempfile.TemporaryDirectory() as folder:
        ready = tuple(
            readied(request, Desk(Path(folder), 120.0), lambda *_: None) for request in part.sides(Path(folder))
        )
        seeds = sorted(set(range(count)) - {one["seed"] for one in done})
        with ThreadPoolExecutor(part.at_once) as pool:
            for one in pool.map(lambda seed: _compared(part, ready[0], ready[1], seed), seeds):
                done.append(one)
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(one) + "\n")
                _told(part, done, count)


def _told(part: Part, done: Sequence[Mapping[str, Any]], count: int) -> None:
    each_s = float(np.median([one["wall_s"] for one in done])) / part.at_once
    found = sum(one["outcome"] != "none" for one in done)
    left = format_duration(each_s * (count - len(done)))
    last = done[-1]
    ratio = f"{last['ratio']:.4f} ({last['low']:.4f} to {last['high']:.4f})"
    print(f"{part.name} {len(done)} of {count}: B / A {ratio}; {found} verdicts; {left} left", flush=True)


def _compared(part: Part, a: Ready, b: Ready, seed: int) -> dict[str, Any]:
    began = time.monotonic()
    match = Match({"a": a, "b": b}, part.design.measured_s, None, seed, 120.0, None, part.design, part.settle_s)
    while not match.over:
        match.generation(lambda *_: None)
    found = said(match, Comparison(named(a.row, b.row), a.row, b.row, seed=seed))
    assert found.verdict is not None
    ratio = found.ratio.throughput
    return {
        "seed": seed,
        "outcome": found.verdict.outcome,
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "measured_s": match.measured_s,
        "wall_s": time.monotonic() - began,
        "pairs": _pairs(match).tolist(),
    }


def _pairs(match: Match) -> np.ndarray:
    """Return (generations, rounds): the log ratio of each pair."""
    assert match.design is not None
    pairs = np.zeros((match.design.generations, match.design.rounds))
    for block in match.blocks:
        sign = 1 if block.side == "b" else -1
        pairs[block.generation, block.round] += sign * np.log(block.throughput_samples_per_s)
    return pairs


def _head(part: Part) -> dict[str, Any]:
    """Return what must be the same for results to be counted together."""
    host = {key: host_facts()[key] for key in ("cpu", "cores_allowed", "memory_gib", "virtualisation", "kernel")}
    return {"part": part.name, "design": asdict(part.design), "speedsheet": __version__, "host": host}


def _kept(part: Part) -> Path:
    return cache_folder() / "trust" / f"{part.name}.jsonl"


def _found(part: Part) -> list[dict[str, Any]]:
    """Return what was counted here before."""
    try:
        head, *rest = _kept(part).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [json.loads(line) for line in rest] if json.loads(head) == json.loads(json.dumps(_head(part))) else []


def simulated() -> Iterator[str]:
    """Yield the lines of a table: how often intervals hold, verdicts are false, and 3 % is found."""
    yield "| host | intervals that hold | false in 300 | 3 % found | half-width | least design: hold | false in 300 |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, noise in HOSTS.items():
        minute = centre(log_ratios(_SIMULATED, _MINUTE, noise))
        least = centre(log_ratios(_SIMULATED, _LEAST, noise))
        held, false = _held(minute)
        held_least, false_least = _held(least)
        found = float(np.mean(log_interval(minute - np.log1p(_SLOWER), 0.99)[2] < 0))
        half = float(np.median(np.diff(log_interval(minute, 0.95)[1:], axis=0))) / 2
        cells = [_percent(held), str(false), _percent(found, 0), _percent(half), _percent(held_least), str(false_least)]
        yield f"| {name} | {' | '.join(cells)} |"


def _held(generations: np.ndarray) -> tuple[float, int]:
    _, low, high = log_interval(generations, 0.95)
    _, low99, high99 = log_interval(generations[:300], 0.99)
    return float(np.mean((low <= 0) & (high >= 0))), int(np.sum((low99 > 0) | (high99 < 0)))


def at_most(events: int, of: int, confidence: float = 0.95) -> float:
    """Return the one-sided upper bound of a share (Clopper and Pearson); of what did not happen, the lower one."""
    if events >= of:
        return 1.0
    low, high = events / of, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if incomplete_beta(events + 1, of - events, middle) < confidence else (low, middle)
    return high


def report() -> str:
    """Return docs/trust.md from what was counted."""
    host, today = host_facts(), datetime.now(UTC).date().isoformat()
    hardware = f"{host['cpu']}, {host['cores_allowed']} cores, {host['memory_gib']:.0f} GiB, {host['virtualisation']}"
    head = "| question | comparisons | differ | share, 95 % bound | measured each | wall each |"
    answers = [_answer(part, found) for part in PARTS.values() if (found := _found(part))]
    missing = [name for name, part in PARTS.items() if not _found(part)]
    counts = [head, "|---|---:|---:|---|---:|---:|", *answers, "", *_noise(), "", *_power()] if answers else []
    introduction = _INTRODUCTION.format(date=today, version=__version__, hardware=hardware)
    for name, what in _BESIDE.items():
        introduction += f" {what} is in [{name}]({name})." if (_HERE / "docs" / name).is_file() else ""
    lines = [_TITLE, "", *_filled(introduction), "", *counts]
    lines += [f"Not counted on this host: {', '.join(missing)}.", ""] if missing else []
    lines += ["## In simulated time", "", *_filled(_SIMULATION), "", *simulated(), "", *_filled(_SIMULATED_NOTE)]
    return "\n".join(lines) + "\n"


def _filled(text: str) -> list[str]:
    return textwrap.wrap(text.strip(), 120, break_on_hyphens=False, break_long_words=False)


def _answer(part: Part, found: Sequence[Mapping[str, Any]]) -> str:
    wanted = "slower" if part.name == "slow" else None
    events = sum(one["outcome"] == wanted if wanted else one["outcome"] != "none" for one in found)
    of = len(found)
    if wanted:
        bound = f"{_percent(events / of, 0)}, at least {_percent(1 - at_most(of - events, of), 0)}"
    else:
        bound = f"{_percent(events / of)}, at most {_percent(at_most(events, of))}"
    measured, wall = (float(np.median([one[key] for one in found])) for key in ("measured_s", "wall_s"))
    return f"| {part.title} | {of} | {events} | {bound} | {measured:.1f} s | {wall:.1f} s |"


def _noise() -> Iterator[str]:
    """Say how noisy this host was, so that the simulation can be compared with it."""
    yield "| part | spread of one pair | of a start beyond its pairs | half-width of the ratio (95 %) |"
    yield "|---|---:|---:|---:|"
    for part in PARTS.values():
        found = _found(part)
        if not found:
            continue
        pairs = np.array([one["pairs"] for one in found])
        within = float(np.median(pairs.std(axis=2, ddof=1)))
        between = pairs.mean(axis=2).var(axis=1, ddof=1) - pairs.var(axis=2, ddof=1).mean(axis=1) / pairs.shape[2]
        half = float(np.median([(one["high"] - one["low"]) / 2 for one in found]))
        offset = float(np.sqrt(max(np.median(between), 0.0)))
        yield f"| {part.name} | {_percent(within, 2)} | {_percent(offset, 2)} | {_percent(half, 2)} |"


def _power() -> Iterator[str]:
    """Say for how long this host must be measured until the slowdown is found in nine of ten comparisons."""
    found = _found(PARTS["slow"])
    if not found:
        return
    degrees = PARTS["slow"].design.generations - 1
    half = float(np.median([np.log(one["high"] / one["low"]) / 2 for one in found]))
    measured_s = float(np.median([one["measured_s"] for one in found]))
    reach = np.log1p(_SLOWER) / (t_quantile(0.99, degrees) + t_quantile(0.8, degrees))  # 99 % apart, nine times in ten
    needed_s = measured_s * (half / t_quantile(0.95, degrees) / reach) ** 2
    yield from _filled(_POWER.format(needed=format_duration(10 * round(needed_s / 10))))
    yield ""


def _percent(share: float, places: int = 1) -> str:
    return f"{share * 100:.{places}f} %"


_TITLE = "# Do comparisons cry wolf, and do they find what is there?"
_INTRODUCTION = """
Written by `make trust` (`python benchmarks/trust.py`) on {date}, speedsheet {version}, {hardware}.
Every comparison is one of `speedsheet compare --live`, but for its length: fresh starts of both sides, blocks in turn.
Those of the empty engine run two at a time, and disturb each other.
A side against itself may differ at 99 % once in a hundred times; more than 8 in 300 then come by chance once in 270.
The slowed engine (`speedsheet.testing.slowed`) spins after each request for 3 % of the processor time that it took, and
is compared with itself at 0 %."""
_BESIDE = {
    "trust-interference.md": "How often the ledger of interference sees a neighbour",
    "trust-noisy-host.md": "What was counted on a host that others disturb",
}
_POWER = """
By the half-widths of the comparisons with the slowed engine, nine of ten of them would find 3 % on this host if each
measured for about {needed} (`compare --live --time`)."""
_SIMULATION = f"""
The same arithmetic on simulated hosts (`python benchmarks/trust.py simulated`; `tests/test_comparison.py` holds it to
these promises on every change), {_SIMULATED} runs each: a minute of measuring (10 starts, 12 blocks of 0.5 s), and the
least design (6 starts, 4 blocks). Per cent are of a block's throughput; what the kinds of host are is in
`src/speedsheet/testing/blocks.py`. "Realistic" is {_percent(REALISTIC.white, 0)} from block to block,
{_percent(REALISTIC.slow, 0)} that wander over {REALISTIC.tau_s:.0f} s, and processes that differ by
{_percent(REALISTIC.offset)}; the power is promised for it."""
_SIMULATED_NOTE = """
The standard error of a share that holds is 0.6 %. Where neighbours come and go, few pairs a start hold more often than
promised: their interval is wider than it needs to be, never narrower. A host on which processes differ by 2 % hides
3 % in a minute; more starts (`--time`) show it."""


if __name__ == "__main__":
    main()
