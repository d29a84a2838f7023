"""Aligned text for lists: of models, engines, records, and rows beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from speedsheet.sheets.letters import clean

_GAP = "  "


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int], width: int) -> str:
    """Return lines with the columns numbered in `right` set to the right; the last column is cut to `width` cells."""
    table = [[clean(cell) for cell in row] for row in (head, *rows)]
    sizes = [max(cell_len(row[place]) for row in table) for place in range(len(head))]
    lines = []
    for row in table:
        cells = [_padded(cell, sizes[place], place in right) for place, cell in enumerate(row)]
        line = _GAP.join(cells).rstrip()
        lines.append(line if cell_len(line) <= width else set_cell_size(line, width - 1).rstrip() + "…")
    return "\n".join(lines) + "\n"


def fitted(
    head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int], spared: Sequence[int], width: int
) -> str:
    """Return aligned lines without the columns that do not fit `width` cells: those of `spared` go first, in order."""
    kept = list(range(len(head)))
    for gone in (None, *spared):
        kept = [place for place in kept if place != gone]
        sizes = [max(cell_len(clean(row[place])) for row in (head, *rows)) for place in kept]
        if sum(sizes) + len(_GAP) * (len(kept) - 1) <= width:
            break
    rights = frozenset(number for number, place in enumerate(kept) if place in right)
    return aligned([head[place] for place in kept], [[row[place] for place in kept] for row in rows], rights, width)


def _padded(cell: str, size: int, right: bool) -> str:
    space = " " * (size - cell_len(cell))
    return space + cell if right else cell + space
