"""A record appears whole, stays what it was, and says so when it did not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speedsheet.core.errors import RecordDamaged
from speedsheet.core.folders import publish, safe_name
from speedsheet.core.measurement import Finding, Gate, Latency, Measurement, Throughput
from speedsheet.core.samples import AFTER, FLAGGED, WARMUP, WINDOW, Samples, Window
from speedsheet.host import cgroup, facts, places
from speedsheet.records import store
from speedsheet.records.canonical import canonical, plain

OLD = Path(__file__).parent / "records" / "schema-1"
SEALER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_records import row, samples_of
from speedsheet.records import store
from speedsheet.host.facts import host_facts
print("ready", flush=True)
while True:
    store.seal(Path(sys.argv[1]), row(), samples_of(20_000), {"request_sha256": "a" * 64})
    print("sealed", flush=True)
"""


def row(**changes: object) -> Measurement:
    fields: dict[str, object] = {
        "model": "resnet50",
        "framework": "tensorflow",
        "task": "classification",
        "batch_size": 16,
        "thread_num": 12,
        "precision": "fp16",
        "engine": "openvino",
        "latency_ms": Latency(mean=26.5333333333, p50=26.1),
        "throughput_samples_per_s": Throughput(7236.39, 7200.0, 7270.0),
        "gate": Gate(passed=True, metric="centred_cosine", value=0.1 + 0.2, limit=0.9),
        "findings": (Finding("no_interval", "too few rounds"),),
    }
    return Measurement(**{**fields, **changes})


def samples_of(count: int, seed: int = 1) -> Samples:
    draw = np.random.default_rng(seed)
    start = np.cumsum(draw.integers(1, 1000, count)).astype(np.int64) + 10**15
    return Samples(
        client=draw.integers(0, 12, count).astype(np.int32),
        slot=draw.integers(0, 8, count).astype(np.int32),
        scheduled_ns=start,
        start_ns=start,
        end_ns=start + draw.integers(1, 10**6, count),
        phase=np.full(count, WINDOW, np.int8),
        failed=draw.random(count) < 0.1,
        open_ns=int(start[0]) if count else 0,
        close_ns=int(start[-1]) if count else 0,
    )


WINDOWS = (
    Window(10**15, 10**15 + 10, 5.5, {"waiting": 0.25, "steal": 0.0}, ("waiting",)),
    Window(10**15 + 10, 10**15 + 21, 5.0, {"waiting": 0.01, "clock_mhz": 2600.0}, (), 1),
)


