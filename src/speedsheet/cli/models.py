"""`speedsheet models`: what there is to measure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from speedsheet.cli.options import DEBUG

if TYPE_CHECKING:
    from speedsheet.core.workload import InputSpec, Workload


@click.command("models")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Nothing but JSON on standard output.")
@DEBUG
def verb(name: str | None, as_json: bool) -> None:
    """List the shipped models, or show one in full with its inputs."""
    from speedsheet.cli import screen
    from speedsheet.plugins import workload, workloads

    out = screen.output()
    chosen = [workload(name)] if name else list(workloads().values())
    facts = [_facts(model) for model in chosen]
    if name:
        facts = [{**facts[0], "inputs": [_input(spec) for spec in chosen[0].inputs]}]
    if as_json:
        out.write(json.dumps({"models": facts}, indent=2, allow_nan=False) + "\n")
    elif name:
        out.write(_in_full(facts[0]))
    else:
        out.write(_list(facts, out.width if out.terminal else 1000))


def _facts(model: Workload) -> dict[str, Any]:
    """What a script is told of a model; the sizes are null where no graph ships with it."""
    parameters, macs = _size(model.name)
    return {
        "name": model.name,
        "framework": model.framework,
        "task": model.task,
        "batch_size": model.batch_size,
        "thread_num": model.thread_num,
        "precisions": list(model.precisions),
        "params_millions": None if parameters is None else parameters / 1e6,
        "gflop_per_sample": None if macs is None else 2 * macs / 1e9,
        "source": model.source,
    }


def _size(name: str) -> tuple[int | None, int | None]:
    from speedsheet.convert.shipping.recipe import shipped
    from speedsheet.core.errors import SpeedsheetError

    try:
        found = shipped(name)
    except (SpeedsheetError, OSError):
        return None, None
    return found.parameters, found.macs_per_sample


def _input(spec: InputSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "shape": ["batch" if axis is None else axis for axis in spec.shape],
        "dtype": spec.dtype,
        "low": spec.low,
        "high": spec.high,
    }


def _list(facts: list[dict[str, Any]], width: int) -> str:
    from speedsheet.sheets.listing import aligned

    head = ("Model", "Framework", "Batch size", "thread_num", "Params M", "GFLOP", "Precisions", "Task")
    rows = [
        (
            model["name"],
            model["framework"],
            str(model["batch_size"]),
            str(model["thread_num"]),
            _short(model["params_millions"]),
            _short(model["gflop_per_sample"]),
            " ".join(model["precisions"]),
            model["task"],
        )
        for model in facts
    ]
    return aligned(head, rows, frozenset({2, 3, 4, 5}), width)


def _in_full(model: dict[str, Any]) -> str:
    from speedsheet.sheets.listing import aligned

    lines = [
        model["name"],
        f"  {model['task']}, authored in {model['framework']}",
        f"  batch size {model['batch_size']}, thread_num {model['thread_num']}, {', '.join(model['precisions'])}",
        f"  {_short(model['params_millions'])} million parameters, {_short(model['gflop_per_sample'])} GFLOP a sample",
        f"  source: {model['source']}",
    ]
    rows = [
        (
            spec["name"],
            " x ".join(map(str, spec["shape"])) or "scalar",
            spec["dtype"],
            "" if spec["dtype"] == "bool" else f"[{spec['low']:.12g}, {spec['high']:.12g})",
        )
        for spec in model["inputs"]
    ]
    return "\n".join(lines) + "\n\n" + aligned(("Input", "Shape", "Type", "Range"), rows, frozenset(), 1000)


def _short(value: float | None) -> str:
    from speedsheet.sheets.digits import rounded
    from speedsheet.sheets.letters import BLANK

    return BLANK if value is None else rounded(value, usual=3)
