"""A suite: a small TOML of rows, and the requests that it makes.

    [suite]
    title = "First rows"
    window = "30s"          # measured window of each row
    budget = "10m"          # of the whole sheet, if there is to be one

    [[row]]
    model = "resnet50"      # a shipped model, or the path of an .onnx file beside this one
    precision = "FP16"
    batch_size = 16
    thread_num = 12

A row may also say engine, device, window, settings, inputs, data, labels, reference, weights, carry, strict_precision
and seed.

What is to stand above the rows goes into [document]: title, publisher, version, date, tool, software, hardware,
clock_note, source. What it leaves out is told by the host. [document.zh] says it in Chinese.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from speedsheet.core.errors import UnknownName, UsageError
from speedsheet.core.request import AS_IS, PRECISIONS, RowRequest
from speedsheet.core.units import parse_duration_s
from speedsheet.sheets.front_matter import FrontMatter
from speedsheet.sheets.languages import LANGUAGES

MAX_BYTES, MAX_ROWS = 1 << 20, 1000
DEFAULT_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Suite:
    """Rows in the order in which they are printed. `budget_s` is for all of them together.

    `front` is the front matter as the suite says it, `translated` what it says anew in a language.
    """

    front: FrontMatter
    requests: tuple[RowRequest, ...]
    budget_s: float | None = None
    translated: Mapping[str, FrontMatter] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The title in its first language; "" where there is none."""
        return self.front.title or ""

    def front_in(self, lang: str) -> FrontMatter:
        """Return the front matter in a language, as far as the suite says it there."""
        return self.translated.get(lang, FrontMatter()).over(self.front)


def load(name: str) -> Suite:
    """Return the suite of a shipped name, or of a path that ends in .toml. Raises UsageError in one line."""
    if not name.endswith(".toml"):
        return parse(_shipped(name), where=name, folder=Path())
    path = Path(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"is larger than {MAX_BYTES >> 20} MiB", where=name, do="give a suite of rows")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=name, do="give the path of a suite") from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", where=name, do="save it as UTF-8") from error
    return parse(text, where=name, folder=path.parent)


def shipped() -> list[str]:
    """Return the names of the suites that come with speedsheet."""
    folder = resources.files("speedsheet") / "data" / "suites"
    return sorted(path.name.removesuffix(".toml") for path in folder.iterdir() if path.name.endswith(".toml"))


