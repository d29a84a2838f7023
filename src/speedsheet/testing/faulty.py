"""Engines that fail on purpose, to show that the product sees it.

`--engine speedsheet.testing.faulty:NAN`, and likewise STALE, SWAPPED, SCALED, DEAD, MISSING (outputs that are wrong),
CRASH, HANG, RAISE (requests that do not end well, after some that do), PICKY (refuses a graph with shapes written in),
SLOW_START (three times slower for its first requests), DRIFT (slower with every request).
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Request, Setup
from speedsheet.core.errors import EngineFailed
from speedsheet.core.workload import Arrays
from speedsheet.testing.null import NullEngine, NullSession

Damage = Callable[[Arrays, Arrays], Arrays]
#: Returns how long the so-many-eth request of a session takes, seconds.
Pace = Callable[[int], float]
#: A request takes so long; SLOW_START takes three times as long for so many.
REQUEST_S, SLOW_REQUESTS = 0.002, 1000


class FaultyEngine:
    """The null engine with one fault: `damage` changes outputs, `accident` happens in a run."""

    def __init__(
        self,
        name: str,
        damage: Damage | None = None,
        accident: Callable[[], None] | None = None,
        *,
        picky: bool = False,
        pace: Pace = lambda _request: 0.001,
    ) -> None:
        self.name = f"speedsheet.testing.faulty:{name}"
        self._damage, self._accident, self._picky, self._pace = damage, accident, picky, pace

    def probe(self) -> EngineInfo | EngineUnavailable:
        """Always there."""
        return EngineInfo(self.name, "1", {"CPU": ("fp32",)}, "CPU", "none")

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> _FaultySession:
        """Parse the model."""
        if self._picky and artifact.graph_name != "graph.onnx":
            raise EngineFailed("the branches of If do not agree")
        return _FaultySession(NullEngine().load(artifact, setup, mark), self._damage, self._accident, self._pace)


class _FaultySession:
    def __init__(
        self, inner: NullSession, damage: Damage | None, accident: Callable[[], None] | None, pace: Pace
    ) -> None:
        self._inner, self._damage, self._accident = inner, damage, accident
        self._takes_s = map(pace, itertools.count())
        self.settings = inner.settings
        self._before: Arrays = {}

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        request = self._inner.bind(feed, into)
        right = request.outputs()
        wrong = self._damage(right, self._before or right) if self._damage else right
        self._before = right
        return _FaultyRequest(wrong, self._accident, self._takes_s)

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        return self._inner.executed(macs_by_name)

    def close(self) -> None:
        self._inner.close()


class _FaultyRequest:
    def __init__(self, outputs: Arrays, accident: Callable[[], None] | None, takes_s: Iterator[float]) -> None:
        self._outputs, self._accident, self._runs, self._takes_s = outputs, accident, 0, takes_s

    def run(self) -> object:
        self._runs += 1
        time.sleep(next(self._takes_s))
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
SLOW_START = FaultyEngine("SLOW_START", pace=lambda request: REQUEST_S * (3 if request < SLOW_REQUESTS else 1))
DRIFT = FaultyEngine("DRIFT", pace=lambda request: REQUEST_S * (1 + request / SLOW_REQUESTS))
