"""What INT8 on the card does to a model's outputs: calibrated, then computed beside FP32, product by product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log10

import numpy as np

from speedsheet.core.errors import BadModel
from speedsheet.core.workload import Arrays
from speedsheet.twin.forward import WEIGHTED, Array, Program, Step, forward
from speedsheet.twin.quantiser import CALIBRATIONS, Histogram, exact_step, power_of_two_step, rounded_to, sqnr_db

#: The largest finite number of FP16.
FP16_LARGEST = 65504.0


@dataclass(frozen=True, slots=True)
class Layer:
    """One product in INT8: what a power-of-two step leaves of its weight, and the calibrations of its output.

    Ratios of signal to quantisation noise, in decibel: `weight_db` at the card's step, `free_weight_db` at the step
    that fits the weight best, `output_db` by calibration, against the same product in FP32, all earlier error
    included; null where nothing was computed.
    """

    name: str
    operator: str
    weight_elements: int
    weight_db: float
    free_weight_db: float
    output_db: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class OutputError:
    """How far one output strays from FP32 under one calibration.

    `relative_error` and `centred_cosine` as the gate computes them: centred by the mean over samples; null where they
    do not exist, as with one sample or an output that does not vary.
    """

    output: str
    calibration: str
    sqnr_db: float
    relative_error: float | None
    centred_cosine: float | None


@dataclass(frozen=True, slots=True)
class Int8Error:
    """What INT8 costs; `blank` says why no output was computed.

    `float_products` are left in FP16, as no side of them is stored; `beyond_fp16` names tensors that FP16 cannot hold.
    """

    layers: tuple[Layer, ...]
    float_products: tuple[str, ...]
    outputs: tuple[OutputError, ...]
    calibration_samples: int
    judged_samples: int
    beyond_fp16: tuple[str, ...]
    blank: str | None = None


def int8_error(
    program: Program, calibration: Sequence[Arrays], judged: Sequence[Arrays], samples_in: int = 1
) -> Int8Error:
    """Calibrate on some requests of `samples_in` samples, and compare INT8 with FP32 on others.

    Everything but the weighted products is computed in FP32, so that what is seen is INT8 alone. Raises BadModel where
    an operator cannot be computed here, or a weight is not finite.
    """
    seen, weight_steps = _Calibration(), _weight_steps(program)
    for feed in calibration:
        forward(program, feed, seen)
    compared = _Comparison({name: _steps(histogram) for name, histogram in seen.histograms.items()}, weight_steps)
    answers = [forward(program, feed, compared, lanes=1 + len(CALIBRATIONS)) for feed in judged]
    return Int8Error(
        layers=tuple(_layer(step, program, compared) for step in program.steps if step.weighted),
        float_products=_float_products(program),
        outputs=tuple(_output_errors(program.outputs, answers)),
        calibration_samples=len(calibration) * samples_in,
        judged_samples=len(judged) * samples_in,
        beyond_fp16=tuple(dict.fromkeys((*_stored_beyond(program), *seen.beyond))),
    )


def weight_error(program: Program, blank: str) -> Int8Error:
    """Return what is known without computing the model: its weights; `blank` says why the rest is not there.

    Raises BadModel for a weight that is not finite.
    """
    nothing = _Comparison({}, _weight_steps(program))
    layers = tuple(_layer(step, program, nothing) for step in program.steps if step.weighted)
    return Int8Error(layers, _float_products(program), (), 0, 0, tuple(_stored_beyond(program)), blank)


@dataclass(slots=True)
class _Calibration:
    """Watches one lane in FP32: the magnitudes that reach each weighted product, and what FP16 could not hold."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    beyond: dict[str, None] = field(default_factory=dict)

    def hand(self, step: Step, _lane: int, inputs: list[Array | None]) -> list[Array | None]:
        assert inputs[0] is not None
        try:
            self.histograms.setdefault(step.name, Histogram()).add(inputs[0])
        except ValueError as error:
            raise BadModel(f"its input {error}", where=step.name, do="give data that the model answers to") from error
        return inputs

    def see(self, step: Step, outputs: list[Array]) -> None:
        made = outputs[0]
        if made.dtype == np.float32 and made.size and np.max(np.abs(made)) > FP16_LARGEST:
            self.beyond[step.name] = None


