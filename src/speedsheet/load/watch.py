"""The main thread beside the clients: it cuts the run into windows, and finds where it is steady and when it is over.

It looks twenty times a second, and never touches a client. What it computes while clients are timed is the median of a
few thousand latencies a window; at checkpoints that lie ever further apart, how well the targets are known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.plan import LoadPlan, Reached
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_S
from speedsheet.load.collect import Cut, Host, collect
from speedsheet.load.log import Log
from speedsheet.stats.interference import flags
from speedsheet.stats.precision import half_width, seconds_needed
from speedsheet.stats.steady import LEAST_WINDOWS, steady_from

#: Told the share of the run that has passed, the seconds that are left, and the target farthest from being met.
Tell = Callable[[float, float, Reached | None], None]

#: A window lasts so long, and so many rounds, whichever is longer.
_WINDOW_NS, _WINDOW_ROUNDS = NS_PER_S, 2
#: So many latencies of a window are enough for its median while the run goes on.
_TAKEN = 4096
_TELL_EVERY = 10
#: A checkpoint is a quarter of the time further on, at least a second, and many times what the last one cost.
_FURTHER, _LEAST_S, _COST = 0.25, 1.0, 50.0
#: Steadiness is looked for anew when there are a quarter more windows, and before a run ends; at its end in so many
#: parts of it, where it was longer than the search.
_MORE_WINDOWS, _PARTS = 1.25, 64


@dataclass(frozen=True, slots=True)
class Look:
    """What a checkpoint found: the seconds that counted by then, and the half-width of each target's figure."""

    passed_s: float
    half_widths: tuple[float | None, ...]


