"""Read a published sheet: a shipped one by name, or a file of CSV, Markdown or HTML, with its column map beside it.

A map is a small TOML, needed only where the headings do not say enough:

    [sheet]
    title = "..."              # and publisher, version, date, hardware, software, latency, source, note
    device = "stcp920"         # whose limits the rows are held to
    thread_num = 1             # what holds for every row, where the publisher says so elsewhere; also precision, ...

    [columns]                  # field = heading; a unit after it where the heading has none: ["lat", "us"]
    model = "network"

    [[variant]]                # rows that stand side by side in one line: each gives its own columns and constants
    batch_size = 8
    columns = { throughput_samples_per_s = "fps_batch_8" }
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

from speedsheet.core.errors import UnknownName, UsageError
from speedsheet.plugins import did_you_mean
from speedsheet.published.headings import field_of
from speedsheet.published.row import Figure, PublishedRow, PublishedSheet
from speedsheet.published.tables import Table, tables

MAX_BYTES = 32 << 20
_KINDS = {".csv": "csv", ".tsv": "csv", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html"}
_TEXTS = frozenset({"model", "framework", "precision"})
_COUNTS = frozenset({"batch_size", "thread_num"})
_FIELDS = frozenset(item.name for item in fields(PublishedRow)) - {"line"}
_SAID = ("title", "publisher", "version", "date", "hardware", "software", "latency", "source", "note")
#: No figure of a sheet is larger.
_MOST = 10**15
#: Sign, whole part, decimals and exponent of a number, by the sign before its decimals. Within the whole part one kind
#: of separator parts groups of three.
_NUMBERS = {
    point: re.compile(
        rf"([+-]?)(?={re.escape(point)}?\d)([1-9]\d{{0,2}}([{other}' \u00a0\u202f])\d{{3}}(?:\3\d{{3}})*|\d*)"
        rf"(?:{re.escape(point)}(\d*))?(?:e([+-]?\d{{1,3}}))?",
        re.IGNORECASE,
    )
    for point, other in ((".", ","), (",", "."))
}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Which column is which field, what holds for every row, and rows that stand side by side."""

    said: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    variants: tuple[ColumnMap, ...] = ()


def shipped() -> list[str]:
    """Return the names of the published sheets that come with speedsheet."""
    return sorted(path.name.removesuffix(".csv") for path in _folder().iterdir() if path.name.endswith(".csv"))


def load(name: str, map_file: Path | None = None) -> PublishedSheet:
    """Return the sheet of a shipped name or of a file. Raises UsageError in one line."""
    path = Path(name)
    if path.suffix.lower() not in _KINDS:
        if name not in shipped():
            do = f"{did_you_mean(name, shipped())}; or give a .csv, .md or .html file"
            raise UnknownName(f"no published sheet is called {name!r}", do=do)
        if map_file is not None:
            raise UsageError(f"{name} ships with a map of its own", where="--map", do="leave it out, or give a file")
        text, kind = (_folder() / f"{name}.csv").read_text(encoding="utf-8"), "csv"
        own_map = (_folder() / f"{name}.toml").read_text(encoding="utf-8")
    else:
        text, kind = _text_of(path), _KINDS[path.suffix.lower()]
        beside = map_file or path.with_suffix(".toml")
        own_map = _text_of(beside) if map_file or beside.is_file() else ""
    columns = parse_map(own_map, where=str(map_file or name))
    return parse(text, kind, columns, where=name)


def parse(text: str, kind: str, columns: ColumnMap, *, where: str) -> PublishedSheet:
    """Return the rows of every table in a text that has a model and a figure. Raises UsageError where none has."""
    try:
        found = tables(text, kind)
    except ValueError as error:
        raise UsageError(f"is no table: {error}", where=where, do="give a CSV, Markdown or HTML table") from error
    rows: list[PublishedRow] = []
    unread: list[tuple[int, str]] = []
    for table in found:
        for variant in columns.variants or (columns,):
            for line, row, why in _rows(table, columns, variant, where):
                if row is None:
                    unread.append((line, why))
                else:
                    rows.append(row)
    if not rows:
        heads = "; ".join(", ".join(table.headings[:8]) for table in found) or "no table"
        raise UsageError(
            f"no row with a model and a figure was found under: {heads}"[:300],
            where=where,
            do="name the columns in a map (--map FILE.toml: [columns] model = HEADING)",
        )
    return PublishedSheet(where, tuple(rows), columns.said, columns.device, tuple(sorted(set(unread))))


