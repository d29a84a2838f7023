"""Calibration: what ships is what a fit finds today, a known truth is found again, and what was left out stayed out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speedsheet.core.errors import MissingExtra, UsageError
from speedsheet.twin import calibration as stored
from speedsheet.twin import device as devices
from speedsheet.twin.baselines import baselines
from speedsheet.twin.calibrate import calibrate
from speedsheet.twin.calibration import Calibration, best
from speedsheet.twin.fit import FitRow, Stack, fit, predict
from speedsheet.twin.folds import SPLITS, Candidates, crossed, mean_error, nested, structures
from speedsheet.twin.judging import fit_rows
from speedsheet.twin.params import FREE, priors
from speedsheet.twin.report import TARGETS, figures, markdown
from speedsheet.twin.types import Structure

CARD = devices.load("stcp920")
DOCS = Path(__file__).parent.parent / "docs" / "twin.md"


@pytest.fixture(scope="module")
def rows() -> list[FitRow]:
    return fit_rows("stcp920")


@pytest.fixture(scope="module")
def used(rows: list[FitRow]) -> list[FitRow]:
    return [row for row in rows if row.family in best(CARD).families]


@pytest.fixture(scope="module")
def fresh(rows: list[FitRow]) -> Calibration:
    return calibrate(rows, CARD, "stcp920")


def _alike(found: Any, shipped: Any, where: str = "") -> None:
    """Compare two trees of JSON, numbers to a tenth of a per cent of their size or of one per cent."""
    if isinstance(shipped, Mapping):
        assert found.keys() == shipped.keys(), where
        for key, value in shipped.items():
            _alike(found[key], value, f"{where}/{key}")
    elif isinstance(shipped, list):
        assert len(found) == len(shipped), where
        for place, value in enumerate(shipped):
            _alike(found[place], value, f"{where}/{place}")
    elif isinstance(shipped, float):
        assert found == pytest.approx(shipped, rel=1e-3, abs=1e-5), where
    else:
        assert found == shipped, where


def test_what_ships_is_what_a_fit_finds_today(fresh: Calibration) -> None:
    """Parameters, spreads, every prediction and every error of the committed report are derived again."""
    path = Path(devices.__file__).parent.parent / "data" / "devices" / "stcp920.fit.json"
    _alike(json.loads(stored.to_json(fresh)), json.loads(path.read_text(encoding="utf-8")))


def test_the_committed_report_is_printed_from_what_ships() -> None:
    """docs/twin.md holds the figures of the shipped calibration, to the digit."""
    assert DOCS.read_text(encoding="utf-8") == markdown(best(CARD), CARD)


def test_the_targets_are_met() -> None:
    """A family, a model, a row left out; in sample; bands: each within what was asked, or the report says MISSED."""
    report = best(CARD).report
    assert report is not None
    found = figures(report)
    assert {name: found[name] <= most for name, _, most in TARGETS} == {name: True for name, _, _ in TARGETS}
    assert 10 <= sum(row.held for row in report.rows) <= 13
    assert (len(report.rows), len(report.apart)) == (14, 7)
    assert "MISSED" not in markdown(best(CARD), CARD)
    worse = replace(report, model=replace(report.model, in_sample=0.07))
    assert "MISSED" in markdown(replace(best(CARD), report=worse), CARD)


def test_rows_apart_enter_no_figure(rows: list[FitRow], used: list[FitRow]) -> None:
    """Recommenders at a hundredth of their published speed change nothing but their own line."""
    strange = [row if row in used else replace(row, throughput=row.throughput / 100) for row in rows]
    stack = Stack([row for row in strange if row in used], CARD, priors(CARD), Structure())
    assert fit(stack, FREE).values == fit(Stack(used, CARD, priors(CARD), Structure()), FREE).values
    assert {row.model for row in rows if row not in used} == {
        "xlnet", "deepfm", "dlrm", "dlrm_1M", "dssm_mock", "mmoe", "wdl",
    }  # fmt: skip


def _made(used: list[FitRow], values: Mapping[str, float], structure: Structure) -> list[FitRow]:
    """The same rows as a card of these parameters would have printed them."""
    found = np.exp(predict(Stack(used, CARD, priors(CARD), structure), dict(values)))
    return [replace(row, throughput=float(rate)) for row, rate in zip(used, found, strict=True)]


def test_a_known_truth_is_found_again(used: list[FitRow]) -> None:
    """Rows made by the model from parameters within the priors give those parameters back, within their spread."""
    truth = {"clock_ghz": 1.1, "llb_gb_per_s": 300.0, "ddr_gb_per_s": 18.0, "dispatch_us": 14.0, "link_share": 0.7}
    stack = Stack(_made(used, truth, Structure()), CARD, priors(CARD), Structure())
    found = fit(stack, FREE, starts=4)
    for name, value in truth.items():
        assert abs(np.log(found.values[name] / value)) < 2 * found.spreads[name], name
    assert mean_error(found.residuals) < 0.02


def test_the_structure_that_made_the_rows_is_chosen(used: list[FitRow]) -> None:
    """A card without whole tiles and with a start for each part is recognised as such, by its rows alone."""
    truth = {"clock_ghz": 1.1, "llb_gb_per_s": 300.0, "ddr_gb_per_s": 18.0, "dispatch_us": 14.0, "link_share": 0.7}
    for structure in (Structure(dispatch_parts=True), Structure(requantises=False), Structure(split_rereads=False)):
        made = _made(used, truth, structure)
        assert Candidates.of(made, CARD, priors(CARD)).choose(FREE)[0] == structure


def test_what_is_left_out_stays_out(used: list[FitRow]) -> None:
    """A row's own figure has no say in its prediction: tenfold, it is predicted as before; and in a fit it has one."""
    place = 3
    lied = [replace(row, throughput=row.throughput * 10) if n == place else row for n, row in enumerate(used)]
    honest, other = (Stack(some, CARD, priors(CARD), Structure()) for some in (used, lied))
    split = SPLITS["leave_one_out"]
    gaps = [crossed(stack, FREE, split, starts=1)[place] + stack.observed[place] for stack in (honest, other)]
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-6)
    inside = [predict(stack, fit(stack, FREE).values)[place] for stack in (honest, other)]
    assert abs(inside[0] - inside[1]) > 0.05


