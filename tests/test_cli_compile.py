"""What compiling for the card would do, by the command line: shipped and own models, with no engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import carried, embedding, mlp, model, save, save_external, tensor, weights
from speedsheet.cli import main
from speedsheet.cli.compile_words import COMPILE_WORDS
from speedsheet.twin.compile import Wish, _feeds, _samples, samples_to_compute
from speedsheet.twin.model import find
from speedsheet.twin.pieces import zoo_piece

KEYS = {
    "schema", "clock", "model", "target", "batch_size", "precision", "schedule", "unsupported", "int8", "schedules",
    "assumptions",
}  # fmt: skip
INT8 = {
    "layers", "float_products", "outputs", "calibration_samples", "judged_samples", "beyond_fp16", "blank", "inputs",
}  # fmt: skip


def compiled(*arguments, capsys):
    assert main(["compile", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_shipped_model_compiles(capsys: pytest.CaptureFixture[str]) -> None:
    """All of dlrm runs; seven products in INT8 stray a little under both calibrations; nothing is left in DDR at O3."""
    data = compiled("dlrm", capsys=capsys)
    assert set(data) == KEYS
    assert set(data["int8"]) == INT8
    assert (data["clock"], data["target"], data["batch_size"], data["schedule"]) == ("modelled", "stcp920", 1024, "O3")
    assert data["unsupported"] == []
    error = data["int8"]
    assert len(error["layers"]) == 7
    assert error["calibration_samples"] == error["judged_samples"] == 64
    assert {one["calibration"] for one in error["outputs"]} == {"percentile", "kl"}
    for one in error["outputs"]:
        assert one["output"] == "click_probability"
        assert 0.9 < one["centred_cosine"] < 1
        assert 0 < one["relative_error"] < 0.4
    for layer in error["layers"]:
        assert layer["weight_db"] < layer["free_weight_db"]
    places = {name: {one["place"] for one in placed} for name, placed in data["schedules"].items()}
    assert places["O0"] == {"ddr"}
    assert "ddr" not in places["O3"]


def test_schedules_are_of_the_operators_that_are_costed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each level places every operator; a higher one leaves no more in DDR; the batch decides what fits."""
    data = compiled("resnet50", "--samples", "1", "--batch", "8", capsys=capsys)
    names = [operator.name for operator in zoo_piece("resnet50").operators]
    in_ddr = []
    for placed in data["schedules"].values():
        assert [one["operator"] for one in placed] == names
        in_ddr.append(sum(one["place"] == "ddr" for one in placed))
    assert in_ddr == sorted(in_ddr, reverse=True)
    assert in_ddr[0] == len(names)
    assert in_ddr[-1] == 0
    first = data["schedules"]["O3"][0]
    assert first["bytes"] == 8 * 64 * 56 * 56 * 2 or first["bytes"] == 8 * 64 * 112 * 112 * 2


