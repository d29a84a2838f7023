"""The command line: what it prints where, its exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speedsheet.cli import main, screen
from speedsheet.core.errors import EngineFailed
from speedsheet.core.measurement import Gate, Latency, Measurement, Throughput
from speedsheet.core.plan import Target
from speedsheet.core.request import Progress, RowRequest
from speedsheet.core.samples import WINDOW, Samples
from speedsheet.core.sheet import Sheet
from speedsheet.records import store as records

PROGRAM = "import sys, test_cli; sys.exit(test_cli.main(sys.argv[1:], measure=test_cli.slow))"
HERE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}


def samples_of(latency_ms: float, count: int) -> Samples:
    draw = np.random.default_rng(920)
    took = (latency_ms * 1e6 * draw.lognormal(0, 0.05, count)).astype(np.int64)
    end = np.cumsum(took)
    zeros = np.zeros(count, np.int32)
    return Samples(
        zeros, zeros, end - took, end - took, end, np.full(count, WINDOW, np.int8), zeros.astype(bool), 0, int(end[-1])
    )


def row_of(request: RowRequest) -> Measurement:
    return Measurement(
        model=request.model,
        framework="tensorflow",
        task="ranking",
        batch_size=request.batch_size or 4,
        thread_num=request.thread_num or 2,
        precision=request.precision or "fp32",
        engine="onnxruntime",
        precision_executed={"fp32": 1.0},
        latency_ms=Latency(26.5, 26.4, 28.1, p99=29.9, low=26.3, high=26.7),
        throughput_samples_per_s=Throughput(1812.5, 1800.0, 1825.0),
        gate=Gate(passed=True, metric="centred_cosine", value=0.9993, limit=0.9),
    )


class Fake:
    """A bench that measures nothing: it says what it was asked, and how long it is to take."""

    def __init__(self, *, fails: Sequence[str] = (), stage_s: float = 0.0) -> None:
        self.fails, self.stage_s = fails, stage_s
        self.asked: list[RowRequest] = []
        self.rest: dict[str, Any] = {}

    def __call__(
        self, requests: Sequence[RowRequest], *, store: Path, listen: Any, finished: Any, **rest: Any
    ) -> Sheet:
        """Return a good row for each request but those that are to fail."""
        self.asked, self.rest = list(requests), {"store": store, **rest}
        rows = []
        for place, request in enumerate(requests, 1):
            for stage, done in (("preparing", None), ("measuring", 0.0), ("measuring", 0.6)):
                listen(Progress(place, len(requests), request.model, stage, done, 83.0))
                time.sleep(self.stage_s)
            row = row_of(request)
            if request.model in self.fails:
                row = row.failed("the worker was killed by signal 9; lower --threads")
            else:
                row = records.seal(store, row, samples_of(26.5, 2000), {})
            finished(row)
            rows.append(row)
        return Sheet({"hostname": "bench-1", "cpu": "AMD EPYC", "cores_allowed": 2}, tuple(rows))


def slow(requests: Sequence[RowRequest], **rest: Any) -> Sheet:
    """Stages last long enough to be seen; dlrm fails."""
    return Fake(fails=["dlrm"], stage_s=float(os.environ.get("STAGE_S", "0")))(requests, **rest)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **HERE, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


WRONG = {
    "shet": ("no command is called 'shet'", "did you mean sheet"),
    "sheet --precison fp16": ("no option --precison", "did you mean --precision"),
    "sheet --nonsense": ("no option --nonsense", "speedsheet sheet --help"),
    "sheet --batch 0": ("--batch", "0 is below 1"),
    "sheet --batch -3": ("--batch", "-3 is below 1"),
    "sheet --batch 1.5": ("--batch", "not a whole number"),
    "sheet --batch 99999999999": ("--batch", "too large"),
    "sheet --batch": ("--batch", "speedsheet sheet --help"),
    "sheet --threads 0": ("--threads", "0 is below 1"),
    "sheet --threads two": ("--threads", "not a whole number"),
    "sheet --seed -1": ("--seed", "below 0"),
    "sheet --precision fp61": ("--precision", "did you mean fp16?"),
    "sheet --time 10x": ("--time", "not a duration"),
    "sheet --time 0": ("--time", "out of range"),
    "sheet --budget soon": ("--budget", "not a duration"),
    "sheet --precision-target 5": ("--precision-target", "percentage", "5%"),
    "sheet --precision-target 0%": ("--precision-target", "percentage"),
    "sheet --precision-target x%": ("--precision-target", "percentage"),
    "sheet --precision-target p98=5%": ("--precision-target", "'p98' is no figure", "p99.9"),
    "sheet --precision-target =5%": ("--precision-target", "'' is no figure"),
    "sheet --precision-target 5%,": ("--precision-target", "percentage"),
    "sheet --precision-target 5%,throughput=2%": ("--precision-target", "throughput is given twice"),
    "sheet --precision-target p99=5% --precision-target p99=6%": ("--precision-target", "p99 is given twice"),
    "sheet --quick --precision-target 5%": ("--quick and --precision-target", "one of them"),
    "run dlrm --quick --precision-target 5%": ("--quick and --precision-target", "one of them"),
    "sheet --processes 0": ("--processes", "0 is below 1"),
    "sheet --stall-limit -1s": ("--stall-limit", "not a duration"),
    "sheet --set x": ("--set", "NAME=VALUE"),
    "sheet --set =1": ("--set", "NAME=VALUE"),
    "sheet --set a=1 --set a=2": ("--set", "a is given twice"),
    "sheet --format cvs": ("--format", "csv"),
    "sheet --lang fr": ("--lang", "'fr' is not a language of sheets", "en, zh"),
    "run dlrm --lang": ("--lang", "speedsheet run --help"),
    "sheet --price-per-hour free": ("--price-per-hour", "not an amount above zero"),
    "sheet --price-per-hour 0": ("--price-per-hour", "not an amount above zero"),
    "sheet --price-per-hour nan": ("--price-per-hour", "not an amount above zero"),
    "sheet --currency EUR": ("--currency", "--price-per-hour"),
    "sheet --price-per-hour 1 --currency doubloons": ("--currency", "1 to 8 letters"),
    "sheet --json --format csv": ("two formats", "one of them"),
    "sheet --suite frist": ("no suite is called 'frist'", "did you mean first"),
    "sheet --suite none.toml": ("none.toml", "No such file"),
    "sheet --weights w.h5": ("--weights", "a file is of one model"),
    "sheet extra": ("extra", "speedsheet sheet --help"),
    "sheet --input x=1": ("no option --input", "speedsheet sheet --help"),
    "sheet --out /proc/none/such": ("/proc/none/such", "--out"),
    "run": ("MODEL", "missing"),
    "run resnet5": ("no model is called 'resnet5'", "did you mean resnet50"),
    "run none.onnx": ("none.onnx", "no such file"),
    "run nets/none.pb": ("nets/none.pb", "not an .onnx file"),
    "run net.pt": ("net.pt", "not an .onnx file"),
    "run dlrm --input x": ("--input", "NAME=SHAPE"),
    "run dlrm --input x=1:float32 --input x=2:float32": ("--input", "x is given twice"),
    "run dlrm --data none.npz": ("none.npz", "no such file"),
    "run dlrm --reference none.onnx": ("none.onnx", "no such file"),
    "run dlrm --carry h": ("--carry", "NAME=VALUE"),
    "models resnet5": ("no model is called 'resnet5'", "did you mean resnet50"),
    "models --jsn": ("no option --jsn", "--json"),
    "engines x": ("x", "speedsheet engines --help"),
    "clocks lokc": ("lokc", "speedsheet clocks --help"),
    "clocks lock": ("FREQ", "missing"),
    "clocks lock fast": ("'fast' is not a frequency", "2.4GHz"),
}


@pytest.mark.parametrize("command", WRONG)
def test_a_wrong_command_is_answered_in_one_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, nothing on standard output, one line that names what, where and what to do; nothing is measured."""
    bench = Fake()
    assert main(command.split(), measure=bench) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("speedsheet: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not bench.asked
    for part in WRONG[command]:
        assert part in err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback comes first, the line last, and the exit code stays; before or behind the verb."""
    for command in (["--debug", "run", "none.onnx"], ["run", "none.onnx", "--debug"]):
        assert main(command, measure=Fake()) == 2
        err = capsys.readouterr().err
        assert err.startswith("Traceback")
        assert err.splitlines()[-1].startswith("speedsheet: none.onnx")


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (EngineFailed("no", do="try another"), 1, "no; try another"),
        (OSError(28, "No space left on device", "/x"), 1, "No space left on device: /x"),
        (ZeroDivisionError("a\nb"), 1, "internal error, ZeroDivisionError: a b; --debug shows where"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_bench_raises_is_one_line_too(
    error: BaseException, code: int, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a wrong command is 2."""

    def broken(*_: Any, **__: Any) -> Sheet:
        raise error

    assert main(["run", "dlrm"], measure=broken) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"speedsheet: {part}\n")