def test_structures_are_chosen_without_the_row(used: list[FitRow]) -> None:
    """The nested figure of a row too is the same whatever its own figure says."""
    few = used[:6]
    lied = [replace(few[0], throughput=few[0].throughput * 4), *few[1:]]
    found = []
    for some in (few, lied):
        candidates = Candidates.of(some, CARD, priors(CARD))
        stack = next(iter(candidates.stacks.values()))
        found.append(nested(candidates, FREE, lambda row: row.name == few[0].name)[0] + stack.observed[0])
    assert found[0] == pytest.approx(found[1], abs=1e-6)
    assert len(set(structures())) == 16


def test_splits_put_together_what_belongs_together(used: list[FitRow]) -> None:
    """A model left out goes with both of its precisions; a family with all of its models."""
    model, family = SPLITS["leave_model_out"], SPLITS["leave_family_out"]
    assert len({model(row) for row in used}) == 10
    assert len({family(row) for row in used}) == 2


def test_a_row_left_out_is_one_row(used: list[FitRow]) -> None:
    """A sheet may state a model at several batch sizes and thread_num: each is a row of its own."""
    row, split = used[0], SPLITS["leave_one_out"]
    others = [replace(row, batch_size=row.batch_size * 2), replace(row, thread_num=row.thread_num * 2)]
    assert len({split(one) for one in (row, *others)}) == 3


def test_a_sheet_of_one_family_has_no_figure_of_a_family_left_out(used: list[FitRow]) -> None:
    """There is nothing to predict it from: blank beside the other figures, never a number that is none."""
    for one in baselines([row for row in used if row.family == "convolutional"], CARD):
        assert one.leave_family_out is None
        assert all(error is not None and error > 0 for error in (one.leave_one_out, one.leave_model_out))


def test_baselines_are_fitted_the_same_way(used: list[FitRow]) -> None:
    """Where every row runs at one share of its peak a constant share predicts it; the published rows it does not."""
    peak = {row.name: (CARD.peak_macs_per_s(row.precision) or 0.0) / row.piece.macs for row in used}
    flat = [replace(row, throughput=0.4 * peak[row.name]) for row in used]
    constant = baselines(flat, CARD)[0]
    assert constant.in_sample == pytest.approx(0.0, abs=1e-9)
    assert constant.leave_family_out == pytest.approx(0.0, abs=1e-9)
    report = best(CARD).report
    assert report is not None
    for other in report.baselines:
        assert (other.leave_one_out or 0) > 2 * (report.model.leave_one_out or 1)
        assert (other.leave_family_out or 0) > (report.nested.leave_family_out or 1)


def test_too_few_rows_and_a_missing_library_are_said(used: list[FitRow], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each: how many rows it takes, and what to install."""
    with pytest.raises(UsageError, match="has 3 rows of convolutional networks or transformers"):
        calibrate(used[:3], CARD, "mine.csv")
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(MissingExtra, match=r"speedsheet\[calibrate\]"):
        calibrate(used, CARD, "stcp920")


def test_a_calibration_is_read_back_or_refused(tmp_path: Path) -> None:
    """What is written reads as it was; another device's, a damaged or a foreign file is one line."""
    whole = best(CARD)
    text = stored.to_json(whole)
    assert stored.read(text, CARD, where="f") == whole
    other = replace(whole, params=replace(whole.params, structure=Structure(tiles=False, dispatch_parts=True)))
    assert stored.read(stored.to_json(other), CARD, where="f") == other
    with pytest.raises(UsageError, match="holds no parameters of hailo8"):
        stored.read(text, devices.load("hailo8"), where="f")
    data = json.loads(text)
    del data["parameters"][0]
    for damaged in ("", "[]", "{}", text[:-50], text.replace('"rows"', '"rosw"'), json.dumps(data)):
        with pytest.raises(UsageError) as refused:
            stored.read(damaged, CARD, where="f")
        assert "\n" not in str(refused.value)
    (tmp_path / "p.json").write_text(text, encoding="utf-8")
    assert best(CARD, tmp_path / "p.json") == whole
    with pytest.raises(UsageError, match="cannot be read"):
        best(CARD, tmp_path / "none.json")


def test_without_fitted_numbers_priors_are_used() -> None:
    """Another card with arrays gets its own priors, from its own file."""
    other = replace(CARD, name="other", facts={**CARD.facts, "clock": replace(CARD.facts["clock"], value=0.7e9)})
    found = best(other)
    assert found.report is None
    assert found.params["clock_ghz"] == pytest.approx((0.7 * 1.4) ** 0.5)
    assert found.band("convolutional") == 2.0
    assert asdict(found.params)["fitted_on"] == ""
