"""Blocks of a simulated comparison: what a shared host does to two sides that are measured in turn.

Used to count how often intervals hold and verdicts are false, in simulated time. Speeds are in logarithms, so that a
`white` of 0.02 is two per cent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speedsheet.core.comparison import Design
from speedsheet.stats.comparison import b_first

_Runs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Noise:
    """What disturbs a comparison.

    `white` is the deviation of one block, `tails` its Student degrees of freedom (0: normal). `slow` is the deviation
    of the whole host, which wanders with the correlation time `tau_s`. `offset` is that of a process for as long as it
    lives. `drift_per_min` is steady. A neighbour comes and goes, `regime_s` each time, and slows the host by `regime`.
    """

    white: float = 0.01
    tails: int = 0
    slow: float = 0.0
    tau_s: float = 3.0
    offset: float = 0.0
    drift_per_min: float = 0.0
    regime: float = 0.0
    regime_s: float = 5.0


#: What shared hosts do; the power of a comparison is stated for the second.
HOSTS = {
    "independent, 2 %": Noise(white=0.02),
    "realistic": Noise(white=0.02, slow=0.03, tau_s=3.0, offset=0.005),
    "processes differ by 1 %": Noise(white=0.02, offset=0.01),
    "processes differ by 2 %": Noise(white=0.02, offset=0.02),
    "correlated over 3 s, 10 %": Noise(white=0.02, slow=0.1, tau_s=3.0, offset=0.005),
    "correlated over 30 s, 10 %": Noise(white=0.02, slow=0.1, tau_s=30.0, offset=0.005),
    "drift of 20 % a minute": Noise(white=0.02, drift_per_min=0.2, offset=0.005),
    "a neighbour takes a third for 5 s": Noise(white=0.02, regime=0.4, regime_s=5.0, offset=0.005),
    "a neighbour takes a third for 60 s": Noise(white=0.02, regime=0.4, regime_s=60.0, offset=0.005),
    "heavy tails": Noise(white=0.02, tails=2, offset=0.005),
}
REALISTIC = HOSTS["realistic"]


def log_ratios(
    runs: int, design: Design, noise: Noise, *, difference: float = 0.0, start_s: float = 2.5, seed: int = 920
) -> NDArray[np.float64]:
    """Return (runs, generations, rounds): log of B over A in each pair; B is faster by `difference`, in log."""
    draw = np.random.default_rng(seed)
    order = np.stack([b_first(design, seed * 1_000_003 + run) for run in range(runs)])
    host = _Host(noise, draw, runs)
    found = np.empty((runs, design.generations, design.rounds))
    for generation in range(design.generations):
        host.pass_time(start_s)
        offsets = noise.offset * draw.standard_normal((2, runs))
        for place in range(design.rounds):
            first, second = (host.block(design.block_s) for _ in range(2))
            b, a = (np.where(order[:, generation, place], *pair) for pair in ((first, second), (second, first)))
            found[:, generation, place] = difference + (b + offsets[1]) - (a + offsets[0])
    return found


class _Host:
    """The state of each run's host, moved on block by block."""

    def __init__(self, noise: Noise, draw: np.random.Generator, runs: int) -> None:
        self._noise, self._draw, self._runs = noise, draw, runs
        self._slow, self._now_s = draw.standard_normal(runs), 0.0
        self._crowded = draw.random(runs) < 0.5

    def pass_time(self, seconds: float) -> None:
        """Let the host wander and neighbours come and go."""
        kept = np.exp(-seconds / self._noise.tau_s)
        self._slow = kept * self._slow + np.sqrt(1 - kept**2) * self._draw.standard_normal(self._runs)
        changed = self._draw.random(self._runs) < (1 - np.exp(-2 * seconds / self._noise.regime_s)) / 2
        self._crowded ^= changed
        self._now_s += seconds

    def block(self, seconds: float) -> _Runs:
        """Return the log speed of one block on each host."""
        self.pass_time(seconds)
        noise = self._noise
        draw = self._draw
        own = draw.standard_t(noise.tails, self._runs) if noise.tails else draw.standard_normal(self._runs)
        steady = noise.slow * self._slow + noise.drift_per_min * self._now_s / 60 - noise.regime * self._crowded
        said: _Runs = noise.white * own + steady
        return said
