"""Device files: every number has a unit and a source, and what is wrong with one is said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedsheet.core.errors import SpeedsheetError, UnknownName, UsageError
from speedsheet.twin import device as devices
from speedsheet.twin.device import QUANTITIES, DeviceSpec, parse

CARD = """\
[device]
name = "mine"
title = "My card"
precisions = ["int8"]

[clusters_count]
value = 2
source = "brief, page 1"

[link_in_gb_per_s]
value = 4
source = "brief, page 2"
alternatives = [{ value = 8, source = "brief, page 3" }]

[peak_int8_tops]
value = 20
source = "brief, page 1"
"""


def test_a_short_file_is_a_device() -> None:
    """Ceilings need no more than clusters, a peak and a link; and it says that it cannot be modelled."""
    card = parse(CARD, where="mine.toml")
    assert (card.clusters, card["link_in"], card.peak_macs_per_s("int8")) == (2, 4e9, 10e12)
    assert card.facts["link_in"].alternatives == ((8e9, "brief, page 3"),)
    assert card.peak_macs_per_s("fp16") is None
    assert not card.modelled


@pytest.mark.parametrize("name", devices.shipped())
def test_every_shipped_number_has_a_source(name: str) -> None:
    """And every device can be bounded in every type that it names."""
    card = devices.load(name)
    assert card.name == name
    for fact in card.facts.values():
        assert fact.source
        assert all(source for _, source in fact.alternatives)
    assert all(card.peak_macs_per_s(precision) for precision in card.precisions)


def test_the_published_facts_of_the_card() -> None:
    """Where sources disagree both values stand; the peak follows from arrays and base clock."""
    card = devices.load("stcp920")
    assert card.peak_macs_per_s("fp16") == 32 * 2048 * 1e9
    assert card.peak_macs_per_s("int8") == 32 * 4096 * 1e9
    assert [value / 1e9 for value, _ in card.facts["ddr_bandwidth"].alternatives] == [108, 136]
    assert (card["llb"], card["l1_data"]) == (8 * 2**20, 2**20)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("value = 4\n", "value = -4\n", 11, "-4 is not above zero"),
        ("value = 4\n", "value = 0\n", 11, "0 is not above zero"),
        ("value = 4\n", 'value = "4"\n', 11, "is not a number"),
        ("value = 4\n", "value = nan\n", 11, "is not a number"),
        ("value = 4\n", "value = true\n", 11, "is not a number"),
        ("value = 4\n", f"value = {10**400}\n", 11, "a number beyond 1e+18"),
        ("value = 4\n", "value = inf\n", 11, "a number beyond 1e+18"),
        ('source = "brief, page 2"\n', "", 10, "without a source"),
        ('source = "brief, page 2"\n', 'source = " "\n', 12, "without a source"),
        ("[link_in_gb_per_s]", "[link_in_gbps]", 10, "unknown unit"),
        ("[link_in_gb_per_s]", "[link_inn_gb_per_s]", 10, "unknown quantity"),
        ("value = 8, source", "value = -8, source", 13, "not above zero"),
        ('value = 8, source = "brief, page 3"', "value = 8", 13, "without a source"),
        ("value = 2\n", "value = 2.5\n", 6, "not a whole number"),
        ("value = 2\n", "value = 2\nunit = 3\n", 8, "unknown key 'unit'"),
        ("value = 20\n", "", 15, "has no value"),
        ('name = "mine"', 'nam = "mine"', 2, "unknown key 'nam'"),
        ('name = "mine"', 'name = ""', 2, "has no name"),
        ('precisions = ["int8"]', "precisions = []", 4, "names no precisions"),
        ('precisions = ["int8"]', 'precisions = ["int8"]\nclocked = ["ddr"]', 5, "clocked"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(old: str, new: str, line: int, said: str) -> None:
    """A missing, negative or unsourced number, an unknown unit or quantity: one line, which names one of the file."""
    assert old in CARD
    with pytest.raises(UsageError) as refused:
        parse(CARD.replace(old, new, 1), where="mine.toml")
    assert f"mine.toml, line {line}, " in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_number_of_thousands_of_digits_is_one_line() -> None:
    """Longer than Python reads: the file is refused like any other that is no TOML."""
    with pytest.raises(UsageError, match="is not TOML"):
        parse(CARD.replace("value = 4", f"value = {'9' * 5000}"), where="mine.toml")


def test_what_is_missing_is_named() -> None:
    """A required quantity that is not there has no line; the message says which table to write."""
    with pytest.raises(UsageError, match=r"states no clusters; add \[clusters_count\]"):
        parse(CARD.replace('[clusters_count]\nvalue = 2\nsource = "brief, page 1"\n', ""), where="mine.toml")
    with pytest.raises(UsageError, match="states no peak of int8"):
        parse(CARD[: CARD.index("[peak_int8_tops]")], where="mine.toml")
    with pytest.raises(UsageError, match=r"has no \[device\]"):
        parse("", where="mine.toml")


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_device_or_one_line(text: str) -> None:
    """Whatever a file holds, it is read or refused in one line."""
    for whole in (text, CARD + text, CARD.replace("value = 4", f"value = {text}")):
        said = ""
        try:
            assert isinstance(parse(whole, where="f"), DeviceSpec)
        except SpeedsheetError as error:
            said = str(error)
        assert "\n" not in said


@settings(deadline=None)
@given(st.sampled_from(sorted(QUANTITIES)), st.floats(min_value=1e-3, max_value=1e6))
def test_units_of_one_quantity_agree(quantity: str, value: float) -> None:
    """The same number in any of a quantity's units is the number times that unit's factor, in base units."""
    for unit, factor in QUANTITIES[quantity].items():
        whole = float(round(value) + 1) if unit == "count" else value
        text = CARD + f'\n[{quantity}_{unit}]\nvalue = {whole!r}\nsource = "here"\n'
        if f"[{quantity}_{unit}]" in CARD:
            continue
        assert parse(text, where="f").facts[quantity].value == pytest.approx(whole * factor)


def test_clocks_move_only_what_the_file_says() -> None:
    """Arrays follow the clock that is set; DDR and the host link never do; and only clocks in range can be set."""
    card = devices.load("stcp920")
    fast = card.at_clock(1.3e9)
    assert fast.peak_macs_per_s("fp16") == pytest.approx(1.3 * (card.peak_macs_per_s("fp16") or 0))
    assert (fast.clock_ratio("matrix"), fast.clock_ratio("llb")) == (pytest.approx(1.3), 1.0)
    assert (fast["ddr_bandwidth"], fast["link_in"]) == (card["ddr_bandwidth"], card["link_in"])
    with pytest.raises(UsageError, match=r"give 0\.624GHz to 1\.4GHz"):
        card.at_clock(2e9)
    with pytest.raises(UsageError, match="no range of clocks"):
        devices.load("hailo8").at_clock(1e9)


def test_devices_are_found_by_name_or_path(tmp_path: Path) -> None:
    """A shipped name, a file of one's own, or one line."""
    (tmp_path / "mine.toml").write_text(CARD, encoding="utf-8")
    assert devices.load(str(tmp_path / "mine.toml")).title == "My card"
    with pytest.raises(UnknownName, match="did you mean stcp920"):
        devices.load("stcp92")
    with pytest.raises(UsageError, match="cannot be read"):
        devices.load(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="UTF-8"):
        devices.load(str(tmp_path / "latin.toml"))
