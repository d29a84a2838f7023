"""`speedsheet clocks`: what the clocks are, holding them still, and putting back what was."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import DEBUG, FREQUENCY

if TYPE_CHECKING:
    from speedsheet.host.clocks import Clocks
    from speedsheet.host.cpufreq import Policy

_ROOT = click.option(
    "--root", type=click.Path(path_type=Path), default=Path("/"), metavar="FOLDER",
    help="Where /sys is mounted: in a container, where it was given the host's.",
)  # fmt: skip
_UNTOLD = "?"


@click.group("clocks", invoke_without_command=True)
@DEBUG
@click.pass_context
def verb(context: click.Context) -> None:
    """Show the clocks of processor and cards, hold them at one frequency, and put back what was."""
    if context.invoked_subcommand is None:
        context.invoke(show, root=Path("/"), as_json=False)


@verb.command("show")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@_ROOT
@DEBUG
def show(root: Path, as_json: bool) -> None:
    """Show each clock, its bounds and its governor, and whether it may be set."""
    from speedsheet.cli import screen
    from speedsheet.host import clocks

    found = clocks.show(root)
    kept = _kept()
    changed = str(kept) if kept.exists() else None
    out = screen.output()
    out.write(json.dumps(_facts(found, changed), indent=2) + "\n" if as_json else _lines(found, changed))


@verb.command("lock")
@click.argument("frequency", metavar="FREQ", type=FREQUENCY)
@click.option("--gpu", is_flag=True, help="Lock the graphics cards, not the processor.")
@_ROOT
@DEBUG
def lock(frequency: int, gpu: bool, root: Path) -> None:
    """Hold every core, or every card, at FREQ (2.4GHz, 1400MHz) until reset."""
    from speedsheet.cli import screen
    from speedsheet.host import clocks

    out = screen.output()
    if gpu:
        cards = clocks.lock_cards(round(frequency / 1000), root, _kept())
        out.write(f"{', '.join(cards)}: locked at {frequency / 1000:g} MHz; speedsheet clocks reset puts it back\n")
    else:
        out.write(f"{clocks.lock(frequency, root, _kept())}; speedsheet clocks reset puts back what was\n")


@verb.command("reset")
@_ROOT
@DEBUG
def reset(root: Path) -> None:
    """Put back what was before lock, or before a run that was killed."""
    from speedsheet.cli import screen
    from speedsheet.host import clocks

    restored = clocks.reset(root, _kept())
    lines = [f"put back: {path}\n" for path in restored]
    screen.output().write("".join(lines) or "nothing to put back\n")


def _kept() -> Path:
    from speedsheet.host.places import clocks_file

    return clocks_file()


def _facts(found: Clocks, changed: str | None) -> dict[str, Any]:
    """What a script is told; frequencies in the units of their names, null where the host does not tell."""
    return {
        "state": found.state,
        "settable": found.refusal is None,
        "reason": found.refusal,
        "boost": found.boost,
        "policies": [asdict(policy) for policy in found.policies],
        "cards": [asdict(card) for card in found.cards],
        "changed": changed,
    }


def _lines(found: Clocks, changed: str | None) -> str:
    from speedsheet.sheets.letters import clean

    lines = [f"processor clock: {found.state}"]
    lines += [_line(policy) for policy in found.policies]
    if found.boost is not None:
        lines.append(f"boost: {'on' if found.boost else 'off'}")
    lines += [
        f"{card.name} ({card.product}): {_mhz(card.current_mhz)} now, at most {_mhz(card.highest_mhz)}"
        for card in found.cards
    ]
    lines.append("may be set here" if found.refusal is None else f"may not be set here: {found.refusal}")
    if changed:
        lines.append(f"changed by speedsheet; speedsheet clocks reset puts back what was ({changed})")
    return "".join(f"{clean(line)}\n" for line in lines)


def _line(policy: Policy) -> str:
    bounds = f"{_khz(policy.min_khz)} to {_khz(policy.max_khz)}"
    hardware = f"{_khz(policy.lowest_khz)} to {_khz(policy.highest_khz)}, sustains {_khz(policy.sustained_khz)}"
    cores = f" (cores {policy.cpus})" if policy.cpus else ""
    driver = f"{policy.governor or _UNTOLD} of {policy.driver or _UNTOLD}"
    return f"{policy.name}{cores}: {bounds}, now {_khz(policy.current_khz)}; can {hardware}; governor {driver}"


def _khz(khz: int | None) -> str:
    from speedsheet.core.units import format_frequency

    return _UNTOLD if khz is None else format_frequency(khz)


def _mhz(mhz: int | None) -> str:
    return _UNTOLD if mhz is None else f"{mhz} MHz"
