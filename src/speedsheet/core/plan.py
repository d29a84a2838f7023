"""A load plan: who asks for what, when, and until when. Data only."""

from __future__ import annotations

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
class LoadPlan:
    """A closed loop: `thread_num` clients, each sending its next request as soon as the last one is answered.

    The measured window opens on the completion by which every client has finished `warmup_requests`, and closes on
    a completion after `window_s` and at least `requests_per_client` completions of every client. It goes on until
    there are `rounds` completions of every client, enough for an interval, where that ends within `rounds_within_s`.
    """

    thread_num: int
    window_s: float
    warmup_requests: int = 1
    requests_per_client: int = 3
    pool_batches: int = POOL_BATCHES
    rounds: int = 0
    rounds_within_s: float = 0.0

    def slot(self, client: _Index, request: _Index) -> _Index:
        """Return which input batch a client's request takes; each client starts at another."""
        slot: _Index = (client + request) % self.pool_batches
        return slot
