"""Claims judged: ceilings from the file alone, verdicts that flip where they say, rows told by the others."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedsheet.core.errors import UsageError
from speedsheet.twin import device as devices
from speedsheet.twin.calibration import Calibration, best
from speedsheet.twin.ceilings import ceiling, flips
from speedsheet.twin.claims import IMPOSSIBLE, OPTIMISTIC, PLAUSIBLE, Claim, Judgement, Setting, judge
from speedsheet.twin.params import priors
from speedsheet.twin.pieces import stated_piece, zoo_piece
from speedsheet.twin.types import Workpiece

CARD = devices.load("stcp920")
CALIBRATION = best(CARD)


@cache
def shipped_piece(model: str) -> Workpiece:
    return zoo_piece(model)


def claim(model: str, batch: int, threads: int, precision: str = "fp16", published: float | None = None) -> Claim:
    return Claim(model, shipped_piece(model), batch, threads, precision, published)


def said(one: Judgement) -> str:
    return "; ".join(flip.text for flip in one.telling)


def test_mmoe_holds_with_forty_inputs_and_no_more() -> None:
    """The published row sits at the measured link: it hangs on at most 40 FP32 inputs, and says so."""
    found = judge(claim("mmoe", 51200, 16, published=53625113.3), CARD, CALIBRATION)
    assert found.verdict == PLAUSIBLE
    assert found.binding == "link"
    assert said(found) == "holds only with at most 40 FP32 inputs per sample (it has 40)"
    assert found.ceiling.throughput == pytest.approx(8.75e9 / 160)


def test_mmoe_with_499_inputs_is_impossible() -> None:
    """107 GB/s over the link: no published value of it carries that, in any type of the card."""
    wide = replace(zoo_piece("mmoe"), input_bytes=499 * 4, input_elements=499)
    found = judge(replace(claim("mmoe", 51200, 16, published=53625113.3), piece=wide), CARD, CALIBRATION)
    assert found.verdict == IMPOSSIBLE
    assert "at most 40 FP32 inputs" in said(found)
    assert "107 GB/s of host link" in said(found)


def test_resnet34_int8_needs_narrower_images_or_a_better_link() -> None:
    """9.32 GB/s of FP32 images is above the measured link: optimistic, until the inputs are narrower."""
    row = claim("resnet34", 32, 16, "int8", 15478.12)
    found = judge(row, CARD, CALIBRATION)
    assert found.verdict == OPTIMISTIC
    assert "at most 3.76 bytes an element" in said(found)
    assert "9.32 GB/s" in said(found)
    halved = replace(row, piece=replace(row.piece, input_bytes=row.piece.input_bytes // 2))
    assert judge(halved, CARD, CALIBRATION).verdict == PLAUSIBLE


def test_ceilings_by_hand() -> None:
    """Peak at the highest clock, weights beyond what the card keeps, bytes over the link: nothing fitted."""
    bert = zoo_piece("bert_128")
    found = ceiling(bert, CARD, batch_size=8, precision="fp16").by_resource
    assert found["peak"] == pytest.approx(32 * 2048 * 1.4e9 / bert.macs)
    kept = 8 * 2**20 + 8 * 1.25 * 2**20
    assert found["memory"] == pytest.approx(119.4e9 / ((bert.weight_elements * 2 - kept) / 8))
    assert found["link_in"] == pytest.approx(8.75e9 / bert.input_bytes)
    assert ceiling(bert, CARD.at_clock(0.8e9), batch_size=8, precision="fp16").by_resource["peak"] == pytest.approx(
        32 * 2048 * 0.8e9 / bert.macs
    )
    three = ceiling(bert, CARD, batch_size=8, precision="fp16", cards=3)
    assert three.throughput == pytest.approx(3 * min(found.values()))


@settings(deadline=None)
@given(st.sampled_from(["resnet50", "bert_512", "mmoe", "dlrm"]), st.floats(1e-2, 1e9), st.integers(1, 64))
def test_a_verdict_flips_where_it_says(model: str, published: float, batch: int) -> None:
    """No claim is both above a ceiling and plausible; an assumption holds exactly where its ceiling is not exceeded."""
    found = judge(claim(model, batch, 16, published=published), CARD, CALIBRATION)
    if published > found.ceiling.throughput * 1.01:
        assert found.verdict != PLAUSIBLE
        assert any(not flip.holds for flip in found.flips)
    elif found.predicted and published <= found.predicted.high:
        assert found.verdict == PLAUSIBLE
        assert all(flip.holds for flip in found.flips)
    higher = judge(claim(model, batch, 16, published=published * 2), CARD, CALIBRATION)
    order = [PLAUSIBLE, OPTIMISTIC, IMPOSSIBLE]
    assert order.index(str(higher.verdict)) >= order.index(str(found.verdict))


@pytest.mark.parametrize(("code", "field"), [("link_gb_per_s", "link_in"), ("ddr_gb_per_s", "ddr_bandwidth")])
def test_an_assumption_is_exactly_enough(code: str, field: str) -> None:
    """A device with the bandwidth that a flip asks for carries the figure, one with 2 % less does not."""
    model = zoo_piece("bert_large_384" if code == "ddr_gb_per_s" else "resnet34")
    published, batch = (500.0, 1) if code == "ddr_gb_per_s" else (20000.0, 32)
    told = {flip.code: flip for flip in flips(model, CARD, published, batch_size=batch, precision="fp16")}
    for share, holds in ((1.0, True), (0.98, False)):
        fact = replace(CARD.facts[field], value=told[code].value * 1e9 * share)
        other = replace(CARD, facts={**CARD.facts, field: fact})
        again = flips(model, other, published, batch_size=batch, precision="fp16")
        assert next(flip for flip in again if flip.code == code).holds is holds


def test_a_calibrated_row_is_told_by_the_others() -> None:
    """It would else judge itself. Any other clock, schedule, batch or number of cards is told by all."""
    row = claim("resnet50", 16, 12, published=7236.39)
    found = judge(row, CARD, CALIBRATION)
    report = CALIBRATION.left_out("resnet50", "fp16", 16, 12)
    assert report is not None
    assert found.predicted is not None
    assert found.predicted.left_out
    assert found.predicted.throughput == report.leave_one_out
    assert (found.relation, found.nearest) == ("interpolated", "resnet50_v1p5 FP16")
    for other in (
        judge(replace(row, batch_size=8), CARD, CALIBRATION),
        judge(row, CARD.at_clock(1.2e9), CALIBRATION),
        judge(row, CARD, CALIBRATION, Setting("O2")),
        judge(row, CARD, CALIBRATION, Setting(cards=2)),
    ):
        assert other.predicted is not None
        assert not other.predicted.left_out


def test_what_was_not_seen_is_said() -> None:
    """An unseen family, a predicted schedule, an idle card, priors alone: each is a finding and a wide band."""
    unseen = judge(claim("wdl", 1200, 16), CARD, CALIBRATION)
    assert (unseen.relation, [one.code for one in unseen.findings]) == ("unseen family", ["unseen_family"])
    assert unseen.verdict is None
    assert unseen.predicted is not None
    assert unseen.predicted.high == pytest.approx(2 * unseen.predicted.throughput)
    schedule = judge(claim("resnet50", 16, 12), CARD, CALIBRATION, Setting("O1"))
    assert [one.code for one in schedule.findings] == ["schedule_predicted"]
    for asked, told in ((Setting(), False), (Setting(extrapolate=True), True)):
        idle = judge(claim("resnet50", 16, 1), CARD, CALIBRATION, asked)
        assert (idle.binding, [one.code for one in idle.findings]) == ("clients", ["unsaturated"])
        assert (idle.predicted is not None) is told
    alone = judge(claim("resnet50", 16, 12), CARD, Calibration(priors(CARD)))
    assert ([one.code for one in alone.findings], alone.relation) == (["priors_only"], "not calibrated")
    slow = judge(claim("xlnet", 8, 8, published=504.86), CARD, CALIBRATION)
    assert [one.code for one in slow.findings] == ["unseen_family", "below_band"]


def test_a_device_without_arrays_has_ceilings_alone() -> None:
    """Hailo-8: the sheet's own figures of a model's work, held to 26 TOPS; more than that is impossible."""
    hailo = devices.load("hailo8")
    resnet = stated_piece("resnet_v1_50", 6.98 / 2, 25.53)
    row = Claim("resnet_v1_50", resnet, 1, 2, "int8", 1394)
    found = judge(row, hailo, None)
    assert (found.verdict, found.predicted, found.binding) == (PLAUSIBLE, None, "peak")
    assert found.ceiling.throughput == pytest.approx(13e12 / 3.49e9)
    assert judge(replace(row, published=4000.0), hailo, None).verdict == IMPOSSIBLE
    with pytest.raises(UsageError, match="has no fp16"):
        judge(replace(row, precision="fp16"), hailo, None)


def test_more_cards_carry_more() -> None:
    """Cards add up, while there are clients enough for them."""
    one, three = (
        judge(claim("bert_128", 8, 64), CARD, CALIBRATION, Setting(cards=cards)).predicted for cards in (1, 3)
    )
    assert one is not None
    assert three is not None
    assert three.throughput == pytest.approx(3 * one.throughput)
