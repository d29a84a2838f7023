"""A latency histogram in text: bars to the right, percentiles named beside the bar that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speedsheet.sheets.digits import rounded
from speedsheet.sheets.letters import to_ascii
from speedsheet.sheets.words import ENGLISH, Words
from speedsheet.sheets.wrapping import wrapped

_EIGHTHS = " ▏▎▍▌▋▊▉"
_HEAVY_TAIL = 4.0
_BINS, _TAIL_BINS = 16, 4


def render(
    title: str,
    latency_ms: NDArray[np.float64],
    marks: Mapping[str, float | None],
    width: int,
    *,
    words: Words = ENGLISH,
    ascii_only: bool = False,
) -> str:
    """Return a histogram of latencies, shape (requests,) in ms, on lines of at most `width` cells.

    `marks` names the percentiles that the sheet shows; null ones are left out. Where the highest latency is more than
    four medians, the bins above 99 % of the requests are logarithmic (all bins, where there are few requests).
    """
    if latency_ms.size == 0:
        return words.no_requests.format(name=title)
    edges, said = _edges(latency_ms)
    counts, _ = np.histogram(latency_ms, edges)
    labels = _labels(edges)
    named = _named(edges, marks)
    label, number = max(map(len, labels)), len(str(counts.max()))
    room = max(width - label - number - max(map(len, named)) - 6, 8)
    lines = wrapped(words.spread.format(name=title, n=latency_ms.size, bins=words.bins[said]), width)
    for text, count, name in zip(labels, counts, named, strict=True):
        bar = _bar(count / counts.max() * room)
        lines.append(f"  {text:>{label}}  {bar:<{room}} {count:>{number}} {name}".rstrip())
    drawn = "\n".join(lines)
    return to_ascii(drawn) if ascii_only else drawn


def _edges(latency_ms: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Return the bins' edges, and the name of how they were cut."""
    low, high = float(latency_ms.min()), float(latency_ms.max())
    if not low < high:
        return np.array([low, high * 1.001 + 1e-9]), "one"
    bins = int(min(_BINS, max(5, np.sqrt(latency_ms.size))))
    if low <= 0 or high <= _HEAVY_TAIL * float(np.median(latency_ms)):
        return np.linspace(low, high, bins + 1), "equal"
    first, last = np.quantile(latency_ms, [0.005, 0.99])
    if bins < _BINS or not low < first < last < high:
        edges, said = np.geomspace(low, high, bins + 1), "logarithmic"
    else:
        bulk, tail = np.linspace(first, last, bins - _TAIL_BINS), np.geomspace(last, high, _TAIL_BINS + 1)
        edges, said = np.concatenate([[low], bulk, tail[1:]]), "mixed"
    edges[0], edges[-1] = low, high  # so that rounding leaves neither end out
    return edges, said


def _labels(edges: NDArray[np.float64]) -> list[str]:
    """Write each bin's lower edge with enough digits to tell it from the next."""
    return [rounded(low, (high - low) / 2) for low, high in pairwise(edges.tolist())]


def _named(edges: NDArray[np.float64], marks: Mapping[str, float | None]) -> list[str]:
    names: list[list[str]] = [[] for _ in edges[1:]]
    for name, value in marks.items():
        if value is not None:
            place = int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, len(names) - 1))
            names[place].append(f"{name} {rounded(value)}")
    return ["  ".join(here) for here in names]


def _bar(cells: float) -> str:
    """Draw so many cells in eighths; what is not nothing shows at least one eighth."""
    eighths = max(round(cells * 8), 1 if cells > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
