"""What measuring through speedsheet costs, against a bare loop on the same engine and settings.

    python benchmarks/overhead.py [--pairs 10] [--model mlp|resnet50|all]

Both sides run in one process on sessions of the same settings, in turn, in an order that changes from pair to pair.
The bare side is the fastest loop that one can write on ONNX Runtime's public interface: one IO binding, one clock
before and after. Prints the median of the pairwise ratios of medians, with the smallest and largest.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from speedsheet.convert.data import input_pool
from speedsheet.convert.graph.shapes import fix_shapes
from speedsheet.convert.shipping.assemble import assemble
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Setup
from speedsheet.core.plan import LoadPlan
from speedsheet.core.workload import Arrays
from speedsheet.engines.onnxruntime import ENGINE
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.host.places import cache_folder
from speedsheet.load.drive import drive
from speedsheet.plugins import workload


def main() -> None:
    """Run the comparisons that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--model", choices=["mlp", "resnet50", "all"], default="all")
    asked = parser.parse_args()
    print(f"{platform.node()}: {host_facts()['cpu']}, {allowed_cores()} cores; onnxruntime {onnxruntime.__version__}")
    if asked.model in {"mlp", "all"}:
        compare("a tiny MLP, one client, one thread", *tiny_mlp(), threads=1, window_s=1.0, pairs=asked.pairs)
    if asked.model in {"resnet50", "all"}:
        cores = allowed_cores()
        compare("ResNet-50, batch 16, one client", *resnet50(), threads=cores, window_s=6.0, pairs=asked.pairs)


def compare(name: str, artifact: Artifact, feeds: list[Arrays], *, threads: int, window_s: float, pairs: int) -> None:
    """Alternate the two sides and print how their medians compare."""
    setup = Setup("CPUExecutionProvider", "fp32", 1, 1, threads)
    ours = through_speedsheet(artifact, feeds, setup, window_s)
    bare = bare_loop(artifact, feeds, threads, window_s)
    sides = {"ours": ours, "bare": bare}
    for side in sides.values():
        side()
    ratios: list[float] = []
    medians: dict[str, list[float]] = {"ours": [], "bare": []}
    for pair in range(pairs):
        order = ("ours", "bare") if pair % 2 else ("bare", "ours")
        found = {side: statistics.median(sides[side]()) for side in order}
        ratios.append(found["ours"] / found["bare"])
        for name_of, value in found.items():
            medians[name_of].append(value / 1000)
    print(f"{name}: p50 {statistics.median(medians['ours']):.2f} us through speedsheet, "
          f"{statistics.median(medians['bare']):.2f} us bare; ratio {statistics.median(ratios):.3f} "
          f"(of {pairs} pairs {min(ratios):.3f} to {max(ratios):.3f})", flush=True)  # fmt: skip


def through_speedsheet(
    artifact: Artifact, feeds: list[Arrays], setup: Setup, window_s: float
) -> Callable[[], list[int]]:
    """Measure as a row is measured: the engine's session, a request for each batch, the product's loop."""
    session = ENGINE.load(artifact, setup, lambda: None)
    runs = [session.bind(feed, {}).run for feed in feeds]
    plan = LoadPlan(1, window_s, pool_batches=len(feeds))
    return lambda: list(drive(plan, [runs]).latency_ns)


def bare_loop(artifact: Artifact, feeds: list[Arrays], threads: int, window_s: float) -> Callable[[], list[int]]:
    """Measure as one would by hand: the same bindings, a list, a clock."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(artifact.graph), options, providers=["CPUExecutionProvider"])
    bindings = []
    for feed in feeds:
        binding = session.io_binding()
        for key, array in feed.items():
            binding.bind_ortvalue_input(key, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cpu")
        bindings.append(binding)

    def run() -> list[int]:
        clock, taken, position = time.perf_counter_ns, [], 0
        until = clock() + int(window_s * 1e9)
        while True:
            binding = bindings[position % len(bindings)]
            began = clock()
            session.run_with_iobinding(binding)
            ended = clock()
            taken.append(ended - began)
            position += 1
            if ended > until and position > 3:
                return taken

    return run


def tiny_mlp() -> tuple[Artifact, list[Arrays]]:
    """Make a network of two products that takes a few microseconds."""
    folder = Path(tempfile.mkdtemp())
    draw = np.random.default_rng(920)
    weights = [numpy_helper.from_array(draw.standard_normal((64, 64)).astype(np.float32), f"w{i}") for i in range(2)]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "graph.onnx"
    )
    feeds = [{"x": draw.standard_normal((1, 64)).astype(np.float32)} for _ in range(8)]
    return Artifact(folder, "", 0, 8192, 8192, ""), feeds


def resnet50() -> tuple[Artifact, list[Arrays]]:
    """Assemble the zoo's ResNet-50 at batch 16."""
    model = workload("resnet50")
    artifact = fix_shapes(assemble("resnet50", cache_folder()), {spec.name: spec.at(16) for spec in model.inputs})
    return artifact, input_pool(model, 16, 8, 920)


if __name__ == "__main__":
    main()
