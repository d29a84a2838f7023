"""A load plan: who asks for what, when, and until when. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray

#: How many distinct input batches the clients share.
POOL_BATCHES = 8

_Index = TypeVar("_Index", int, NDArray[Any])


@dataclass(frozen=True, slots=True)
class Target:
    """How well a figure is to be known: `quantity` is ``throughput`` or a percentile such as ``p99``.

    `half_width` is half its interval as a share of its value.
    """

    half_width: float
    quantity: str = "throughput"


@dataclass(frozen=True, slots=True)
class Reached:
    """How well a figure is known until now, beside the `target` for it; `half_width` is null without an interval.

    `more_s` is how much longer it would have to be measured for its target, null where that cannot be told.
    """

    quantity: str
    target: float
    half_width: float | None = None
    more_s: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is known as well as it is to be."""
        return self.half_width is not None and self.half_width <= self.target


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A closed loop: `thread_num` clients, each sending its next request as soon as the last one is answered.

    Load is offered from the start. The measured window opens on the completion by which every client has finished
    `warmup_requests`, or later, where the latencies become steady only then: that is sought for `steady_within_s`. It
    closes on a completion after `window_s` and at least `requests_per_client` completions of every client, and goes on
    until there are `rounds` completions of every client, enough for an interval, where that ends within
    `rounds_within_s`. It ends earlier where every one of `targets` is met. What was flagged as disturbed is measured
    again, for `again_s` at most; and after `longest_s`, or `most_requests`, whose columns take gigabytes, the load ends
    in any case.
    """

    thread_num: int
    window_s: float
    warmup_requests: int = 1
    requests_per_client: int = 3
    pool_batches: int = POOL_BATCHES
    rounds: int = 0
    rounds_within_s: float = 0.0
    targets: tuple[Target, ...] = ()
    steady_within_s: float = 0.0
    again_s: float = 0.0
    longest_s: float | None = None
    most_requests: int = 20_000_000

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoadPlan:
        """Read what `asdict` made."""
        return cls(**{**data, "targets": tuple(Target(**target) for target in data["targets"])})

    def slot(self, client: _Index, request: _Index) -> _Index:
        """Return which input batch a client's request takes; each client starts at another."""
        slot: _Index = (client + request) % self.pool_batches
        return slot
