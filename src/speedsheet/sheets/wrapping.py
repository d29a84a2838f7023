"""Text on lines of so many cells: broken at spaces, and between letters that are two cells wide."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len

_CLOSING = "，。；：、）》」！？"  # noqa: RUF001  full-width punctuation ends no line before it
_OPENING = "（《「"  # noqa: RUF001  and begins none behind it
_WIDE = r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uff60]"
_PIECE = re.compile(rf" +|[{_OPENING}]*(?:{_WIDE}|(?:(?!{_WIDE})[^ ])+)[{_CLOSING}]*")


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Return lines of at most `width` cells; the first begins with `first`, the others with `rest`.

    A word that is longer than a line is cut.
    """
    lines, line, empty = [], first, True
    for piece in _pieces(text, max(width - max(cell_len(first), cell_len(rest)), 2)):
        if cell_len(line + piece) > width and not empty:
            lines.append(line.rstrip())
            line, empty = rest, True
        if not (empty and piece.isspace()):
            line, empty = line + piece, False
    return [*lines, line.rstrip()] if not empty else lines


def _pieces(text: str, most: int) -> Iterator[str]:
    """Cut text where lines may end, into pieces of at most so many cells."""
    for match in _PIECE.finditer(text):
        piece = match[0]
        while cell_len(piece) > most:
            head = piece[:most]
            while cell_len(head) > most or (len(head) > 1 and piece[len(head)] in _CLOSING):
                head = head[:-1]
            yield head
            piece = piece[len(head) :]
        yield piece
