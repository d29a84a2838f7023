"""The cost of a request: parts that add up, bounds that hold, schedules in order, clocks that move what they may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speedsheet.core.errors import UsageError
from speedsheet.twin import device as devices
from speedsheet.twin.cost import CAUSES, cost, spend, waits
from speedsheet.twin.families import family
from speedsheet.twin.fit import FitRow, Stack, predict
from speedsheet.twin.folds import structures
from speedsheet.twin.lower import lower
from speedsheet.twin.network import card_network, closed_form
from speedsheet.twin.params import FREE, priors
from speedsheet.twin.pieces import zoo_piece
from speedsheet.twin.types import SCHEDULES, Operator, Structure, TwinParams, Workpiece

CARD = devices.load("stcp920")
PARAMS = priors(CARD)
#: No overlap, no overheads: what is left is arithmetic that a person can do.
BARE = PARAMS.over(
    {"vector_overlap": 0.0, "llb_overlap": 0.0, "dispatch_us": 0.0, "request_us": 0.0, "link_share": 0.0,
     "gather_us": 0.0, "clock_ghz": 1.0, "llb_gb_per_s": 256.0, "ddr_gb_per_s": 30.0}
)  # fmt: skip


def piece(*operators: Operator) -> Workpiece:
    return Workpiece("case", operators, input_bytes=1000, output_bytes=4, input_elements=250)


def test_one_product_by_hand() -> None:
    """64 rows by 1024 by 1024 on each of 8 cores: 32768 cycles of the arrays, and its weights first come from DDR."""
    product = Operator("p", "matmul", m=64, k=1024, n=1024, weight_elements=1024 * 1024)
    spent = cost(piece(product), CARD, BARE, batch_size=8, precision="fp16")
    assert spent.breakdown_us["matrix"] == pytest.approx(64 * 1024 * 1024 / 2048 / 1000)
    assert spent.breakdown_us["llb"] == pytest.approx(2 * 2**20 / 256e3)
    assert spent.breakdown_us["ddr"] == pytest.approx(2 * 2**20 / 30e3)
    assert spent.weight_bytes == 2 * 2**20
    assert spent.link_bytes_in == 8000


def test_int8_halves_what_it_should() -> None:
    """Twice the rate and half the bytes, and the vector unit's rounding on top."""
    product = Operator("p", "matmul", m=64, k=1024, n=1024, weight_elements=1024 * 1024)
    wide = cost(piece(product), CARD, BARE, batch_size=8, precision="fp16").breakdown_us
    narrow = cost(piece(product), CARD, BARE, batch_size=8, precision="int8").breakdown_us
    for cause in ("matrix", "llb", "ddr"):
        assert narrow[cause] == pytest.approx(wide[cause] / 2)
    assert (wide["vector"], narrow["vector"]) == (0.0, pytest.approx(2 * 64 * 1024 * 8 / 512 / 1000))


def test_a_tile_that_is_not_full_costs_as_much_as_a_full_one() -> None:
    """33 columns take two tiles of 32; 49 rows one of 64. Without that effect only the work counts."""
    full = Operator("p", "matmul", m=64, k=512, n=64)
    for m, n in ((64, 33), (49, 64)):
        part = replace(full, m=m, n=n)
        cycles = [
            float(lower(piece(one), CARD, batch_size=8, precision="fp16").matrix_cycles[0]) for one in (part, full)
        ]
        assert cycles[0] == pytest.approx(cycles[1])
    loose = Structure(tiles=False)
    part = lower(piece(replace(full, n=33)), CARD, batch_size=8, precision="fp16", structure=loose)
    assert part.matrix_cycles[0] == pytest.approx(64 * 512 * 33 * 8 / 2048 / 8)


@pytest.mark.parametrize("name", ["resnet50", "bert_512", "mobilenet_v2", "dlrm", "mmoe"])
def test_parts_add_up(name: str) -> None:
    """The breakdown and the operators each sum to the time of a request; no part is negative."""
    spent = cost(zoo_piece(name), CARD, PARAMS, batch_size=16, precision="fp16")
    assert tuple(spent.breakdown_us) == CAUSES
    assert all(value >= 0 for value in spent.breakdown_us.values())
    assert sum(spent.breakdown_us.values()) == pytest.approx(spent.cluster_us)
    beside = spent.breakdown_us["link"] + spent.breakdown_us["request"]
    assert sum(spent.operators_us.values()) + beside == pytest.approx(spent.cluster_us)


@pytest.mark.parametrize("name", ["resnet50", "bert_128", "bert_512", "mobilenet_v2"])
@pytest.mark.parametrize("batch", [1, 4, 8, 16])
def test_keeping_intermediates_nearer_moves_fewer_bytes(name: str, batch: int) -> None:
    """DDR, LLB, L1, L1 with the batch split: each schedule moves at most what the one before it moved."""
    moved = [lower(zoo_piece(name), CARD, batch_size=batch, precision="fp16", schedule=one) for one in SCHEDULES]
    for attribute in ("spill_bytes", "llb_bytes"):
        totals = [float(getattr(one, attribute).sum()) for one in moved]
        assert totals == sorted(totals, reverse=True)
    assert moved[0].spill_bytes.sum() > 0
    assert moved[-1].spill_bytes.sum() == 0


