"""`speedsheet twin` as it is typed: rows judged, the other card, what if, explanations, JSON; without an engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
import pytest
from rich.cells import cell_len

from models import mlp
from speedsheet.cli import main, twin_view
from speedsheet.cli.twin_beside import TwinBeside
from speedsheet.cli.twin_words import CHINESE, ENGLISH
from speedsheet.core.measurement import Measurement
from speedsheet.core.request import RowRequest
from speedsheet.core.sheet import Sheet
from speedsheet.sheets.chinese import CHINESE as SHEET_CHINESE
from speedsheet.sheets.document import Document
from speedsheet.sheets.words import ENGLISH as SHEET_ENGLISH
from speedsheet.twin.device import shipped
from speedsheet.twin.judging import Case, judged
from test_cli import Fake, row_of

CARD_FILE = Path(__file__).parent.parent / "src" / "speedsheet" / "data" / "devices" / "stcp920.toml"


def answer(*arguments: str) -> dict[str, Any]:
    """Run the command with --json and return its document."""
    done: dict[str, Any] = json.loads(printed(*arguments, "--json"))
    return done


def printed(*arguments: str) -> str:
    """Run the command and return what it printed; it must succeed."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["twin", *arguments]) == 0
    return out.getvalue()


def case(*models: str, **changes: Any) -> Case:
    """Judge as the command does, without printing."""
    usual: dict[str, Any] = {
        "device_name": "stcp920", "against": None, "claim": None, "precision": None, "batch": None, "threads": None,
        "clock": None, "cards": 1, "schedule": "O3", "inputs": (), "params": None, "extrapolate": False,
    }  # fmt: skip
    return judged(models, **(usual | changes))


def test_every_row_of_the_published_sheet_is_judged() -> None:
    """21 rows, each with ceiling, expected value, band, what binds, verdict, assumptions and nearest row."""
    found = answer()
    assert len(found["rows"]) == 21
    assert found["published_latency"].startswith("derived")
    for row in found["rows"]:
        assert row["clock"] == "modelled"
        assert row["predicted"]["low"] < row["predicted"]["throughput"] < row["predicted"]["high"]
        assert row["throughput_samples_per_s"]["value"] == row["predicted"]["throughput"]
        assert row["ceiling"]["throughput"] == min(row["ceiling"]["by_resource"].values())
        assert row["verdict"] in {"plausible", "optimistic", "impossible"}
        assert row["flips"]
        assert row["nearest"]
        assert row["relation"] in {"interpolated", "unseen family"}
        in_flight = row["latency_ms"]["mean"] / 1e3 * row["predicted"]["throughput"] / row["batch_size"]
        assert in_flight == pytest.approx(row["thread_num"])
    left_out = [row["predicted"]["left_out"] for row in found["rows"]]
    assert sum(left_out) == 14


def test_json_rows_hold_every_key_of_a_measured_row() -> None:
    """And beside them those of the model, always all of them, whatever device."""
    keys = {item.name for item in fields(Measurement)}
    extra = {"predicted", "ceiling", "published", "binding", "verdict", "flips", "family", "nearest", "relation",
             "breakdown_us", "operators_us", "thread_curve"}  # fmt: skip
    for arguments in (["mmoe"], ["--device", "hailo8"], ["bert_128", "--clock", "1.2GHz", "--extrapolate"]):
        for row in answer(*arguments)["rows"]:
            assert set(row) == keys | extra


def test_the_second_card_is_held_to_its_own_sheet() -> None:
    """Hailo-8: 36 published figures, none above what 26 TOPS allow; no expected value is pretended."""
    found = answer("--device", "hailo8")
    assert found["device"] == {"name": "hailo8", "title": "Hailo-8", "clock_hz": None, "modelled": False}
    assert (len(found["rows"]), {row["verdict"] for row in found["rows"]}) == (36, {"plausible"})
    assert all(row["predicted"] is None and row["breakdown_us"] is None for row in found["rows"])
    assert found["calibration"] is None
    assert "ceilings only" in printed("--device", "hailo8")


def test_what_if_changes_what_is_asked_and_claims_nothing() -> None:
    """Another batch, precision, clock or number of cards: the published figure stands only for the row as published."""
    (row,) = answer("resnet50", "--precision", "int8", "--batch", "8", "--threads", "32")["rows"]
    assert (row["precision"], row["batch_size"], row["thread_num"], row["published"]) == ("int8", 8, 32, None)
    assert row["verdict"] is None
    slow, fast = (
        answer("bert_128", "--clock", clock)["rows"][0]["predicted"]["throughput"] for clock in ("0.8GHz", "1300MHz")
    )
    assert slow < fast < slow * 1.3 / 0.8
    one, two = (
        answer("bert_128", "--threads", "64", "--cards", cards)["rows"][0]["predicted"]["throughput"]
        for cards in ("1", "2")
    )
    assert two == pytest.approx(2 * one)
    told = [answer("resnet50", "--schedule", name)["rows"][0] for name in ("O0", "O1", "O2")]
    assert all("schedule_predicted" in {one["code"] for one in row["findings"]} for row in told)


