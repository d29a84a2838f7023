"""The gate catches what is wrong and lets pass what is honest; what it cannot see is written in docs/gate.md."""

import threading

import numpy as np
import pytest

from speedsheet.bench.clients import bind
from speedsheet.bench.judge import Kept, check_finite, judge
from speedsheet.core.errors import RowFailed
from speedsheet.core.plan import LoadPlan
from speedsheet.load.drive import drive

DRAW = np.random.default_rng(920)
#: Networks answer alike to everything: a large common part, and a small part that depends on the input.
COMMON = DRAW.standard_normal(100) * 10
ANSWERS = [{"y": (COMMON + DRAW.standard_normal((4, 100))).astype(np.float32)} for _ in range(8)]


def served(change):
    """Return what two clients kept of all batches, with `change(slot, outputs)` applied."""
    return [
        Kept(client, slot, {"y": change(slot, ANSWERS[slot]["y"].copy())}) for client in range(2) for slot in range(8)
    ]


def gate(change, precision="fp32"):
    return judge(served(change), ANSWERS, precision).gate


def rounded(bits):
    """Round to `bits` significant bits, as a narrower type does."""

    def change(_slot, y):
        fraction, exponent = np.frexp(y)
        return np.ldexp(np.round(fraction * 2**bits) / 2**bits, exponent).astype(np.float32)

    return change


def test_right_outputs_pass():
    """The reference itself, and the reference in another order of summation, pass at fp32."""
    assert gate(lambda _slot, y: y).passed
    assert gate(lambda _slot, y: y * (1 + 1e-6)).passed


def test_honest_bfloat16_passes_as_bfloat16_and_not_as_float32():
    """Seven bits are right for bf16, and are not fp32."""
    assert gate(rounded(8), "bf16").passed
    assert not gate(rounded(6), "fp32").passed


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a NaN", lambda _slot, y: np.where(np.arange(100) == 7, np.nan, y)),
        ("an infinity", lambda _slot, y: np.where(np.arange(100) == 7, np.inf, y)),
        ("another batch's output", lambda slot, _y: ANSWERS[(slot + 1) % 8]["y"]),
        ("two samples swapped", lambda _slot, y: y[::-1]),
        ("twice the size", lambda _slot, y: y * 2),
        ("half the size", lambda _slot, y: y / 2),
        ("zeros", lambda _slot, y: y * 0),
        ("the common part alone", lambda _slot, y: np.broadcast_to(COMMON, y.shape)),
        ("channels reversed", lambda _slot, y: y[:, ::-1]),
        ("an offset", lambda _slot, y: y + 3),
    ],
)
def test_wrong_outputs_are_caught_at_every_precision(name, change, precision):
    """Each way of being wrong fails, also where limits are widest."""
    verdict = gate(change, precision)
    assert not verdict.passed, name
    assert verdict.metric


def test_one_wrong_batch_among_many_is_caught():
    """One stale output of one client is not averaged away."""
    kept = served(lambda _slot, y: y)
    kept[11] = Kept(1, 3, ANSWERS[4])
    assert not judge(kept, ANSWERS, "bf16").gate.passed


def test_a_missing_output_and_a_wrong_shape_are_caught():
    """An output that is not there, or not of its shape, is wrong."""
    assert judge([Kept(0, 0, {})], ANSWERS, "fp32").gate.metric == "missing_output"
    assert not judge([Kept(0, 0, {"y": ANSWERS[0]["y"][:2]})], ANSWERS, "fp32").gate.passed


def test_nothing_kept_is_not_a_pass():
    """A row of which no output was kept has not been judged."""
    assert judge([], ANSWERS, "fp32").gate.passed is False


def test_the_plain_cosine_would_have_missed_it():
    """Another batch's output has a plain cosine above 0.98: centring is what sees it."""
    a, b = ANSWERS[0]["y"].ravel(), ANSWERS[1]["y"].ravel()
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.98
    wrong = judge([Kept(0, 0, ANSWERS[1])], ANSWERS, "bf16").gate
    assert wrong.metric in {"centred_cosine", "relative_error"}


def test_outputs_that_do_not_vary_are_judged_by_their_size_and_said_so():
    """Where the input does not matter, a direction means nothing; the finding says that the gate is weak."""
    flat = [{"y": np.full((4, 10), 0.5, np.float32)} for _ in range(8)]
    honest = judge([Kept(0, 0, {"y": flat[0]["y"] + np.float32(1e-4)})], flat, "bf16")
    assert honest.gate.passed
    assert [finding.code for finding in honest.findings] == ["gate_insensitive"]
    assert not judge([Kept(0, 0, {"y": flat[0]["y"] * 2})], flat, "bf16").gate.passed


def test_integers_and_booleans_are_judged_by_agreement():
    """Class indices have no relative error: they agree or they do not."""
    answers = [{"top": np.arange(slot, slot + 50)} for slot in range(4)]
    assert judge([Kept(0, 2, answers[2])], answers, "fp32").gate.metric == "agreement"
    assert not judge([Kept(0, 2, answers[3])], answers, "bf16").gate.passed


def test_masked_infinities_of_the_reference_are_allowed_where_it_has_them():
    """A model that answers minus infinity is right to; an engine that does not is wrong."""
    answers = [{"y": np.where(np.arange(100) == 5, -np.inf, answer["y"])} for answer in ANSWERS]
    assert judge([Kept(0, 1, answers[1])], answers, "fp32").gate.passed
    assert not judge([Kept(0, 1, {"y": np.nan_to_num(answers[1]["y"])})], answers, "fp32").gate.passed