def test_a_faster_clock_helps_arrays_alone() -> None:
    """DDR, link, LLB and what starts operators take the same time at any clock."""
    resnet = zoo_piece("resnet50")
    slow, fast = (
        spend(lower(resnet, CARD, batch_size=16, precision="fp16"), CARD.at_clock(hz), BARE) for hz in (0.7e9, 1.4e9)
    )
    assert fast.matrix.sum() == pytest.approx(slow.matrix.sum() / 2)
    assert fast.vector.sum() == pytest.approx(slow.vector.sum() / 2)
    assert fast.llb.sum() == pytest.approx(slow.llb.sum())
    still = replace(CARD.at_clock(1.4e9), clocked=frozenset({"vector"}))
    apart = spend(lower(resnet, still, batch_size=16, precision="fp16"), still, BARE)
    assert apart.vector.sum() == pytest.approx(fast.vector.sum())
    assert apart.matrix.sum() == pytest.approx(1.4 * fast.matrix.sum()), "its domain stays at the clock of the model"
    work = lower(zoo_piece("bert_large_384"), CARD, batch_size=1, precision="fp16")
    ends = [float(spend(work, CARD.at_clock(hz), BARE).operators_us.sum()) for hz in (0.7e9, 1.4e9)]
    assert ends[1] > work.weight_bytes.sum() / 30e3, "weights still come through DDR"


def test_a_peak_in_tops_is_as_good_as_an_array() -> None:
    """A card whose file states a peak, and no multipliers a cycle, costs the same; at another clock too."""
    facts = {name: fact for name, fact in CARD.facts.items() if not name.startswith(("matrix_fp16", "matrix_int8"))}
    other = replace(CARD, facts={**facts, "peak_bf16": replace(CARD.facts["peak_fp16"], value=32 * 2048e9)},
                    precisions=("bf16",))  # fmt: skip
    resnet = zoo_piece("resnet50")
    for hz in (None, 1.3e9):
        ours, theirs = (card if hz is None else card.at_clock(hz) for card in (CARD, other))
        found = cost(resnet, theirs, PARAMS, batch_size=16, precision="bf16").cluster_us
        assert found == pytest.approx(cost(resnet, ours, PARAMS, batch_size=16, precision="fp16").cluster_us)


def test_a_type_that_the_card_lacks_is_refused() -> None:
    """One line that names the types that it has."""
    with pytest.raises(UsageError, match=r"has no fp32; give one of fp16, int8"):
        cost(zoo_piece("mmoe"), CARD, PARAMS, batch_size=1, precision="fp32")
    with pytest.raises(UsageError, match="states no cores_per_cluster"):
        cost(zoo_piece("mmoe"), devices.load("hailo8"), PARAMS, batch_size=1, precision="int8")


times = st.lists(
    st.tuples(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1)), min_size=1, max_size=30
)  # fmt: skip


@settings(deadline=None)
@given(times)
def test_streaming_is_bounded_by_both_of_its_parts(parts: list[tuple[float, float, float]]) -> None:
    """Weights that stream beside the work take at least the longer of the two, and at most both."""
    busy, load, back = (np.array(column) for column in zip(*parts, strict=True))
    places = np.arange(len(busy))
    gate = np.floor(back * places).astype(np.int64) - 1
    whole = float((busy + waits(busy, load, gate)).sum())
    assert whole >= max(busy.sum(), load.sum()) - 1e-6
    assert whole <= busy.sum() + load.sum() + 1e-6
    open_gate = np.full(len(busy), -1)
    assert float((busy + waits(busy, load, open_gate)).sum()) <= whole + 1e-6, "more room is never slower"


@settings(deadline=None)
@given(st.lists(st.integers(0, 6 * 2**20), min_size=1, max_size=40))
def test_weights_wait_for_room_and_no_longer(sizes: list[int]) -> None:
    """What was loaded and not yet dropped when weights arrive fits the LLB, or is those weights alone."""
    chain = [Operator(str(n), "matmul", m=8, k=8, n=8, weight_elements=size) for n, size in enumerate(sizes)]
    work = lower(piece(*chain), CARD, batch_size=8, precision="int8")
    for place, gate in enumerate(work.gate.tolist()):
        assert gate < place
        held = float(work.weight_bytes[gate + 1 : place + 1].sum())
        assert held <= CARD["llb"] or gate == place - 1


def _rows() -> list[FitRow]:
    asked = [
        ("resnet50", 16, "fp16"),
        ("bert_512", 2, "fp16"),
        ("mobilenet_v2", 32, "int8"),
        ("bert_large_384", 1, "fp16"),
    ]
    return [
        FitRow(name, name, family(zoo_piece(name)), zoo_piece(name), batch, precision, 12, 1000.0)
        for name, batch, precision in asked
    ]


@pytest.mark.parametrize("structure", structures()[::5])
def test_the_fast_way_to_cost_many_rows_is_the_same(structure: Structure) -> None:
    """What a fit evaluates, all rows at once, is what a single request is told to cost."""
    rows = _rows()
    params: TwinParams = replace(PARAMS, structure=structure).over({"dispatch_us": 17.0, "ddr_gb_per_s": 21.0})
    found = predict(Stack(rows, CARD, PARAMS, structure), {name: params[name] for name in FREE})
    for row, log_rate in zip(rows, found, strict=True):
        spent = cost(row.piece, CARD, params, batch_size=row.batch_size, precision=row.precision)
        flow = closed_form(card_network(CARD, params, spent), row.thread_num)
        assert flow.requests_per_s * row.batch_size == pytest.approx(float(np.exp(log_rate)), rel=1e-6)
