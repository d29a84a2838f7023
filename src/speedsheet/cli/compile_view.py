"""What compiling would do, as text: three parts, a table where there is something to tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING

from speedsheet.cli.compile_words import CompileWords
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.letters import BLANK, clean
from speedsheet.sheets.listing import aligned
from speedsheet.sheets.wrapping import wrapped
from speedsheet.twin.types import PLACES

if TYPE_CHECKING:
    from speedsheet.twin.compile import Case
    from speedsheet.twin.quantised import Int8Error, Layer, OutputError

#: So many of a long list are shown; scripts get all of it.
_SHOWN = 10
_NAMES = 3
_MB = 1e6


def text(case: Case, said: CompileWords, width: int) -> str:
    """Return the text, lines at most `width` cells wide; the last column of a table is cut."""
    parts = (_head, _operators, _int8, _schedules)
    return "\n".join(part(case, said, width).rstrip("\n") + "\n" for part in parts)


def _head(case: Case, said: CompileWords, width: int) -> str:
    lines = [said.title.format(model=clean(case.name), device=clean(case.device.title))]
    lines += [said.assumed.format(text=clean(one)) for one in case.model.assumptions]
    return _paragraph(lines, width)


def _operators(case: Case, said: CompileWords, width: int) -> str:
    lacking = case.made.unsupported
    if not lacking:
        return _paragraph([said.supported], width)
    rows = [
        (clean(one.operator), said.reasons[one.reason].format(types=", ".join(one.types)), clean(one.name))
        for one in lacking[:_SHOWN]
    ]
    told = _paragraph([said.unsupported.format(n=len(lacking))], width)
    return told + _table(("operator", "why", "node"), rows, frozenset(), said, width, len(lacking) - len(rows))


def _int8(case: Case, said: CompileWords, width: int) -> str:
    error = case.made.int8
    if error is None:
        return _paragraph([said.no_int8], width)
    lines = list(_int8_lines(error, case.made.inputs, said))
    if not error.layers:
        return _paragraph([said.nothing_stored, *lines[1:]], width)
    parts = [_paragraph(lines, width)]
    if error.outputs:
        rows = [_output(one, said) for one in error.outputs]
        parts.append(
            _table(("calibration", "sqnr", "error", "cosine", "output"), rows, frozenset({1, 2, 3}), said, width)
        )
    parts.append(_paragraph([said.worst if error.outputs else said.weights.format(n=len(error.layers))], width))
    columns = ("card", "free", *error.layers[0].output_db, "weights", "product")
    worst = sorted(error.layers, key=_loss)[:_SHOWN]
    rows = [_layer(one) for one in worst]
    left = len(error.layers) - len(rows)
    return "".join([*parts, _table(columns, rows, frozenset(range(5)), said, width, left)])


def _int8_lines(error: Int8Error, source: str, said: CompileWords) -> Iterator[str]:
    if error.blank:
        yield said.blank.format(why=clean(error.blank))
    else:
        yield said.int8.format(
            n=len(error.layers),
            calibration=error.calibration_samples,
            judged=error.judged_samples,
            source=clean(source),
        )
        if not error.outputs:
            yield said.no_output
        elif error.judged_samples == 1:
            yield said.one_sample
    if error.float_products:
        yield said.float_products.format(names=_names(error.float_products, said))
    if error.beyond_fp16:
        yield said.beyond_fp16.format(names=_names(error.beyond_fp16, said))


def _schedules(case: Case, said: CompileWords, width: int) -> str:
    title = said.schedule.format(batch=case.wish.batch_size, precision=case.wish.precision.upper())
    heads = [said.headings["level"], *(f"{said.places[place]} {said.headings[what]}"
             for place in PLACES for what in ("operators", "mb"))]  # fmt: skip
    rows = []
    for name, placed in case.made.schedules.items():
        cells = []
        for place in PLACES:
            there = [one for one in placed if one.place == place]
            cells += [str(len(there)), rounded(sum(one.bytes for one in there) / _MB, usual=3)]
        rows.append((f"{name} *" if name == case.schedule else name, *cells))
    chosen = next(placed for name, placed in case.made.schedules.items() if name == case.schedule)
    largest = sorted(chosen, key=lambda one: -one.bytes)[:_SHOWN]
    listed = [
        (rounded(one.bytes / _MB, usual=3), said.places[one.place], one.kind, clean(one.operator)) for one in largest
    ]
    return (
        _paragraph([title], width)
        + _indented(aligned(heads, rows, frozenset(range(1, 7)), width - 2))
        + "\n"
        + _paragraph([said.largest.format(schedule=case.schedule)], width)
        + _table(("mb", "place", "kind", "operator"), listed, frozenset({0}), said, width, len(chosen) - len(listed))
    )


def _output(one: OutputError, said: CompileWords) -> tuple[str, ...]:
    return (
        said.calibrations[one.calibration],
        _ratio(one.sqnr_db),
        BLANK if one.relative_error is None else rounded(one.relative_error, usual=3),
        BLANK if one.centred_cosine is None else f"{one.centred_cosine:.4f}".removeprefix("0"),
        clean(one.output),
    )


def _layer(one: Layer) -> tuple[str, ...]:
    outputs = (_ratio(ratio) for ratio in one.output_db.values())
    return (_ratio(one.weight_db), _ratio(one.free_weight_db), *outputs, str(one.weight_elements), clean(one.name))


def _loss(one: Layer) -> float:
    """The worst of a product's outputs; where none was computed, its weight."""
    known = [ratio for ratio in one.output_db.values() if ratio is not None]
    return min(known) if known else one.weight_db


def _ratio(db: float | None) -> str:
    return BLANK if db is None or abs(db) == inf else f"{db:.1f}"


def _names(names: Sequence[str], said: CompileWords) -> str:
    shown = ", ".join(clean(name) for name in names[:_NAMES])
    return f"{shown}, {said.others.format(n=len(names) - _NAMES)}" if len(names) > _NAMES else shown


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int], said: CompileWords, width: int,
    left: int = 0,
) -> str:  # fmt: skip
    heads = [said.headings.get(name) or f"{said.headings['sqnr']} {said.calibrations[name]}" for name in columns]
    more = f"  {said.others.format(n=left)}\n" if left > 0 else ""
    return _indented(aligned(heads, rows, right, width - 2)) + more + "\n"


def _indented(table: str) -> str:
    return "".join(f"  {line}\n" for line in table.splitlines())


def _paragraph(lines: Sequence[str], width: int) -> str:
    return "".join(f"{part}\n" for line in lines for part in wrapped(line, width))
