"""The null engine: right answers at no cost, or after a known time, so that what is measured is the ruler.

Outputs are computed once, when a request is bound, by ONNX's own reference evaluator. A run only lets go of the
interpreter's lock and takes it again, as the call of every real engine does; with the setting ``DELAY_US`` it sleeps
for so long in between. Use it by name, `--engine speedsheet.testing.null:ENGINE`; `auto` never chooses it. Meant for
small models: the evaluator is slow.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import onnx
from onnx.reference import ReferenceEvaluator

from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Request, Setup
from speedsheet.core.errors import BadInput, EngineFailed
from speedsheet.core.workload import Arrays

DELAY_US = "DELAY_US"
_PR_SET_TIMERSLACK = 29


class NullEngine:
    """An engine whose timed call computes nothing."""

    name = "speedsheet.testing.null:ENGINE"

    def probe(self) -> EngineInfo | EngineUnavailable:
        """The null engine is always there."""
        return EngineInfo(self.name, onnx.__version__, {"CPU": ("fp32",)}, "CPU", "none")

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> NullSession:
        """Parse the model."""
        call = null_call(setup.settings)
        try:
            model = onnx.load(artifact.graph)
            mark()
            return NullSession(ReferenceEvaluator(model), setup, call)
        except Exception as error:
            raise EngineFailed(f"the reference evaluator does not load the model: {error}") from error


class NullSession:
    """A parsed model."""

    def __init__(self, evaluator: ReferenceEvaluator, setup: Setup, call: Callable[[], object]) -> None:
        self._evaluator, self._call = evaluator, call
        self.settings: Mapping[str, str] = dict(setup.settings)

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        """Compute the outputs now, so that no run has to."""
        try:
            values = self._evaluator.run(None, feed)
        except Exception as error:
            raise EngineFailed(f"the reference evaluator does not run the model: {error}") from error
        outputs = dict(zip(self._evaluator.output_names, values, strict=True))
        for name, array in into.items():
            array[...] = outputs[name]
        return NullRequest({**outputs, **into}, self._call)

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        """Everything was computed in the model's own type."""
        del macs_by_name
        return {"fp32": 1.0}

    def close(self) -> None:
        """Nothing is held."""


class NullRequest:
    """A request that is already answered."""

    def __init__(self, outputs: Arrays, call: Callable[[], object]) -> None:
        self._outputs = outputs
        self.run = call

    def outputs(self) -> Arrays:
        """Copy the answers."""
        return {name: array.copy() for name, array in self._outputs.items()}


def null_call(settings: Mapping[str, str]) -> Callable[[], object]:
    """Return what a run does: nothing, or sleep for the time that was asked, without the interpreter's lock."""
    try:
        delay_s = float(settings.get(DELAY_US, "0")) / 1e6
    except ValueError:
        raise BadInput(f"{DELAY_US}={settings[DELAY_US]} is not a number", do="give microseconds") from None
    if delay_s > 0:
        _sleep_exactly()
        return partial(time.sleep, delay_s)
    if sys.platform == "win32":
        return partial(time.sleep, 0)
    return ctypes.CDLL(None).getpagesize  # a foreign call of nanoseconds


def _sleep_exactly() -> None:
    """Ask the kernel not to put off this thread's wake-ups, nor those of threads that it starts (prctl(2))."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)


ENGINE = NullEngine()
