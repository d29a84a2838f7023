# ruff: noqa: RUF001  full-width punctuation is what Chinese is written with
"""Task accuracy: labelled samples answered by the measured session, FP32 beside it, and what is said when it is off."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import binomtest

from speedsheet.bench.accuracy import doubts
from speedsheet.bench.inputs import Model
from speedsheet.bench.labelled import best, labelled_set
from speedsheet.bench.sheet import measure_sheet
from speedsheet.convert.data import read_labels
from speedsheet.convert.own.workload import own_artifact, own_workload
from speedsheet.core.errors import BadInput
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.records import store as records
from speedsheet.sheets import as_csv, as_markdown, as_terminal
from speedsheet.sheets.chinese import CHINESE
from speedsheet.sheets.document import Document
from speedsheet.sheets.words import ENGLISH
from speedsheet.stats.proportions import sign_test, wilson

FEATURES, CLASSES, SAMPLES = 24, 12, 101
VALUE = helper.make_tensor_value_info


def classifier(path: Path, nodes: list[onnx.NodeProto] | None = None, outputs: int = CLASSES) -> Path:
    """Write a linear classifier of (batch, 24) into 12 scores, or other nodes over the same weights."""
    weight = np.random.default_rng(5).standard_normal((FEATURES, outputs)).astype(np.float32)
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["scores"], name="head")]
    names = [name for node in nodes for name in node.output]
    graph = helper.make_graph(
        nodes, "g", [VALUE("x", TensorProto.FLOAT, ["n", FEATURES])],
        [VALUE(name, TensorProto.FLOAT, None) for name in names], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def samples(count: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples, and label them as the classifier does, but for every tenth."""
    draw = np.random.default_rng(6)
    weight = np.random.default_rng(5).standard_normal((FEATURES, CLASSES)).astype(np.float32)
    x = draw.standard_normal((count, FEATURES)).astype(np.float32)
    labels = (x @ weight).argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % CLASSES
    return x, labels


def request(tmp_path: Path, labels: np.ndarray | None = None, **changes) -> RowRequest:
    x, right = samples()
    np.savez(tmp_path / "data.npz", x=x, labels=right if labels is None else labels)
    asked = {"precision": "fp32", "batch_size": 4, "window_s": 0.2, "engine": "onnxruntime", "labels": "labels"}
    path = changes.pop("model", None) or classifier(tmp_path / "linear.onnx")
    return RowRequest(str(path), data=tmp_path / "data.npz", **{**asked, **changes})


def measured(tmp_path: Path, *requests: RowRequest) -> list[Measurement]:
    rows = measure_sheet(requests, store=tmp_path / "store").rows
    assert all(row.status == "ok" for row in rows), [row.error for row in rows]
    return list(rows)


def codes(row: Measurement) -> set[str]:
    return {finding.code for finding in row.findings}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "speedsheet.testing.null:ENGINE"])
def test_every_labelled_sample_is_counted_once(engine, tmp_path):
    """All 101 samples, though the pool holds 32 and a batch 4; the record says what the row says."""
    (row,) = measured(tmp_path, request(tmp_path, engine=engine))
    found = row.task_accuracy
    wrong = len(range(0, SAMPLES, 10))
    assert found["n"] == SAMPLES
    assert found["top1"] == found["fp32_top1"] == pytest.approx(1 - wrong / SAMPLES)
    assert (found["low"], found["high"]) == pytest.approx(wilson(SAMPLES - wrong, SAMPLES))
    assert found["agreement"] == 1
    assert found["lost"] == found["gained"] == 0
    assert found["top1"] <= found["top5"] == found["fp32_top5"] <= 1
    assert not codes(row) & {"labels_doubtful", "accuracy_loss"}
    assert records.verify(Path(row.record)).measurement == row
    assert json.loads(json.dumps(row.to_json(), allow_nan=False))["task_accuracy"] == found


def test_labels_come_from_the_data_file_or_one_of_their_own(tmp_path):
    """A name is an array of --data, whatever it is called; a path is an .npy file; none is no accuracy."""
    asked, (x, labels) = request(tmp_path), samples()
    np.save(tmp_path / "y.npy", labels.astype(np.uint8))
    np.savez(tmp_path / "named.npz", x=x, kind=labels)
    own = replace(asked, labels=str(tmp_path / "y.npy"))
    named = replace(asked, data=tmp_path / "named.npz", labels="kind")
    rows = measured(tmp_path, asked, own, named, replace(asked, labels=None))
    assert rows[0].task_accuracy == rows[1].task_accuracy == rows[2].task_accuracy
    assert rows[3].task_accuracy is None


