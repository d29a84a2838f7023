"""Clocks held still while rows are measured, and always put back: cpufreq and graphics cards, where permitted.

What stood before is written to a file before anything is changed, so that `reset` finds it even after a crash.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speedsheet.core.errors import ClocksRefused, UsageError
from speedsheet.core.units import format_frequency
from speedsheet.host import cpufreq, endings, nvml
from speedsheet.host.cpufreq import Policy, Settings
from speedsheet.host.kernel import text

_ROOT = Path("/")
_SCHEMA = 1
_LONGEST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Clocks:
    """What this host shows of its clocks; `refusal` says why they may not be set here, and who may."""

    state: str
    boost: bool | None
    policies: tuple[Policy, ...]
    cards: tuple[nvml.CardClock, ...]
    refusal: str | None


def show(root: Path = _ROOT) -> Clocks:
    """Return the clocks as they are."""
    found = cpufreq.policies(root)
    return Clocks(cpufreq.clock_state(root), cpufreq.boost(root), found, nvml.clocks(), _refusal(root, found))


@contextmanager
def locked(khz: int, root: Path = _ROOT, kept: Path | None = None) -> Iterator[str]:
    """Hold every core at one clock inside, and put back what was there before; yields the clock state.

    Put back after an exception, SIGTERM, SIGHUP and SIGINT; after SIGKILL by `reset`, where `kept` is the file that it
    reads. Raises UsageError for a clock that not every core has, ClocksRefused where clocks may not be set.
    """
    with _changed(_locking(khz, root), root, kept) as state:
        yield state


@contextmanager
def tuned(root: Path = _ROOT, kept: Path | None = None) -> Iterator[str]:
    """Hold every core at the highest clock that it sustains, with the governor `performance`; put back as `locked` is.

    Yields the clock state. Raises ClocksRefused where clocks may not be set.
    """
    with _changed(_tuning(root), root, kept) as state:
        yield state


def lock(khz: int, root: Path, kept: Path) -> str:
    """Hold every core at one clock until `reset`; return the clock state. Raises as `locked` does."""
    wanted = _locking(khz, root)
    with endings.wait():
        before = cpufreq.present(root, wanted)
        earlier = _remember(kept, _Before.of(root, before))
        try:
            cpufreq.put(root, wanted)
            return _still(root)
        except ClocksRefused:
            _put_back(root, before)
            _forget(kept, earlier)
            raise


def lock_cards(mhz: int, root: Path, kept: Path, library: Any | None = None) -> tuple[str, ...]:
    """Hold every graphics card at one clock until `reset`; return their names. Raises UsageError, ClocksRefused."""
    cards = nvml.cards(library)
    if not cards:
        raise ClocksRefused("no graphics card shows its clocks", do="install nvidia-ml-py and the driver of the card")
    with endings.wait():
        earlier = _remember(kept, _Before.of(root, {}, tuple(card.index for card in cards)))
        try:
            for card in cards:
                nvml.lock(card, mhz, library)
        except (ClocksRefused, UsageError):
            with suppress(ClocksRefused):
                nvml.free(cards, library)
            _forget(kept, earlier)
            raise
    return tuple(card.name for card in cards)


def reset(root: Path, kept: Path, library: Any | None = None) -> tuple[str, ...]:
    """Put back what stood before `lock`, or before a run that was killed; return the settings that had changed.

    Cards return to their driver's own choice. Raises ClocksRefused, and keeps the file, where any may not be set.
    """
    before = load(kept)
    if before is None:
        return ()
    changed: tuple[str, ...] = ()
    with endings.wait():
        if before.boot_id == _boot_id(root):  # a machine that started anew has forgotten what was set
            there = {path: line for path, line in before.settings.items() if (root / path).exists()}
            changed = tuple(path for path, line in there.items() if text(root / path) != line)
            _put_back(root, there)
            cards = tuple(card for card in nvml.cards(library) if card.index in before.cards)
            nvml.free(cards, library)
            changed = (*changed, *(card.name for card in cards))
        kept.unlink(missing_ok=True)
    return changed


@dataclass(frozen=True, slots=True)
class _Before:
    """What stood before a change: settings of the processor, and places of cards; true until the machine restarts."""

    boot_id: str
    settings: Settings
    cards: tuple[int, ...] = ()

    @classmethod
    def of(cls, root: Path, settings: Settings, cards: tuple[int, ...] = ()) -> _Before:
        return cls(_boot_id(root), settings, cards)

    def under(self, earlier: _Before | None) -> _Before:
        """Return this with what an earlier change found, which stands: reset goes back to before the first."""
        if earlier is None:
            return self
        cards = tuple(sorted({*earlier.cards, *self.cards}))
        return _Before(self.boot_id, {**self.settings, **earlier.settings}, cards)


def load(kept: Path) -> _Before | None:
    """Read what stood before; null where nothing is kept. Raises ClocksRefused for a file that is not one of ours."""
    try:
        with kept.open("rb") as file:
            data = json.loads(file.read(_LONGEST_BYTES))
        found = _Before(str(data["boot_id"]), dict(data["settings"]), tuple(data["cards"]))
        sound = data["schema"] == _SCHEMA and all(isinstance(card, int) for card in found.cards)
        sound = sound and all(cpufreq.settable(*pair) for pair in found.settings.items())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ClocksRefused(
            "is damaged, and does not tell what the clocks were", where=str(kept), do="remove it; a restart resets them"
        )
    return found


@contextmanager
def _changed(wanted: Settings, root: Path, kept: Path | None) -> Iterator[str]:
    """Write what is wanted and put back what was there; signals wait while files are written."""
    before = cpufreq.present(root, wanted)
    with endings.wait() as signals:
        earlier = _remember(kept, _Before.of(root, before)) if kept else None
        try:
            cpufreq.put(root, wanted)
            state = _still(root)
            with signals.let():
                yield state
        finally:
            _put_back(root, before)
            if kept:
                _forget(kept, earlier)


def _locking(khz: int, root: Path) -> Settings:
    found = _settable(root)
    low = max(policy.lowest_khz or 1 for policy in found)
    high = min(policy.highest_khz or khz for policy in found)
    if not low <= khz <= high:
        span = f"choose from {format_frequency(low)} to {format_frequency(high)}"
        none = "they have none in common; see: speedsheet clocks show"
        raise UsageError(f"{format_frequency(khz)} is not a clock of every core", do=span if low <= high else none)
    wanted: dict[str, str] = {}
    if all(khz <= (policy.sustained_khz or 0) for policy in found):
        wanted |= cpufreq.without_boost(root)
    for policy in found:
        wanted |= policy.bounded(khz, khz)
    return wanted


def _tuning(root: Path) -> Settings:
    wanted = cpufreq.without_boost(root)
    for policy in _settable(root):
        khz = policy.sustained_khz
        if khz is None:
            raise ClocksRefused("does not tell its highest clock", where=f"/{policy.folder}", do=cpufreq.WHO)
        wanted |= policy.governed(cpufreq.PERFORMANCE) | policy.bounded(khz, khz)
    return wanted


def _settable(root: Path) -> tuple[Policy, ...]:
    """Return the policies, all of which tell their bounds; else what stood before could not be put back."""
    found = cpufreq.policies(root)
    if not found:
        raise ClocksRefused("this host does not show its processor's clock (no cpufreq)", do=cpufreq.WHO)
    for policy in found:
        if policy.min_khz is None or policy.max_khz is None:
            raise ClocksRefused("does not tell its bounds", where=f"/{policy.folder}", do=cpufreq.WHO)
    return found


def _still(root: Path) -> str:
    state = cpufreq.clock_state(root)
    if not state.startswith("locked"):
        raise ClocksRefused("the clocks were written, and still may move", do=cpufreq.WHO)
    return state


def _put_back(root: Path, before: Settings) -> None:
    """Write all that stood before, whatever fails on the way; then raise ClocksRefused with the first failure."""
    failures = list(cpufreq.write(root, before))
    if failures:
        raise ClocksRefused(
            f"the clocks could not be put back: {failures[0].what}", where=failures[0].where,
            do=f"speedsheet clocks reset; {cpufreq.WHO}",
        ) from failures[0]  # fmt: skip


def _refusal(root: Path, found: tuple[Policy, ...]) -> str | None:
    try:
        _settable(root)
    except ClocksRefused as error:
        return str(error)
    closed = [path for policy in found for path in policy.bounded(1, 1) if not os.access(root / path, os.W_OK)]
    return f"{root / closed[0]} is not writable; {cpufreq.WHO}" if closed else None


def _boot_id(root: Path) -> str:
    return text(root / "proc/sys/kernel/random/boot_id")


def _remember(kept: Path, now: _Before) -> _Before | None:
    """Write what stands before a change, and return what an earlier change since the machine started had found."""
    found = load(kept)
    earlier = found if found and found.boot_id == now.boot_id else None
    _keep(kept, now.under(earlier))
    return earlier


def _keep(kept: Path, before: _Before) -> None:
    """Write what stood before, to the disk itself, so that a power cut leaves the old file or the new one."""
    data: Mapping[str, Any] = {
        "schema": _SCHEMA, "boot_id": before.boot_id, "settings": dict(before.settings), "cards": list(before.cards),
    }  # fmt: skip
    kept.parent.mkdir(parents=True, exist_ok=True)
    new = kept.with_name(f".{kept.name}.{os.getpid()}")
    with new.open("w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(kept)


def _forget(kept: Path, earlier: _Before | None) -> None:
    """Leave the file as it was before a change that failed."""
    if earlier is None:
        kept.unlink(missing_ok=True)
    else:
        _keep(kept, earlier)
