"""Where the gate's limits come from: honest runs of every model, and the damage that the limits must still see.

    python benchmarks/gate_limits.py [MODEL...] > docs/gate-limits.md

An honest run is a row of `speedsheet` on an engine and precision of this host, for each of several seeds of the
inputs. The limit is set from the worst of them: cosine 1 - 4 (1 - worst), relative error 2.5 x worst; never wider than
the default of the precision, and never narrower than another order of summation needs. Each limit is then held against
a copy of the model whose middle layer is dead.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from speedsheet import plugins
from speedsheet.bench.judge import DEFAULT_LIMITS, Kept, judge
from speedsheet.bench.reference import reference_outputs
from speedsheet.bench.sheet import measure_sheet
from speedsheet.convert.data import input_pool
from speedsheet.convert.graph.shapes import fix_shapes
from speedsheet.convert.shipping.assemble import assemble
from speedsheet.convert.shipping.recipe import shipped
from speedsheet.core.measurement import Gate
from speedsheet.core.request import RowRequest
from speedsheet.core.workload import Limit
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.host.places import cache_folder
from speedsheet.records import store as records

SEEDS = (920, 1, 2)
SIDES = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
INT8 = (("onnxruntime", "int8"), ("openvino", "int8"))
#: Errors are those of samples, not of batches: heavy models are judged in small ones.
HEAVY_MACS, SMALL_BATCH = 100_000_000, 4
#: What another processor's order of summation may make of the same sums.
COSINE_SLACK, RELATIVE_SLACK = 1e-6, 1e-4


def main() -> None:
    """Print the table."""
    facts = host_facts()
    print("# Limits of the gate, and the runs they come from\n")
    print(f"Printed by `python benchmarks/gate_limits.py` on {platform.node()} ({facts['cpu']}, "
          f"{facts['cores_allowed']} cores, {facts['os']}), speedsheet {facts['speedsheet']}.\n")  # fmt: skip
    print("| model | precision | honest runs | worst cosine | worst relative error | limit: cosine | limit: relative "
          "error | middle layer dead: cosine | relative error | seen |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or sorted(plugins.workloads()):
        dead = dead_layer(name)
        for precision, gates in honest(name).items():
            print(line(name, precision, gates, dead), flush=True)


def honest(name: str) -> dict[str, list[dict[str, Gate]]]:
    """Measure a model briefly on every side; return the worst gates of each run by precision."""
    found: dict[str, list[dict[str, Gate]]] = defaultdict(list)
    workload, heavy = plugins.workload(name), shipped(name).macs_per_sample > HEAVY_MACS
    batch_size = min(workload.batch_size, SMALL_BATCH) if heavy else workload.batch_size
    sides = [(side, seed) for seed in SEEDS for side in SIDES]
    sides += [(side, SEEDS[0]) for side in INT8 if "int8" in workload.precisions]
    requests = [
        RowRequest(
            name, engine=engine, precision=precision, batch_size=batch_size, thread_num=2, window_s=0.3, seed=seed
        )
        for (engine, precision), seed in sides
    ]
    with tempfile.TemporaryDirectory() as store:
        for row in measure_sheet(requests, store=Path(store)).rows:
            if not row.gate.passed:  # no honest run: it says nothing of what honest runs reach
                print(f"{name} on {row.engine}: {row.error}", file=sys.stderr)
                continue
            by_output = records.read(Path(str(row.record))).conditions["gate_by_output"]
            found[row.precision].append({key: Gate(**gate) for key, gate in by_output.items()})
    return dict(found)


def dead_layer(name: str) -> list[Gate]:
    """Zero the weights of a middle layer in a copy of the artifact and judge it, uncut, against the right answers."""
    workload, recipe = plugins.workload(name), shipped(name)
    batch = min(workload.batch_size, 1024 if recipe.macs_per_sample < HEAVY_MACS else SMALL_BATCH)
    shapes = {spec.name: spec.at(batch) for spec in workload.inputs}
    right = fix_shapes(assemble(name, cache_folder()), shapes)
    feeds = input_pool(workload, batch, 2, SEEDS[0])
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "dead"
        shutil.copytree(right.folder, copy)
        products = [weight for weight in recipe.weights if weight.length < recipe.weights_bytes / 4] or recipe.weights
        middle = products[len(products) // 2]
        with (copy / "weights.bin").open("r+b") as file:
            file.seek(middle.offset)
            file.write(bytes(middle.length))
        outputs = reference_outputs(replace(right, folder=copy), feeds, allowed_cores())
    answers = reference_outputs(right, feeds, allowed_cores())
    kept = [Kept(0, slot, output) for slot, output in enumerate(outputs)]
    verdict = judge(kept, answers, "fp32", Limit(1.0, 0.0, "to see the figures"))
    return [Gate(**gate) for gate in verdict.by_output.values()]


def line(name: str, precision: str, runs: list[dict[str, Gate]], dead: list[Gate]) -> str:
    """Write one row of the table."""
    cosine = min(worst(list(run.values()), "centred_cosine") for run in runs)
    relative = max(worst(list(run.values()), "relative_error") for run in runs)
    default = DEFAULT_LIMITS[precision]
    limit_cosine = max(default.centred_cosine, 1 - max(4 * (1 - cosine), COSINE_SLACK))
    limit_relative = min(default.relative_error, max(2.5 * relative, RELATIVE_SLACK))
    dead_cosine, dead_relative = worst(dead, "centred_cosine"), worst(dead, "relative_error")
    seen = "yes" if dead_cosine < limit_cosine or dead_relative > limit_relative else "no"
    return (f"| {name} | {precision} | {len(runs)} | {cosine:.7f} | {relative:.2g} | {limit_cosine:.6f} | "
            f"{limit_relative:.2g} | {dead_cosine:.4f} | {dead_relative:.2g} | {seen} |")  # fmt: skip


def worst(gates: list[Gate], metric: str) -> float:
    """Return the worst value of a metric; what passed by its size alone is right."""
    values = [gate.value for gate in gates if gate.metric == metric and gate.value is not None]
    if not values:
        return 1.0 if metric == "centred_cosine" else 0.0
    return min(values) if metric == "centred_cosine" else max(values)


if __name__ == "__main__":
    main()