def test_help_waits_for_nothing_heavy() -> None:
    """`--help` and `--version` import neither numpy nor a library that draws or stores."""
    script = (
        "import sys; from speedsheet.cli import main; code = main([sys.argv[1]]); "
        "heavy = {'numpy', 'rich', 'duckdb', 'onnx', 'onnxruntime', 'psutil'} & set(sys.modules); "
        "sys.exit(code or ' '.join(heavy) or 0)"
    )
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", script, option], env=os.environ | HERE, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "speedsheet" in done.stdout


@pytest.mark.parametrize("verb", ["sheet", "run", "models", "engines", "clocks"])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help goes to standard output and is no error; every option says what it is for."""
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: speedsheet {verb}")
    assert not re.search(r"--[a-z-]+( [A-Z|=a-z\[\]]+)?\n  -", out.split("\n  -h")[0])


def test_no_two_files_of_the_command_line_import_each_other() -> None:
    """Whoever reads one of them reads down, and never in a circle; what only types need counts too."""
    read = {
        path.stem: set(re.findall(r"from speedsheet\.cli\.(\w+) import", path.read_text(encoding="utf-8")))
        for path in Path(screen.__file__).parent.glob("*.py")
    }
    assert "compile_view" in read["compile"]
    assert not [(one, other) for one, others in read.items() for other in others if one in read[other]]


def test_no_verb_at_all_is_a_question(capsys: pytest.CaptureFixture[str]) -> None:
    """Bare `speedsheet` shows its verbs."""
    assert main([]) == 0
    assert "engines" in capsys.readouterr().out


def test_json_is_all_there_is_on_standard_output() -> None:
    """The document and nothing else; on standard error only where the sheet was kept."""
    done = program("sheet", "--suite", "first", "--json")
    assert done.returncode == 1
    data = json.loads(done.stdout)
    assert data["schema"] == "speedsheet.sheet/1"
    assert [row["status"] for row in data["rows"]] == ["ok", "ok", "failed", "ok"]
    assert re.fullmatch(r"sheet: \S+\n", done.stderr)
    kept = Path(done.stderr.split()[1])
    assert json.loads((kept / "sheet.json").read_text()) == data


@pytest.mark.parametrize(("fails", "code"), [((), 0), (("dlrm",), 1)])
def test_the_exit_code_says_whether_every_row_has_its_number(fails: tuple[str, ...], code: int) -> None:
    """0 or 1."""
    assert main(["sheet", "--suite", "first"], measure=Fake(fails=fails)) == code


def test_options_override_the_suite(tmp_path: Path) -> None:
    """Each option reaches every row; what is not given stays the suite's."""
    (tmp_path / "my.toml").write_text(
        '[suite]\nwindow = "7s"\nbudget = "3m"\n[[row]]\nmodel = "dlrm"\nbatch_size = 3\nengine = "openvino"\n'
        'settings = { A = "1", B = "2" }\n[[row]]\nmodel = "resnet50"\n'
    )
    bench = Fake()
    assert main(["sheet", "--suite", "my.toml"], measure=bench) == 0
    wished = (Target(0.05),)
    assert bench.asked == [
        RowRequest(
            "dlrm", batch_size=3, engine="openvino", window_s=7.0, settings={"A": "1", "B": "2"}, targets=wished
        ),
        RowRequest("resnet50", window_s=7.0, targets=wished),
    ]
    assert bench.rest == {
        "store": tmp_path / "data" / "records", "budget_s": 180.0, "resume": False, "stall_limit_s": 300.0,
        "refine": True,
    }  # fmt: skip
    given = "--batch 5 --threads 6 --engine onnxruntime --device D --precision BF16 --time 250ms --budget 1h --seed 0"
    given += " --set B=3 --set C= --strict-precision --resume --stall-limit 9s --out out --processes 3"
    given += " --precision-target 2%,p99.9=10% --precision-target p50=1%"
    assert main(["sheet", "--suite", "my.toml", *given.split()], measure=bench) == 0
    wanted = RowRequest(
        "dlrm", "onnxruntime", "D", "bf16", 5, 6, 0.25, {"A": "1", "B": "3", "C": ""}, strict_precision=True, seed=0,
        targets=(Target(0.02), Target(0.1, "p99_9"), Target(0.01, "p50")), processes=3,
    )  # fmt: skip
    assert bench.asked == [wanted, replace(wanted, model="resnet50", settings={"B": "3", "C": ""})]
    assert bench.rest == {
        "store": tmp_path / "out" / "records", "budget_s": 3600.0, "resume": True, "stall_limit_s": 9.0,
        "refine": False,
    }  # fmt: skip
    assert len(list((tmp_path / "out" / "sheets").iterdir())) == 1