def test_one_sample_in_all_is_judged_uncentred():
    """With a single sample there is no mean to take away."""
    answers = [{"y": ANSWERS[0]["y"][:1]}]
    assert judge([Kept(0, 0, answers[0])], answers, "fp32").gate.passed
    assert not judge([Kept(0, 0, {"y": answers[0]["y"] * 1.5})], answers, "bf16").gate.passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_right_answers_that_are_no_numbers_judge_nothing(value):
    """NaN everywhere is equal to what was never computed: such a row has no gate, and says what to give it."""
    finite, never = np.ones((4, 3), np.float32), np.full((4, 3), value, np.float32)
    with pytest.raises(RowFailed, match=r"NaN or infinity to these inputs \(output 'z'\).*--data FILE.npz") as caught:
        check_finite([{"y": finite, "z": never}] * 8)
    assert "\n" not in str(caught.value)
    check_finite([{"y": never}] * 7 + [{"y": finite}])
    check_finite([{"top": np.zeros(4, np.int64), "found": np.empty((0, 4), np.float32)}] * 8)


def test_an_answer_of_nothing_is_right_where_nothing_is_right():
    """A detector that finds nothing answers arrays of no elements: for some inputs, or for all, and then it is said."""
    none, some = np.empty((0, 4), np.float32), np.ones((2, 4), np.float32)
    for answers in ([{"found": none}] * 8, [{"found": none}] * 7 + [{"found": some}]):
        verdict = judge([Kept(0, 0, {"found": none})], answers, "fp32")
        assert verdict.gate.passed
        assert bool(verdict.findings) is not any(answer["found"].size for answer in answers)
        assert not judge([Kept(0, 0, {"found": some})], answers, "fp32").gate.passed


def test_integers_that_are_the_same_for_every_input_are_said_so():
    """A class that every input gets is agreed on by whatever answers it: the finding says that the gate is weak."""
    same = [{"top": np.full(4, 7), "y": answer["y"]} for answer in ANSWERS]
    (finding,) = judge([Kept(0, 0, same[0])], same, "fp32").findings
    assert finding.code == "gate_insensitive"
    assert finding.text.startswith("top is the same for every input, so the gate cannot see which one was answered;")
    varied = [{"top": np.arange(4)} for _ in range(8)]
    scalar = [{"top": np.array(slot)} for slot in range(8)]
    alone = [{"top": np.zeros(1, np.int64)}]
    for answers in (varied, scalar, alone):
        assert judge([Kept(0, 0, answers[0])], answers, "fp32").findings == ()


def test_flat_and_equal_outputs_are_named_each_with_what_is_true_of_it():
    """Floats have a size that the gate sees; integers have none."""
    answers = [{"a": np.full((4, 3), 0.5, np.float32), "b": np.ones(4, bool), "c": np.ones(4, np.int8)}] * 8
    (finding,) = judge([Kept(0, 0, answers[0])], answers, "fp32").findings
    flat, same, do = finding.text.split("; ")
    assert flat == "a varies with the input by less than one rounding, so the gate sees only their size"
    assert same == "b, c are the same for every input, so the gate cannot see which one was answered"
    assert "--data FILE.npz" in do


class Waited:
    """A request that answers with ones; until its run has ended, what it writes is half done."""

    def __init__(self, over, into):
        self.over, self.into = over, into

    def run(self):
        self.into["y"].fill(np.nan)
        if self.over.wait(0.01):
            raise RuntimeError("cancelled")
        self.into["y"].fill(1)

    def outputs(self):
        return {"y": self.into["y"].copy()}


class Cancelled(Waited):
    """The same, and it can be given up."""

    def give_up(self):
        self.over.set()


class Session:
    """Its requests are of one kind, and all are over at once."""

    def __init__(self, request):
        self.request, self.over = request, threading.Event()

    def bind(self, _feed, into):
        return self.request(self.over, into)


def bound(request, slots=2, carry=None):
    plan = LoadPlan(3, 0.1, pool_batches=slots)
    feed, answer = {"x": np.ones(4, np.float32)}, {"y": np.ones(4, np.float32)}
    return plan, bind(Session(request), plan, [feed] * slots, [answer] * slots, carry or {})


def test_what_was_given_up_is_not_judged():
    """What a client had begun is half written; every client is judged by what it completed."""
    plan, clients = bound(Cancelled)
    runs = [[call.request.run for call in calls] for calls in clients.calls]
    samples = drive(plan, runs, give_up=clients.giving_up())
    kept = list(clients.kept(samples, gave_up=True))
    assert {each.client for each in kept} == {0, 1, 2}
    assert all((each.outputs["y"] == 1).all() for each in kept)
    assert any(np.isnan(each.outputs["y"]).any() for each in clients.kept(samples))


def test_nothing_is_given_up_where_nothing_would_be_left_to_judge():
    """With one batch, with state that is carried on, or where an engine cannot, what is in flight is waited for."""
    assert bound(Cancelled)[1].giving_up()
    assert not bound(Cancelled, slots=1)[1].giving_up()
    assert not bound(Cancelled, carry={"y": "x"})[1].giving_up()
    assert not bound(Waited)[1].giving_up()
