"""Is a claim plausible: its ceiling, what is to be expected, what binds, and what must be true for it to hold."""

from __future__ import annotations

from dataclasses import dataclass

from speedsheet.core.measurement import Finding
from speedsheet.twin.calibration import WIDEST, Calibration
from speedsheet.twin.ceilings import Ceiling, Flip, above, ceiling, flips, narrower, written
from speedsheet.twin.cost import cost, shares
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.families import family, nearest, relation
from speedsheet.twin.network import CLIENTS, binding_of, card_network, closed_form
from speedsheet.twin.types import RequestCost, Schedule, Workpiece

#: A ceiling within so much of a figure is what it hangs on.
_NEAR = 1.25
PLAUSIBLE, OPTIMISTIC, IMPOSSIBLE = "plausible", "optimistic", "impossible"


@dataclass(frozen=True, slots=True)
class Claim:
    """A model at a batch, precision and number of clients, and the throughput that somebody states; null for nobody.

    `framework` and `task` are what the sheet or the zoo says of the model.
    """

    model: str
    piece: Workpiece
    batch_size: int
    thread_num: int
    precision: str
    published: float | None = None
    framework: str = ""
    task: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """How the device is run: whose schedule, how many cards; `extrapolate` tells too what no row can validate."""

    schedule: Schedule = "O3"
    cards: int = 1
    extrapolate: bool = False

    @property
    def usual(self) -> bool:
        """Whether it is that of a calibrated row."""
        return self.schedule == "O3" and self.cards == 1


