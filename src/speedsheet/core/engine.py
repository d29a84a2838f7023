"""The seam to engines: two methods to have one, three to use it; giving up and explaining are optional.

The product holds the stopwatch: an engine neither times itself nor reports a statistic. It says when it begins to
compile (`mark`), and hands out requests whose `run` is the one timed call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from speedsheet.core.artifact import Artifact
from speedsheet.core.errors import UsageError
from speedsheet.core.workload import Arrays

#: What runs in place of a precision that the device does not have, best first.
FALLBACK: Mapping[str, tuple[str, ...]] = {
    "fp32": ("fp32",),
    "fp16": ("fp16", "bf16", "fp32"),
    "bf16": ("bf16", "fp32"),
    "int8": ("int8",),
    "as-is": ("fp32",),
}


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """An engine that can run here. `precisions` maps each of its devices to what it can execute there.

    `input_copy` says whether the copy of the inputs is inside the timed call; `composed` names devices that are made
    of others, and are followed by a colon.
    """

    name: str
    version: str
    precisions: Mapping[str, tuple[str, ...]]
    default_device: str
    input_copy: str
    composed: tuple[str, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of this machine that the engine can use, the default one among them."""
        return tuple(self.precisions)

    def has(self, device: str) -> bool:
        """Whether a device of that name is here; ``GPU`` stands for ``GPU.0``, ``AUTO:CPU`` for what it is made of."""
        whole = {name.partition(".")[0] for name in self.devices}
        return device in self.devices or device in whole or device.partition(":")[0] in self.composed

    def precisions_on(self, device: str) -> tuple[str, ...]:
        """Return what can be executed on a device that is here: of one that stands for several, what all of them can.

        One that is composed without naming others may choose any.
        """
        if device in self.precisions:
            return self.precisions[device]
        composed, _, named = device.partition(":")
        if composed in self.composed:
            names = [part.partition("(")[0] for part in named.split(",")]  # a number of requests may follow
            members = [name for name in names if self.has(name)] or list(self.devices)
        else:
            members = [name for name in self.devices if name.startswith(f"{device}.")]
        each = [self.precisions_on(name) for name in members]
        every = dict.fromkeys(kind for kinds in each for kind in kinds)
        return tuple(kind for kind in every if all(kind in kinds for kinds in each))


@dataclass(frozen=True, slots=True)
class EngineUnavailable:
    """An engine that cannot run here: why, and the command that mends it."""

    name: str
    reason: str
    do: str


@dataclass(frozen=True, slots=True)
class Setup:
    """How an engine is to load an artifact.

    `precision` is what the device was found to have (see `grant`), `settings` the user's own, which win over the
    engine's default rule. `audit` asks for a session that can tell what it executed; such a session is never timed.
    """

    device: str
    precision: str
    batch_size: int
    thread_num: int
    cores: int
    settings: Mapping[str, str] = field(default_factory=dict)
    audit: bool = False


class Request(Protocol):
    """One client's request object, with its inputs in place. Used by one thread at a time."""

    @property
    def run(self) -> Callable[[], object]:
        """The timed call: compute once. On return the outputs are in host memory; what it returns is ignored."""

    def outputs(self) -> Arrays:
        """Return copies of what the latest `run` computed, by output name."""


@runtime_checkable
class GivingUp(Protocol):
    """A request whose run may be given up; the load loop then need not wait for what it no longer counts."""

    def give_up(self) -> None:
        """Make a run that is under way, or waits for its turn, raise soon. Called by another thread, never timed.

        A request that was given up is not run again, and its outputs are not read; other requests keep theirs.
        """


@dataclass(frozen=True, slots=True)
class Operation:
    """What an engine tells of one step of its runs: its own name and kind for it, and the time of one run.

    `executed` is the type that it ran in, "" where it is not told; `nodes` are the graph's nodes that it stands for, by
    their names or those of their outputs, as far as the engine knows them.
    """

    name: str
    kind: str
    time_us: float
    executed: str = ""
    nodes: tuple[str, ...] = ()


@runtime_checkable
class Explaining(Protocol):
    """A session that can also say where its time went. Loaded with `audit`, never timed by the product meanwhile."""

    def operations(self) -> Sequence[Operation]:
        """Return the steps of the runs until now, by the engine's own profiler, in the order of execution.

        Only once, and after at least two runs: the first one is left out where the engine tells it apart.
        """


class Session(Protocol):
    """A loaded model."""

    settings: Mapping[str, str]

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        """Return a request that reads `feed` and writes the outputs named in `into` there.

        The arrays are shared, not copied, where the engine can; the caller keeps them alive and does not move them.
        """

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        """Return the share of multiply-accumulates by the type that ran them (fp32, fp16, bf16, int8).

        Only after a run, and only on a session loaded with `audit`. Where nothing multiplies, the share of elements.
        `macs_by_name` is the graph's own count, under each node's name and its outputs' names, for engines that fuse
        nodes beyond recognition and tell only their names.
        """

    def close(self) -> None:
        """Free the model and its threads."""


class Engine(Protocol):
    """A way to run ONNX on this machine. One file in `engines/`, which names it ENGINE."""

    name: str

    def probe(self) -> EngineInfo | EngineUnavailable:
        """Say what is here, importing the engine's library for the first time."""

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> Session:
        """Load the artifact; call `mark` where reading ends and compiling begins."""


def grant(asked: str, available: tuple[str, ...]) -> str:
    """Return what runs when `asked` is asked of a device that has `available`."""
    for precision in FALLBACK.get(asked, ()):
        if precision in available:
            return precision
    raise UsageError(f"precision {asked!r} is not available here", do=f"choose one of {', '.join(available)}")
