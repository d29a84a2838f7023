"""The store as something to ask: listed, filtered, asked in SQL, kept elsewhere; damage named and passed over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import duckdb
import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import speedsheet
from looking_back import altered
from speedsheet.cli import main
from speedsheet.core.errors import UsageError
from speedsheet.core.measurement import Latency, Throughput
from speedsheet.history import index
from speedsheet.history.store import History
from speedsheet.records import remote, store
from speedsheet.records.canonical import canonical
from test_records import row, samples_of

OLD = Path(__file__).parent / "records"
KILLER = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_records import row, samples_of
from speedsheet.records import store
samples = samples_of(20_000)
for turn in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        while True:
            store.seal(Path(sys.argv[1]), row(), samples, {"request_sha256": "a" * 64})
    time.sleep(random.Random(turn).uniform(0.0, 0.12))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print("done")
"""


def seal(folder: Path, **changes: object) -> Path:
    """Write a record with a few samples."""
    return Path(str(store.seal(folder, row(**changes), samples_of(20), {"host": {"cpu": "x"}}).record))


def test_records_are_listed_newest_first_and_asked_by_their_columns(tmp_path):
    """Rows are dictionaries of documented columns; a column that is none is named."""
    seal(tmp_path, model="resnet50")
    seal(tmp_path, model="resnet34", engine="onnxruntime")
    seal(tmp_path, model="bert", throughput_samples_per_s=Throughput(), latency_ms=Latency(), status="failed")
    history = History.of(tmp_path)
    assert [one["model"] for one in history.rows()] == ["bert", "resnet34", "resnet50"]
    assert [one["model"] for one in history.rows("resnet", engine="onnxruntime")] == ["resnet34"]
    (failed,) = history.rows(status="failed")
    assert failed["samples_per_s"] is failed["mean_ms"] is None
    assert history.rows(limit=1)[0]["model"] == "bert"
    with pytest.raises(UsageError, match="no column 'colour'"):
        history.rows(colour="red")


def test_sql_reaches_rows_samples_and_windows(tmp_path):
    """The views are what the documentation says, and a relation is DuckDB's own."""
    seal(tmp_path)
    seal(tmp_path)
    history = History.of(tmp_path)
    assert history.sql("SELECT count(*) FROM records").fetchall() == [(2,)]
    assert history.sql("SELECT count(*), count(DISTINCT folder) FROM samples").fetchall() == [(40, 2)]
    relation = history.sql("SELECT model, samples_per_s FROM records")
    assert isinstance(relation, duckdb.DuckDBPyRelation)
    assert relation.columns == ["model", "samples_per_s"]
    with pytest.raises(UsageError, match="nowhere"):
        history.sql("SELECT * FROM nowhere")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["seal", "remove", "truncate", "rewrite", "stray"]), max_size=8), st.integers(0, 99))
def test_the_index_says_what_the_store_says_whatever_happened_to_it(tmp_path, steps, seed):
    """Records added, removed, damaged, and strangers among them: the index agrees with a full reading after each."""
    folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    cache = folder / ".cache"
    for step in steps:
        records = sorted(path for path in folder.iterdir() if (path / store.ROW_FILE).is_file())
        chosen = records[seed % len(records)] if records else None
        if step == "seal" or chosen is None:
            seal(folder)
        elif step == "remove":
            shutil.rmtree(chosen)
        elif step == "truncate":
            os.truncate(chosen / store.ROW_FILE, 10)
        elif step == "rewrite":
            (chosen / store.ROW_FILE).write_text('{"schema": "speedsheet.record/99"}')
        else:
            (folder / f"stray-{len(list(folder.iterdir()))}").mkdir()
        path = index.refreshed(folder, cache)
        listed = store.listed(folder)
        found = History(folder, path)
        assert {one["folder"] for one in found.rows()} == {record.folder.name for record in listed.records}
        assert {name for name, _ in found.skipped()} == {place.name for place, _ in listed.skipped}