@dataclass(frozen=True, slots=True)
class Predicted:
    """Samples per second to be expected, and the bounds of an 80 % band.

    `left_out` says that the row was calibrated on, and that this is what the other rows predict for it.
    """

    throughput: float
    low: float
    high: float
    left_out: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is said of a claim. `predicted` is null where the device file or the sheet tells too little for it."""

    claim: Claim
    ceiling: Ceiling
    predicted: Predicted | None
    spent: RequestCost | None
    binding: str
    verdict: str | None
    flips: tuple[Flip, ...]
    family: str
    nearest: str
    relation: str
    findings: tuple[Finding, ...]

    @property
    def telling(self) -> tuple[Flip, ...]:
        """What decides the verdict: every assumption that does not hold as stated, else what is nearest to not."""
        if self.claim.published is None:
            return self.flips[-1:] if self.predicted else ()
        broken = tuple(flip for flip in self.flips if not flip.holds)
        near = tuple(flip for flip in self.flips[:1] if flip.margin < _NEAR)
        return broken or near or self.flips[-1:]


def judge(claim: Claim, device: DeviceSpec, calibration: Calibration | None, setting: Setting = Setting()) -> Judgement:
    """Return what is to be said of a claim. Raises UsageError for a precision that the device does not have."""
    limit = ceiling(claim.piece, device, batch_size=claim.batch_size, precision=claim.precision, cards=setting.cards)
    kind = family(claim.piece)
    predicted, spent, binding, found = None, None, limit.binding, list[Finding]()
    if device.modelled and calibration is not None and claim.piece.input_bytes:
        predicted, spent, binding = _expected(claim, device, calibration, setting, kind)
        found = _findings(claim, calibration, setting, kind, spent, binding)
        if predicted and claim.published is not None and claim.published * WIDEST < predicted.throughput:
            slower = written(float(f"{predicted.throughput / claim.published:.2g}"))
            text = f"{slower} x slower than expected: software leaves the card idle, or does other work; profile it"
            found.append(Finding("below_band", text))
    figure = claim.published or (predicted.throughput if predicted else limit.throughput)
    told = flips(
        claim.piece, device, figure, batch_size=claim.batch_size, precision=claim.precision, cards=setting.cards
    )
    like, how = _likeness(claim, calibration, kind, spent)
    return Judgement(
        claim, limit, predicted, spent, binding, _verdict(claim, limit, predicted),
        (*told, *_beyond(predicted, figure)), kind, like, how, tuple(found),
    )  # fmt: skip


def _expected(
    claim: Claim, device: DeviceSpec, calibration: Calibration, setting: Setting, kind: str
) -> tuple[Predicted | None, RequestCost, str]:
    """The flow of the card's network; a calibrated row is told by the others, since it would else judge itself.

    A card that clients leave idle is told only where that was asked for: every published row is saturated.
    """
    spent = cost(
        claim.piece, device, calibration.params, batch_size=claim.batch_size, precision=claim.precision,
        schedule=setting.schedule,
    )  # fmt: skip
    network = card_network(device, calibration.params, spent, cards=setting.cards)
    flow = closed_form(network, claim.thread_num)
    binding = binding_of(spent, flow)
    row = calibration.left_out(claim.model, claim.precision, claim.batch_size, claim.thread_num)
    if row is not None and setting.usual and device.set_clock_hz is None:
        return Predicted(row.leave_one_out, row.low, row.high, left_out=True), spent, binding
    if binding == CLIENTS and not setting.extrapolate:
        return None, spent, binding
    rate = flow.requests_per_s * claim.batch_size
    band = calibration.band(kind) if setting.schedule == "O3" and binding != CLIENTS else WIDEST
    return Predicted(rate, rate / band, rate * band, left_out=False), spent, binding


def _likeness(claim: Claim, calibration: Calibration | None, kind: str, spent: RequestCost | None) -> tuple[str, str]:
    if calibration is None or calibration.report is None or spent is None:
        return "", "not calibrated"
    known = {row.name: row.shares for row in calibration.report.rows if row.model != claim.model}
    return nearest(shares(spent.breakdown_us), known), relation(kind, calibration.families)


def _verdict(claim: Claim, limit: Ceiling, predicted: Predicted | None) -> str | None:
    """Impossible beyond what any published value of a resource carries; optimistic beyond the one used, or the band."""
    if claim.published is None:
        return None
    if any(
        above(claim.published, bound.widest * narrower(claim.piece, claim.precision, bound.resource))
        for bound in limit.bounds
    ):
        return IMPOSSIBLE
    if above(claim.published, limit.throughput) or (predicted and claim.published > predicted.high):
        return OPTIMISTIC
    return PLAUSIBLE


def _beyond(predicted: Predicted | None, figure: float) -> tuple[Flip, ...]:
    """Where the band ends, a figure becomes optimistic whatever else holds."""
    if predicted is None:
        return ()
    text = f"optimistic above {written(predicted.high)} samples/s"
    return (Flip("band_samples_per_s", predicted.high, text, predicted.high / figure),)


def _findings(
    claim: Claim, calibration: Calibration, setting: Setting, kind: str, spent: RequestCost, binding: str
) -> list[Finding]:
    found = []
    if calibration.report is None:
        text = "no row has fitted this device: priors are used; calibrate on a sheet (speedsheet twin calibrate SHEET)"
        found.append(Finding("priors_only", text))
    elif kind not in calibration.families:
        text = f"no calibrated row is a {kind} model: good to a factor of two at best; measure one to calibrate on"
        found.append(Finding("unseen_family", text))
    if setting.schedule != "O3":
        text = f"schedule {setting.schedule}: no published row used it; measure it on the card"
        found.append(Finding("schedule_predicted", text))
    if spent.unknown_operators:
        names = ", ".join(spent.unknown_operators[:3])
        text = f"{len(spent.unknown_operators)} operators are not known and costed by their bytes alone: {names}"
        found.append(Finding("unknown_operators", f"{text}; replace them by known ones to be sure"))
    if binding == CLIENTS:
        text = f"thread_num {claim.thread_num} leaves the card idle, which no published row validates"
        do = "give more threads" if setting.extrapolate else "give more threads, or --extrapolate"
        found.append(Finding("unsaturated", f"{text}; {do}"))
    return found
