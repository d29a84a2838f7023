"""A stream as something to write on: how wide it is, whether it is a terminal, which letters it has."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from speedsheet.sheets.letters import to_ascii

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_FILE_WIDTH = 140
_LETTERS = "─█▏±≤≥·…\N{EN DASH}━"


@dataclass(frozen=True, slots=True)
class Screen:
    """One of the two output streams. `ascii_only` where its encoding lacks our signs."""

    stream: TextIO
    console: Console
    ascii_only: bool

    @property
    def terminal(self) -> bool:
        """Whether somebody is looking."""
        return self.console.is_terminal

    @property
    def width(self) -> int:
        """Cells on a line."""
        return self.console.width

    @property
    def line_width(self) -> int:
        """Cells of a line of text: the terminal's, or as many as a file is comfortably read at."""
        return self.width if self.terminal else _FILE_WIDTH

    def has(self, letters: str) -> bool:
        """Whether these letters can be written here."""
        return _encodes(self.stream, letters)

    def write(self, text: str) -> None:
        """Write lines as they are, however long."""
        self.stream.write(to_ascii(text) if self.ascii_only else text)

    def show(self, text: Text) -> None:
        """Write styled lines; without colour where the terminal or NO_COLOR says so."""
        self.console.print(text)


def output() -> Screen:
    """Return standard output."""
    return _screen(sys.stdout)


def errors() -> Screen:
    """Return standard error."""
    return _screen(sys.stderr)


def _screen(stream: TextIO) -> Screen:
    from rich.console import Console

    ascii_only = not _encodes(stream, _LETTERS)
    if hasattr(stream, "reconfigure"):  # a model's name may hold letters that even a UTF-8 stream refuses
        stream.reconfigure(errors="replace")
    return Screen(stream, Console(file=stream, highlight=False, markup=False, emoji=False), ascii_only)


def _encodes(stream: TextIO, letters: str) -> bool:
    try:
        letters.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
