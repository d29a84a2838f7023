"""Why a row is as slow as it is: the steps of its engine beside the operators of the modelled card.

An explanation is kept beside the records, under a record's name, and is no part of the record: it was made later, on a
session with profiling, and its times are shares to look at, never figures of a sheet.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speedsheet.core.engine import Operation

EXPLANATION_SCHEMA = "speedsheet.explanation/1"
_MAX_BYTES = 16 << 20
_US_PER_S = 1e6
#: Steps of this kind move what others computed.
_MOVING = "Reorder"
_FLOP_PER_MAC, _GIGA = 2, 1e9


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the engine: its share of the time of all, its work, and what the modelled card does for it.

    `nodes` are the graph's nodes that it stands for, `name` is the engine's own for it. `gflop_per_s` is null where
    nothing multiplies; `modelled_us` and `modelled_share` where the card's operators have no such node.
    """

    name: str
    kind: str
    executed: str
    time_us: float
    share: float
    macs: int
    gflop_per_s: float | None
    modelled_us: float | None
    modelled_share: float | None
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Steps, the costliest first, and `kinds`: for each kind of step its time, share and executed type.

    `card` is the modelled device that stands beside, "" where there is none.
    """

    model: str
    engine: str
    precision: str
    batch_size: int
    runs: int
    total_us: float
    steps: tuple[Step, ...]
    kinds: tuple[tuple[str, int, float, float, str], ...]
    card: str = ""
    modelled_total_us: float | None = None


def explained(
    found: Mapping[str, Any], *, model: str, engine: str, precision: str, card: str = "",
    modelled_us: Mapping[str, float] | None = None,
) -> Explanation:  # fmt: skip
    """Return what a worker's steps say; `modelled_us` are the times of the card's operators by the graph's node names.

    The work of a node, and what the card does for it, is counted once: with the costliest step that stands for it.
    """
    operations = [Operation(**{**step, "nodes": tuple(step["nodes"])}) for step in found["steps"]]
    macs, batch = dict(found["macs"]), int(found["batch_size"])
    total_us = sum(one.time_us for one in operations) or 1.0
    card_us = modelled_us or {}
    modelled_total = sum(card_us.values())
    steps, holders = [], _holders(operations)
    for place, one in enumerate(operations):
        mine = [name for name in one.nodes or (one.name,) if holders[name] == place]
        work = sum(macs.get(name, 0) for name in mine) if one.kind != _MOVING else 0
        known = [card_us[name] for name in mine if name in card_us]
        steps.append(Step(
            one.name, one.kind, one.executed, one.time_us, one.time_us / total_us, work,
            _FLOP_PER_MAC * work / (one.time_us / _US_PER_S) / _GIGA if work and one.time_us else None,
            sum(known) if known else None, sum(known) / modelled_total if known and modelled_total else None, one.nodes,
        ))  # fmt: skip
    steps.sort(key=lambda step: -step.time_us)
    return Explanation(
        model, engine, precision, batch, int(found["runs"]), total_us, tuple(steps), _kinds(steps), card,
        modelled_total or None,
    )  # fmt: skip


def _holders(operations: Sequence[Operation]) -> dict[str, int]:
    """Return for each node the place of the step that its work belongs to: the costliest, and one that computes."""
    found: dict[str, int] = {}
    for place in sorted(
        range(len(operations)), key=lambda place: (operations[place].kind != _MOVING, operations[place].time_us)
    ):
        found |= dict.fromkeys(operations[place].nodes or (operations[place].name,), place)
    return found


def _kinds(steps: Sequence[Step]) -> tuple[tuple[str, int, float, float, str], ...]:
    """Gather steps by their kind and executed type, the costliest first."""
    found: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        found.setdefault((step.kind, step.executed), []).append(step)
    rows = [
        (kind, len(same), sum(one.time_us for one in same), sum(one.share for one in same), executed)
        for (kind, executed), same in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row[2]))


def keep(folder: Path, record: str, found: Explanation) -> None:
    """Write the explanation of a record; a later one takes its place."""
    folder.mkdir(parents=True, exist_ok=True)
    hidden = folder / f".{record}-{secrets.token_hex(4)}"
    try:
        hidden.write_text(json.dumps({"schema": EXPLANATION_SCHEMA, **asdict(found)}), encoding="utf-8")
        hidden.replace(folder / f"{record}.json")
    finally:
        with suppress(FileNotFoundError):
            os.unlink(hidden)  # noqa: PTH108  missing_ok, and no exception in its way


def kept(folder: Path, record: str) -> Explanation | None:
    """Return the explanation of a record, null where there is none that can be read."""
    path = folder / f"{Path(record).name}.json"
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != EXPLANATION_SCHEMA:
            return None
        steps = tuple(Step(**{**step, "nodes": tuple(step["nodes"])}) for step in content.pop("steps"))
        kinds = tuple(
            (str(k), int(n), float(us), float(share), str(ran)) for k, n, us, share, ran in content.pop("kinds")
        )
        return Explanation(**content, steps=steps, kinds=kinds)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
