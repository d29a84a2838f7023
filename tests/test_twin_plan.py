"""How many cards serve a rate: what is chosen, what binds, and what no number of cards can do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from models import mlp, save
from speedsheet.cli import main
from speedsheet.cli.plan_words import PLAN_WORDS
from speedsheet.core.errors import UsageError
from speedsheet.core.plan import LoadPlan
from speedsheet.stats.estimates import estimate
from speedsheet.twin.device import load
from speedsheet.twin.network import card_network, closed_form
from speedsheet.twin.params import priors
from speedsheet.twin.plan import batches, check_memory, plan
from speedsheet.twin.simulate import simulate
from speedsheet.twin.types import RequestCost

DEVICE = load("stcp920")
PARAMS = priors(DEVICE)


def cost(batch, cluster_us, link_us=50.0, host_us=100.0):
    causes = {"matrix": 0.7 * cluster_us, "llb": 0.3 * cluster_us}
    return RequestCost(batch, cluster_us, host_us, link_us, 0, 0, 0, causes, {})


def costs(**rest):
    return {batch: cost(batch, 200 + 130 * batch, **rest) for batch in batches(16)}


def planned(qps, given=None, **rest):
    return plan(given or costs(), DEVICE, PARAMS, qps, usual=16, **rest)


@given(st.floats(10, 1e6))
@settings(deadline=None)
def test_the_rate_is_served_and_by_one_card_less_it_is_not(qps):
    """The chosen cards reach the rate with the margin said; every option does, and a card less would not."""
    made = planned(qps)
    assert made.chosen in made.options
    for option in made.options:
        assert option.throughput_samples_per_s >= qps
        assert option.margin == pytest.approx(option.throughput_samples_per_s / qps - 1)
        assert option.throughput_samples_per_s * (option.cards - 1) / option.cards < qps
        assert option.cards >= made.chosen.cards
        assert option.thread_num % option.cards == 0


@given(st.floats(10, 1e6), st.floats(1.01, 3))
@settings(deadline=None)
def test_more_samples_never_take_fewer_cards(qps, factor):
    """Nor does a model that promises too much."""
    assume(qps * factor < 1e6)
    assert planned(qps * factor).chosen.cards >= planned(qps).chosen.cards
    cautious = planned(qps, low=1 / factor).chosen
    assert cautious.cards_at_low >= cautious.cards
    assert planned(qps).chosen.cards_at_low is None


def test_among_as_few_cards_the_published_batch_is_taken():
    """What a published row has is preferred to what none has; where another takes fewer cards, that is taken."""
    assert planned(5000).chosen.batch_size == 16
    better = {**costs(), 4: cost(4, 100)}
    assert planned(50_000, better).chosen.batch_size == 4
    assert batches(16) == [1, 2, 4, 8, 16]
    assert batches(12) == [1, 2, 4, 8, 12]
    assert batches(1) == [1]


def test_what_binds_is_named():
    """The cause on which clusters spend most, the link where it has least to give, the host where cards are many."""
    assert planned(5000).chosen.binding == "matrix"
    assert planned(5000, {16: cost(16, 2280, link_us=900)}).chosen.binding == "link"
    made = planned(1_279_000, {16: cost(16, 2280)}).chosen  # 8 threads of 100 us reach 1 280 000
    assert made.binding == "host"
    assert made.utilisation["host"] == pytest.approx(1)
    assert made.cards_at_low is None


def test_what_no_number_of_cards_serves_says_why():
    """The host is shared by all cards: its threads bind, and at which rate is said."""
    with pytest.raises(UsageError, match=r"no number of cards serves 2e\+06 samples/s: the host's 8 threads bind, at "):
        planned(2e6)
    with pytest.raises(UsageError, match=r"1\.28e\+06 samples/s \(batch 16\); ask for at most 1\.27e\+06"):
        planned(2e6)


def test_weights_that_no_cluster_holds_say_so():
    """DDR of one cluster holds a model or not, however many cards there are; INT8 may."""
    check_memory(2_000_000_000, DEVICE, "fp16")
    check_memory(3_000_000_000, DEVICE, "int8")
    with pytest.raises(UsageError, match=r"DDR binds, 6 GB of weights in fp16 against 4\.29 GB .*--precision int8"):
        check_memory(3_000_000_000, DEVICE, "fp16")


@pytest.mark.parametrize("qps", [3000, 25_000, 90_000])
def test_the_plan_holds_when_it_is_simulated(qps):
    """The cards and clients of the plan, one request at a time with the model's own spread, serve the rate."""
    chosen = planned(qps).chosen
    network = card_network(DEVICE, PARAMS, costs()[chosen.batch_size], cards=chosen.cards)
    samples = simulate(network, LoadPlan(chosen.thread_num, 0.0, warmup_requests=5), cv=PARAMS["service_cv"])
    said = estimate(samples, batch_size=chosen.batch_size, thread_num=chosen.thread_num)
    assert said.throughput_samples_per_s.value == pytest.approx(chosen.throughput_samples_per_s, rel=0.03)
    assert said.throughput_samples_per_s.value >= 0.97 * qps
    assert said.latency_ms.mean == pytest.approx(chosen.latency_ms, rel=0.03)