@dataclass(slots=True)
class Watch:
    """One run as the main thread sees it. `opened` is the cut at which the measured window opens."""

    plan: LoadPlan
    logs: Sequence[Log]
    tell: Tell
    host: Host
    cuts: list[Cut] = field(default_factory=list)
    opened: int = 0
    steady: bool | None = None
    reached: tuple[Reached, ...] = ()
    _medians: list[float] = field(default_factory=list)
    _signals: list[Mapping[str, float]] = field(default_factory=list)
    _flagged: list[bool] = field(default_factory=list)
    _began_ns: int = 0
    _settled: bool = False
    _seek_at: int = 0
    _enough: int = 0
    _looks_at: list[Look] = field(default_factory=list)
    _checked_ns: int = 0
    _check_at_ns: int = 0
    _looks: int = 0
    _came: int = 0
    _shown: float = 0.0

    def over(self, now_ns: int) -> bool:
        """Look at the run as it stands; return whether it is over."""
        counts = tuple(log.count() for log in self.logs)
        self._began_ns = self._began_ns or now_ns
        if self.cuts:
            if self._due(now_ns, counts):
                self._cut(now_ns, counts)
            if self._ended(now_ns, counts):
                self._close(now_ns, counts)
                return True
        elif min(counts) >= self.plan.warmup_requests:
            open_ns = max(log.end(self.plan.warmup_requests - 1) for log in self.logs)
            self.cuts.append(Cut(open_ns, counts, self.host.read()))
        self._looks += 1
        if self._looks % _TELL_EVERY == 0:
            self._told(now_ns, counts)
        return False

    def samples(self, counts: Sequence[int], busy_ns: int = 0) -> Samples:
        """Return the first `counts` requests of each client, measured from `opened` to the last cut."""
        return collect(self.plan, self.logs, counts, self.cuts, self.host, self.opened, self.steady, busy_ns)

    def done(self, busy_ns: int = 0) -> Samples:
        """Return all samples, when the clients have stopped; until `busy_ns` each of them had a request in flight."""
        if self._settled and self.steady:
            self.steady = still_steady(np.array([self._medians[p] for p in self._calm() if p >= self.opened]))
        return self.samples([log.count() for log in self.logs], busy_ns)

    def _due(self, now_ns: int, counts: Sequence[int]) -> bool:
        last = self.cuts[-1]
        return now_ns - last.at_ns >= _WINDOW_NS and sum(counts) - sum(last.counts) >= _WINDOW_ROUNDS * len(self.logs)

    def _cut(self, now_ns: int, counts: tuple[int, ...]) -> None:
        """End a window, and see what all of them say."""
        before, cut = self.cuts[-1], Cut(now_ns, counts, self.host.read())
        step = max((sum(counts) - sum(before.counts)) // _TAKEN, 1)
        pairs = zip(self.logs, before.counts, counts, strict=True)
        taken = np.concatenate([log.latencies(first, after, step) for log, first, after in pairs])
        self._medians.append(float(np.median(taken)))
        self._signals.append(self.host.between(before.reading, cut.reading))
        self._flagged = [bool(names) for names in flags(self._signals, self.host.cores)]
        self.cuts.append(cut)
        self._seek(now_ns)
        self._check(now_ns)

    def _seek(self, now_ns: int) -> None:
        """Find the window from which on the medians are steady, while there is time for it."""
        within_ns = self.plan.steady_within_s * NS_PER_S
        if self._settled or not within_ns:
            return
        late = now_ns - self.cuts[0].at_ns >= within_ns
        ending = self.steady is not False and self._clean(now_ns, self.cuts[-1].counts)[0] >= self.plan.window_s
        if len(self._medians) < self._seek_at and not ending and not late:
            return
        self._seek_at = int(len(self._medians) * _MORE_WINDOWS) + 1
        calm = self._calm()
        medians = np.array([self._medians[place] for place in calm])
        found = steady_from(medians)
        self.steady = None if found.verdict == "unknown" else found.verdict == "steady"
        opened = 0 if found.first is None else calm[found.first]
        if late:
            self._settled = True
            opened = calm[least_varied(medians)] if self.steady is False else opened
        if opened != self.opened:  # what was known so far was known of another stretch
            self.opened = opened
            self._looks_at.clear()

    def _calm(self) -> list[int]:
        """Return the windows to tell steadiness by: the undisturbed ones, or all where these are too few."""
        calm = [place for place, flagged in enumerate(self._flagged) if not flagged]
        return calm if len(calm) > LEAST_WINDOWS else list(range(len(self._flagged)))

    def _check(self, now_ns: int) -> None:
        """See how well the targets are known, where it is time to."""
        if not self.plan.targets or now_ns < self._check_at_ns:
            return
        began_ns = time.perf_counter_ns()
        samples = self.samples(self.cuts[-1].counts)
        self.reached = reached(samples, self.plan)
        counted_ns = sum(int(samples.end_ns[after - 1]) - opened_ns for _, after, opened_ns in samples.segments())
        cost_s = (time.perf_counter_ns() - began_ns) / NS_PER_S
        passed_s = (now_ns - self.cuts[self.opened].at_ns) / NS_PER_S
        self._looks_at.append(Look(counted_ns / NS_PER_S, tuple(each.half_width for each in self.reached)))
        self._checked_ns = now_ns
        self._check_at_ns = now_ns + int(max(_FURTHER * passed_s, _LEAST_S, _COST * cost_s) * NS_PER_S)

    def _ended(self, now_ns: int, counts: Sequence[int]) -> bool:
        plan = self.plan
        late = plan.longest_s is not None and now_ns - self._began_ns >= plan.longest_s * NS_PER_S
        if late or sum(counts) >= plan.most_requests:
            return all(now > then for now, then in zip(counts, self.cuts[0].counts, strict=True))
        sought = plan.steady_within_s > 0 and not self._settled
        if known(self._looks_at, [target.half_width for target in plan.targets]) and not (sought and not self.steady):
            return True
        if sought and self.steady is False:
            return False
        passed_s, served = self._clean(now_ns, counts)
        if passed_s < plan.window_s or min(served) < plan.requests_per_client:
            self._enough = 0
            return False
        if not self._enough:  # the pace is that of what has completed: clients that keep step do so in bursts
            last_ns = max(log.end(count - 1) for log, count in zip(self.logs, counts, strict=True))
            self._enough = completions_to_stop(plan, sum(served), passed_s - (now_ns - last_ns) / NS_PER_S)
        return sum(served) >= self._enough

    def _clean(self, now_ns: int, counts: Sequence[int]) -> tuple[float, list[int]]:
        """Return how long has been measured, and how many completions of each client, but for what was flagged.

        What was flagged beyond the time in which it may be measured again counts.
        """
        left_ns = self.plan.again_s * NS_PER_S
        opened = self.cuts[self.opened]
        passed_ns: float = now_ns - opened.at_ns
        served = [now - then for now, then in zip(counts, opened.counts, strict=True)]
        for place in range(self.opened, len(self._flagged)):
            first, after = self.cuts[place], self.cuts[place + 1]
            took_ns = after.at_ns - first.at_ns
            if self._flagged[place] and took_ns <= left_ns:
                left_ns -= took_ns
                passed_ns -= took_ns
                served = [n - (b - a) for n, a, b in zip(served, first.counts, after.counts, strict=True)]
        return passed_ns / NS_PER_S, served

    def _close(self, now_ns: int, counts: tuple[int, ...]) -> None:
        """Make the last cut; what is too short for a window of its own is part of the last one."""
        if self.cuts[-1].at_ns == now_ns:
            return
        if len(self.cuts) - 1 > self.opened and not self._due(now_ns, counts):
            self.cuts.pop()
        self.cuts.append(Cut(now_ns, counts, self.host.read()))

    def _told(self, now_ns: int, counts: Sequence[int]) -> None:
        """Tell how far the run has come, never less than was told before; nothing where no client came further.

        Who hears nothing for long takes the run to hang. One client may hang alone: what others complete counts no
        further than one request ahead of it.
        """
        came = sum(min(count, min(counts) + 1) for count in counts)
        if came == self._came:
            return
        self._came = came
        if not self.cuts:
            self.tell(0.0, self.plan.window_s, None)
            return
        passed_s, served = self._clean(now_ns, counts)
        done = max(_done(self.plan, served, passed_s, self._enough), 0.0)
        left_s = passed_s * (1 - done) / done if done > 0 else self.plan.window_s
        worst = max(self.reached, key=lambda each: (each.half_width or float("inf")) / each.target, default=None)
        if worst and worst.more_s is not None:
            more_s = max(worst.more_s - (now_ns - self._checked_ns) / NS_PER_S, 0.0)
            left_s = min(left_s, more_s)
            done = passed_s / (passed_s + left_s) if passed_s > 0 else 0.0
        self._shown = max(self._shown, min(done, 1.0))
        self.tell(self._shown, max(left_s, 0.0), worst)


def reached(samples: Samples, plan: LoadPlan) -> tuple[Reached, ...]:
    """Return how well each target of a plan is known by these samples."""
    n = plan.thread_num
    return tuple(
        Reached(
            target.quantity,
            target.half_width,
            half_width(samples, thread_num=n, quantity=target.quantity),
            seconds_needed(samples, thread_num=n, target=target.half_width, quantity=target.quantity),
        )
        for target in plan.targets
    )


def known(looks: Sequence[Look], targets: Sequence[float]) -> bool:
    """Whether every target is met, by the last look and by all in the latter half of the run.

    Half-widths are estimates: who stops at the first that is small enough stops at one that is too small. An earlier
    look counts with what it would have come down to by now, with the root of the time.
    """
    if not looks or not targets:
        return False
    now_s = looks[-1].passed_s
    for look in looks:
        if look.passed_s >= now_s / 2:
            shrunk = sqrt(look.passed_s / now_s)
            for half, target in zip(look.half_widths, targets, strict=True):
                if half is None or half * shrunk > target:
                    return False
    return True


def completions_to_stop(plan: LoadPlan, served: int, served_s: float) -> int:
    """Return how many completions end the window, once its time has passed with `served` of them in `served_s`.

    The round in hand is finished; and the plan's rounds are, where they end in time at the pace until now.
    """
    rounds = served / plan.thread_num
    fits = served_s / rounds * plan.rounds <= plan.rounds_within_s
    return max(int(rounds) + 1, plan.rounds if fits else 0) * plan.thread_num


def least_varied(medians: NDArray[np.float64]) -> int:
    """Return from which window on, in the first half, the mean of medians (n,) has the smallest standard error.

    White (1997), Simulation 69, An effective truncation heuristic for bias reduction in simulation output.
    """
    errors = [float(medians[first:].var()) / (medians.size - first) for first in range(medians.size // 2 + 1)]
    return int(np.argmin(errors))


def still_steady(medians: NDArray[np.float64]) -> bool:
    """Whether windows (n,) found steady early in a long run were so to its end: from within its first half on."""
    if not medians.size:
        return True
    length = -(-medians.size // _PARTS)
    parts = np.median(medians[medians.size % length :].reshape(-1, length), axis=1)
    found = steady_from(parts)
    return found.verdict == "unknown" or (found.first is not None and found.first <= parts.size // 2)


def _done(plan: LoadPlan, served: Sequence[int], passed_s: float, enough: int) -> float:
    """Return the share of the window that is behind: of its time and its requests, or of what it goes on to."""
    if enough:
        return min(sum(served) / enough, 1.0)
    requests = sum(min(count, plan.requests_per_client) for count in served) / plan.requests_per_client
    return min(passed_s / plan.window_s, requests / len(served), 1.0)
