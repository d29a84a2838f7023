"""Verify: figures follow from raw samples, or what does not is named; however well a forgery is sealed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from looking_back import altered, asked, measured, rehashed
from speedsheet.bench.sheet import measure_sheet
from speedsheet.cli import main
from speedsheet.core.plan import Target
from speedsheet.history.recompute import verified
from speedsheet.records import columns, store

OLD = Path(__file__).parent / "records"


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Measure one row for real, on one client, in one process."""
    import onnx

    from speedsheet.testing.contract import example_model

    folder = tmp_path_factory.mktemp("verify")
    onnx.save(example_model(), folder / "small.onnx")
    return measured(folder / "small.onnx", folder / "records", window_s=2.5, thread_num=1)


@pytest.fixture
def copy(record, tmp_path):
    """Give a test a copy of the record to spoil."""
    return Path(shutil.copytree(record, tmp_path / record.name))


def test_every_figure_of_a_measured_row_follows_from_its_samples(record):
    """Throughput, latencies, intervals, ledger and Little's law: dozens of figures, all found again."""
    found = verified(record)
    assert found.ok, found.misfits
    assert found.figures >= 24  # how many depends on what the host tells, and which percentiles its noise leaves
    assert found.unseen == ()


@pytest.mark.parametrize("changes", [{"processes": 2}, {"thread_num": 4}, {"targets": (Target(0.2),)}])
def test_rows_of_every_kind_verify(changes, small_model, tmp_path):
    """Several processes, clients in several processes at once, and a run that a target ended."""
    found = verified(measured(small_model, tmp_path / "records", **changes))
    assert found.ok, found.misfits


def test_a_failed_row_verifies_as_one(small_model, tmp_path):
    """It has no figures, and says so."""
    request = asked(small_model, engine="speedsheet.testing.faulty:NAN")
    (row,) = measure_sheet([request], store=tmp_path / "records").rows
    found = verified(Path(str(row.record)))
    assert found.ok, found.misfits
    assert found.unseen == ("the row failed, and has no figures",)


@pytest.mark.parametrize("schema", sorted(path.name for path in OLD.iterdir()))
def test_records_of_every_schema_verify(schema):
    """One of each is kept: its hashes hold, and its values are those of its samples."""
    found = verified(OLD / schema)
    assert found.ok, (found.damage, found.misfits)
    assert found.figures >= 5