@dataclass(slots=True)
class _Comparison:
    """Lane 0 is FP32; each further lane computes weighted products in INT8 under one calibration.

    `steps` are those of activations, by product and calibration, `weight_steps` by the weight's name.
    """

    steps: Mapping[str, Mapping[str, float]]
    weight_steps: Mapping[str, float]
    weights: dict[str, Array] = field(default_factory=dict)
    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[tuple[str, str], float] = field(default_factory=dict)

    def hand(self, step: Step, lane: int, inputs: list[Array | None]) -> list[Array | None]:
        if lane == 0 or step.name not in self.steps:
            return inputs
        x, weight, *rest = inputs
        assert x is not None
        assert weight is not None
        if step.name not in self.weights:
            self.weights[step.name] = rounded_to(self.weight_steps[step.inputs[1]], weight)
        return [rounded_to(self.steps[step.name][CALIBRATIONS[lane - 1]], x), self.weights[step.name], *rest]

    def see(self, step: Step, outputs: list[Array]) -> None:
        if not step.weighted:
            return
        self.weights.pop(step.name, None)  # a copy of each weight at a time is enough
        right = outputs[0].astype(np.float64)
        self.signal[step.name] = self.signal.get(step.name, 0.0) + float(np.sum(right**2))
        for calibration, rounded in zip(CALIBRATIONS, outputs[1:], strict=True):
            key = step.name, calibration
            self.noise[key] = self.noise.get(key, 0.0) + float(np.sum((rounded - right) ** 2))

    def output_db(self, name: str) -> dict[str, float | None]:
        """Return the ratios of a product's output, by calibration."""
        return {calibration: _ratio_db(self.signal.get(name), self.noise.get((name, calibration)))
                for calibration in CALIBRATIONS}  # fmt: skip


def _ratio_db(signal: float | None, noise: float | None) -> float | None:
    """Return a ratio in decibel; null where it does not exist or nothing was lost."""
    return 10 * log10(signal / noise) if signal and noise else None


def _weight_steps(program: Program) -> dict[str, float]:
    """Return the card's step of each product's weight, by its name. Raises BadModel for one that is not finite."""
    found = {}
    for step in program.steps:
        if step.weighted:
            try:
                found[step.inputs[1]] = power_of_two_step(program.stored[step.inputs[1]])
            except ValueError as error:
                do = "export the model again, with weights that are numbers"
                raise BadModel(f"its weight {error}", where=step.name, do=do) from error
    return found


def _steps(histogram: Histogram) -> dict[str, float]:
    return {calibration: histogram.step(calibration) for calibration in CALIBRATIONS}


def _layer(step: Step, program: Program, compared: _Comparison) -> Layer:
    weight = np.asarray(program.stored[step.inputs[1]])
    steps = compared.weight_steps[step.inputs[1]], exact_step(weight)
    at_card, free = (sqnr_db(weight, rounded_to(one, weight)) for one in steps)
    return Layer(step.name, str(step.node.op_type), weight.size, at_card, free, compared.output_db(step.name))


def _float_products(program: Program) -> tuple[str, ...]:
    return tuple(step.name for step in program.steps if step.node.op_type in WEIGHTED and not step.weighted)


def _stored_beyond(program: Program) -> list[str]:
    return [
        name
        for name, array in program.stored.items()
        if array.dtype.kind == "f" and array.size and np.max(np.abs(array)) > FP16_LARGEST
    ]


def _output_errors(names: Sequence[str], answers: Sequence[Sequence[Arrays]]) -> list[OutputError]:
    """Compare the lanes over all requests, samples on the first axis."""
    errors = []
    for name in names:
        lanes = [
            np.concatenate([np.atleast_1d(request[lane][name]) for request in answers])
            for lane in range(1 + len(CALIBRATIONS))
        ]
        if lanes[0].dtype.kind == "f":
            errors += [
                _output_error(name, calibration, lanes[0], rounded)
                for calibration, rounded in zip(CALIBRATIONS, lanes[1:], strict=True)
            ]
    return errors


def _output_error(name: str, calibration: str, right: Array, rounded: Array) -> OutputError:
    mean = right.mean(axis=0) if len(right) > 1 else np.zeros(1, right.dtype)
    a, b = (rounded - mean).ravel().astype(np.float64), (right - mean).ravel().astype(np.float64)
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    varies = len(right) > 1 and scale > 0
    return OutputError(
        name,
        calibration,
        sqnr_db(right, rounded),
        float(np.linalg.norm(a - b) / np.linalg.norm(b)) if varies else None,
        float(a @ b) / scale if varies else None,
    )
