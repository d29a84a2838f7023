"""Both sides of a comparison under way: started afresh again and again, they run blocks in turn.

Each side lives in a process of its own. While one runs a block the other is stopped by a signal: what its engine's
threads would do between requests (they spin, waiting for more) cannot disturb it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.bench.resident import Resident
from speedsheet.bench.row import Ready
from speedsheet.core.comparison import Block, Design, Side
from speedsheet.core.draws import unit
from speedsheet.core.errors import RowFailed
from speedsheet.core.measurement import Gate
from speedsheet.stats.comparison import MIN_GENERATIONS, WARMUP_SHARE, b_first, designed, log_ratios, next_look

SIDES: tuple[Side, Side] = ("a", "b")
#: The loop looks so often whether it is to end.
_LOOK_S, _LEAST_S = 0.05, 0.001
#: Told the share that is done and the seconds that are left.
Tell = Callable[[float, float | None], None]


class SideFailed(Exception):
    """One side has no number, and so there is no ratio."""

    def __init__(self, side: Side, reason: str, gate: Gate | None = None) -> None:
        super().__init__(side, reason)
        self.side, self.reason, self.gate = side, reason, gate


@dataclass(slots=True)
class Match:
    """A comparison under way: `generations` are to be, `log_ratios` has one value for each that is behind.

    `told` holds for each side what its processes said, `blocks` what was measured, `looks` after how many generations
    it was decided how many more there are to be.
    `folder` takes the raw samples; None drops them. `settle_s` is the block in which a fresh process settles, and which
    tells how long a round takes; from the first ones `design` is laid out, unless it is given.
    """

    ready: Mapping[Side, Ready]
    time_s: float
    target: float | None
    seed: int
    stall_limit_s: float
    folder: Path | None
    design: Design | None = None
    settle_s: float = 0.25
    blocks: list[Block] = field(default_factory=list)
    told: dict[Side, list[dict[str, Any]]] = field(default_factory=lambda: {"a": [], "b": []})
    log_ratios: list[float] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    generations: int = 0
    measured_s: float = 0.0
    _timed: bool = False
    _order: NDArray[np.bool_] | None = None
    _began: float = field(default_factory=time.monotonic)
    _run: int = 0

    @property
    def finished(self) -> int:
        """How many generations are behind."""
        return len(self.log_ratios)

    @property
    def over(self) -> bool:
        """Whether all generations are behind."""
        return 0 < self.generations <= self.finished

    def generation(self, tell: Tell) -> None:
        """Start both sides, run their blocks in turn, judge their outputs. Raises SideFailed."""
        began = time.monotonic()
        self._told(tell)
        with ExitStack() as stack:
            sides = {side: self._started(side, stack) for side in SIDES}
            loaded = {side: self._answer(side, sides[side]) for side in SIDES}
            for resident in sides.values():
                resident.freeze()
            settled = {side: self._block(side, sides[side], self.settle_s, 0.0) for side in self._first()}
            rounds_s = {side: settled[side]["round_s"] for side in SIDES}
            design = self._laid_out(max(rounds_s.values()), time.monotonic() - began)
            measured = self._rounds(sides, design, rounds_s, tell)
            ended = self._ended(sides)
        self.blocks += measured
        self.log_ratios += log_ratios(measured, "throughput_samples_per_s")
        for side in SIDES:
            self.told[side].append({**loaded[side], **ended[side]})
        self._keep_time()
        self._look()

    def _keep_time(self) -> None:
        """Leave out the last generations where blocks take longer than laid out: whole ones, by the clock alone."""
        if self._timed:
            each_s = self.measured_s / self.finished
            fit = self.finished + max(round((self.time_s - self.measured_s) / each_s), 0)
            self.generations = min(self.generations, max(fit, MIN_GENERATIONS))

    def _look(self) -> None:
        """Where there is a target, decide how many generations it takes, seldom; see `stats.comparison.next_look`."""
        if self.target is None or not self.over:
            return
        assert self.design is not None
        self.looks.append(self.finished)
        self.generations = next_look(self.log_ratios, self.target, self.looks, self.design.generations)

    def _started(self, side: Side, stack: ExitStack) -> Resident:
        with _of(side):
            job = self.ready[side].job
            return stack.enter_context(Resident(job, stall_limit_s=self.stall_limit_s))

    def _laid_out(self, round_s: float, start_s: float) -> Design:
        if self.design is None:
            self._timed = True
            self.design = designed(self.time_s, round_s=round_s, start_s=start_s, soon=self.target is not None)
        if self._order is None:
            self._order = b_first(self.design, self.seed)
            most = self.design.generations
            self.generations = most if self.target is None else next_look((), self.target, (), most)
        return self.design

    def _first(self) -> tuple[Side, ...]:
        """Return the sides in the order in which they settle, drawn so that neither is favoured."""
        draw = unit(self.seed, "settling", self.finished + 1)[-1]
        return SIDES[::-1] if draw < 0.5 else SIDES  # noqa: PLR2004

    def _rounds(
        self, sides: Mapping[Side, Resident], design: Design, rounds_s: Mapping[Side, float], tell: Tell
    ) -> list[Block]:
        assert self._order is not None
        measured = []
        for place in range(design.rounds):
            order = SIDES[::-1] if self._order[self.finished, place] else SIDES
            for side in order:
                began = time.monotonic()
                # a round goes by before the loop's window opens, half a one on average after it should close, and then
                # some time until the loop looks
                window_s = design.block_s - 1.5 * rounds_s[side] - _LOOK_S
                facts = self._block(side, sides[side], window_s, design.block_s * WARMUP_SHARE)
                self.measured_s += time.monotonic() - began
                del facts["round_s"]
                measured.append(Block(side, self.finished, place, side == order[0], **facts))
                self._run += 1
                self._told(tell)
        return measured

    def _block(self, side: Side, resident: Resident, window_s: float, warmup_s: float) -> dict[str, Any]:
        resident.thaw()
        with _of(side):
            resident.order({"window_s": max(window_s, _LEAST_S), "warmup_s": warmup_s})
            facts = resident.answer()
        resident.freeze()
        return facts

    def _ended(self, sides: Mapping[Side, Resident]) -> dict[Side, dict[str, Any]]:
        """Have both sides judge their outputs and write their samples."""
        for side in SIDES:
            sides[side].thaw()
            path = self.folder and self.folder / f"samples-{side}-{self.finished + 1}.parquet"
            with _of(side):
                sides[side].order({"samples": path and str(path)})
        ended = {side: self._answer(side, sides[side]) for side in SIDES}
        for side in SIDES:
            gate = Gate(**ended[side]["gate"])
            if not gate.passed:
                reason = f"the outputs are wrong: {gate.metric} {gate.value:.4g}, allowed {gate.limit:.4g}"
                raise SideFailed(side, reason, gate)
        return ended

    def _answer(self, side: Side, resident: Resident) -> dict[str, Any]:
        with _of(side):
            return resident.answer()

    def _told(self, tell: Tell) -> None:
        """Tell how much is done, and how long the rest takes: blocks and starts as long as until now."""
        if self.design is None or not self._run:
            tell(0.0, None)
            return
        each = self.design.rounds * 2
        blocks = max(self.generations * each, self._run)
        begun = -(-self._run // each)
        start_s = (time.monotonic() - self._began - self.measured_s) / begun
        left_s = (blocks - self._run) * self.measured_s / self._run + (self.generations - begun) * start_s
        tell(self._run / blocks, max(left_s, 0.0))


@contextmanager
def _of(side: Side) -> Iterator[None]:
    """Say of which side a failure is."""
    try:
        yield
    except RowFailed as error:
        raise SideFailed(side, str(error)) from error