@pytest.mark.parametrize(
    ("command", "target", "budget_s", "refine"),
    [
        ("sheet", 0.05, 1800.0, True),
        ("sheet --quick", None, None, False),
        ("sheet --quick --budget 9m", None, 540.0, False),
        ("sheet --time 3s", None, None, False),
        ("sheet --time 3s --precision-target 2%", 0.02, 1800.0, False),
        ("sheet --precision-target 10% --budget 5m", 0.1, 300.0, True),
        ("run dlrm", None, None, False),
        ("run dlrm --precision-target 1% --budget 1m", 0.01, 60.0, True),
        ("run dlrm --precision-target 1%", 0.01, 1800.0, True),
        ("run dlrm --quick", None, None, False),
    ],
)
def test_how_well_rows_are_to_be_known(
    command: str, target: float | None, budget_s: float | None, refine: bool
) -> None:
    """A sheet goes on to 5 % or half an hour; a window, a hurry or a single run does not, and a time ends it first."""
    bench = Fake()
    assert main(command.split(), measure=bench) == 0
    assert bench.asked[0].targets == (() if target is None else (Target(target),))
    assert (bench.rest["budget_s"], bench.rest["refine"]) == (budget_s, refine)
    assert bench.asked[0].quick == ("--quick" in command)


def test_run_passes_on_what_is_said_of_an_own_model(tmp_path: Path) -> None:
    """Inputs, data and carried state, for each model given."""
    (tmp_path / "a.onnx").touch()
    (tmp_path / "x.npz").touch()
    bench = Fake()
    command = "run a.onnx dlrm --input ids=1x128:int64:0:30000 --input h=:float32 --data x.npz --carry h_out=h"
    command += " --reference a.onnx --precision as-is --labels y.npy --weights w.safetensors"
    assert main(command.split(), measure=bench) == 0
    assert [request.model for request in bench.asked] == ["a.onnx", "dlrm"]
    assert [spec.name for spec in bench.asked[0].inputs] == ["ids", "h"]
    assert (bench.asked[0].data, bench.asked[0].reference) == (Path("x.npz"), Path("a.onnx"))
    assert (bench.asked[0].labels, bench.asked[1].weights) == ("y.npy", "w.safetensors")
    assert bench.asked[0].precision == "as-is"
    assert bench.asked[0].carry == {"h_out": "h"}


