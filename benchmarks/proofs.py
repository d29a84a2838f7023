"""How near every shipped graph comes to its framework, and what its conversion costs.

    python benchmarks/proofs.py > docs/proofs.md

Each model is built and converted in a process of its own, and computed on drawn inputs by its framework and by ONNX
Runtime without graph optimisation, in FP32. Needs the extra `frameworks`.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from speedsheet import plugins
from speedsheet.convert.shipping.assemble import assemble
from speedsheet.convert.shipping.evidence import Evidence, collect
from speedsheet.convert.shipping.recipe import GRAPH, shipped, shipped_folder
from speedsheet.convert.shipping.ship import compare, run_plain
from speedsheet.host.facts import host_facts

VERSIONS = ("tensorflow", "keras", "keras-hub", "tf2onnx", "torch", "onnxscript", "onnx", "onnxruntime", "numpy")
COLUMNS = (
    *("model", "framework", "parameters, M", "of the framework's, M", "GFLOP a sample", "samples", "max abs error"),
    *("scale", "error / scale", "spread / scale", "same graph", "convert, s", "peak memory, GiB", "ships, kB"),
)
INTRODUCTION = """# Proofs

A graph that ships is what its framework exports, with weights that are drawn where it is used. This is how near the two
come: the same drawn inputs through the framework and through the assembled graph on ONNX Runtime with optimisation off,
FP32. `make test` finds these figures again, holds them to 1e-4 of the scale, and damages each model at three depths to
see that the proof fails.
"""
NOTES = """
- *Parameters* are the floats of the graph. A framework counts running means and variances too, which fold into the
  scale and offset of their norm: 8.06 M of DenseNet-121 are 7.98 M here. XLNet's graph holds 0.2 M more: the sines of
  its positions, which a framework computes.
- *GFLOP* is twice the multiply-accumulates of the graph's products, at a batch of one.
- *xlnet*: attention by relative position projects twice as many positions as there are tokens, for every sample, as
  the authors' code does: 26.6 GFLOP. Projected once for two samples, it would be 24.8.
- *xlnet* is keras_hub's layers in a wiring of our own: keras_hub's reshapes (length, batch) to (batch, length) where
  it should transpose, so that the answer to one sample depends on the padding of the others.
- *max abs error* and *scale* (the largest absolute output) are of the output with the worst ratio of the two; *spread*
  is the standard deviation over samples, of the output that varies least.
- *same graph*: today's export, with the versions above, is the shipped one byte by byte.
- *convert* is from the first layer to the finished graph; *peak memory* is of the whole process, the framework's
  libraries and its reference outputs included."""


def main() -> None:
    """Print the document."""
    facts = host_facts()
    print(INTRODUCTION)
    print(f"Printed by `python benchmarks/proofs.py` on {platform.node()} ({facts['cpu']}, {facts['cores_allowed']} "
          f"cores, {facts['os']}), speedsheet {facts['speedsheet']}; "
          f"{', '.join(f'{name} {version(name)}' for name in VERSIONS)}.\n")  # fmt: skip
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|---|---|{'---:|' * (len(COLUMNS) - 2)}")
    with tempfile.TemporaryDirectory() as root:
        for name in sorted(plugins.workloads()):
            folder = Path(root) / name
            folder.mkdir()
            print(line(name, collect(name, folder)), flush=True)
            shutil.rmtree(folder)
            print(f"{name} done", file=sys.stderr)
    print(NOTES)


def line(name: str, evidence: Evidence) -> str:
    """Assemble a model beside its evidence, compare the two, and write one row of the table."""
    recipe, artifact = shipped(name), assemble(name, evidence.folder)
    reference = evidence.reference
    proof = compare(reference, run_plain(artifact, evidence.feed, reference))
    same = (evidence.folder / GRAPH).read_bytes() == shipped_folder(name).joinpath(GRAPH).read_bytes()
    ships = sum(len(file.read_bytes()) for file in shipped_folder(name).iterdir())
    return (f"| {name} | {recipe.framework} | {recipe.parameters / 1e6:.4g} | {evidence.parameters / 1e6:.4g} | "
            f"{2e-9 * recipe.macs_per_sample:.3g} | {proof.samples} | {proof.max_abs_error:.1e} | "
            f"{proof.output_scale:.2g} | {proof.max_abs_error / proof.output_scale:.1e} | {proof.output_spread:.2g} | "
            f"{'yes' if same else 'no'} | {evidence.convert_s:.1f} | {evidence.peak_bytes / 2**30:.2f} | "
            f"{ships / 1e3:.0f} |")  # fmt: skip


if __name__ == "__main__":
    main()