def test_a_claim_of_ones_own_is_judged(tmp_path: Path) -> None:
    """--claim puts a figure to any model: a shipped one, or a file."""
    assert answer("resnet50", "--precision", "fp16", "--claim", "7000")["rows"][0]["verdict"] == "plausible"
    assert answer("resnet50", "--precision", "fp16", "--claim", "1e6")["rows"][0]["verdict"] == "impossible"
    onnx.save(mlp(), tmp_path / "mine.onnx")
    (row,) = answer(str(tmp_path / "mine.onnx"), "--claim", "1000", "--batch", "4")["rows"]
    assert (row["model"], row["framework"], row["batch_size"], row["verdict"]) == ("mine", "onnx", 4, "plausible")
    assert row["relation"] == "unseen family"


def test_what_of_a_sheet_is_not_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model that nobody knows, a row without batch size or of another type: named, in the text as in JSON."""
    path = tmp_path / "theirs.csv"
    path.write_text(
        "model,precision,batch,threads,qps\nresnet50,FP16,16,12,7000\nbert_128,FP16,,8,3000\nbert_512,BF16,2,8,600\n"
        + "".join(f"ours{n},FP16,1,1,5\n" for n in range(5)),
        encoding="utf-8",
    )
    found = answer("--against", str(path))
    assert [row["model"] for row in found["rows"]] == ["resnet50"]
    assert found["unread"] == ["bert_128", "bert_512", "ours0", "ours1", "ours2", "ours3", "ours4"]
    text = " ".join(printed("--against", str(path)).split())
    assert "a type of the card: bert_128, bert_512, ours0, ours1, ours2, 2 others" in text
    assert answer("resnet50", "--against", str(path))["unread"] == []
    assert "Not judged" not in printed()
    path.write_text("model,batch,qps\nours,1,5\n", encoding="utf-8")
    for sheet in (str(path), "bytemlperf-hpu"):
        assert main(["twin", "--against", sheet]) == 2
        assert f"{sheet}: no row states a known model" in capsys.readouterr().err


def test_explain_shows_causes_and_the_ten_costliest_operators() -> None:
    """Shares of one request's time that sum to it, and operators by what they take."""
    text = printed("resnet50", "--precision", "fp16", "--explain")
    shares = [float(share) for share in re.findall(r"([0-9.]+) % +[0-9.]+ us  #+", text)]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert shares == sorted(shares, reverse=True)
    below = text.split("The ten costliest operators")[1].strip().splitlines()
    assert len(below) == 1 + 10 + 1
    assert "47 others" in below[-1]


def test_extrapolations_say_that_nothing_validates_them() -> None:
    """Percentiles and thread curves come only when asked for, and with their warning."""
    assert "p99" not in printed("resnet50")
    text = printed("resnet50", "--precision", "fp16", "--extrapolate")
    assert "not validated by any published row" in text
    (row,) = answer("resnet50", "--precision", "fp16", "--extrapolate")["rows"]
    assert [point["thread_num"] for point in row["thread_curve"]] == [1, 2, 4, 8, 16, 32, 64]
    assert {point["finding"]["code"] for point in row["thread_curve"]} == {"not_validated"}


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
def test_every_line_fits_the_terminal(width: int, words: Any) -> None:
    """Whatever its width, in both languages, in ASCII too; and no figure is lost where it is narrow."""
    for asked in (case(), case("bert_128", clock=1.2e9, cards=2), case(device_name="hailo8")):
        parts = [
            twin_view.claims(asked, words, width),
            twin_view.claims(asked, words, width, ascii_only=words is ENGLISH),
        ]
        parts += [twin_view.explanation(one, words, width) for one in asked.judged if one.spent][:1]
        for text in parts:
            assert max(cell_len(line) for line in text.plain.splitlines()) <= width
        for one in asked.judged:
            assert one.claim.model in parts[0].plain
    assert "53625113" in twin_view.claims(case("mmoe"), words, width).plain


def test_both_languages_say_everything() -> None:
    """Headings, resources and assumptions have words in Chinese; a code without one would stand in English."""
    assert ENGLISH.headings.keys() == CHINESE.headings.keys()
    assert ENGLISH.resources.keys() == CHINESE.resources.keys()
    codes = {flip.code for asked in (case(), case(device_name="hailo8")) for one in asked.judged for flip in one.flips}
    assert codes <= CHINESE.flips.keys()
    text = twin_view.claims(case(), CHINESE, 120).plain
    assert "optimistic above" not in text
    assert "偏乐观" in text
    assert CHINESE.findings["below_band"] in text.replace("\n  ", "")
    idle = case("resnet50", threads=1, extrapolate=True)
    assert CHINESE.findings["unsaturated"] in twin_view.claims(idle, CHINESE, 400).plain
    assert CHINESE.findings["not_validated"] in twin_view.curve(idle.judged[0], idle, CHINESE, 400).plain


