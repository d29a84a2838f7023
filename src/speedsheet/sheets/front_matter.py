"""What stands above the rows of a sheet: as its publisher says it, and where he says nothing, as the host tells it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from speedsheet.core.sheet import Sheet
from speedsheet.sheets.columns import LOCKED
from speedsheet.sheets.letters import clean
from speedsheet.sheets.words import Words

#: What rows say whose host does not tell its clock; older records say the second.
_UNTOLD = frozenset({"unknown", "unavailable"})


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """Title, version and conditions, one line of text each; null is not known, and is not printed."""

    title: str | None = None
    publisher: str | None = None
    version: str | None = None
    date: str | None = None
    tool: str | None = None
    software: str | None = None
    hardware: str | None = None
    clock_note: str | None = None
    source: str | None = None

    def over(self, other: FrontMatter) -> FrontMatter:
        """Return this, with what it does not say taken from another."""
        mine = {item.name: clean(getattr(self, item.name) or "") for item in fields(self)}
        return FrontMatter(**{name: text or getattr(other, name) for name, text in mine.items()})

    def lines(self, words: Words) -> Iterator[tuple[str, str]]:
        """Return label and text of what is known, below the title."""
        for key, label in words.labels.items():
            text = clean(getattr(self, key, None) or "")
            if text:
                yield label, text


def observed(sheet: Sheet, words: Words, date: str | None) -> FrontMatter:
    """Return what the host and the rows tell of themselves."""
    host = sheet.host
    return FrontMatter(
        title=words.title,
        date=date,
        tool=f"speedsheet {host['speedsheet']}" if host.get("speedsheet") else None,
        software=_engines(sheet),
        hardware=hardware(sheet, words) or None,
        clock_note=_clock(sheet, words),
    )


def hardware(sheet: Sheet, words: Words) -> str:
    """Name processor, cores, memory, devices that are no processor, and what the host runs in."""
    host = sheet.host
    devices = dict.fromkeys(row.device for row in sheet.rows if row.device and "CPU" not in row.device.upper())
    facts = [
        host.get("cpu"),
        words.cores.format(n=host["cores_allowed"]) if host.get("cores_allowed") else None,
        f"{host['memory_gib']:.0f} GiB" if host.get("memory_gib") else None,
        *devices,
        host.get("virtualisation") if "machine" in str(host.get("virtualisation")) else None,
    ]
    return clean(words.listed([str(fact) for fact in facts if fact]))


def host_line(sheet: Sheet, words: Words) -> str:
    """Name the host that measured the rows, in one line; no suite can say otherwise."""
    host = sheet.host
    facts = [
        host.get("hostname"),
        hardware(sheet, words),
        host.get("os"),
        f"speedsheet {host['speedsheet']}" if host.get("speedsheet") else None,
    ]
    return clean(words.listed([str(fact) for fact in facts if fact]))


def _engines(sheet: Sheet) -> str | None:
    """Name the engines that measured rows, with their versions."""
    seen = {
        " ".join(part for part in (row.engine, row.engine_version) if part)
        for row in sheet.rows
        if row.engine and row.status == "ok"
    }
    return ", ".join(sorted(seen)) or None


def _clock(sheet: Sheet, words: Words) -> str | None:
    seen = dict.fromkeys(row.clock_state for row in sheet.rows if row.status == "ok" and row.clock == "wall")
    states = [state for state in seen if state not in _UNTOLD]
    untold = [state for state in (sheet.host.get("clock_state"), *seen) if state]
    told = [_clock_words(state, words) for state in states or untold[:1]]
    return words.listed(told) or None


def _clock_words(state: str, words: Words) -> str:
    if state.startswith(LOCKED):
        return words.clock_locked.format(at=state.removeprefix(LOCKED))
    return words.clocks.get("unknown" if state in _UNTOLD else state, state)
