"""The sheet of a page, in each language: front matter, columns that the rows of all runs share, numbered notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import inf

from speedsheet.core.measurement import Measurement
from speedsheet.core.sheet import Column, Sheet
from speedsheet.history.sources import PUBLISHED_CLOCK, Run
from speedsheet.pages.words import phrase
from speedsheet.sheets.columns import COST, ENGINE, columns, cost, is_number, show
from speedsheet.sheets.cost import Price
from speedsheet.sheets.document import Document
from speedsheet.sheets.footnotes import Footnotes, Note
from speedsheet.sheets.front_matter import FrontMatter, observed
from speedsheet.sheets.languages import LANGUAGES
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.sheets.words import ENGLISH, Words

#: Columns that a phone does without; the details have them.
_MINOR = frozenset({"Framework", "p90", "p99", "Executed", "Gate", "Findings", "thread_num", "Batch size", "Engine"})
#: The code of the note on rows that somebody else printed.
_PUBLISHED = "published"

Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Head:
    """A column of the sheet: its heading by language, whether it holds numbers, whether a phone does without it."""

    heading: Texts
    number: bool
    minor: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell by language, and what it is sorted by; null sorts last."""

    text: Texts
    key: str | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of all runs, in their order: a cell for each head, and the notes that a row needs, by their numbers.

    `notes` are all of them in each language, numbered from 1.
    """

    heads: tuple[Head, ...]
    cells: tuple[tuple[Cell, ...], ...]
    findings: tuple[tuple[tuple[int, Texts], ...], ...]
    notes: Mapping[str, tuple[Note, ...]]
    legend: Texts


def table(runs: Sequence[Run]) -> Table:
    """Set the rows of all runs under the columns that any of them needs."""
    rows = [(run, row) for run in runs for row in run.rows]
    set_in = {lang: _whole([row for _, row in rows], words) for lang, words in LANGUAGES.items()}
    currencies = list(dict.fromkeys(price.currency for run in runs if (price := priced(run))))
    columns_of = [{lang: _columns(whole, currencies, priced(run)) for lang, whole in set_in.items()} for run in runs]
    under = [each for run, each in zip(runs, columns_of, strict=True) for _ in run.rows]
    return Table(
        heads=tuple(
            Head(
                {lang: set_in[lang].heading(columns_of[0][lang][place]) for lang in set_in},
                is_number(column), column.name in _MINOR,
            )
            for place, column in enumerate(columns_of[0][ENGLISH.lang])
        ),
        cells=tuple(_cells(row, each) for (_, row), each in zip(rows, under, strict=True)),
        findings=tuple(_findings(row, set_in) for _, row in rows),
        notes={lang: whole.notes.notes for lang, whole in set_in.items()},
        legend={lang: whole.legend for lang, whole in set_in.items()},
    )  # fmt: skip


def above(run: Run) -> dict[str, Document]:
    """Set what stands above a run's rows in each language: what its publisher said as he said it, the rest observed.

    A sheet was printed in one language; what it has of its host in that one is no publisher's, and is told anew.
    """
    sheet = Sheet(run.host, run.rows)
    seen = observed(sheet, LANGUAGES.get(str(run.document.get("lang")), ENGLISH), None)
    told = {item.name: run.document.get(item.name) for item in fields(FrontMatter)}
    given = FrontMatter(**{name: str(text) for name, text in told.items() if text and text != getattr(seen, name)})
    return {
        lang: Document(sheet, given.over(observed(sheet, words, None)), words, priced(run))
        for lang, words in LANGUAGES.items()
    }


def priced(run: Run) -> Price | None:
    """Return what the run's machine costs an hour, null where it was not said."""
    per_hour = run.document.get("price_per_hour")
    if not isinstance(per_hour, int | float) or not 0 < per_hour < inf:
        return None
    return Price(float(per_hour), str(run.document.get("currency") or ""))


def _whole(rows: Sequence[Measurement], words: Words) -> Document:
    """Set rows as one document; those that somebody else printed have one note, and that is what they are."""
    ours = [row for row in rows if row.clock != PUBLISHED_CLOCK]
    notes = Footnotes.of(ours, words).notes
    if len(ours) < len(rows):
        notes = (*notes, Note(_PUBLISHED, phrase("published_note", words.lang)))
    return Document(Sheet({}, tuple(rows)), FrontMatter(), words, notes=Footnotes(notes))


def _numbers(row: Measurement, whole: Document) -> Sequence[int]:
    return (len(whole.notes.notes),) if row.clock == PUBLISHED_CLOCK else whole.numbers(row)


def _columns(whole: Document, currencies: Sequence[str], price: Price | None) -> tuple[Column, ...]:
    """Return the columns of a run: those of all runs, and for each currency what samples cost where it has a price."""
    declared = columns(
        whole.words, lambda row: ", ".join(map(str, _numbers(row, whole))) or None,
        accuracy=whole.accuracy, clocks=whole.clocks,
    )  # fmt: skip
    costs = [
        cost(price) if price and price.currency == currency else Column(COST, currency, "lower", lambda _: None)
        for currency in currencies
    ]
    place = declared.index(ENGINE)
    return (*declared[:place], *costs, *declared[place:])


def _cells(row: Measurement, under: Mapping[str, Sequence[Column]]) -> tuple[Cell, ...]:
    return tuple(
        Cell({lang: _text(under[lang][place], row, words) for lang, words in LANGUAGES.items()}, _key(column, row))
        for place, column in enumerate(under[ENGLISH.lang])
    )


def _text(column: Column, row: Measurement, words: Words) -> str:
    return BLANK if _unprinted(column, row) else show(column, row, words)


def _key(column: Column, row: Measurement) -> str | float | None:
    value = column.value(row)
    if _unprinted(column, row) or value is None:
        return None
    return value if isinstance(value, float | int) else clean(value).lower()


def _unprinted(column: Column, row: Measurement) -> bool:
    """Whether a published row leaves it out: no count that anybody prints is 0."""
    return row.clock == PUBLISHED_CLOCK and column.value(row) == 0


def _findings(row: Measurement, set_in: Mapping[str, Document]) -> tuple[tuple[int, Texts], ...]:
    """Return the notes of one row by their numbers: what each is and what to do, with the row's own figures."""
    said = {lang: _said(row, whole) for lang, whole in set_in.items()}
    return tuple((number, {lang: said[lang][number] for lang in said}) for number in sorted(said[ENGLISH.lang]))


def _said(row: Measurement, whole: Document) -> dict[int, str]:
    every = whole.notes.notes
    own = every[-1:] if row.clock == PUBLISHED_CLOCK else Footnotes.of((row,), whole.words).notes
    numbers = {note.code: number for number, note in enumerate(every, 1)}
    told = {note.code: [text for text in (note.says, *(text for _, text in note.by_row)) if text] for note in own}
    return {numbers[code]: f"{code}: {whole.words.listed(texts)}" for code, texts in told.items()}