FORGED = {
    "throughput_samples_per_s.value": lambda row: row["throughput_samples_per_s"].update(value=1e6),
    "throughput_samples_per_s.low": lambda row: row["throughput_samples_per_s"].update(low=0.0),
    "latency_ms.mean": lambda row: row["latency_ms"].update(mean=row["latency_ms"]["mean"] * 0.99),
    "latency_ms.p99": lambda row: row["latency_ms"].update(p99=0.001),
    "latency_ms.bounds.p50.0": lambda row: row["latency_ms"]["bounds"].update(p50=[0.0, 1.0]),
    "requests": lambda row: row.update(requests=row["requests"] + 1),
    "wall_s": lambda row: row.update(wall_s=row["wall_s"] / 2),
    "effective_n": lambda row: row.update(effective_n=1e9),
    "little_residual": lambda row: row.update(little_residual=0.5),
    "interference.flagged": lambda row: row["interference"].update(flagged=99),
    "coverage_checked": lambda row: row.update(coverage_checked=not row["coverage_checked"]),
    "gate.passed": lambda row: row["gate"].update(passed=False),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_figure_is_named_though_the_seal_fits(name, copy):
    """Whoever seals a record again can change what it says, and not what its samples say."""
    altered(copy, lambda content: FORGED[name](content["row"]))
    found = verified(copy)
    assert not found.ok
    assert name in {misfit.what for misfit in found.misfits}


def test_figures_without_samples_are_no_record(copy):
    """Who removes the samples, and says so under a seal that fits, has figures that follow from nothing."""
    for name in (store.SAMPLES_FILE, store.WINDOWS_FILE):
        (copy / name).unlink()
    found = verified(altered(copy, lambda content: content.update(samples=None, windows=None)))
    assert not found.ok
    assert "no samples" in found.damage


STRANGE = {
    "a plan of another version": lambda content: content["conditions"]["plan"].update(unheard_of=1),
    "a plan without its parts": lambda content: content["conditions"].update(plan={"a": 1}),
    "cores that are no number": lambda content: content["conditions"]["host"].update(cores_logical="x"),
    "clients that are no number": lambda content: content["row"].update(thread_num="many"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_whatever_is_in_a_record_verifying_goes_on(name, copy, capsys):
    """What no record of ours holds is damage, named; the next record is verified all the same."""
    found = verified(altered(copy, STRANGE[name]))
    assert not found.ok
    assert found.damage or found.misfits
    assert main(["verify", str(copy), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_a_window_in_which_nothing_ended_is_json_too(copy, capsys):
    """A median that there is not is null, and the answer for scripts comes whole."""
    windows = list(store.samples(copy).windows)
    windows[0] = replace(windows[0], opened_ns=windows[0].opened_ns - 2, closed_ns=windows[0].opened_ns - 1)
    columns.write_windows(windows, copy / store.WINDOWS_FILE)
    altered(copy, lambda content: rehashed(content, "windows", copy / store.WINDOWS_FILE))
    assert main(["verify", str(copy), "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["records"]
    assert {"what": "the median of window 1, ns", "stated": windows[0].median_ns, "found": None} in told["misfits"]


def forge_samples(record: Path, **changes: Any) -> None:
    """Write other samples into a record, with their hash and a seal that fits."""
    samples = store.samples(record)
    columns.write(replace(samples, **changes), record / store.SAMPLES_FILE)
    altered(record, lambda content: rehashed(content, "samples", record / store.SAMPLES_FILE))


def test_samples_made_faster_do_not_fit_the_figures(copy):
    """Halved latencies under the old figures are noticed, and where."""
    samples = store.samples(copy)
    forge_samples(copy, start_ns=samples.end_ns - (samples.end_ns - samples.start_ns) // 2,
                  scheduled_ns=samples.end_ns - (samples.end_ns - samples.scheduled_ns) // 2)  # fmt: skip
    assert "latency_ms.mean" in {misfit.what for misfit in verified(copy).misfits}


def test_samples_that_no_closed_loop_records_are_noticed(copy):
    """A client that asks before it was answered, an end before a start, a client too many."""
    samples = store.samples(copy)
    forge_samples(copy, start_ns=samples.start_ns - 10_000_000, scheduled_ns=samples.scheduled_ns - 10_000_000)
    assert "clients that ask before they were answered" in {misfit.what for misfit in verified(copy).misfits}
    forge_samples(copy, client=np.full_like(samples.client, 7))
    assert "requests of no client" in {misfit.what for misfit in verified(copy).misfits}


def test_a_window_whose_flag_was_removed_is_noticed(copy):
    """Flags follow from the signals beside them, and medians from the samples."""
    windows = list(store.samples(copy).windows)
    windows[0] = replace(windows[0], median_ns=1.0, flags=() if windows[0].flags else ("steal_share",))
    columns.write_windows(windows, copy / store.WINDOWS_FILE)
    altered(copy, lambda content: rehashed(content, "windows", copy / store.WINDOWS_FILE))
    named = {misfit.what for misfit in verified(copy).misfits}
    assert {"the median of window 1, ns", "the flags of window 1"} <= named


def test_what_decides_to_measure_again_is_hashed_again(copy):
    """A request that was changed behind its hash is noticed."""
    altered(copy, lambda content: content["conditions"]["request"].update(batch_size=64))
    assert "conditions.request_sha256" in {misfit.what for misfit in verified(copy).misfits}


def test_a_broken_seal_is_damage(copy):
    """One letter changed without a new seal: the record is damaged, and nothing of it is believed."""
    path = copy / store.ROW_FILE
    path.write_text(path.read_text().replace('"requests"', '"request5"', 1))
    found = verified(copy)
    assert not found.ok
    assert "seal" in found.damage
    assert found.row is None


def test_the_command_says_what_fits_and_what_does_not(record, copy, capsys):
    """One line a record, one for each misfit; exit 1 where any does not fit; a store is all of its records."""
    assert main(["verify", str(record)]) == 0
    assert "1 of 1 records verify" in capsys.readouterr().out
    altered(copy, lambda content: content["row"].update(requests=1))
    assert main(["verify", str(copy)]) == 1
    out = capsys.readouterr().out
    assert "DOES NOT FIT" in out
    assert "requests is 1, and" in out
    assert main(["verify", str(copy.parent), "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)["records"]
    assert (row["ok"], row["misfits"][0]["what"]) == (False, "requests")
    assert main(["verify", str(copy), "--lang", "zh"]) == 1
    assert "不相符" in capsys.readouterr().out


def test_a_store_of_damaged_records_is_gone_through(record, copy, capsys):
    """What cannot be read is one of the answers, not the end of the command."""
    store_folder = copy.parent
    shutil.copytree(record, store_folder / "whole")
    (copy / store.ROW_FILE).write_text("{")
    (store_folder / "empty").mkdir()
    assert main(["verify", str(store_folder)]) == 1
    out = capsys.readouterr().out
    assert "1 of 3 records verify" in out