def test_a_sheet_gives_weights_to_the_rows_that_can_take_them(tmp_path: Path) -> None:
    """What a framework offers by name, to the models that it offers it for; a file, where there is one model."""
    (tmp_path / "one.toml").write_text('[[row]]\nmodel = "dlrm"\n[[row]]\nmodel = "dlrm"\nprecision = "BF16"\n')
    bench = Fake()
    assert main(["sheet", "--quick", "--weights", "imagenet"], measure=bench) == 0
    weighted = {request.model for request in bench.asked if request.weights == "imagenet"}
    assert weighted == {"resnet50", "resnet101", "densenet101", "mobilenet_v2"}
    assert all(request.weights is None for request in bench.asked if request.model not in weighted)
    assert main(["sheet", "--suite", "one.toml", "--weights", "w.safetensors"], measure=bench) == 0
    assert [request.weights for request in bench.asked] == ["w.safetensors"] * 2


@pytest.mark.parametrize(
    ("shape", "start"), [("markdown", "## First rows"), ("csv", "Model,Framework"), ("table", "First rows\n20")]
)
def test_a_sheet_is_printed_in_the_format_asked_for(shape: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output; stages and the folder on standard error."""
    assert main(["sheet", "--suite", "first", "--format", shape], measure=Fake()) == 0
    out, err = capsys.readouterr()
    assert out.startswith(start)
    assert "1/4 resnet50 · measuring (83 s left)\n" in err
    assert "resnet50: onnxruntime · 26.50 ms · 1812 samples/s ±0.69 %\n" in err
    assert err.count("measuring") == 4
    assert err.splitlines()[-1].startswith("sheet: ")


def test_markdown_is_what_a_pipe_gets(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal and without a wish."""
    main(["sheet", "--suite", "first"], measure=Fake())
    assert capsys.readouterr().out.startswith("## First rows\n\n- **Date**: 20")


def test_damaged_samples_cost_only_the_histogram(capsys: pytest.CaptureFixture[str]) -> None:
    """The sheet stands, and a line says what is wrong."""
    bench = Fake()

    def spoils(requests: Sequence[RowRequest], **rest: Any) -> Sheet:
        sheet = bench(requests, **rest)
        os.truncate(Path(str(sheet.rows[0].record)) / records.SAMPLES_FILE, 5)
        return sheet

    assert main(["run", "dlrm", "--format", "table"], measure=spoils) == 0
    out, err = capsys.readouterr()
    assert "26.50" in out
    assert re.search(r"^speedsheet: no histogram: .*does not match its hash", err, re.MULTILINE)


def test_a_sheet_that_cannot_be_kept_is_printed_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows are shown, the reason is told, and the exit code is 1."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sheets").write_text("in the way")
    assert main(["sheet", "--suite", "first", "--format", "csv"], measure=Fake()) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 5
    assert "speedsheet: the sheet was not written" in err.splitlines()[-1]