def sealing(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", SEALER, str(folder), str(Path(__file__).parent)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_record_reads_back_as_it_was_sealed(tmp_path: Path, count: int) -> None:
    """Row, conditions and every sample come back bit for bit."""
    taken = samples_of(count)
    sealed = store.seal(tmp_path, row(), taken, {"seed": 920, "nested": {"path": Path("x")}})
    record = store.verify(Path(str(sealed.record)))
    assert record.measurement == sealed
    assert record.conditions == {"seed": 920, "nested": {"path": "x"}}
    back = store.samples(record.folder)
    assert (back.open_ns, back.close_ns) == (taken.open_ns, taken.close_ns)
    for name, column in taken.columns().items():
        found = back.columns()[name]
        assert found.dtype == column.dtype
        np.testing.assert_array_equal(found, column)


@pytest.mark.parametrize("windows", [(), WINDOWS])
def test_a_record_keeps_what_disturbed_the_run(tmp_path: Path, windows: tuple[Window, ...]) -> None:
    """Windows come back with their signals and flags, and what the host did not tell of one stays untold."""
    taken = replace(samples_of(50), windows=windows, process=np.repeat([0, 1], 25).astype(np.int16), steady=True)
    sealed = store.seal(tmp_path, row(steady=True), taken, {})
    back = store.samples(Path(str(sealed.record)))
    assert (back.windows, back.steady) == (windows, True)
    np.testing.assert_array_equal(back.process, taken.process)


def test_a_record_of_the_first_schema_is_read(tmp_path: Path) -> None:
    """It verifies, its samples are of one process, and what it could not know yet is null."""
    record = store.verify(OLD)
    assert (record.measurement.model, record.windows) == ("dssm_mock", None)
    assert record.measurement.effective_n is record.measurement.steady is record.measurement.interference is None
    taken = store.samples(OLD)
    assert taken.windows == ()
    assert taken.process.tolist() == [0] * 200
    assert np.bincount(taken.phase).tolist() == [2, 196, 2]
    assert record.measurement.latency_ms.mean == pytest.approx(taken.latency_ns.mean() / 1e6)


def test_windows_that_were_measured_are_told_from_the_warm_ups() -> None:
    """A window counts where requests of it do, flagged or not."""
    end = np.arange(1, 13, dtype=np.int64) * 10
    phase = np.repeat([WARMUP, FLAGGED, WINDOW, AFTER], 3).astype(np.int8)
    zeros = np.zeros(12, np.int32)
    windows = tuple(Window(10 * first, 10 * (first + 3), 5.0) for first in (0, 3, 6, 9))
    taken = Samples(zeros, zeros, end - 5, end - 5, end, phase, zeros.astype(bool), 30, 90, windows=windows)
    assert taken.measured() == list(windows[1:3])
    assert taken.with_flagged().measured() == list(windows[1:3])


def test_a_row_without_samples_is_a_record_too(tmp_path: Path) -> None:
    """A failed row is sealed with its reason; asking for its samples says that there are none."""
    sealed = store.seal(tmp_path, row().failed("killed by signal 9"), None, {})
    assert store.verify(Path(str(sealed.record))).measurement.error == "killed by signal 9"
    with pytest.raises(RecordDamaged, match="no samples"):
        store.samples(Path(str(sealed.record)))


def test_a_record_says_nothing_of_where_it_lies(tmp_path: Path) -> None:
    """A folder that is moved still verifies, and then reports its new place."""
    sealed = store.seal(tmp_path / "a", row(), samples_of(10), {})
    moved = tmp_path / "b"
    Path(str(sealed.record)).rename(moved)
    assert store.verify(moved).measurement.record == str(moved)


def test_two_writers_share_a_store(tmp_path: Path) -> None:
    """Writers at once neither overwrite nor hinder one another."""
    writers = [sealing(tmp_path), sealing(tmp_path)]
    for _ in range(15):
        store.seal(tmp_path, row(), samples_of(100), {})
    for process in writers:
        process.stdout.readline()
        process.terminate()
        process.communicate()
        assert process.returncode == -signal.SIGTERM
    listing = store.listed(tmp_path)
    assert not listing.skipped
    assert sum(record.samples.rows == 100 for record in listing.records) == 15
    assert sum(store.verify(record.folder).samples.rows == 20_000 for record in listing.records) >= 2


def test_a_store_is_listed_newest_first(tmp_path: Path) -> None:
    """Order is by when a row was sealed, to the microsecond, whatever its name."""
    names = [store.seal(tmp_path, row(model=model), None, {}).record for model in ("b", "c", "a")]
    assert [record.measurement.record for record in store.listed(tmp_path).records] == names[::-1]
    assert store.listed(tmp_path / "absent") == store.Listing((), ())


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / store.ROW_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reseal(folder: Path, **changes: object) -> None:
    path = folder / store.ROW_FILE
    body = {**json.loads(path.read_text()), **changes}
    del body["seal"]
    path.write_text(json.dumps({**body, "seal": store._seal_of(body)}))


DAMAGE = {
    "truncated": lambda folder: os.truncate(folder / store.ROW_FILE, 100),
    "gone": lambda folder: (folder / store.ROW_FILE).unlink(),
    "a list": lambda folder: (folder / store.ROW_FILE).write_text("[]"),
    "deep": lambda folder: (folder / store.ROW_FILE).write_text("[" * 100_000),
    "not text": lambda folder: (folder / store.ROW_FILE).write_bytes(b"\xff\xfe\x00"),
    "huge": lambda folder: os.truncate(folder / store.ROW_FILE, store.MAX_ROW_BYTES + 1),
    "another schema": lambda folder: rewrite(folder, schema="speedsheet.record/99"),
    "a faster row": lambda folder: rewrite(folder, row=row(latency_ms=Latency(mean=1.0)).to_json()),
    "no seal": lambda folder: rewrite(folder, seal=None),
    "sealed without a row": lambda folder: reseal(folder, row=None),
    "sealed with a foreign row": lambda folder: reseal(folder, row={"model": "x"}),
    "samples outside": lambda folder: reseal(
        folder, samples={"file": "../x", "sha256": "", "rows": 0, "open_ns": 0, "close_ns": 0}
    ),
    "windows outside": lambda folder: reseal(folder, windows={"file": "../x", "sha256": "", "rows": 0}),
    "windows gone": lambda folder: (folder / store.WINDOWS_FILE).unlink(),
    "samples gone": lambda folder: (folder / store.SAMPLES_FILE).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_and_passed_over(tmp_path: Path, damage: str) -> None:
    """The list goes on without it and says which folder and what is wrong; one line."""
    good = store.seal(tmp_path, row(), samples_of(10), {})
    bad = Path(str(store.seal(tmp_path, row(), replace(samples_of(10), windows=WINDOWS), {}).record))
    DAMAGE[damage](bad)
    listing = store.listed(tmp_path)
    assert [record.measurement for record in listing.records] == [good]
    ((folder, reason),) = listing.skipped
    assert folder == bad
    assert str(bad) in reason
    assert "\n" not in reason
    with pytest.raises(RecordDamaged):
        store.verify(bad)


def test_one_bit_of_the_samples_is_noticed(tmp_path: Path) -> None:
    """A flipped bit, a cut tail and a swapped file are all caught before a sample is read."""
    for spoil in (
        lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:],
        lambda data: data[:-1],
        lambda _: b"",
    ):
        folder = Path(str(store.seal(tmp_path, row(), samples_of(1000), {}).record))
        path = folder / store.SAMPLES_FILE
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(RecordDamaged, match=r"samples\.parquet does not match its hash"):
            store.samples(folder)


def test_one_bit_of_the_windows_is_noticed(tmp_path: Path) -> None:
    """They are sealed as the samples are; columns of another kind are refused even where hash and seal agree."""
    folder = Path(str(store.seal(tmp_path, row(), replace(samples_of(10), windows=WINDOWS), {}).record))
    path = folder / store.WINDOWS_FILE
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    with pytest.raises(RecordDamaged, match=r"windows\.parquet does not match its hash"):
        store.samples(folder)
    with store.columns.connection() as connection:
        connection.execute(f"COPY (SELECT 1 AS opened_ns FROM range(2)) TO '{path}' (FORMAT parquet)")
    info = json.loads((folder / store.ROW_FILE).read_text())["windows"]
    reseal(folder, windows={**info, "sha256": store.columns.sha256(path)})
    with pytest.raises(RecordDamaged, match="of the windows is missing"):
        store.samples(folder)


def test_a_parquet_of_other_columns_is_refused(tmp_path: Path) -> None:
    """Even where hash and seal agree, a column of another type does not reach the statistics."""
    folder = Path(str(store.seal(tmp_path, row(), samples_of(10), {}).record))
    path = folder / store.SAMPLES_FILE
    with store.columns.connection() as connection:
        connection.execute(f"COPY (SELECT 1.5 AS client FROM range(10)) TO '{path}' (FORMAT parquet)")
    info = json.loads((folder / store.ROW_FILE).read_text())["samples"]
    reseal(folder, samples={**info, "sha256": store.columns.sha256(path)})
    with pytest.raises(RecordDamaged, match="client"):
        store.samples(folder)


def test_resume_finds_the_newest_good_row(tmp_path: Path) -> None:
    """Failed rows, other requests and records that no longer verify do not answer."""
    wanted = {"request_sha256": "f" * 64}
    old = store.seal(tmp_path, row(), samples_of(10), wanted)
    store.seal(tmp_path, row(), samples_of(10), {"request_sha256": "0" * 64})
    store.seal(tmp_path, row().failed("no"), None, wanted)
    new = store.seal(tmp_path, row(), samples_of(10), wanted)
    assert store.find(tmp_path, "f" * 64).measurement == new
    os.truncate(Path(str(new.record)) / store.SAMPLES_FILE, 3)
    assert store.find(tmp_path, "f" * 64).measurement == old
    assert store.find(tmp_path, "e" * 64) is None


@pytest.mark.parametrize("model", ["../../etc/passwd", "a/b/ü n.onnx", "..", "", "x" * 5000, "a\0b\n", "CON|<>:*?"])
def test_hostile_names_stay_in_the_store(tmp_path: Path, model: str) -> None:
    """Whatever a model is called, its record is one folder directly inside the store."""
    inside = tmp_path / "store"
    sealed = store.seal(inside, row(model=model, engine=model), None, {})
    assert Path(str(sealed.record)).parent == inside
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert store.read(Path(str(sealed.record))).measurement.model == model


def test_many_writers_of_one_second_all_find_a_name(tmp_path: Path) -> None:
    """Names that are taken are passed over, however many there are, and nothing of them is overwritten."""
    for number in range(40):
        (tmp_path / str(number)).mkdir()
    names = count()
    assert publish(tmp_path, lambda: str(next(names)), lambda folder: (folder / "row").touch()).name == "40"
    assert not any((tmp_path / str(number) / "row").exists() for number in range(40))


@given(st.text(), st.integers(1, 60))
def test_a_safe_name_is_one_short_ascii_part_of_a_path(text: str, limit: int) -> None:
    """Any text at all becomes a name that is its own base name and hides nothing."""
    name = safe_name(text, "f", limit)
    assert 0 < len(name) <= limit
    assert name.isascii()
    assert Path(name).name == name
    assert not name.startswith((".", "-"))


def test_a_store_with_odd_letters_in_its_path(tmp_path: Path) -> None:
    """Quotes and wildcards in the path are letters, in reading and in writing."""
    odd = tmp_path / "o'hara [ab]*? ü"
    sealed = store.seal(odd, row(), samples_of(10), {})
    assert len(store.samples(Path(str(sealed.record))).client) == 10


def test_abandoned_halves_are_swept(tmp_path: Path) -> None:
    """What a killed writer left is removed once it is old, and never before."""
    old, young = tmp_path / ".unfinished-old", tmp_path / ".unfinished-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "x").write_text("x")
    os.utime(old, (0, 0))
    store.seal(tmp_path, row(), None, {})
    assert not old.exists()
    assert young.exists()
    assert len(store.listed(tmp_path).records) == 1


def test_nan_never_reaches_json() -> None:
    """NaN and infinity are null, numpy scalars are numbers, and what has no form is refused."""
    value = {"a": float("nan"), "b": np.float32(0.5), "c": (np.int64(3), -float("inf")), 4: Path("p")}
    assert plain(value) == {"a": None, "b": 0.5, "c": [3, None], "4": "p"}
    assert canonical({"b": 1, "a": "ü"}) == b'{"a":"\\u00fc","b":1}'
    with pytest.raises(TypeError):
        plain(object())


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_tightest_group_binds(tmp_path: Path) -> None:
    """A limit on a parent group counts, in both versions of control groups."""
    assert cgroup.cpu_quota_cores(tmp_path) is None
    write(tmp_path / "proc/self/cgroup", "0::/a/b\n4:memory:/m\n2:cpu,cpuacct:/c\n")
    write(tmp_path / "sys/fs/cgroup/a/cpu.max", "150000 100000\n")
    write(tmp_path / "sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    write(tmp_path / "sys/fs/cgroup/a/b/memory.max", "max\n")
    write(tmp_path / "sys/fs/cgroup/memory/m/memory.limit_in_bytes", f"{8 << 30}\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert cgroup.cpu_quota_cores(tmp_path) == 1.5
    assert cgroup.memory_limit_bytes(tmp_path) == 8 << 30
    assert facts.allowed_cores(tmp_path) == 1
    write(tmp_path / "sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "50000\n")
    write(tmp_path / "sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n")
    assert cgroup.cpu_quota_cores(tmp_path) == 0.5


def test_the_clock_is_told_or_unknown(tmp_path: Path) -> None:
    """Never a guess: locked only where every core's bounds are one number."""
    assert facts.clock_state(tmp_path) == "unknown"
    cpus = tmp_path / "sys/devices/system/cpu"
    for core in range(2):
        write(cpus / f"cpu{core}/cpufreq/scaling_min_freq", "800000\n")
        write(cpus / f"cpu{core}/cpufreq/scaling_max_freq", "2600000\n")
        write(cpus / f"cpu{core}/cpufreq/scaling_governor", "powersave\n")
    assert facts.clock_state(tmp_path) == "default"
    assert facts.host_facts(tmp_path)["governor"] == "powersave"
    for core in range(2):
        write(cpus / f"cpu{core}/cpufreq/scaling_min_freq", "2600000\n")
    assert facts.clock_state(tmp_path) == "locked at 2.6 GHz"
    write(cpus / "cpu1/cpufreq/scaling_min_freq", "<unknown>\n")
    assert facts.clock_state(tmp_path) == "unknown"


def test_host_facts_are_json_ready() -> None:
    """Every fact is there on any machine, told or "unavailable"."""
    found = facts.host_facts()
    assert json.loads(canonical(found)) == found
    assert found["cores_allowed"] >= 1
    assert facts.host_facts(Path("/nowhere"))["clock_state"] == "unknown"


def test_folders_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEEDSHEET_DATA and SPEEDSHEET_CACHE move the folders; empty means unset."""
    monkeypatch.setenv("SPEEDSHEET_DATA", str(tmp_path))
    monkeypatch.setenv("SPEEDSHEET_CACHE", "")
    assert places.data_folder() == tmp_path
    assert "speedsheet" in str(places.cache_folder())