def test_wrong_labels_give_chance_and_say_so(tmp_path):
    """Labels off by one, the commonest mistake, leave no more than chance, and the row says what to check."""
    _, right = samples()
    shifted, shuffled = (right + 1) % CLASSES, np.random.default_rng(0).permutation(right)
    for labels in (shifted, shuffled):
        (row,) = measured(tmp_path, request(tmp_path, labels))
        assert row.task_accuracy["top1"] < 0.3
        (doubt,) = [finding for finding in row.findings if finding.code == "labels_doubtful"]
        assert "count from 0" in doubt.text


def test_permuted_outputs_are_caught(tmp_path):
    """An engine that exchanges classes fails the gate, and its accuracy falls below FP32's, which is said."""
    asked = request(tmp_path, engine="speedsheet.testing.faulty:SWAPPED")
    (row,) = measure_sheet([asked], store=tmp_path / "store").rows
    assert row.status == "failed"
    assert row.gate.passed is False
    assert row.task_accuracy["top1"] < 0.3 < row.task_accuracy["fp32_top1"]
    assert row.task_accuracy["agreement"] < 0.3
    assert "accuracy_loss" in codes(row)


def test_every_request_of_labelled_samples_is_a_sign_of_life(tmp_path):
    """However long the file: what was answered is told after each request, so that nobody takes it for a hang."""
    asked, told = request(tmp_path), []
    own = own_workload(asked.model, batch_size=4)
    artifact = own_artifact(asked.model, own, tmp_path)
    model = Model(own.workload, artifact, 4, "the file's own")
    assert labelled_set(asked, model, artifact, tmp_path, 1, told.append)
    assert told == [slot / 26 for slot in range(26)]


def test_no_scores_no_accuracy(tmp_path):
    """An engine that loses the output has none, rather than a wrong one."""
    (row,) = measure_sheet(
        [request(tmp_path, engine="speedsheet.testing.faulty:MISSING")], store=tmp_path / "store"
    ).rows
    assert row.status == "failed"
    assert row.task_accuracy is None


def test_what_calibrated_is_not_counted(tmp_path):
    """The int8 row counts the samples that did not calibrate it; the FP32 figure beside it is of the same ones."""
    (row,) = measured(tmp_path, request(tmp_path, engine="openvino", precision="int8"))
    assert row.task_accuracy["n"] == SAMPLES - 32
    x, labels = samples()
    counted = np.delete(labels, range(32, 64))
    weight = np.random.default_rng(5).standard_normal((FEATURES, CLASSES)).astype(np.float32)
    right = np.delete((x @ weight).argmax(axis=1), range(32, 64)) == counted
    assert row.task_accuracy["fp32_top1"] == pytest.approx(right.mean())


def test_what_is_no_classification_is_refused(tmp_path):
    """One score, several outputs of scores, or samples that are not the model's: one line, nothing measured."""
    single = classifier(tmp_path / "single.onnx", outputs=1)
    square = classifier(tmp_path / "square.onnx", outputs=FEATURES)
    double = classifier(
        tmp_path / "double.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Neg", ["a"], ["b"])],
    )
    np.save(tmp_path / "short.npy", samples()[1][:-1])
    np.save(tmp_path / "high.npy", np.full(SAMPLES, CLASSES))
    asked = request(tmp_path)
    for wrong, words in [
        (replace(asked, model=str(single)), r"one output of scores.*'scores' 4x1 float32.*leave --labels"),
        (replace(asked, model=str(double)), r"this one gives 'a' 4x12 float32, 'b' 4x12 float32"),
        (replace(asked, labels=str(tmp_path / "high.npy")), r"label 12 is none of the model's 12 classes; count from"),
        (replace(asked, labels=str(tmp_path / "short.npy")), r"100 labels for 101 samples"),
        (replace(asked, labels="kind"), r"holds no array 'kind'; .*--labels FILE.npy"),
        (replace(asked, labels=str(tmp_path / "none.npy")), r"none.npy: no such file"),
        (replace(asked, data=None), r"--labels are of no samples; .*--data"),
        (replace(asked, model=str(square), carry={"scores": "x"}), r"depends on those before it"),
    ]:
        with pytest.raises(BadInput, match=words) as caught:
            measure_sheet([wrong], store=tmp_path / "store")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 2), np.int64), "4x2, not one class for each sample"),
        (np.zeros(0, np.int64), "0, not one class"),
        (np.zeros(4), "float64 and not all classes"),
        (np.array([0, -1]), "not all classes"),
        (np.array([2**63], np.uint64), "not all classes"),
        (np.array(["cat"]), "not all classes"),
        (np.array([{}], dtype=object), "holds Python objects, which are never loaded"),
    ],
)
def test_a_list_of_classes_or_one_line(array, words, tmp_path):
    """Labels are a hostile file like any other: neither pickles nor other shapes nor other numbers are read."""
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(BadInput, match=words) as caught:
        read_labels(str(tmp_path / "y.npy"), tmp_path / "unused.npz")
    assert str(caught.value).startswith(str(tmp_path / "y.npy"))