def parse_map(text: str, *, where: str) -> ColumnMap:
    """Read a column map. Raises UsageError naming what is wrong."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own errors, and numbers that are too long
        raise UsageError(f"its map is not TOML: {error}", where=where, do="mend that line") from error
    head, columns, variants = content.get("sheet", {}), content.get("columns", {}), content.get("variant", [])
    tables_of = [head, columns, *(variants if isinstance(variants, list) else [0])]
    if set(content) - {"sheet", "columns", "variant"} or not all(isinstance(part, dict) for part in tables_of):
        raise UsageError(
            "its map has other tables than [sheet], [columns] and [[variant]]", where=where, do="write those"
        )
    said = {key: str(head[key]) for key in _SAID if key in head}
    constants = _constants({key: head[key] for key in head if key not in {*_SAID, "device"}}, where)
    made = tuple(
        ColumnMap(
            constants=_constants({key: part[key] for key in part if key != "columns"}, where),
            columns=_columns(part.get("columns", {}), where),
        )
        for part in variants
    )
    device = str(head["device"]) if "device" in head else None
    return ColumnMap(said, device, constants, _columns(columns, where), made)


def figure(text: str, points: str = ".") -> Figure | None:
    """Read a printed number with half of its last digit; None where the text is none, or larger than any figure.

    Its decimals stand behind the first of `points` with which it is one.

    >>> figure("1,234.50")
    Figure(value=1234.5, rounding=0.005)
    >>> figure("1.234,50", ",")
    Figure(value=1234.5, rounding=0.005)
    """
    match = next((match for point in points if (match := _NUMBERS[point].fullmatch(text.strip()))), None)
    if match is None:
        return None
    sign, whole, _, decimals, exponent = (part or "" for part in match.groups())
    digits, power = re.sub(r"\D", "", whole) or "0", int(exponent or 0)
    value = float(f"{sign}{digits}.{decimals}e{power}")
    rounding = float(f"5e{power - len(decimals) - 1}")
    return Figure(value, rounding) if max(abs(value), rounding) <= _MOST else None


def _rows(
    table: Table, whole: ColumnMap, variant: ColumnMap, where: str
) -> Iterator[tuple[int, PublishedRow | None, str]]:
    """Yield each line's row, or why it is none."""
    places = _places(table, {**whole.columns, **variant.columns}, where)
    if "model" not in places:
        return
    constants = {**whole.constants, **variant.constants}
    points = _points(table, [index for name, (index, _) in places.items() if name not in _TEXTS])
    for line, cells in table.rows:
        taken: dict[str, Any] = dict(constants)
        for name, (index, factor) in places.items():
            if index < len(cells) and (value := _value(name, cells[index], factor, points)) is not None:
                taken[name] = value
        if not taken.get("model"):
            yield line, None, "names no model"
        elif taken.get("latency_ms") is None and taken.get("throughput_samples_per_s") is None:
            yield line, None, "has neither latency nor throughput"
        else:
            yield line, PublishedRow(line, **taken), ""


def _points(table: Table, indices: Sequence[int]) -> str:
    """Return the signs that stand before decimals, first the one for numbers that could be read with either.

    Only semicolons leave the comma free for it. There it goes first, unless more numbers can be read with a point
    alone, or there is no comma.
    """
    if not table.semicolons:
        return "."
    cells = [cells[index] for _, cells in table.rows for index in indices if index < len(cells)]
    commas, points = (sum(figure(cell, point) is not None for cell in cells) for point in ",.")
    usual = any("," in cell for cell in cells)
    return ",." if commas > points or (usual and commas == points) else ".,"


def _places(table: Table, named: Mapping[str, tuple[str, str]], where: str) -> dict[str, tuple[int, float]]:
    """Return the column and the factor of each field; a map's word goes before what a heading says."""
    places: dict[str, tuple[int, float]] = {}
    taken = {heading for heading, _ in named.values()}
    for index, heading in enumerate(table.headings):
        found = None if heading in taken else field_of(heading)
        if found and found[0] not in places and found[0] not in named:
            places[found[0]] = index, found[1]
    for name, (heading, unit) in named.items():
        if heading in table.headings:
            told = field_of(f"{_WORD_OF.get(name, name)} ({unit})") if unit else field_of(heading)
            if unit and told is None:
                raise UsageError(f"its map gives {heading} the unknown unit {unit!r}", where=where, do="write ms or us")
            places[name] = table.headings.index(heading), told[1] if told and told[0] == name else 1.0
    return places


_WORD_OF = {
    "latency_ms": "latency",
    "p99_ms": "p99",
    "throughput_samples_per_s": "throughput",
    "gmac_per_sample": "macs",
    "params_millions": "params",
}


def _value(name: str, cell: str, factor: float, points: str) -> Any:
    if name in _TEXTS:
        return cell or None
    number = figure(cell, points)
    if number is None or number.value <= 0:
        return None
    if name in _COUNTS:
        return int(number.value) if number.value == int(number.value) else None
    return Figure(number.value * factor, number.rounding * factor)


def _constants(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key, value in table.items():
        if key in _COUNTS:
            fits, do = type(value) is int and 1 <= value <= _MOST, "write a whole number, 1 at the least"
        else:
            fits, do = key in _TEXTS and isinstance(value, str), f"known: {', '.join(sorted(_TEXTS | _COUNTS))}"
        if not fits:
            raise UsageError(f"its map says {key} = {value!r}"[:200], where=where, do=do)
    return dict(table)


def _columns(table: Any, where: str) -> dict[str, tuple[str, str]]:
    if not isinstance(table, dict):
        raise UsageError("its map's columns are no table", where=where, do='write columns = { model = "HEADING" }')
    found = {}
    for name, said in table.items():
        pair = [said, ""] if isinstance(said, str) else said
        known = name in _FIELDS and isinstance(pair, list) and list(map(type, pair)) == [str, str]
        if not known:
            raise UsageError(
                f"its map says {name} = {said!r}",
                where=where,
                do=f'write FIELD = "HEADING"; fields: {", ".join(sorted(_FIELDS))}',
            )
        found[name] = pair[0], pair[1]
    return found


def _folder() -> Any:
    return resources.files("speedsheet") / "data" / "published"


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"is larger than {MAX_BYTES >> 20} MiB", where=str(path), do="cut out the table")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), do="give a readable file") from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", where=str(path), do="save it as UTF-8") from error