def test_a_reader_who_leaves_is_no_error() -> None:
    """`speedsheet ... | head -1` says nothing on standard error but where the sheet is."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "sheet", "--suite", "first", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **HERE},
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 1
    assert "Traceback" not in err
    assert "Exception" not in err


def read_json(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, Any]:
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_models_are_told_to_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    """The keys of the contract; one by name has its inputs besides."""
    keys = ["name", "framework", "task", "batch_size", "thread_num", "precisions"]
    keys += ["params_millions", "gflop_per_sample", "source"]
    models = read_json(capsys, "models", "--json")["models"]
    assert {"resnet50", "bert_128", "dlrm", "dssm_mock"} <= {model["name"] for model in models}
    assert all(list(model) == keys for model in models)
    resnet = next(model for model in models if model["name"] == "resnet50")
    assert resnet["params_millions"] == pytest.approx(25.6, abs=0.1)
    assert resnet["gflop_per_sample"] == pytest.approx(7.72, abs=0.1)
    (one,) = read_json(capsys, "models", "resnet50", "--json")["models"]
    assert one["inputs"][0]["shape"][0] == "batch"


def test_models_are_shown_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each; one in full with inputs, shapes and ranges."""
    assert main(["models"]) == 0
    assert re.search(r"^resnet50 +tensorflow +16 +12 +25\.6 +7\.7", capsys.readouterr().out, re.MULTILINE)
    assert main(["models", "resnet50"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"batch x 224 x 224 x 3 +float32 +\[", out)


def test_engines_are_told_to_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    """The keys of the contract, null or empty where an engine is missing."""
    engines = read_json(capsys, "engines", "--json")["engines"]
    assert engines
    for engine in engines:
        assert list(engine) == ["name", "available", "version", "devices", "precisions", "reason"]
        assert engine["available"] == (engine["reason"] is None) == bool(engine["devices"])


def test_a_missing_engine_says_how_to_get_it() -> None:
    """An import that fails is a reason with a command, in both forms."""
    for option in ("--json", "--debug"):
        blocked = "import sys; sys.modules['onnxruntime'] = None; from speedsheet.cli import main; "
        blocked += f"sys.exit(main(['engines', {option!r}]))"
        done = subprocess.run(
            [sys.executable, "-c", blocked], env=os.environ | HERE, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert "pip install" in done.stdout