def test_no_engine_is_imported(tmp_path: Path) -> None:
    """In a process that has none, and imports none, it computes all the same."""
    path = save(mlp(), tmp_path / "mlp.onnx")
    program = (
        "import sys\n"
        "for name in ('onnxruntime', 'openvino', 'torch', 'tensorflow', 'keras', 'nncf', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "from speedsheet.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "compile", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "INT8 against FP32: 2 products with stored weights" in done.stdout


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_reader_gets_three_parts(lang: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Operators that the card lacks with the type, INT8 by calibration, and places by level; lines fit."""
    path = save(embedding(), tmp_path / "e.onnx")
    assert main(["compile", str(path), "--lang", lang, "--schedule", "O1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert ("modelled: nothing here was measured" if lang == "en" else "以下均非实测") in out
    assert re.search(r"Cast +(computes in |以 )int64", out)
    assert COMPILE_WORDS[lang].nothing_stored in out
    assert re.search(r"^ +O1 \*", out, re.MULTILINE)
    assert main(["compile", "mmoe", "--lang", lang]) == 0
    out = capsys.readouterr().out
    assert out.count("click_probability") == 2
    assert COMPILE_WORDS[lang].worst in out


def test_both_languages_fill_in_the_same_figures() -> None:
    """A translation loses no figure, no column and no reason."""
    english, chinese = COMPILE_WORDS["en"], COMPILE_WORDS["zh"]
    for name in english.__dataclass_fields__:
        ours, theirs = getattr(english, name), getattr(chinese, name)
        if isinstance(ours, str):
            assert sorted(re.findall(r"\{\w+\}", ours)) == sorted(re.findall(r"\{\w+\}", theirs)), name
        else:
            assert set(ours) == set(theirs), name


def test_own_weights_beside_the_graph_are_quantised_where_they_lie(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """External data gives the figures that stored data gives."""
    inside = compiled(save(mlp(), tmp_path / "in.onnx"), capsys=capsys)
    (tmp_path / "out").mkdir()
    beside = compiled(save_external(mlp(), tmp_path / "out" / "out.onnx"), capsys=capsys)
    assert inside["int8"]["layers"] == beside["int8"]["layers"]
    assert [layer["name"] for layer in inside["int8"]["layers"]] == ["first", "last"]


def test_own_samples_calibrate_and_judge_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file's first samples calibrate, the next are judged; too few are refused, since they would be the same."""
    path = save(mlp(), tmp_path / "mlp.onnx")
    draw = np.random.default_rng(3)
    np.savez(tmp_path / "many.npz", x=draw.standard_normal((40, 8)).astype(np.float32))
    np.savez(tmp_path / "few.npz", x=draw.standard_normal((6, 8)).astype(np.float32))
    data = compiled(path, "--data", tmp_path / "many.npz", "--samples", "16", capsys=capsys)
    assert (data["int8"]["calibration_samples"], data["int8"]["judged_samples"]) == (16, 16)
    assert data["int8"]["inputs"].startswith("many.npz: 32 distinct samples of 40")
    assert main(["compile", str(path), "--data", str(tmp_path / "few.npz"), "--samples", "16"]) == 2
    assert "give at least 32 distinct samples, or fewer --samples" in capsys.readouterr().err


def test_drawn_samples_calibrate_and_judge_apart() -> None:
    """Nothing that calibrated is judged, whatever the seed."""
    found = find("dlrm")
    for seed in (0, 920):
        calibration, judged, _ = _feeds(found, Wish(4, "fp16", seed=seed), 4, 3)
        assert len(_samples(found, judged)) == 12
        assert not _samples(found, calibration) & _samples(found, judged)


def test_what_is_not_computed_is_blank_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator without a reference implementation leaves outputs blank, weights judged, and exit 0."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("FusedGelu", ["m"], ["y"], domain="com.microsoft", name="gelu"),
    ]
    ends = [tensor("x", ["batch", 8])], [tensor("y", ["batch", 4])]
    proto = model(nodes, *ends, [weights("w", 8, 4)], domains=("com.microsoft",))
    path = save(proto, tmp_path / "own.onnx")
    data = compiled(path, "--batch", "2", capsys=capsys)
    assert data["int8"]["outputs"] == []
    assert data["int8"]["inputs"] is None
    assert "FusedGelu gelu: cannot be computed here" in data["int8"]["blank"]
    (layer,) = data["int8"]["layers"]
    assert layer["weight_db"] > 30
    assert set(layer["output_db"].values()) == {None}
    assert {(one["operator"], one["reason"]) for one in data["unsupported"]} == {("com.microsoft.FusedGelu", "shape")}
    assert main(["compile", str(path)]) == 0
    assert "Errors of outputs are blank: FusedGelu" in capsys.readouterr().out


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_weight_that_is_no_number_is_one_line(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No step fits it: the product is named, and nothing is said of the rest."""
    proto = mlp()
    stored = next(one for one in proto.graph.initializer if one.name == "w2")
    broken = numpy_helper.to_array(stored).copy()
    broken[0, 0] = value
    stored.CopyFrom(numpy_helper.from_array(broken, "w2"))
    assert main(["compile", str(save(proto, tmp_path / "broken.onnx"))]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "last: its weight holds NaN or infinity" in err


def test_what_would_take_minutes_is_not_done_unasked() -> None:
    """The largest model of the zoo is judged by its weights, the others are computed with two samples or more."""
    assert samples_to_compute(zoo_piece("bert_large_384")) == 0
    assert samples_to_compute(zoo_piece("bert_128")) >= 2
    assert samples_to_compute(zoo_piece("mmoe")) == 64


def test_branches_and_state_are_computed_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A voice detector: its branch is for the host, and its recurrence has no product that could be quantised."""
    data = compiled(save(carried(), tmp_path / "vad.onnx"), "--input", "sr=:int64:16000:16001", capsys=capsys)
    assert "control_flow" in {one["reason"] for one in data["unsupported"]}
    assert data["int8"]["layers"] == []
    assert data["int8"]["blank"] is None


def test_a_mask_that_fp16_cannot_hold_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in the text, with what becomes of it."""
    mask = numpy_helper.from_array(np.full(3, -1e9, np.float32), "mask")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "mask"], ["y"], name="masked"),
    ]
    proto = model(nodes, [tensor("x", ["n", 8])], [tensor("y", ["n", 3])], [weights("w", 8, 3), mask])
    assert main(["compile", str(save(proto, tmp_path / "m.onnx"))]) == 0
    assert "Beyond 65504, the largest number of FP16: mask, masked." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "MODEL is missing; see: speedsheet compile --help"),
        ("resnet51", "no model is called 'resnet51'"),
        ("mmoe --target stcp921", "no device is called 'stcp921'; did you mean stcp920"),
        ("mmoe --target hailo8", "hailo8: states no arrays"),
        ("mmoe --precision bf16", "STCP920 has no bf16; give one of fp16, int8"),
        ("mmoe --schedule O4", "--schedule: 'O4' is not one of 'O0', 'O1', 'O2', 'O3'"),
        ("mmoe --samples 0", "--samples: 0 is below 1"),
        ("mmoe --data none.npz", "none.npz: no such file"),
        ("none.onnx", "none.onnx: no such file"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What, where, what to do; exit 2, nothing on standard output."""
    assert main(["compile", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_a_shape_that_nobody_can_know_asks_for_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The input is named, with what to type."""
    ends = [tensor("x", ["n", "a", "b", "c"])], [tensor("y", [None] * 4)]
    proto = model([helper.make_node("Relu", ["x"], ["y"])], *ends)
    path = save(proto, tmp_path / "free.onnx")
    for verb in (["compile", str(path)], ["plan", str(path), "--qps", "10"]):
        assert main(verb) == 2
        assert re.search(r"free\.onnx: .*input 'x'.*--input x=", capsys.readouterr().err)
    assert main(["compile", str(path), "--input", "x=1x2x3x4:float32"]) == 0
    assert onnx.load(path).graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
