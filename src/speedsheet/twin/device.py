"""A device as data: a TOML in which every number has a unit in its name and a source beside it.

[device]
name = "stcp920"
title = "STCP920"
precisions = ["fp16", "int8"]
clocked = ["matrix", "vector"]        # what a clock setting scales

[link_in_gb_per_s]                    # quantity, then unit
value = 8.75
source = "qualification tool, manual section 5"
alternatives = [{ value = 8.0, source = "the same tool, lower end" }]
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from speedsheet.core.errors import UnknownName, UsageError
from speedsheet.plugins import did_you_mean

MAX_BYTES = 1 << 20
#: No fact of a card is a larger number, in any unit.
_MOST = 1e18
_RATE = {"bytes_per_s": 1.0, "mb_per_s": 1e6, "gb_per_s": 1e9, "tb_per_s": 1e12, "gib_per_s": float(1 << 30)}
_SIZE = {"bytes": 1.0, "kib": 1024.0, "mib": float(1 << 20), "gib": float(1 << 30), "gb": 1e9}
_CLOCK = {"hz": 1.0, "mhz": 1e6, "ghz": 1e9}
_PEAK = {"tmacs_per_s": 1e12, "tops": 0.5e12, "tflops": 0.5e12}
_COUNT = {"count": 1.0}
_CYCLE = {"macs_per_cycle": 1.0}
_POWER = {"w": 1.0}
#: What a device file may state, with the units of each; a unit's factor leads to bytes, hertz, MACs, seconds.
QUANTITIES: Mapping[str, Mapping[str, float]] = {
    "clusters": _COUNT,
    "cores_per_cluster": _COUNT,
    "clock": _CLOCK,
    "clock_lowest": _CLOCK,
    "clock_highest": _CLOCK,
    "matrix_fp16": _CYCLE,
    "matrix_int8": _CYCLE,
    "matrix_rows": _COUNT,
    "matrix_columns": _COUNT,
    "vector_lanes": _COUNT,
    "l1_data": _SIZE,
    "l1_weight": _SIZE,
    "llb": _SIZE,
    "llb_bandwidth": _RATE,
    "ddr": _SIZE,
    "ddr_bandwidth": _RATE,
    "link_in": _RATE,
    "link_out": _RATE,
    "host_threads": _COUNT,
    "peak_fp32": _PEAK,
    "peak_bf16": _PEAK,
    "peak_fp16": _PEAK,
    "peak_fp8": _PEAK,
    "peak_int8": _PEAK,
    "power": _POWER,
}
#: Without these not even a ceiling can be told; the peak may be stated, or follow from the arrays and the clock.
REQUIRED = ("clusters", "link_in")
#: With these too a request can be costed.
ARRAYS = ("cores_per_cluster", "clock", "matrix_rows", "matrix_columns", "vector_lanes", "l1_data", "llb",
          "llb_bandwidth", "ddr_bandwidth", "host_threads")  # fmt: skip
_CLOCKED = ("matrix", "vector", "llb")
_HEAD = frozenset({"name", "title", "precisions", "clocked", "published", "note"})


@dataclass(frozen=True, slots=True)
class Fact:
    """A published number in base units (bytes, hertz, MACs, seconds), its source, and what other sources say."""

    value: float
    source: str
    stated: str
    alternatives: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """Published facts of a card; nothing fitted. `clock_hz` is the base clock unless another was set."""

    name: str
    title: str
    precisions: tuple[str, ...]
    clocked: frozenset[str]
    facts: Mapping[str, Fact]
    published: str | None = None
    set_clock_hz: float | None = None

    def __getitem__(self, quantity: str) -> float:
        """Return a fact in base units. Raises UsageError where the file does not state it."""
        if quantity not in self.facts:
            raise UsageError(f"states no {quantity}", where=self.name, do=f"add [{quantity}_{_usual(quantity)}]")
        return self.facts[quantity].value

    def get(self, quantity: str) -> float | None:
        """Return a fact in base units, or None."""
        return self.facts[quantity].value if quantity in self.facts else None

    @property
    def clusters(self) -> int:
        """How many requests it serves at once."""
        return int(self["clusters"])

    @property
    def modelled(self) -> bool:
        """Whether the file says enough to cost a request, and not only to bound it."""
        return all(quantity in self.facts for quantity in ARRAYS)

    @property
    def clock_hz(self) -> float:
        """The clock in force."""
        return self["clock"] if self.set_clock_hz is None else self.set_clock_hz

    def clock_ratio(self, domain: str) -> float:
        """How much faster a domain runs than at the base clock; 1 where the file does not say that it is clocked."""
        return self.clock_hz / self["clock"] if self.set_clock_hz and domain in self.clocked else 1.0

    def at_clock(self, clock_hz: float) -> DeviceSpec:
        """Return the device at another clock. Raises UsageError outside the range that the file states."""
        low, high = self.get("clock_lowest"), self.get("clock_highest")
        if low is None or high is None:
            raise UsageError("states no range of clocks", where=self.name, do="leave --clock out for this device")
        if not low <= clock_hz <= high:
            raise UsageError(
                f"a clock of {clock_hz / 1e9:g} GHz cannot be set on {self.title}",
                do=f"give {low / 1e9:g}GHz to {high / 1e9:g}GHz",
            )
        return replace(self, set_clock_hz=clock_hz)

    def peak_macs_per_s(self, precision: str) -> float | None:
        """Return the multiply-accumulates per second of the whole device; None for a type that it does not have."""
        if precision not in self.precisions:
            return None
        stated = self.get(f"peak_{precision}")
        per_cycle = self.get(f"matrix_{precision}")
        if per_cycle is None or "clock" not in self.facts:
            return None if stated is None else stated * self.clock_ratio("matrix")
        cores = self["clusters"] * (self.get("cores_per_cluster") or 1.0)
        return cores * per_cycle * self["clock"] * self.clock_ratio("matrix")


def shipped() -> list[str]:
    """Return the names of the devices that come with speedsheet."""
    return sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))


def load(name: str) -> DeviceSpec:
    """Return the device of a shipped name, or of a path that ends in .toml. Raises UsageError in one line."""
    if not name.endswith(".toml"):
        if name not in shipped():
            do = f"{did_you_mean(name, shipped())}; or give the path of a .toml file"
            raise UnknownName(f"no device is called {name!r}", do=do)
        return parse((_folder() / f"{name}.toml").read_text(encoding="utf-8"), where=name)
    path = Path(name)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"is larger than {MAX_BYTES >> 20} MiB", where=name, do="give a device file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", where=name, do="give the path of a device file"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", where=name, do="save it as UTF-8") from error
    return parse(text, where=name)


def parse(text: str, *, where: str) -> DeviceSpec:
    """Return the device that a TOML text describes; what is wrong is said with its line."""
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own errors, and numbers that are too long
        raise UsageError(f"is not TOML: {error}", where=where, do="mend that line") from error
    file = _File(text, where)
    head = content.pop("device", None)
    if not isinstance(head, dict):
        raise UsageError("has no [device]", where=where, do='write [device] with name = "..."')
    facts = dict(_fact(key, table, file) for key, table in content.items())
    _required(facts, file)
    return _device(head, facts, file)


@dataclass(frozen=True, slots=True)
class _File:
    """The text that is read, to name a line in it."""

    text: str
    where: str

    def wrong(self, key: str, what: str, do: str, within: str = "") -> UsageError:
        """Return the complaint about a key: the line of its table, or of `within` in that table."""
        return UsageError(what, where=f"{self.where}, {self._line(key, within)}", do=do)

    def _line(self, key: str, within: str) -> str:
        lines = self.text.splitlines()
        table = re.compile(rf"\s*(\[\s*[\"']?{re.escape(key)}[\"']?\s*\]|[\"']?{re.escape(key)}[\"']?\s*=)")
        first = next((n for n, line in enumerate(lines, 1) if table.match(line)), 0)
        if not first:
            return f"[{key}]"
        for n, line in enumerate(lines[first:], first + 1):
            if within and line.lstrip().startswith("["):
                break
            if within and re.match(rf"\s*[\"']?{re.escape(within)}[\"']?\s*=", line):
                return f"line {n}, {key}"
        return f"line {first}, {key}"


def _fact(key: str, table: Any, file: _File) -> tuple[str, Fact]:
    quantity, unit = _named(key, file)
    if not isinstance(table, dict) or "value" not in table:
        raise file.wrong(key, "has no value", 'write value = NUMBER and source = "..." below it')
    for extra in sorted(set(table) - {"value", "source", "alternatives", "note"}):
        raise file.wrong(key, f"unknown key {extra!r}", "known: value, source, alternatives, note", within=extra)
    factor = QUANTITIES[quantity][unit]
    value = _number(key, table["value"], file, "value")
    source = _source(key, table.get("source"), file, "source")
    others = table.get("alternatives", [])
    if not isinstance(others, list) or not all(isinstance(other, dict) for other in others):
        raise file.wrong(key, "alternatives is no list of { value, source }", "write both of each", "alternatives")
    alternatives = tuple(
        (
            _number(key, other.get("value"), file, "alternatives") * factor,
            _source(key, other.get("source"), file, "alternatives"),
        )
        for other in others
    )
    return quantity, Fact(value * factor, source, f"{value:g} {unit}", alternatives)


def _named(key: str, file: _File) -> tuple[str, str]:
    for quantity, units in QUANTITIES.items():
        if key.startswith(f"{quantity}_") and key.removeprefix(f"{quantity}_") in units:
            return quantity, key.removeprefix(f"{quantity}_")
    fits = [quantity for quantity in QUANTITIES if key == quantity or key.startswith(f"{quantity}_")]
    if fits:
        known = ", ".join(QUANTITIES[max(fits, key=len)])
        raise file.wrong(key, f"unknown unit in {key!r}", f"end it with one of: {known}")
    raise file.wrong(key, f"unknown quantity {key!r}", did_you_mean(key, [f"{q}_{_usual(q)}" for q in QUANTITIES]))


def _usual(quantity: str) -> str:
    """The unit in which people state a quantity."""
    usual = {"gb_per_s", "mib", "ghz", "tops", "count", "macs_per_cycle", "w"}
    return next(unit for unit in QUANTITIES[quantity] if unit in usual)


def _number(key: str, value: Any, file: _File, within: str) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    if known and abs(value) > _MOST:
        raise file.wrong(key, f"a number beyond {_MOST:g}", "write it in the unit that the quantity ends in", within)
    if not known or math.isnan(value):
        raise file.wrong(key, f"{value!r} is not a number", "write a number above zero", within)
    if value <= 0:
        raise file.wrong(key, f"{value:g} is not above zero", "write a number above zero", within)
    return float(value)


def _source(key: str, value: Any, file: _File, within: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise file.wrong(key, "a number without a source", 'write source = "document, section" beside it', within)
    return value


def _required(facts: Mapping[str, Fact], file: _File) -> None:
    for quantity in REQUIRED:
        if quantity not in facts:
            key = f"{quantity}_{_usual(quantity)}"
            raise UsageError(f"states no {quantity}", where=file.where, do=f"add [{key}] with value and source")
    for quantity in ("clusters", "cores_per_cluster", "host_threads"):
        if quantity in facts and facts[quantity].value != int(facts[quantity].value):
            raise file.wrong(f"{quantity}_count", f"{facts[quantity].value:g} is not a whole number", "write 4")


def _device(head: Mapping[str, Any], facts: Mapping[str, Fact], file: _File) -> DeviceSpec:
    for key in sorted(set(head) - _HEAD):
        raise file.wrong("device", f"unknown key {key!r}", f"known: {', '.join(sorted(_HEAD))}", within=key)
    for key in ("name", "title"):
        if not isinstance(head.get(key), str) or not head[key].strip():
            raise file.wrong("device", f"has no {key}", f'write {key} = "..."', within=key)
    precisions, clocked = head.get("precisions"), head.get("clocked", [])
    if not isinstance(precisions, list) or not precisions or not all(isinstance(name, str) for name in precisions):
        raise file.wrong("device", "names no precisions", 'write precisions = ["fp16", "int8"]', within="precisions")
    if not isinstance(clocked, list) or not set(map(str, clocked)) <= set(_CLOCKED):
        raise file.wrong("device", "clocked names what has no clock", f"choose of {', '.join(_CLOCKED)}", "clocked")
    device = DeviceSpec(
        head["name"].strip(), head["title"].strip(), tuple(name.lower() for name in precisions),
        frozenset(map(str, clocked)), facts, head.get("published"),
    )  # fmt: skip
    for precision in device.precisions:
        if device.peak_macs_per_s(precision) is None:
            raise UsageError(
                f"states no peak of {precision}", where=file.where,
                do=f"add [peak_{precision}_tops], or [matrix_{precision}_macs_per_cycle] and [clock_ghz]",
            )  # fmt: skip
    return device


def _folder() -> Any:
    return resources.files("speedsheet") / "data" / "devices"
