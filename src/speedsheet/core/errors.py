"""What can go wrong, as a tree.

    SpeedsheetError
    ├── UsageError            the command was wrong; nothing was built (exit 2)
    │   ├── UnknownName       no such model, engine, suite; with the nearest names
    │   ├── MissingExtra      a library is not installed; with the command that installs it
    │   ├── BadModel          a model file that cannot or must not be loaded
    │   └── BadInput          an input, shape or data file that does not fit the model
    ├── RowFailed             this row has no number; the sheet goes on (exit 1)
    │   ├── EngineFailed      the engine refused the model or failed in a request
    │   ├── PrecisionRefused  the precision asked for did not execute, and --strict-precision was given
    │   ├── WorkerDied        the row's process crashed, hung or was killed
    │   └── ClocksRefused     the clocks that were asked for may not be set here; with who may
    ├── BudgetSpent           no time is left for this row: it is skipped, and nothing of it failed
    └── RecordDamaged         a sealed record that does not verify

Every message is one line: what is wrong, where, and what to do.
"""

from __future__ import annotations

#: A name from a file is printed with so many letters at most.
_NAME_LETTERS = 80


class SpeedsheetError(Exception):
    """Base of every error that speedsheet raises on purpose."""

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what, where, do)
        self.what, self.where, self.do = what, where, do

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.do))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        line = " ".join(line.split())
        return f"{line}; {' '.join(self.do.split())}" if self.do else line


def quoted(name: object) -> str:
    """Return a name from a file so that it can be printed: short, on one line, no control characters."""
    text = ascii(name)
    return text if len(text) <= _NAME_LETTERS else f"{text[: _NAME_LETTERS - 4]}...'"


def _rebuild(kind: type[SpeedsheetError], what: str, where: str, do: str) -> SpeedsheetError:
    return kind(what, where=where, do=do)


class UsageError(SpeedsheetError):
    """The command was wrong; refused before anything is built where that can be known."""


class UnknownName(UsageError):
    """No model, engine, suite or device of that name."""


class MissingExtra(UsageError):
    """A library that this needs is not installed."""


class BadModel(UsageError):
    """A model file that is damaged, unsafe, or not a model."""


class BadInput(UsageError):
    """An input specification or data file that does not fit the model."""


class RowFailed(SpeedsheetError):
    """One row has no number; the sheet goes on."""


class EngineFailed(RowFailed):
    """The engine refused the model, or a request failed."""


class PrecisionRefused(RowFailed):
    """What executed is not what was asked, and the row was to be strict about it."""


class WorkerDied(RowFailed):
    """The process that measured the row crashed, hung, or was killed."""


class ClocksRefused(RowFailed):
    """Clocks may not be set on this host, by this user; says who may."""


class BudgetSpent(SpeedsheetError):
    """The time for the whole sheet ended while this row ran."""


class RecordDamaged(SpeedsheetError):
    """A sealed record whose content does not match its seal."""
