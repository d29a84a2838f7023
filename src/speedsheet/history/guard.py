"""Whether rows got slower than a baseline allows: said only where it is established, twice.

A row is within where nothing of the kind is established and the interval is narrow enough to show it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from speedsheet.core.measurement import Measurement
from speedsheet.history.comparing import Compared, Outcome, Pair, paired

State = Literal["slower", "within", "unjudged"]
#: A suspect is measured again in so many processes, whose spread is then in its interval.
CONFIRMING_PROCESSES = 3
#: What may be slower than this share of what is allowed, for all that is known, is known too badly to be within.
_BLIND = 0.5
_TOO_WIDE = "it may be less than half as fast as is allowed: its interval is that wide"
_STATES: dict[Outcome, State] = {"slower": "slower", "faster": "within", "none": "within", "withheld": "unjudged"}


@dataclass(frozen=True, slots=True)
class Guarded:
    """One row of the baseline: the comparison that decided, and how often it was measured."""

    pair: Pair
    state: State
    why: str
    measured: int = 1


def guarded(
    compared: Compared, allow: float, again: Callable[[Sequence[Measurement]], Sequence[Measurement]] | None = None
) -> list[Guarded]:
    """Judge every row of the baseline (side A); `compared` was made with the same allowance.

    A row that seems slower than allowed is measured `again`, in fresh processes, and is slower only where both
    measurements establish it; without `again` the first one decides. What has no number, now or again, is not judged.
    """
    suspects = [pair for pair in compared.pairs if pair.outcome == "slower"]
    second = (
        dict(zip(map(id, suspects), again([pair.b for pair in suspects]), strict=True)) if again and suspects else {}
    )
    found = []
    for pair in compared.pairs:
        if id(pair) in second:
            later = paired(pair.a, second[id(pair)], allow=allow, across=compared.across)
            found.append(_judged(later, allow, "slower at first, and not when it was measured again", 2))
        else:
            found.append(_judged(pair, allow))
    missing = (Guarded(Pair(row, row), "unjudged", "this row was not measured now") for row in compared.only_a)
    return [*found, *missing]


def _judged(pair: Pair, allow: float, spared: str = "", measured: int = 1) -> Guarded:
    """Judge a row by its last measurement; `spared` is why one that is within was measured again."""
    state = _STATES[pair.outcome]
    if state == "within" and pair.verdict and pair.verdict.low < _BLIND * (1 - allow):
        return Guarded(pair, "unjudged", _TOO_WIDE, measured)
    return Guarded(pair, state, spared if state == "within" else pair.why, measured)
