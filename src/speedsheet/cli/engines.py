"""`speedsheet engines`: what there is to measure on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import DEBUG

if TYPE_CHECKING:
    from speedsheet.core.engine import EngineInfo, EngineUnavailable


@click.command("engines")
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(as_json: bool) -> None:
    """List the engines: which can run here on what, and what the others need."""
    from speedsheet.cli import screen
    from speedsheet.plugins import engine_names, probe

    out = screen.output()
    found = [probe(name) for name in engine_names()]
    if as_json:
        out.write(json.dumps({"engines": [_facts(engine) for engine in found]}, indent=2) + "\n")
    else:
        out.write("".join(_lines(engine) for engine in found))


def _facts(engine: EngineInfo | EngineUnavailable) -> dict[str, Any]:
    """What a script is told of an engine; `precisions` are those that any of its devices executes."""
    from speedsheet.core.engine import EngineUnavailable
    from speedsheet.core.request import PRECISIONS

    if isinstance(engine, EngineUnavailable):
        reason = f"{engine.reason}; {engine.do}"
        return _row(engine.name, available=False, version=None, devices=[], precisions=[], reason=reason)
    executed = {precision for on_device in engine.precisions.values() for precision in on_device}
    ranked = [precision for precision in PRECISIONS if precision in executed]
    devices = list(engine.devices)
    return _row(engine.name, available=True, version=engine.version, devices=devices, precisions=ranked, reason=None)


def _row(name: str, **facts: Any) -> dict[str, Any]:
    return {"name": name, **facts}


def _lines(engine: EngineInfo | EngineUnavailable) -> str:
    from speedsheet.core.engine import EngineUnavailable
    from speedsheet.sheets.letters import clean

    if isinstance(engine, EngineUnavailable):
        return f"{clean(engine.name)}  not available: {clean(engine.reason)}\n  {clean(engine.do)}\n"
    lines = [f"{clean(engine.name)}  {clean(engine.version)}"]
    for device, precisions in engine.precisions.items():
        default = " (default)" if device == engine.default_device else ""
        lines.append(f"  {clean(device)}{default}: {', '.join(precisions)}")
    return "\n".join(lines) + "\n"
