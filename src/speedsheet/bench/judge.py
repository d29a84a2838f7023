"""The gate: whether the outputs of the timed window were right.

Every kept output is compared with the FP32 reference of the same input batch. Both are centred first, by the mean of
the reference over all samples of the pool, per output element: networks answer alike to everything, and what they
answer alike hides what is wrong (a plain cosine of 0.999 is reached by the wrong image's output).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.errors import RowFailed
from speedsheet.core.measurement import Finding, Gate
from speedsheet.core.workload import Arrays, Limit

#: Limits where a model declares none, by the widest share of what executed. Derived in docs/gate.md.
DEFAULT_LIMITS: Mapping[str, Limit] = {
    "fp32": Limit(0.9995, 0.02, "default: rounding order only"),
    "fp16": Limit(0.995, 0.1, "default: 10 significant bits"),
    "bf16": Limit(0.95, 0.35, "default: 7 significant bits; a text recogniser in honest bf16 reaches .967"),
    "int8": Limit(0.85, 0.6, "default: honest int8 on random weights reaches .86"),
}
#: Nearer to zero than this is zero: a sigmoid in float32 is exact to a few 1e-7 of one, not of itself.
_NEAR_ZERO = 1e-6
#: Rounding of one value, as a share of it: outputs that vary by less than this share of their RMS tell nothing.
_ROUNDING = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 8e-3, "int8": 2e-2}


@dataclass(frozen=True, slots=True)
class Kept:
    """The outputs that one client's request held for one input batch when the clients stopped."""

    client: int
    slot: int
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate, and for the record the worst figures of each output."""

    gate: Gate
    by_output: Mapping[str, Mapping[str, Any]]
    findings: tuple[Finding, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what `asdict` made."""
        findings = tuple(Finding(**finding) for finding in data["findings"])
        return cls(Gate(**data["gate"]), data["by_output"], findings)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on all together: the gate that is nearest to, or farthest over, its limit."""
    return min(verdicts, key=lambda verdict: _margin(verdict.gate))


def check_finite(reference: Sequence[Arrays]) -> None:
    """Raise RowFailed where an output of the right answers is never finite: what was not computed would pass too."""
    for name, first in reference[0].items():
        answers = [outputs[name] for outputs in reference if outputs[name].size]
        if answers and _is_float(first) and not any(np.isfinite(answer).any() for answer in answers):
            raise RowFailed(
                f"the model answers NaN or infinity to these inputs (output {name!r}), so nothing can be judged",
                do="give inputs that it answers with numbers: --data FILE.npz",
            )


def judge(kept: Iterable[Kept], reference: Sequence[Arrays], precision: str, limit: Limit | None = None) -> Verdict:
    """Compare kept outputs with `reference[slot]`; `precision` is what executed.

    Every output of every kept request must hold; the gate shows the figure nearest to, or farthest over, its limit.
    """
    limit = limit or DEFAULT_LIMITS[precision]
    centres = {name: _Centre.of([outputs[name] for outputs in reference], precision) for name in reference[0]}
    worst: dict[tuple[str, str], Gate] = {}
    seen = 0
    for one in kept:
        seen += 1
        for name, centre in centres.items():
            for gate in _compare(one.outputs.get(name), reference[one.slot][name], centre, limit):
                key = name, str(gate.metric)
                if key not in worst or _margin(gate) < _margin(worst[key]):
                    worst[key] = gate
    if not worst:
        return Verdict(Gate(False, "kept_outputs", float(seen), 1.0), {})
    by_output = {f"{name} {metric}": asdict(gate) for (name, metric), gate in worst.items()}
    dull = [name for name, centre in centres.items() if centre.dull]
    flat = [name for name in dull if _is_float(reference[0][name])]
    same = [name for name in dull if name not in flat]
    return Verdict(min(worst.values(), key=_margin), by_output, _insensitive(flat, same, len(centres)))


@dataclass(frozen=True, slots=True)
class _Centre:
    """The mean of an output over the pool, how far the reference strays from it (RMS), and the absolute floor.

    Integers and booleans have neither mean nor floor: they stray not at all where every sample has the same answer.
    """

    mean: NDArray[np.float64] | float
    spread: float
    floor: float

    @property
    def dull(self) -> bool:
        return self.spread <= self.floor

    @classmethod
    def of(cls, outputs: Sequence[NDArray[Any]], precision: str) -> _Centre:
        if not _is_float(outputs[0]):
            return cls(0.0, 0.0 if _constant(outputs) else np.inf, 0.0)
        finite = [np.where(np.isfinite(output), output, 0).astype(np.float64) for output in outputs]
        size = np.sqrt(np.mean([np.mean(output**2) if output.size else 0.0 for output in finite]))
        floor = _ROUNDING[precision] * float(size) + _NEAR_ZERO
        if len({output.shape for output in finite}) > 1:
            return cls(0.0, np.inf, floor)  # shapes that depend on the data have no element-wise mean
        stacked = np.stack(finite)
        if not stacked.size:
            return cls(0.0, 0.0, floor)  # an answer of no numbers is the same for every input
        batched = stacked.ndim > 1 and stacked.shape[1] > 1
        mean = stacked.mean(axis=(0, 1) if batched else 0)
        if mean.size == stacked.size:
            mean = np.zeros_like(mean)  # one sample is its own mean
        return cls(mean, float(np.sqrt(np.mean((stacked - mean) ** 2))), floor)


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "fV"


def _constant(outputs: Sequence[NDArray[Any]]) -> bool:
    """Whether every sample of the pool has the same answer; False of a single sample, and where shapes differ."""
    if len({output.shape for output in outputs}) > 1:
        return False
    samples = np.concatenate(outputs) if outputs[0].ndim else np.stack(outputs)
    return len(samples) > 1 and bool((samples == samples[0]).all())


def _compare(output: NDArray[Any] | None, wanted: NDArray[Any], centre: _Centre, limit: Limit) -> list[Gate]:
    if output is None or output.shape != wanted.shape:
        return [Gate(False, "missing_output", 1.0, 0.0)]
    if not _is_float(wanted):
        agreed = float(np.mean(output == wanted)) if wanted.size else 1.0
        return [Gate(agreed >= limit.centred_cosine, "agreement", agreed, limit.centred_cosine)]
    got, want = output.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(want)
    odd = int(np.count_nonzero(~np.isfinite(got[finite]))) + int(
        np.count_nonzero(~np.equal(np.nan_to_num(got[~finite], nan=0.5), np.nan_to_num(want[~finite], nan=0.5)))
    )
    if odd:
        return [Gate(False, "non_finite", float(odd), 0.0)]
    got, want = np.where(finite, got, 0), np.where(finite, want, 0)
    error = float(np.sqrt(np.mean((got - want) ** 2))) if want.size else 0.0
    by_size = Gate(error <= 4 * centre.floor, "absolute_error", error, 4 * centre.floor)
    if centre.dull or not want.size:
        return [by_size]
    a, b = (got - centre.mean).ravel(), (want - centre.mean).ravel()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / scale if scale > 0 else 0.0
    relative = float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), centre.floor * np.sqrt(b.size))
    alike = Gate(cosine >= limit.centred_cosine, "centred_cosine", cosine, limit.centred_cosine)
    near = Gate(relative <= limit.relative_error, "relative_error", relative, limit.relative_error)
    # near zero a direction means nothing: an error below one rounding is none
    return [by_size] if error <= centre.floor and not (alike.passed and near.passed) else [alike, near]


def _margin(gate: Gate) -> float:
    """Order gates: failures first, then by how much of the allowance is left."""
    assert gate.value is not None
    assert gate.limit is not None
    if gate.metric in {"centred_cosine", "agreement"}:
        left = (gate.value - gate.limit) / max(1.0 - gate.limit, 1e-12)
    else:
        left = (gate.limit - gate.value) / gate.limit if gate.limit else -1.0
    return left if gate.passed else min(left, 0.0) - 1.0


def _insensitive(flat: Sequence[str], same: Sequence[str], outputs: int) -> tuple[Finding, ...]:
    """Say which of the outputs do not tell inputs apart: floats that are `flat`, integers that are the `same`."""
    said = []
    if flat:
        which = _which(flat, outputs, "varies", "vary")
        said.append(f"{which} with the input by less than one rounding, so the gate sees only their size")
    if same:
        which = _which(same, outputs, "is", "are")
        said.append(f"{which} the same for every input, so the gate cannot see which one was answered")
    if not said:
        return ()
    text = f"{'; '.join(said)}; give data that the model answers differently to (--data FILE.npz)"
    return (Finding("gate_insensitive", text),)


def _which(names: Sequence[str], outputs: int, one: str, many: str) -> str:
    """Name outputs, with the verb of one or of many; all of them need no names."""
    return f"the outputs {many}" if len(names) == outputs else f"{', '.join(names)} {one if len(names) == 1 else many}"
