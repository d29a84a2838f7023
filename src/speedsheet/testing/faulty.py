"""Engines that fail on purpose, to show that the product sees it.

`--engine speedsheet.testing.faulty:NAN`, and likewise STALE, SWAPPED, SCALED, DEAD, MISSING (outputs that are wrong),
CRASH, HANG, RAISE (requests that do not end well, after some that do), PICKY (refuses a graph with shapes written in).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

import numpy as np

from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Request, Setup
from speedsheet.core.errors import EngineFailed
from speedsheet.core.workload import Arrays
from speedsheet.testing.null import NullEngine, NullSession

Damage = Callable[[Arrays, Arrays], Arrays]


class FaultyEngine:
    """The null engine with one fault: `damage` changes outputs, `accident` happens in a run."""

    def __init__(
        self,
        name: str,
        damage: Damage | None = None,
        accident: Callable[[], None] | None = None,
        *,
        picky: bool = False,
    ) -> None:
        self.name = f"speedsheet.testing.faulty:{name}"
        self._damage, self._accident, self._picky = damage, accident, picky

    def probe(self) -> EngineInfo | EngineUnavailable:
        """Always there."""
        return EngineInfo(self.name, "1", {"CPU": ("fp32",)}, "CPU", "none")

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> _FaultySession:
        """Parse the model."""
        if self._picky and artifact.graph_name != "graph.onnx":
            raise EngineFailed("the branches of If do not agree")
        return _FaultySession(NullEngine().load(artifact, setup, mark), self._damage, self._accident)


class _FaultySession:
    def __init__(self, inner: NullSession, damage: Damage | None, accident: Callable[[], None] | None) -> None:
        self._inner, self._damage, self._accident = inner, damage, accident
        self.settings = inner.settings
        self._before: Arrays = {}

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        request = self._inner.bind(feed, into)
        right = request.outputs()
        wrong = self._damage(right, self._before or right) if self._damage else right
        self._before = right
        return _FaultyRequest(wrong, self._accident)

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        return self._inner.executed(macs_by_name)

    def close(self) -> None:
        self._inner.close()


class _FaultyRequest:
    def __init__(self, outputs: Arrays, accident: Callable[[], None] | None) -> None:
        self._outputs, self._accident, self._runs = outputs, accident, 0

    def run(self) -> object:
        self._runs += 1
        time.sleep(0.001)
        if self._accident and self._runs > 20:
            self._accident()
        return None

    def outputs(self) -> Arrays:
        return {name: array.copy() for name, array in self._outputs.items()}


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    return lambda right, _before: {name: change(array) for name, array in right.items()}


def _one_nan(array: np.ndarray) -> np.ndarray:
    spoilt = array.copy()
    spoilt.flat[-1] = np.nan
    return spoilt


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _sleep_on() -> None:
    time.sleep(3600)


def _refuse() -> None:
    raise RuntimeError("the device is lost")


NAN = FaultyEngine("NAN", _each(_one_nan))
STALE = FaultyEngine("STALE", lambda _right, before: before)
SWAPPED = FaultyEngine("SWAPPED", _each(lambda array: array[..., ::-1]))
SCALED = FaultyEngine("SCALED", _each(lambda array: array * 2))
DEAD = FaultyEngine("DEAD", _each(np.zeros_like))
MISSING = FaultyEngine("MISSING", lambda _right, _before: {})
CRASH = FaultyEngine("CRASH", accident=_die)
HANG = FaultyEngine("HANG", accident=_sleep_on)
RAISE = FaultyEngine("RAISE", accident=_refuse)
PICKY = FaultyEngine("PICKY", picky=True)
