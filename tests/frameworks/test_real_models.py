"""Trained models on real data, offline, through the import, quantise and gate path of a user's own model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from accuracy import PRECISIONS, Likeness, embeddings, measured
from speedsheet.cli import main
from speedsheet.core.measurement import executed_kinds
from trained_models import digits, evaluated, lite0, lite0_class, minilm, minilm_embeddings, sentences

pytestmark = pytest.mark.frameworks
#: ImageNet's cats of the house, the pictures' plain subjects otherwise.
PLAIN = {"chelsea": range(281, 286), "coffee": (967, 968), "camera": (872,), "stereo_motorcycle": (665, 670)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Measure EfficientNet-Lite0 in every precision."""
    folder = tmp_path_factory.mktemp("lite0")
    return measured(lite0(folder), folder / "store")


@pytest.fixture(scope="module")
def handwriting(tmp_path_factory):
    """Train the zoo's ResNet-34 on digits, and measure it in every precision."""
    folder = tmp_path_factory.mktemp("digits")
    case = digits(folder)
    return case, measured(case, folder / "store"), folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Measure MiniLM in every precision, and embed the sentences."""
    folder = tmp_path_factory.mktemp("minilm")
    case = minilm(folder)
    rows = measured(case, folder / "store")
    return rows, {precision: Likeness.of(embeddings(case, precision), minilm_embeddings()) for precision in PRECISIONS}


def as_asked(rows):
    """Every row passed its gate; int8 ran as int8, bf16 as bf16 where the processor has it."""
    for precision, row in rows.items():
        assert row.status == "ok", row.error
        assert row.gate.passed
        assert executed_kinds(row.precision_executed) in {precision, "fp32" if precision == "bf16" else precision}


def test_lite0_agrees_with_its_framework(photographs):
    """In FP32 all crops have the class that torch gives; most of them in bf16 and int8, though many are ambiguous."""
    as_asked(photographs)
    found = {precision: row.task_accuracy for precision, row in photographs.items()}
    assert found["fp32"]["top1"] == found["fp32"]["fp32_top1"] == 1
    assert (found["fp32"]["n"], found["int8"]["n"]) == (228, 196)
    assert found["bf16"]["top1"] > 0.93
    assert found["int8"]["top1"] > 0.85
    assert found["bf16"]["agreement"] == found["bf16"]["top1"]


@pytest.mark.parametrize("name", PLAIN)
def test_lite0_sees_what_photographs_show(name):
    """The weights are real: a cat is a cat, an espresso an espresso."""
    assert lite0_class(name) in PLAIN[name]


def test_resnet34_trained_on_digits_keeps_its_accuracy(handwriting):
    """The zoo's model at full size, given its weights by a file, reads nine digits of ten in every precision."""
    _, rows, _ = handwriting
    as_asked(rows)
    found = {precision: row.task_accuracy for precision, row in rows.items()}
    assert found["fp32"]["top1"] > 0.9
    assert found["fp32"]["top1"] == pytest.approx(found["fp32"]["fp32_top1"], abs=0.005)
    assert found["bf16"]["agreement"] > 0.97
    assert found["int8"]["agreement"] > 0.93
    assert all(row.weights_source.startswith("digits.weights.h5, sha256 ") for row in rows.values())
    assert not {finding.code for row in rows.values() for finding in row.findings} & {"labels_doubtful"}


def test_without_the_weights_or_with_other_labels_it_is_chance(handwriting, capsys):
    """The command prints it: drawn weights know nothing of digits, and labels of other digits are not found."""
    case, _, folder = handwriting
    data, wrong = folder / "few.npz", folder / "wrong.npy"
    with np.load(case.data) as held_out:
        np.savez(data, image=held_out["image"][:64], labels=held_out["labels"][:64])
        np.save(wrong, (held_out["labels"][:64] + 1) % 10)
    few = [*("--engine", "onnxruntime", "--precision", "fp32", "--batch", "4", "--time", "0.1s", "--json")]
    for labels, weights in ((["labels"], []), ([str(wrong)], ["--weights", case.weights])):
        given = ["--data", str(data), "--labels", *labels, *weights, "--out", str(folder / "out")]
        assert main(["run", "resnet34", *given, *few]) == 0
        (row,) = json.loads(capsys.readouterr().out)["rows"]
        assert row["task_accuracy"]["top1"] < 0.2
        assert "labels_doubtful" in {finding["code"] for finding in row["findings"]}


def test_minilm_keeps_meaning(texts):
    """FP32 is sentence-transformers' own; bf16 and int8 keep the order of similarities and find paraphrases."""
    rows, found = texts
    as_asked(rows)
    assert found["fp32"].least_cosine > 0.99999
    assert found["fp32"].same == found["fp32"].n == len(evaluated())
    assert found["bf16"].least_cosine > 0.995
    assert found["bf16"].spearman > 0.995
    assert found["int8"].mean_cosine > 0.93
    assert found["int8"].spearman > 0.9
    assert all(one.found / one.n > 0.85 for one in found.values())


def test_likeness_sees_embeddings_that_were_exchanged():
    """Two sentences' embeddings exchanged, or all turned alike: only the cosines see the second."""
    draw = np.random.default_rng(0)
    wanted = draw.standard_normal((96, 16)).astype(np.float32)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    exchanged = wanted.copy()
    exchanged[[0, 50]] = wanted[[50, 0]]
    turned = wanted[:, ::-1]
    assert Likeness.of(exchanged, wanted).least_cosine < 0.9
    assert Likeness.of(exchanged, wanted).spearman < 0.99
    assert Likeness.of(turned, wanted).mean_cosine < 0.5 < Likeness.of(turned, wanted).spearman
    assert Likeness.of(wanted, wanted).found < 10  # random directions have no paraphrases


def test_the_sentences_are_pairs():
    """Each is there once, and short enough to be read whole."""
    pairs = sentences()
    assert len(pairs) == len({text for pair in pairs for text in pair}) / 2 == 64
    assert all(len(text.split()) < 20 for pair in pairs for text in pair)
