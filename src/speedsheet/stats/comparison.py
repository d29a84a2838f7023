"""A against B from interleaved blocks: the ratio with an interval that holds, and the verdict.

Two processes of one program can differ for as long as they live, because of where their memory happens to lie
(Mytkowicz et al., "Producing wrong data without doing anything obviously wrong", ASPLOS 2009); blocks that follow each
other are correlated; and a shared host drifts. So each side's block is compared with the other side's block beside
it, both sides are started afresh several times, and one start of both, a generation, is one observation: the interval
is Student's over the generations (the highest level that is repeated, Kalibera and Jones, "Rigorous benchmarking in
reasonable time", ISMM 2013). A pooled t over all pairs takes the offset of a process for a difference of the sides.

Everything is in logarithms of B over A, so that A against B and B against A say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import ceil, exp, log

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.comparison import VERDICT_CONFIDENCE, Block, Design, Outcome, Ratio, Side, Verdict
from speedsheet.core.draws import unit
from speedsheet.core.samples import WARMUP, Samples
from speedsheet.stats.student import t_quantile

CONFIDENCE = 0.95
#: Fewer starts have no interval: with five degrees of freedom Student's quantile at 99 % is already 4.0.
MIN_GENERATIONS = 6
#: Where the time is not short, this many starts share it, each measuring for at most so long; less with a target, so
#: that there are soon enough of them to look.
_GENERATIONS, _GENERATION_S, _SOON_S = 10, 6.0, 2.0
#: A block is so long, or so many rounds of the slower side; of them the first, and the first fifth, are warm-up.
BLOCK_S, BLOCK_ROUNDS = 0.5, 4
WARMUP_SHARE = 0.2
_student = cache(t_quantile)
#: With a target: how many generations before anybody looks, and how much further on the next look is at least.
FIRST_LOOK, _FURTHER = 10, 1.2


def designed(time_s: float, *, round_s: float, start_s: float, soon: bool = False) -> Design:
    """Lay out `time_s` of measuring for sides whose slower round takes `round_s` and whose start takes `start_s`.

    A generation measures at least as long as its start takes, so that at most half the time goes into starts, unless
    that leaves too few of them. With `soon`, generations are as short as they may be.
    """
    block_s = max(BLOCK_S, BLOCK_ROUNDS * round_s)
    each_s = max(min(time_s / _GENERATIONS, _SOON_S if soon else _GENERATION_S), start_s, 2 * block_s)
    generations = max(MIN_GENERATIONS, int(time_s / each_s + 0.01))
    rounds = max(1, int(time_s / generations / (2 * block_s) + 0.01))
    return Design(generations, rounds, block_s)


def b_first(design: Design, seed: int) -> NDArray[np.bool_]:
    """Return (generations, rounds): in which pairs B runs before A.

    Drawn at random, every second round the mirror of the one before it: ABBA or BAAB, in which a steady drift cancels.
    """
    couples = -(-design.rounds // 2)
    drawn = unit(seed, "pairs", design.generations * couples).reshape(design.generations, couples) < 0.5  # noqa: PLR2004
    mirrored = np.stack([drawn, ~drawn], axis=-1).reshape(design.generations, -1)
    return mirrored[:, : design.rounds]


def centre(log_ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Hodges-Lehmann estimate along the last axis: the median of the means of all pairs of values.

    It is as sharp as the mean where noise is normal, and a neighbour who spoils a quarter of the blocks does not move
    it far (Hodges and Lehmann, Annals of Mathematical Statistics 34, 1963).
    """
    one, other = np.triu_indices(log_ratios.shape[-1])
    walsh = (log_ratios[..., one] + log_ratios[..., other]) / 2
    middle: NDArray[np.float64] = np.median(walsh, axis=-1)
    return middle


