"""An engine that is slower than another by a known share, to show that a comparison finds it.

`resnet50@speedsheet.testing.slowed:ENGINE,inner=onnxruntime,slower=3%`: each request runs on the inner engine, and
then spins for that share of the processor time which its thread took. The other settings are the inner engine's.
Precisions, audit and outputs are its too, so that nothing but the time differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from speedsheet import plugins
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Request, Session, Setup
from speedsheet.core.errors import BadInput
from speedsheet.core.workload import Arrays

_INNER, _SLOWER = "inner", "slower"
#: The largest share of a request's time that it is made longer by.
_MOST = 10
#: Reading a thread's processor time takes most of a microsecond. In a spin that is shorter than this, few are stopped.
_SHORT_NS = 1_000_000


class SlowedEngine:
    """Another engine, and a pause after each of its requests."""

    name = "speedsheet.testing.slowed:ENGINE"

    def probe(self) -> EngineInfo | EngineUnavailable:
        """Always there; whether the inner engine is, is told when it loads."""
        return EngineInfo(self.name, "1", {"CPU": ("fp32", "bf16", "int8")}, "CPU", "the inner engine's")

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> SlowedSession:
        """Load the inner engine."""
        settings = dict(setup.settings)
        inner, share = settings.pop(_INNER, ""), _share(settings.pop(_SLOWER, "0%"))
        if not inner:
            raise BadInput("the slowed engine needs another one inside", do="give inner=NAME as a setting")
        info = plugins.probe(inner)
        if isinstance(info, EngineUnavailable):
            raise BadInput(info.reason, where=inner, do=info.do)
        within = replace(setup, device=info.default_device, settings=settings)
        return SlowedSession(plugins.engine(inner).load(artifact, within, mark), setup, share)


class SlowedSession:
    """The inner session."""

    def __init__(self, inner: Session, setup: Setup, share: float) -> None:
        self._inner, self._share = inner, share
        self.settings: Mapping[str, str] = {**inner.settings, **setup.settings}

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        """Bind the inner engine's request."""
        return SlowedRequest(self._inner.bind(feed, into), self._share)

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        """Return what the inner engine executed."""
        return self._inner.executed(macs_by_name)

    def close(self) -> None:
        """Close the inner session."""
        self._inner.close()


class SlowedRequest:
    """The inner request, made longer."""

    def __init__(self, inner: Request, share: float) -> None:
        self._inner, self._run, self._share = inner, inner.run, share

    def run(self) -> object:
        """Run, then spin for the share of the processor time that it took: what a crowd adds is no work of ours.

        A short spin is timed by the wall clock, which is read in a tenth of the time; at 0 % it costs the same looks.
        """
        began = time.thread_time_ns()
        self._run()
        spin_ns = (time.thread_time_ns() - began) * self._share
        clock = time.perf_counter_ns if spin_ns < _SHORT_NS else time.thread_time_ns
        until = clock() + spin_ns
        while clock() < until:
            pass
        return None

    def outputs(self) -> Arrays:
        """Copy the inner request's outputs."""
        return self._inner.outputs()


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= _MOST:
        raise BadInput(f"{_SLOWER}={text} is not a percentage from 0% to {_MOST:.0%}", do="write 3%")
    return share


ENGINE = SlowedEngine()
