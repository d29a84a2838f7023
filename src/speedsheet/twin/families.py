"""What kind of network a model is, and which calibrated row is most like it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speedsheet.twin.types import Workpiece

CONVOLUTIONAL, TRANSFORMER, RECOMMENDER, DENSE = "convolutional", "transformer", "recommender", "dense"
#: Attention that is not recognised as one operator: how software lowers it is not known.
UNFUSED = "unfused attention"
#: Families whose work a graph tells well enough to calibrate on.
CALIBRATED = (CONVOLUTIONAL, TRANSFORMER)
_MOSTLY = 0.5
#: Rows of one sample that make a sequence.
_SEQUENCE = 8
#: A look-up is worth so many multiply-accumulates in telling a recommender from a dense network.
_MACS_OF_A_LOOKUP = 100_000


@dataclass(frozen=True, slots=True)
class Likeness:
    """The calibrated row most like a modelled one, and whether its family was calibrated at all."""

    row: str
    relation: str


def family(piece: Workpiece) -> str:
    """Return what most of a model's work is."""
    by_kind: dict[str, int] = {}
    for operator in piece.operators:
        by_kind[operator.kind] = by_kind.get(operator.kind, 0) + operator.macs
    macs = max(piece.macs, 1)
    if by_kind.get("conv", 0) + by_kind.get("depthwise", 0) >= _MOSTLY * macs:
        return CONVOLUTIONAL
    lookups = sum(operator.gathers for operator in piece.operators)
    if lookups * _MACS_OF_A_LOOKUP >= macs:
        return RECOMMENDER
    rows = sum(operator.macs for operator in piece.operators if operator.m >= _SEQUENCE)
    if rows >= _MOSTLY * macs and by_kind.keys() & {"attention", "product"}:
        return TRANSFORMER if "attention" in by_kind else UNFUSED
    return DENSE


def nearest(shares: Mapping[str, float], known: Mapping[str, Mapping[str, float]]) -> str:
    """Return the row whose time goes to causes in the most similar shares; "" where there is none."""

    def apart(name: str) -> float:
        causes = shares.keys() | known[name].keys()
        return sum(abs(shares.get(cause, 0.0) - known[name].get(cause, 0.0)) for cause in causes)

    return min(known, key=apart, default="")


def relation(of: str, families: Sequence[str]) -> str:
    """Say whether a family's rows entered the calibration."""
    return "interpolated" if of in families else "unseen family"