@pytest.mark.parametrize("words", [ENGLISH, CHINESE])
def test_figures_are_written_out(words: Any) -> None:
    """A claim far off is so many times off in digits, small figures keep theirs: the same in both languages."""
    far = [case("resnet50", precision="fp16", claim=claim) for claim in (1.0, 1e7)]
    assert not any(re.search(r"[0-9]e[+-]?[0-9]", twin_view.claims(one, words, 400).plain) for one in far)
    assert "7200 x slower than expected" in twin_view.claims(far[0], words, 400).plain
    large = case("bert_large_384")
    assert large.judged[0].predicted is not None
    assert f" {large.judged[0].predicted.high:.3g} " in twin_view.claims(large, words, 400).plain


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["resnet5"], "did you mean resnet50"),
        (["--device", "stcp92"], "did you mean stcp920"),
        (["--device", "hailo8", "--clock", "1GHz"], "no range of clocks"),
        (["--clock", "2GHz"], "cannot be set on STCP920"),
        (["--clock", "fast"], "is not a clock"),
        (["resnet50", "--precision", "fp32"], "STCP920 has no fp32"),
        (["--claim", "5"], "name the model"),
        (["resnet50", "--claim", "-5"], "is not a rate above zero"),
        (["--batch", "0"], "is below 1"),
        (["--params", "none.json"], "cannot be read"),
        (["none.onnx"], "no such file"),
        (["calibrate", "bytemlperf-spu"], "rows of convolutional networks or transformers"),
        (["calibrate", "nobody"], "no published sheet is called"),
        (["calibrate"], "is missing"),
        (["calibrate", "stcp920", "--out", "/dev/null/fit.json"], "/dev/null: cannot be made"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What, where, what to do; exit 2; nothing on standard output, and nothing written."""
    monkeypatch.chdir(tmp_path)
    assert main(["twin", *arguments]) == 2
    out, error = capsys.readouterr()
    assert said in error
    assert error.startswith("speedsheet: ")
    assert (error.count("\n"), out) == (1, "")
    assert not list(tmp_path.iterdir())


def test_a_device_file_of_ones_own(tmp_path: Path) -> None:
    """The card's own facts under another name are not calibrated: priors, and it says so."""
    path = tmp_path / "mine.toml"
    path.write_text(
        CARD_FILE.read_text(encoding="utf-8").replace('name = "stcp920"', 'name = "mine"'), encoding="utf-8"
    )
    found = answer("resnet50", "--precision", "fp16", "--device", str(path))
    assert found["calibration"] is None
    assert [one["code"] for one in found["rows"][0]["findings"]] == ["priors_only"]
    assert "not calibrated" in printed("resnet50", "--device", str(path))
    assert {"stcp920", "hailo8"} <= set(shipped())


def test_no_engine_and_no_framework_is_needed() -> None:
    """In a process where engines, frameworks and SciPy cannot be imported, every row is judged."""
    barred = ("onnxruntime", "openvino", "torch", "tensorflow", "keras", "nncf", "scipy")
    program = (
        "import sys\n"
        f"for name in {barred!r}: sys.modules[name] = None\n"
        "from speedsheet.cli import main\n"
        "sys.exit(main(['twin']) or main(['twin', '--explain', 'resnet50']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "21 rows: " in done.stdout


def test_a_measured_sheet_has_model_and_publication_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--with-twin: three throughputs of each row under labels of their own, in every format and at every width."""
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path))
    for shape in ("table", "markdown", "csv", "json"):
        plain, beside = (
            (main(["sheet", "--suite", "first", "--format", shape, *more], measure=Fake()), capsys.readouterr().out)[1]
            for more in ([], ["--with-twin"])
        )
        assert "modelled" not in plain
        assert "7236" in beside
        if shape == "json":
            rows = json.loads(beside)["modelled"]
            assert [row["clock"] for row in rows] == ["modelled"] * 4
            assert {row["clock"] for row in json.loads(beside)["rows"]} == {"wall"}
            continue
        for label in ("STCP920 modelled", "STCP920 published"):
            assert label in beside
    with_fp32 = main(["sheet", "--suite", "first", "--with-twin", "--precision", "fp32"], measure=Fake())
    assert (with_fp32, "7236" in capsys.readouterr().out) == (0, False)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("words", [SHEET_ENGLISH, SHEET_CHINESE])
def test_the_three_figures_fit_the_terminal(width: int, words: Any) -> None:
    """Measured, modelled and published stay together; what says less gives way, then each row is a card."""
    rows = tuple(
        row_of(RowRequest(name, batch_size=16, thread_num=12, precision="fp16")) for name in ("resnet50", "mmoe")
    )
    document = Document.of(Sheet({}, rows), words=words)
    text = TwinBeside("stcp920").table(document, width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "7236" in text
    assert "7238" in text