def test_labels_that_declare_more_than_they_hold_are_refused(tmp_path):
    """A header of a billion labels over eight bytes makes no array of a billion; rubbish is one line."""
    np.save(tmp_path / "y.npy", np.zeros(1, np.int64))
    data = (tmp_path / "y.npy").read_bytes()
    (tmp_path / "y.npy").write_bytes(data.replace(b"(1,), }" + b" " * 7, b"(99999999,), }"))
    with pytest.raises(BadInput, match=r"declares 99999999 int64"):
        read_labels(str(tmp_path / "y.npy"), tmp_path)
    (tmp_path / "y.npy").write_bytes(b"rubbish")
    with pytest.raises(BadInput, match="cannot be read"):
        read_labels(str(tmp_path / "y.npy"), tmp_path)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_is_wilsons(pair):
    """As SciPy computes it, always within 0 and 1, and around the share."""
    right, n = pair
    known = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right, n) == pytest.approx((known.low, known.high), abs=1e-9)
    assert 0 <= wilson(right, n)[0] <= right / n <= wilson(right, n)[1] <= 1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_the_interval_holds_as_often_as_it_says(share):
    """Over all that may come of 100 samples, the true share is in the interval in 92 to 98 % of cases."""
    draws = np.random.default_rng(3).binomial(100, share, 20_000)
    held = [wilson(int(k), 100)[0] <= share <= wilson(int(k), 100)[1] for k in draws]
    assert 0.92 <= np.mean(held) <= 0.98


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_loss_is_judged_by_the_samples_that_changed(lost, gained):
    """McNemar's exact test is the sign test of the changed samples; the sides may be exchanged."""
    known = 1.0 if lost == gained else binomtest(lost, lost + gained).pvalue
    assert sign_test(lost, gained) == pytest.approx(known, rel=1e-7)
    assert sign_test(lost, gained) == sign_test(gained, lost)


def test_equal_shares_are_no_loss_and_a_single_class_is_no_doubt():
    """What changes both ways is luck; where all labels are one class, guessing it says nothing about labels."""
    assert doubts(right_before=90, commonest=20, n=100, lost=6, gained=4) == ()
    assert [f.code for f in doubts(right_before=90, commonest=20, n=100, lost=9, gained=1)] == ["accuracy_loss"]
    assert [f.code for f in doubts(right_before=21, commonest=20, n=100, lost=0, gained=0)] == ["labels_doubtful"]
    assert doubts(right_before=100, commonest=100, n=100, lost=0, gained=0) == ()


def test_best_scores_first():
    """Of equal scores the first class; NaN is worse than any score."""
    scores = np.array([[1, 3, 3, np.nan, 2, 0, -1]], np.float32)
    assert best(scores).tolist() == [[1, 2, 4, 0, 5]]
    assert best(scores[:, :2]).tolist() == [[1, 0]]


ACCURACY = {"top1": 0.9725, "low": 0.951, "high": 0.985, "n": 400, "fp32_top1": 0.975, "agreement": 0.99}


def sheet(*accuracies: dict[str, float] | None) -> Sheet:
    rows = [Measurement("net", "onnx", "t", 1, 1, "fp32", task_accuracy=found) for found in accuracies]
    return Sheet({}, tuple(rows))


def test_the_sheet_has_a_column_where_there_is_accuracy():
    """With its interval, FP32's and the number of samples; no column where nobody gave labels."""
    document = Document.of(sheet(ACCURACY, None), words=ENGLISH)
    said = "top-1 97.2 % (95.1 to 98.5), FP32 97.5 %, 400 samples"
    assert said in as_markdown.render(document)
    assert "(Wilson)" in as_markdown.render(document)
    assert said in " ".join(as_terminal.render(document, 80).plain.split())
    header, first, second = as_csv.render(document).splitlines()
    assert header.endswith("Accuracy top1,Accuracy low,Accuracy high,Accuracy n,Accuracy fp32_top1")
    assert first.endswith("0.9725,0.951,0.985,400,0.975")
    assert second.endswith(",,,,,")
    without = Document.of(sheet(None), words=ENGLISH)
    assert "ccuracy" not in as_markdown.render(without) + as_csv.render(without)


def test_the_sheet_says_it_in_chinese():
    """The column, its text and the legend."""
    text = as_markdown.render(Document.of(sheet(ACCURACY), words=CHINESE))
    assert "| 准确率 |" in text
    assert "top-1 97.2 %（95.1 至 98.5），FP32 97.5 %，400 个样本" in text
    assert CHINESE.accuracy_legend in text
    assert "准确率 top-1" in as_csv.render(Document.of(sheet(ACCURACY), words=CHINESE))
