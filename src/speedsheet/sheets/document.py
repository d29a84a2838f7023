"""A sheet as a document: front matter, a section for each precision asked, footnotes numbered over all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from speedsheet.core.measurement import Measurement
from speedsheet.core.request import DEFAULT_CLOCKS
from speedsheet.core.sheet import Column, Sheet
from speedsheet.sheets import front_matter
from speedsheet.sheets.columns import ENGINE, PRECISION, columns, heading, resources, show
from speedsheet.sheets.cost import Price
from speedsheet.sheets.footnotes import Footnotes
from speedsheet.sheets.front_matter import FrontMatter
from speedsheet.sheets.letters import clean
from speedsheet.sheets.words import ENGLISH, Words


@dataclass(frozen=True, slots=True)
class Section:
    """The rows that asked for one precision, under its name: ``FP16``."""

    heading: str
    rows: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """All that any format prints of a sheet; made by `of`."""

    sheet: Sheet
    front: FrontMatter
    words: Words = ENGLISH
    price: Price | None = None
    sections: tuple[Section, ...] = ()
    notes: Footnotes = field(default_factory=lambda: Footnotes(()))

    @classmethod
    def of(
        cls,
        sheet: Sheet,
        given: FrontMatter | None = None,
        *,
        words: Words = ENGLISH,
        price: Price | None = None,
        date: str | None = None,
    ) -> Document:
        """Set a sheet: what `given` does not say comes from the host; `date` is the day on which it was measured."""
        front = (given or FrontMatter()).over(front_matter.observed(sheet, words, date))
        sections = _sections(sheet.rows)
        rows = [row for section in sections for row in section.rows]
        return cls(sheet, front, words, price, sections, Footnotes.of(rows, words))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, the findings as numbers of footnotes."""
        numbers = lambda row: ", ".join(map(str, self.numbers(row))) or None  # noqa: E731
        return columns(self.words, numbers, self.price, accuracy=self.accuracy, clocks=self.clocks)

    @property
    def accuracy(self) -> bool:
        """Whether any row was given labelled samples."""
        return any(row.task_accuracy for row in self.sheet.rows)

    @property
    def clocks(self) -> bool:
        """Whether any row asked for other clocks than the host's."""
        return any(row.clocks != DEFAULT_CLOCKS for row in self.sheet.rows)

    @property
    def legend(self) -> str:
        """How to read the columns."""
        return " ".join([self.words.legend, *([self.words.accuracy_legend] if self.accuracy else [])])

    @property
    def resources(self) -> list[Measurement]:
        """The rows that say what they take beside time."""
        return [row for row in self.sheet.rows if row.peak_rss_mb is not None]

    @property
    def resource_columns(self) -> tuple[Column, ...]:
        """The columns of the table of resources, behind the model's name."""
        return (PRECISION, ENGINE, *resources(self.words))

    @property
    def held(self) -> str:
        """What ± holds of the differences between processes, in a sentence; "" where no row has an interval."""
        counts = {row.processes for row in self.sheet.rows if row.throughput_samples_per_s.half_width is not None}
        if not counts:
            return ""
        most = max(counts)
        if counts == {1}:
            return self.words.one_process
        return self.words.processes.format(n=most) if counts == {most} else self.words.some_processes

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Label and text of the front matter below the title, the price last but for the source."""
        told = list(self.front.lines(self.words))
        if self.price_line:
            text = self.words.aside.format(text=self.price_line, aside=self.words.cost_note)
            told.insert(len(told) - bool(self.front.source), (self.words.labels["price"], text))
        return told

    @property
    def price_line(self) -> str:
        """What the machine costs an hour; "" where no price was given."""
        return self.words.price.format(amount=clean(str(self.price))) if self.price else ""

    @property
    def host(self) -> str:
        """The host that measured, whatever the front matter says."""
        return front_matter.host_line(self.sheet, self.words)

    def numbers(self, row: Measurement) -> Sequence[int]:
        """Return the numbers of the footnotes that a row needs."""
        return self.notes.numbers(row, self.words)

    def heading(self, column: Column) -> str:
        """Return a column's heading."""
        return heading(column, self.words)

    def show(self, column: Column, row: Measurement) -> str:
        """Return the text of one cell."""
        return show(column, row, self.words)


def _sections(rows: Sequence[Measurement]) -> tuple[Section, ...]:
    """Gather rows by the precision asked, in the order in which it first appears."""
    asked = dict.fromkeys(clean(row.precision).upper() for row in rows)
    return tuple(Section(name, tuple(row for row in rows if clean(row.precision).upper() == name)) for name in asked)