def test_fewer_clients_would_not_saturate():
    """The clients are the fewest that come within a hundredth of what no number of them exceeds."""
    chosen = planned(3000).chosen
    network = card_network(DEVICE, PARAMS, costs()[16])
    each = chosen.thread_num // chosen.cards
    most = closed_form(network, 5000).requests_per_s
    fewer, enough = (closed_form(network, n, cv=PARAMS["service_cv"]).requests_per_s for n in (each - 1, each))
    assert fewer < 0.99 * most <= enough


KEYS = {
    "schema", "clock", "model", "device", "precision", "qps", "band", "fitted_on", "chosen", "options", "assumptions",
    "findings",
}  # fmt: skip
OPTION = {
    "batch_size", "cards", "thread_num", "throughput_samples_per_s", "margin", "latency_ms", "binding", "utilisation",
    "cards_at_low",
}  # fmt: skip


def test_a_script_gets_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Marked as modelled, nothing rounded, the chosen option among the options."""
    assert main(["plan", "resnet50", "--qps", "20000", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) == KEYS
    assert all(set(option) == OPTION for option in data["options"])
    assert (data["schema"], data["clock"], data["device"], data["qps"]) == (
        "speedsheet.plan/1", "modelled", "stcp920", 20000.0,
    )  # fmt: skip
    assert data["chosen"] in data["options"]
    assert data["chosen"]["throughput_samples_per_s"] >= 20000
    assert [finding["code"] for finding in data["findings"]] == ["not_validated"]
    assert [option["batch_size"] for option in data["options"]] == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_reader_gets_one_table(lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The choice in a sentence, the options below it, the chosen one marked; the same figures in both languages."""
    assert main(["plan", "resnet50", "--qps", "20000", "--lang", lang]) == 0
    out, err = capsys.readouterr()
    said = PLAN_WORDS[lang]
    assert err == ""
    assert ("modelled: nothing here was measured" if lang == "en" else "以下均非实测") in out
    (head,) = (line for line in out.splitlines() if said.headings["cards_at_low"] in line)
    rows = out.splitlines()[out.splitlines().index(head) + 1 :][:5]
    assert [row.startswith("*") for row in rows] == [False, False, False, False, True]
    main(["plan", "resnet50", "--qps", "20000", "--json"])
    options = json.loads(capsys.readouterr().out)["options"]
    for row, option in zip(rows, options, strict=True):
        cells = row.removeprefix("*").split()
        assert cells[:2] == [str(option["batch_size"]), str(option["cards"])]
        assert str(option["thread_num"]) in cells
    assert max(cell_len(line) for line in out.splitlines()) <= 140
    assert ("not validated by any published row" if lang == "en" else "没有任何已公布的行可以验证") in re.sub(
        r"\s+", " " if lang == "en" else "", out
    )


def test_both_languages_fill_in_the_same_figures() -> None:
    """A translation loses no figure and no column."""
    english, chinese = PLAN_WORDS["en"], PLAN_WORDS["zh"]
    for name in english.__dataclass_fields__:
        ours, theirs = getattr(english, name), getattr(chinese, name)
        if isinstance(ours, str):
            assert sorted(re.findall(r"\{\w+\}", ours)) == sorted(re.findall(r"\{\w+\}", theirs)), name
        else:
            assert set(ours) == set(theirs), name


def test_an_own_model_is_planned_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A free batch is tried at the sizes asked for; a fixed one is what it is; what was assumed is said."""
    free, fixed = save(mlp(), tmp_path / "free.onnx"), save(mlp(4), tmp_path / "fixed.onnx")
    assert main(["plan", str(free), "--qps", "1000", "--batch", "8", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [option["batch_size"] for option in data["options"]] == [8]
    assert any("'x'" in text for text in data["assumptions"])
    assert main(["plan", str(fixed), "--qps", "1000", "--json"]) == 0
    assert [o["batch_size"] for o in json.loads(capsys.readouterr().out)["options"]] == [4]
    assert main(["plan", str(fixed), "--qps", "1000", "--batch", "8"]) == 2
    assert "a batch of 8 does not fit: the model's is fixed at 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("resnet50", "--qps is missing; see: speedsheet plan --help"),
        ("resnet50 --qps 0", "--qps: '0' is not a rate above zero; write samples per second: 20000"),
        ("resnet50 --qps many", "--qps: 'many' is not a rate"),
        ("resnet50 --qps inf", "--qps: 'inf' is not a rate"),
        ("resnet51 --qps 10", "no model is called 'resnet51'; did you mean"),
        ("resnet50 --qps 10 --device stcp921", "no device is called 'stcp921'; did you mean stcp920"),
        ("resnet50 --qps 10 --device hailo8", "hailo8: states no arrays"),
        ("resnet50 --qps 10 --precision bf16", "STCP920 has no bf16; give one of fp16, int8"),
        ("mmoe --qps 1e12", "no number of cards serves 1e+12 samples/s: the host's 8 threads bind"),
        ("none.onnx --qps 10", "none.onnx: no such file"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What, where, what to do; exit 2, nothing on standard output."""
    assert main(["plan", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
