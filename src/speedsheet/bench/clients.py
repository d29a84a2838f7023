"""The clients of one row: a request for each input batch, and what those requests hold when the clock has stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speedsheet.bench.judge import Kept
from speedsheet.core.arrays import aligned
from speedsheet.core.engine import GivingUp, Request, Session
from speedsheet.core.plan import LoadPlan
from speedsheet.core.samples import WARMUP, Samples
from speedsheet.core.workload import Arrays

#: Every client keeps the outputs of every batch where they all fit here; otherwise only those of its last request.
_KEPT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a client's cycle: the batch it reads, and the request that holds its outputs."""

    slot: int
    feed: Arrays
    request: Request


@dataclass(frozen=True, slots=True)
class Clients:
    """`calls[c]` is client c's cycle. `apart` says that no two calls write to the same place."""

    calls: tuple[tuple[Call, ...], ...]
    apart: bool
    carried: bool

    def giving_up(self) -> Callable[[], None] | None:
        """Return how to give up what is in flight, where that costs no client all of what is judged; or None."""
        every = [call.request for calls in self.calls for call in calls]
        able = [request for request in every if isinstance(request, GivingUp)]
        if not self.apart or len(self.calls[0]) == 1 or len(able) < len(every):
            return None

        def give_up() -> None:
            for request in able:
                request.give_up()

        return give_up

    def kept(self, samples: Samples, *, gave_up: bool = False) -> Iterator[Kept]:
        """Yield what each request held when the clients stopped, where it ran after the warm-up.

        Where they `gave_up`, what each was to run next is left out: it may have begun.
        """
        if not self.apart:
            yield from (Kept(client, call.slot, call.request.outputs()) for client, call in self.last(samples))
            return
        ran = samples.phase > WARMUP
        pairs = set(zip(samples.client[ran].tolist(), samples.slot[ran].tolist(), strict=True))
        if gave_up:
            pairs -= {(client, call.slot) for client, call in self._at(samples, 0)}
        for client, calls in enumerate(self.calls):
            yield from (Kept(client, c.slot, c.request.outputs()) for c in calls if (client, c.slot) in pairs)

    def last(self, samples: Samples) -> list[tuple[int, Call]]:
        """Return each client's last call."""
        return self._at(samples, -1)

    def _at(self, samples: Samples, step: int) -> list[tuple[int, Call]]:
        """Return the call that each client was to make next, or `step` further."""
        counts = np.bincount(samples.client, minlength=len(self.calls))
        return [(c, calls[int(counts[c] + step) % len(calls)]) for c, calls in enumerate(self.calls)]


def bind(
    session: Session, plan: LoadPlan, feeds: Sequence[Arrays], answers: Sequence[Arrays], carry: Mapping[str, str]
) -> Clients:
    """Give each client a request for each batch of the pool, in its own order, writing where nobody else writes.

    `answers` tell the outputs' shapes; `carry` maps an output to the input that it becomes in the client's next
    request: two arrays change places from call to call, so nothing is copied.
    """
    fixed = [name for name in answers[0] if len({answer[name].shape for answer in answers}) == 1]
    each_bytes = sum(answers[0][name].nbytes for name in fixed)
    apart = not carry and each_bytes * len(feeds) * plan.thread_num <= _KEPT_BYTES
    length = len(feeds) * (2 if carry and len(feeds) % 2 else 1)  # states change places: an even cycle
    clients = []
    for client in range(plan.thread_num):
        shared = _room(answers[0], fixed)
        states = [{name: np.zeros_like(feeds[0][name]) for name in carry.values()} for _ in range(2)]
        calls = []
        for position in range(length):
            slot = plan.slot(client, position)
            reads, writes = states[position % 2], states[(position + 1) % 2]
            into = _room(answers[slot], fixed) if apart else dict(shared)
            into |= {out: writes[name] for out, name in carry.items()}
            feed = {**feeds[slot], **reads}
            calls.append(Call(slot, feed, session.bind(feed, into)))
        clients.append(tuple(calls))
    return Clients(tuple(clients), apart, bool(carry))


def _room(answer: Arrays, names: Sequence[str]) -> Arrays:
    """Make room for outputs, filled with what no right answer is, so that what is never written is seen."""
    room = {name: aligned(answer[name].shape, answer[name].dtype) for name in names}
    for array in room.values():
        array.fill(np.nan if array.dtype.kind == "f" else 0)
    return room
