"""The check of a published sheet as a table, with a line below each row for what speaks against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, log10
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from speedsheet.cli.twin_view import flip_text
from speedsheet.cli.twin_words import TWIN_WORDS
from speedsheet.sheets.letters import BLANK, clean, to_ascii
from speedsheet.sheets.wrapping import wrapped

if TYPE_CHECKING:
    from speedsheet.cli.check_words import CheckWords
    from speedsheet.published.arithmetic import InFlight
    from speedsheet.published.row import Figure, PublishedSheet
    from speedsheet.twin.checking import RowCheck, SheetCheck

_COLUMNS = ("line", "model", "precision", "batch", "latency", "throughput", "clients", "lost", "share", "verdict")
_TEXTS = frozenset({"model", "precision", "clients", "verdict"})
#: Columns that a narrow terminal goes without, first the ones that the rest tells.
_SPARED = ("line", "latency", "lost", "throughput", "share", "clients", "precision")
_STYLES = {"consistent": "", "doubtful": "yellow", "impossible": "bold red"}
_GAP, _INDENT = "  ", "    "
#: So many lines that are no rows are named; scripts get all.
_UNREAD = 10


def rendered(checked: SheetCheck, words: CheckWords, width: int, *, ascii_only: bool = False) -> Text:
    """Return the whole answer as styled text whose lines fit `width` cells."""
    lines = [*_head(checked, words, width), Text(), *_table(checked.rows, words, width), Text()]
    lines += [Text(part, "dim") for line in _foot(checked, words) for part in wrapped(line, width)]
    whole = Text("\n").join(lines)
    return Text(to_ascii(whole.plain)) if ascii_only else whole


def shipped_list(sheets: Sequence[PublishedSheet], words: CheckWords, width: int) -> str:
    """Return published sheets, one a line."""
    from speedsheet.sheets.listing import aligned

    rows = [
        (sheet.name, sheet.said.get("publisher", ""), str(len(sheet.rows)), sheet.said.get("title", ""))
        for sheet in sheets
    ]
    return aligned(words.listed, rows, frozenset({2}), width)


def _head(checked: SheetCheck, words: CheckWords, width: int) -> Iterator[Text]:
    sheet = checked.sheet
    for part in wrapped(clean(sheet.said.get("title", sheet.name)), width):
        yield Text(part, "bold")
    for key, label in words.said.items():
        if sheet.said.get(key):
            line = words.label.format(label=label, text=clean(sheet.said[key]))
            yield from (Text(part, "dim") for part in wrapped(line, width, "", "  "))


def _table(rows: Sequence[RowCheck], words: CheckWords, width: int) -> Iterator[Text]:
    cells = [dict(zip(_COLUMNS, _cells(row, words), strict=True)) for row in rows]
    shown = [name for name in _COLUMNS if any(row[name] not in {BLANK, ""} for row in cells)]
    for spared in (None, *_SPARED):
        shown = [name for name in shown if name != spared]
        sizes = {name: max(cell_len(words.headings[name]), *(cell_len(row[name]) for row in cells)) for name in shown}
        if sum(sizes.values()) + len(_GAP) * (len(shown) - 1) <= width:
            break
    sizes["model"] = max(min(sizes["model"], width - sum(sizes.values()) + sizes["model"] - 2 * len(shown)), 8)
    yield Text(_line({name: words.headings[name] for name in shown}, sizes), "bold")
    for row, texts in zip(rows, cells, strict=True):
        yield Text(_line({name: texts[name] for name in shown}, sizes), _STYLES[row.verdict])
        for said in _said(row, words):
            yield from (Text(part, "dim") for part in wrapped(said, width, _INDENT, _INDENT))


def _line(texts: dict[str, str], sizes: dict[str, int]) -> str:
    return _GAP.join(_padded(text, sizes[name], left=name in _TEXTS) for name, text in texts.items()).rstrip()


def _padded(text: str, size: int, *, left: bool) -> str:
    while cell_len(text) > size:
        text = text[:-2].rstrip() + "…"
    space = " " * (size - cell_len(text))
    return text + space if left else space + text


def _cells(checked: RowCheck, words: CheckWords) -> list[str]:
    row, implied = checked.row, checked.in_flight
    lost = implied.lost_share if implied else None
    return [
        str(row.line),
        clean(row.model),
        clean(row.precision or BLANK),
        BLANK if row.batch_size is None else str(row.batch_size),
        _figure(row.latency_ms),
        _figure(row.throughput_samples_per_s),
        _clients(implied, words),
        BLANK if lost is None else f"{max(lost, 0.0) * 100:.1f} %",
        BLANK if checked.share is None else f"{checked.share * 100:.0f} %",
        words.verdicts[checked.verdict],
    ]


def _figure(figure: Figure | None) -> str:
    """Write a figure with the decimals that it was printed with."""
    if figure is None:
        return BLANK
    decimals = max(0, -floor(log10(2 * figure.rounding))) if figure.rounding else 0
    return f"{figure.value:.{decimals}f}"


def _clients(implied: InFlight | None, words: CheckWords) -> str:
    if implied is None:
        return BLANK
    if implied.clients is None:
        return words.unknown.format(value=implied.value)
    return (words.stated if implied.stated else words.inferred).format(n=implied.clients)


def _said(checked: RowCheck, words: CheckWords) -> Iterator[str]:
    """Every finding of a row, and what would make it true."""
    for finding in checked.findings:
        known = words.findings.get(finding.code)
        yield words.aside.format(text=known, aside=clean(finding.text)) if known else clean(finding.text)
    if checked.flips:
        yield words.comma.join(flip_text(flip, TWIN_WORDS[words.lang]) for flip in checked.flips)


def _foot(checked: SheetCheck, words: CheckWords) -> Iterator[str]:
    counts = {name: checked.count(name) for name in ("consistent", "doubtful", "impossible")}
    yield words.counts.format(n=len(checked.rows), **counts)
    if checked.derived:
        yield words.derived
    if checked.device is None:
        yield words.no_device
    elif unlimited := sum(row.share is None for row in checked.rows):
        yield words.unlimited.format(n=unlimited, device=clean(checked.device.title))
    for line, why in checked.sheet.unread[:_UNREAD]:
        yield words.unread.format(line=line, why=words.reasons.get(why, why))
    if checked.sheet.unread[_UNREAD:]:
        yield words.more_unread.format(n=len(checked.sheet.unread) - _UNREAD)
    yield words.legend