def parse(text: str, *, where: str, folder: Path) -> Suite:
    """Return the suite that a TOML text describes; relative paths in it are taken from `folder`."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own errors, and numbers that are too long
        raise UsageError(f"is not TOML: {error}", where=where, do="mend that line") from error
    _known(content, {"suite", "document", "row"}, where)
    head, rows, above = content.get("suite", {}), content.get("row", []), content.get("document", {})
    if (
        not isinstance(head, dict)
        or not isinstance(above, dict)
        or not isinstance(rows, list)
        or not all(isinstance(row, dict) for row in rows)
    ):
        raise UsageError("is not a suite", where=where, do="write one [suite] and a [[row]] for each row")
    if not 1 <= len(rows) <= MAX_ROWS:
        raise UsageError(f"has {len(rows)} rows", where=where, do=f"write 1 to {MAX_ROWS} of [[row]]")
    place = f"{where}, [suite]"
    _known(head, {"title", "window", "budget"}, place)
    window_s = _take(head, "window", parse_duration_s, DEFAULT_WINDOW_S, place)
    requests = tuple(_request(row, window_s, folder, f"{where}, row {n}") for n, row in enumerate(rows, 1))
    front, translated = _fronts(above, f"{where}, [document]")
    front = front.over(FrontMatter(title=_take(head, "title", _text, None, place)))
    return Suite(front, requests, _take(head, "budget", parse_duration_s, None, place), translated)


def parse_precision(text: str) -> str:
    """Read a precision in either case, as published sheets write it or as the contract does."""
    precision = str(text).lower()
    known = (*PRECISIONS, AS_IS)
    if precision not in known:
        near = difflib.get_close_matches(precision, known, n=1)
        do = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
        raise UsageError(f"{text!r} is not a precision", do=do)
    return precision


def _fronts(table: Mapping[str, Any], where: str) -> tuple[FrontMatter, Mapping[str, FrontMatter]]:
    """Read [document] and its tables of languages."""
    keys = [item.name for item in fields(FrontMatter)]
    _known(table, {*keys, *LANGUAGES}, where)
    translated = {}
    for lang in LANGUAGES:
        said = table.get(lang, {})
        if not isinstance(said, dict):
            raise UsageError("is not a table", where=f"{where}, {lang}", do=f"write [document.{lang}]")
        _known(said, keys, f"{where}, {lang}")
        translated[lang] = _front(said, f"{where}, {lang}")
    return _front({key: value for key, value in table.items() if key in keys}, where), translated


def _front(table: Mapping[str, Any], where: str) -> FrontMatter:
    return FrontMatter(**{key: _take(table, key, _date if key == "date" else _text, None, where) for key in table})


def _request(row: Mapping[str, Any], window_s: float, folder: Path, where: str) -> RowRequest:
    _known(row, _ROW_KEYS, where)
    if "model" not in row:
        raise UsageError("names no model", where=where, do='write model = "resnet50" or the path of an .onnx file')
    defaults = {"window": window_s, "engine": "auto", "strict_precision": False, "seed": RowRequest("").seed}
    taken = {
        field: _take(row, key, read, defaults.get(key, empty), where) for key, (field, read, empty) in _FIELDS.items()
    }
    if taken["model"].endswith(".onnx"):
        taken["model"] = str(folder / taken["model"])
    for key in ("data", "reference"):
        if taken[key] is not None:
            taken[key] = folder / taken[key]
    for key in ("weights", "labels"):
        if taken[key] is not None and Path(taken[key]).suffix:  # without one it is a name
            taken[key] = str(folder / taken[key])
    return RowRequest(**taken)


def _take(table: Mapping[str, Any], key: str, read: Callable[[Any], Any], default: Any, where: str) -> Any:
    """Read one key; what is wrong with its value is said with the row and the key."""
    if key not in table:
        return default
    try:
        return read(table[key])
    except UsageError as error:
        raise type(error)(error.what, where=f"{where}, {key}", do=error.do) from error


def _known(table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    for key in table:
        if key not in keys:
            near = difflib.get_close_matches(key, list(keys), n=1)
            do = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(keys))}"
            raise UsageError(f"unknown key {key!r}", where=where, do=do)


def _shipped(name: str) -> str:
    if name not in shipped():
        near = difflib.get_close_matches(name, shipped(), n=1, cutoff=0.5)
        do = (
            f"did you mean {near[0]}?" if near else f"give a path that ends in .toml, or one of: {', '.join(shipped())}"
        )
        raise UnknownName(f"no suite is called {name!r}", do=do)
    return (resources.files("speedsheet") / "data" / "suites" / f"{name}.toml").read_text(encoding="utf-8")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{value!r} is not text", do="write it in quotes")
    return value


def _date(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else _text(value)


def _name(value: Any) -> str:
    if not _text(value).strip():
        raise UsageError("is empty", do="write a name")
    return _text(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{value!r} is not a whole number from 1 up", do="write 1 or more")
    return value


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{value!r} is not a whole number from 0 up", do="write 0 or more")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{value!r} is neither true nor false", do="write true or false")
    return value


def _pairs(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or any(isinstance(item, dict | list) for item in value.values()):
        raise UsageError("is not a table of values", do='write { KEY = "VALUE" }')
    return {key: str(item) for key, item in value.items()}


def _inputs(value: Any) -> tuple[Any, ...]:
    from speedsheet.convert.own.workload import parse_input

    if not isinstance(value, list):
        raise UsageError("is not a list", do='write ["NAME=SHAPE:DTYPE", ...]')
    return tuple(parse_input(_text(item)) for item in value)


#: Keys of a row, in the order of a published sheet: the request's field, how it is read, what it is where absent.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any], Any]] = {
    "model": ("model", _name, None),
    "batch_size": ("batch_size", _count, None),
    "precision": ("precision", lambda value: parse_precision(_text(value)), None),
    "thread_num": ("thread_num", _count, None),
    "engine": ("engine", _name, None),
    "device": ("device", _name, None),
    "window": ("window_s", parse_duration_s, None),
    "settings": ("settings", _pairs, {}),
    "inputs": ("inputs", _inputs, ()),
    "data": ("data", lambda value: Path(_name(value)), None),
    "reference": ("reference", lambda value: Path(_name(value)), None),
    "weights": ("weights", _name, None),
    "labels": ("labels", _name, None),
    "carry": ("carry", _pairs, {}),
    "strict_precision": ("strict_precision", _flag, None),
    "seed": ("seed", _seed, None),
}
_ROW_KEYS = frozenset(_FIELDS)
