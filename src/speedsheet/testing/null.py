"""The null engine: right answers at no cost, so that what is measured is the ruler.

Outputs are computed once, when a request is bound, by ONNX's own reference evaluator; a run does nothing. Use it by
name, `--engine speedsheet.testing.null:ENGINE`; `auto` never chooses it. Meant for small models: the evaluator is slow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx
from onnx.reference import ReferenceEvaluator

from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Request, Setup
from speedsheet.core.errors import EngineFailed
from speedsheet.core.workload import Arrays


class NullEngine:
    """An engine whose timed call is empty."""

    name = "speedsheet.testing.null:ENGINE"

    def probe(self) -> EngineInfo | EngineUnavailable:
        """The null engine is always there."""
        return EngineInfo(self.name, onnx.__version__, {"CPU": ("fp32",)}, "CPU", "none")

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> NullSession:
        """Parse the model."""
        try:
            model = onnx.load(artifact.graph)
            mark()
            return NullSession(ReferenceEvaluator(model), setup)
        except Exception as error:
            raise EngineFailed(f"the reference evaluator does not load the model: {error}") from error


class NullSession:
    """A parsed model."""

    def __init__(self, evaluator: ReferenceEvaluator, setup: Setup) -> None:
        self._evaluator = evaluator
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
        return NullRequest({**outputs, **into})

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        """Everything was computed in the model's own type."""
        del macs_by_name
        return {"fp32": 1.0}

    def close(self) -> None:
        """Nothing is held."""


class NullRequest:
    """A request that is already answered."""

    def __init__(self, outputs: Arrays) -> None:
        self._outputs = outputs

    def run(self) -> object:
        """Do nothing."""

    def outputs(self) -> Arrays:
        """Copy the answers."""
        return {name: array.copy() for name, array in self._outputs.items()}


ENGINE = NullEngine()