def test_a_record_that_is_known_is_not_read_again(tmp_path):
    """The second listing reads only what is new; an index that was damaged is made anew."""
    read: list[int] = []
    for _ in range(3):
        seal(tmp_path / "store")
    path = index.refreshed(tmp_path / "store", tmp_path / "cache", lambda _done, of: read.append(of))
    seal(tmp_path / "store")
    index.refreshed(tmp_path / "store", tmp_path / "cache", lambda _done, of: read.append(of))
    assert read == [3, 3, 3, 1]
    path.write_text("not a table")
    assert index.refreshed(tmp_path / "store", tmp_path / "cache") == path
    assert len(History(tmp_path / "store", path).rows()) == 4


def test_a_future_schema_is_named_and_the_rest_works(tmp_path, capsys):
    """A store may hold what only a later version reads."""
    seal(tmp_path)
    later = seal(tmp_path)
    content = json.loads((later / store.ROW_FILE).read_text())
    (later / store.ROW_FILE).write_text(json.dumps({**content, "schema": "speedsheet.record/9"}))
    assert main(["history", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "1 of 1 records" in out
    assert "speedsheet.record/9" in out


def test_the_command_lists_filters_and_asks(tmp_path, capsys):
    """In words, as JSON with keys that do not change, in SQL, in Chinese; a wrong question is one line."""
    seal(tmp_path, model="resnet50")
    seal(tmp_path, model="bert_128", precision="int8")
    assert main(["history", "resnet", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "resnet50" in out
    assert "bert" not in out
    assert "7236" in out
    assert main(["history", "--store", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "speedsheet.history/1"
    assert set(found["records"][0]) == {"folder", *index.COLUMNS}
    assert (
        main(["history", "--store", str(tmp_path), "--sql", "SELECT precision, count(*) AS n FROM records GROUP BY 1"])
        == 0
    )
    assert "int8" in capsys.readouterr().out
    assert main(["history", "--store", str(tmp_path), "--lang", "zh"]) == 0
    assert "模型" in capsys.readouterr().out
    assert main(["history", "--store", str(tmp_path), "--sql", "DELETE"]) == 2
    assert capsys.readouterr().err.startswith("speedsheet: --sql:")
    assert main(["history", "--store", str(tmp_path / "none")]) == 2
    assert "no such store" in capsys.readouterr().err


def test_records_of_every_schema_are_listed(tmp_path):
    """One of each past schema is kept, and answers the same questions."""
    for old in OLD.iterdir():
        shutil.copytree(old, tmp_path / old.name)
    assert len(History.of(tmp_path).rows()) == len(list(OLD.iterdir()))


def test_a_data_folder_means_the_records_in_it(tmp_path):
    """What --out took can be given to --store as it is."""
    (old, *_) = OLD.iterdir()
    shutil.copytree(old, tmp_path / "records" / old.name)
    (tmp_path / "sheets").mkdir()
    assert [row["folder"] for row in History.of(tmp_path).rows()] == [old.name]


@pytest.mark.parametrize(("key", "value"), [
    ("batch_size", 1e30), ("batch_size", "abc"), ("batch_size", 10**30), ("gate", {"passed": "yes"}),
    ("precision_executed", ["fp32"]), ("latency_ms", {"mean": "fast"}), ("engine", ["a", "b"]),
])  # fmt: skip
def test_a_record_of_strange_types_is_listed_or_named_and_the_rest_works(tmp_path, capsys, key, value):
    """Sealed as it should be, and no row of ours: neither the list nor what asks the store ends with it."""
    good, bad = seal(tmp_path), seal(tmp_path)
    altered(bad, lambda content: content["row"].update({key: value}))
    history = History.of(tmp_path)
    told = {one["folder"] for one in history.rows()} | {folder for folder, _ in history.skipped()}
    assert told == {good.name, bad.name}
    assert good.name in {one["folder"] for one in history.rows()}
    assert main(["history", "--store", str(tmp_path)]) == 0
    assert good.name in capsys.readouterr().out


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_json_has_not_is_damage(tmp_path, number):
    """It is read by lenient readers, and no seal can be taken over it."""
    good, bad = seal(tmp_path), seal(tmp_path)
    path = bad / store.ROW_FILE
    path.write_text(path.read_text().replace('"schema"', f'"extra": {number}, "schema"', 1))
    assert [one["folder"] for one in History.of(tmp_path).rows()] == [good.name]
    assert [record.folder.name for record in store.listed(tmp_path).records] == [good.name]


def test_a_record_without_a_name_or_a_time_is_listed(tmp_path, capsys):
    """Blank text is blank, not an error."""
    altered(seal(tmp_path, model=""), lambda content: content.update(created_utc=""))
    assert main(["history", "--store", str(tmp_path)]) == 0
    assert "1 of 1 records" in capsys.readouterr().out


def test_what_is_wrong_with_a_question_is_one_line(tmp_path, capsys):
    """An empty question, one that fails while it is answered, a table that is cut off."""
    record = seal(tmp_path)
    for query in ("", "SELECT CAST(model AS INTEGER) FROM records", "SELECT"):
        assert main(["history", "--store", str(tmp_path), "--sql", query]) == 2
        assert capsys.readouterr().err.startswith("speedsheet: --sql")
    (record / store.SAMPLES_FILE).write_bytes(b"PAR1")
    assert main(["history", "--store", str(tmp_path), "--sql", "SELECT count(*) FROM samples"]) == 2
    assert capsys.readouterr().err.startswith("speedsheet: --sql")
    assert main(["history", "--store", str(tmp_path), "--sql", "SELECT 'nan'::DOUBLE AS x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"x": None}]


def test_a_precision_is_found_however_it_is_written(tmp_path, capsys):
    """BF16 on the sheet is bf16 in the record."""
    seal(tmp_path, precision="bf16")
    assert main(["history", "--store", str(tmp_path), "--precision", "BF16"]) == 0
    assert "1 of 1 records" in capsys.readouterr().out


def test_columns_of_rows_do_not_open_the_samples(tmp_path):
    """A view of samples is made where they are asked for: samples_per_s is a column of rows."""
    record = seal(tmp_path)
    (record / store.SAMPLES_FILE).write_bytes(b"cut off")
    assert len(History.of(tmp_path).rows()) == 1


def test_two_stores_are_merged_by_copying(tmp_path):
    """Folders of one store put into another are records of it, and still verify."""
    one, other = seal(tmp_path / "a"), seal(tmp_path / "b")
    shutil.copytree(one, tmp_path / "b" / one.name)
    assert {record.folder.name for record in store.listed(tmp_path / "b").records} == {one.name, other.name}
    assert all(store.verify(path) for path in (tmp_path / "b").iterdir())


def test_a_store_survives_two_hundred_kills(tmp_path):
    """Writers killed at two hundred random moments of a seal: every record that is listed verifies, none is lost."""
    command = [sys.executable, "-c", KILLER, str(tmp_path / "store"), str(Path(__file__).parent), "200"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.stdout == "done\n", ended.stderr
    listed = store.listed(tmp_path / "store")
    assert listed.skipped == ()
    assert len(listed.records) > 20
    assert list((tmp_path / "store").glob(".unfinished-*"))  # the kills did strike in the midst
    for record in listed.records:
        store.verify(record.folder)
    assert len(History.of(tmp_path / "store").rows()) == len(listed.records)


def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path):
    """A file that may not grow stands for a disk that is full: the seal fails in one line, the store stays whole."""
    script = (
        "import resource, sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from test_records import row, samples_of; from speedsheet.records import store\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store.seal(Path(sys.argv[1]), row(), samples_of(10), {})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: store.seal(Path(sys.argv[1]), row(), samples_of(200_000), {})\n"
        "except Exception as error: print('told', type(error).__name__, str(error)[:80])\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store"), str(Path(__file__).parent)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout.startswith("told"), ended.stderr
    listed = store.listed(tmp_path / "store")
    assert (len(listed.records), listed.skipped) == (1, ())
    assert [path.name for path in (tmp_path / "store").iterdir()] == [listed.records[0].folder.name]


def test_a_store_that_may_not_be_written_can_be_read(tmp_path, capsys):
    """Listing needs no place in the store; a cache that cannot be written is made elsewhere by the user's choice."""
    record = seal(tmp_path / "store")
    for path in (*record.iterdir(), record, tmp_path / "store"):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert len(History.of(tmp_path / "store").rows()) == 1
        assert main(["history", "--store", str(tmp_path / "store")]) == 0
        assert "1 of 1 records" in capsys.readouterr().out
    finally:
        for path in (tmp_path / "store", record):
            path.chmod(0o755)


@pytest.fixture
def memory():
    """Give a test an empty store in fsspec's memory."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return system


def test_a_store_at_a_url_is_written_and_read(memory, tmp_path):
    """A record is copied as it is, is never overwritten, and is read back through a mirror that keeps up."""
    first = seal(tmp_path)
    assert remote.pushed(first, "memory://lab/store") == f"memory://lab/store/{first.name}"
    with pytest.raises(UsageError, match="not overwritten"):
        remote.pushed(first, "memory://lab/store")
    assert [one["folder"] for one in History.of("memory://lab/store").rows()] == [first.name]
    second = seal(tmp_path)
    remote.pushed(second, "memory://lab/store")
    mirror = History.of("memory://lab/store")
    assert [one["folder"] for one in mirror.rows()] == [second.name, first.name]
    assert store.verify(mirror.store / first.name).seal == store.read(first).seal


def test_a_driver_that_only_lists_is_enough(memory, tmp_path):
    """Not every file system of fsspec takes more than a path to list, as that of SFTP does not."""

    class Plain(type(memory)):
        protocol = "plain"

        def ls(self, path, detail=True):
            return super().ls(path, detail=detail)

    fsspec.register_implementation("plain", Plain, clobber=True)
    record = seal(tmp_path)
    remote.pushed(record, "plain://lab/store")
    assert [one["folder"] for one in History.of("plain://lab/store").rows()] == [record.name]


def test_what_lies_at_a_url_may_be_hostile(memory, tmp_path):
    """A half record, names that lead out, a file too large: passed over or refused, and nothing is written outside."""
    whole = seal(tmp_path)
    remote.pushed(whole, "memory://lab/store")
    memory.pipe_file("/lab/store/half/samples.parquet", b"no row beside it")
    memory.pipe_file("/lab/store/.unfinished-x/measurement.json", b"{}")
    memory.pipe_file("/lab/store/evil/measurement.json", b"{}" + b" " * (store.MAX_ROW_BYTES + 1))
    with pytest.raises(UsageError, match="larger than"):
        remote.mirrored("memory://lab/store", tmp_path / "cache")
    memory.rm("/lab/store/evil", recursive=True)
    folder = remote.mirrored("memory://lab/store", tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == [whole.name]
    with pytest.raises(UsageError, match="no such store"):
        remote.mirrored("memory://nowhere/at/all", tmp_path / "cache")
    with pytest.raises(UsageError, match="nosuch"):
        remote.mirrored("nosuch://x", tmp_path / "cache")


def test_rows_that_are_measured_go_to_a_url(memory, small_model, capsys):
    """--out URL copies each record as it ends; what is printed does not change."""
    command = ["run", str(small_model), "--engine", "onnxruntime", "--precision", "fp32", "--time", "0.2s"]
    assert main([*command, "--out", "memory://lab/rows", "--json"]) == 0
    told = capsys.readouterr()
    (row_,) = json.loads(told.out)["rows"]
    name = Path(row_["record"]).name
    assert f"record: memory://lab/rows/{name}" in told.err
    assert memory.exists(f"/lab/rows/{name}/measurement.json")


def test_python_asks_the_same(tmp_path):
    """The interface from Python is the command's own."""
    seal(tmp_path, model="resnet50")
    assert speedsheet.History.of(tmp_path).rows("resnet")[0]["engine"] == "openvino"


def test_a_formula_in_a_name_is_text_everywhere(tmp_path, capsys):
    """A model called like a spreadsheet's formula, or with control letters, is printed as one line of text."""
    seal(tmp_path, model="=cmd|'/c calc'!A0\x1b[31m\nx")
    assert main(["history", "--store", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert canonical("=cmd") not in out.splitlines()[1].encode()[:1]


def test_measured_rows_keep_their_own_precision(tmp_path):
    """What was not measured is null, and a number is the number that was sealed."""
    sealed = row(throughput_samples_per_s=Throughput(0.1 + 0.2, None, None))
    store.seal(tmp_path, replace(sealed), samples_of(5), {})
    (found,) = History.of(tmp_path).rows()
    assert found["samples_per_s"] == 0.1 + 0.2
    assert found["samples_per_s_low"] is None