def log_ratios(blocks: Sequence[Block], figure: str) -> list[float]:
    """Return one log ratio of B over A for each generation: the centre of those of its pairs.

    `figure` names a field of the blocks.
    """
    pairs: dict[int, dict[int, dict[str, float]]] = {}
    for block in blocks:
        rounds = pairs.setdefault(block.generation, {})
        rounds.setdefault(block.round, {})[block.side] = log(getattr(block, figure))
    each = [[pair["b"] - pair["a"] for pair in rounds.values()] for rounds in pairs.values()]
    return [float(centre(np.asarray(values))) for values in each]


def typical(blocks: Sequence[Block], side: Side, figure: str) -> Ratio:
    """Return what one side's blocks say of a figure, with its interval over the generations."""
    values: dict[int, list[float]] = {}
    for block in blocks:
        if block.side == side:
            values.setdefault(block.generation, []).append(log(getattr(block, figure)))
    return ratio([float(centre(np.asarray(each))) for each in values.values()])


def log_interval(
    generations: NDArray[np.float64], confidence: float, looks: Sequence[int] = ()
) -> tuple[NDArray[np.float64], ...]:
    """Return the middle, the lower and the upper end of Student's interval over the last axis.

    `looks` are the numbers of generations after which it was decided how many more there should be. Whoever goes on
    until the spread happens to look small ends with too small a one; so it counts as the largest of all looks.
    """
    count = generations.shape[-1]
    spread = np.max([generations[..., :n].std(axis=-1, ddof=1) for n in {*looks, count}], axis=0)
    middle = generations.mean(axis=-1)
    half = _student(confidence, count - 1) * spread / np.sqrt(count)
    return middle, middle - half, middle + half


def ratio(generations: Sequence[float], confidence: float = CONFIDENCE, looks: Sequence[int] = ()) -> Ratio:
    """Return the ratio from one log ratio for each generation; too few of them have no interval."""
    if not generations:
        return Ratio(confidence=confidence)
    values = np.asarray(generations, np.float64)
    if values.size < MIN_GENERATIONS:
        return Ratio(exp(float(values.mean())), confidence=confidence)
    middle, low, high = (exp(float(value)) for value in log_interval(values, confidence, looks))
    return Ratio(middle, low, high, confidence)


def verdict(generations: Sequence[float], looks: Sequence[int] = ()) -> Verdict | None:
    """Return whether B is faster or slower than A at 99 %; None where there are too few generations to say."""
    found = ratio(generations, VERDICT_CONFIDENCE, looks)
    if found.low is None or found.high is None:
        return None
    outcome: Outcome = "faster" if found.low > 1 else "slower" if found.high < 1 else "none"
    return Verdict(outcome, found.low, found.high)


def next_look(generations: Sequence[float], target: float, looks: Sequence[int], most: int) -> int:
    """Return after how many generations, at most `most`, the ratio's half-width should be at most `target`.

    Looked at seldom: first after ten, then where the spread says that it will do, and at least a fifth further on.
    With the largest spread of the looks this keeps coverage; stopping as soon as the width is reached does not
    (Stein, Annals of Mathematical Statistics 16, 1945, decides once; that fails where spread comes late).
    """
    count = len(generations)
    if not looks:
        return min(FIRST_LOOK, most)
    half = ratio(generations, looks=looks).half_width
    if half is None or half <= target:
        return count
    return min(max(ceil(count * (half / target) ** 2), ceil(count * _FURTHER)), most)


def counted(block: Samples, thread_num: int, warmup_ns: int) -> Samples:
    """Return a block whose first `warmup_ns` are warm-up, and which counts whole rounds from there to its end.

    Where that would leave no round, the last one is counted.
    """
    inside = np.flatnonzero(block.window)
    late = int(np.count_nonzero(block.end_ns[inside] > block.start_ns.min() + warmup_ns))
    keep = max(late // thread_num, 1) * thread_num
    if keep >= inside.size:
        return block
    phase = block.phase.copy()
    phase[inside[:-keep]] = WARMUP
    return replace(block, phase=phase, open_ns=int(block.end_ns[inside[-keep - 1]]))
