"""What tells the two sides of a comparison apart, in as few words as do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speedsheet.core.measurement import Measurement


def named(a: Measurement, b: Measurement) -> tuple[str, str]:
    """Say in what two sides differ, in as few words as tell them apart; ("A", "B") where in nothing."""
    facts_a, facts_b = (dict(_facts(row, other)) for row, other in ((a, b), (b, a)))
    told = [key for key in facts_a if facts_a[key] != facts_b[key]]
    names = tuple(" ".join(facts[key] for key in told) for facts in (facts_a, facts_b))
    return (names[0], names[1]) if told else ("A", "B")


def _facts(row: Measurement, other: Measurement) -> Iterator[tuple[str, str]]:
    """Yield what may tell a side apart, by what it is."""
    alike = Path(row.model).name == Path(other.model).name and row.model != other.model
    own = row.model.endswith(".onnx")
    yield "model", row.model if alike else Path(row.model).stem if own else row.model
    yield "engine", row.engine or "auto"
    if row.engine == other.engine:
        yield "device", row.device or "default device"
    yield "precision", row.precision
    yield "batch", f"batch {row.batch_size}"
    yield "clients", f"{row.thread_num} client{'s' if row.thread_num != 1 else ''}"
    if row.engine == other.engine:  # settings of different engines have nothing in common
        for key in sorted(row.engine_settings.keys() | other.engine_settings.keys()):
            value = row.engine_settings.get(key)
            yield f"set {key}", f"default {key}" if value is None else f"{key}={value}"
