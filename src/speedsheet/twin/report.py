"""The report of a calibration as Markdown: how far each row is off, what bounds it, what the numbers are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources

from speedsheet.twin.baselines import USUAL_RATIO
from speedsheet.twin.calibration import Calibration, Errors, Report
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.types import Parameter

#: The share of rows that bands of 80 % are to hold.
_HELD = (10 / 14, 13 / 14)
#: A fit that narrows a prior by less than this share of its spread has learnt nothing of the parameter.
_LEARNT = 0.7
_BLANK = "\N{EN DASH}"
#: What is asked of the model: the figure, its name here, the most that it may be.
TARGETS: tuple[tuple[str, str, float], ...] = (
    ("leave_family_out", "a family left out", 0.15),
    ("nested", "a row left out, the structure chosen in each fold", 0.10),
    ("leave_one_out", "a row left out", 0.085),
    ("worst_left_out", "the worst row left out", 0.27),
    ("in_sample", "in sample", 0.06),
)


def figures(report: Report) -> dict[str, float]:
    """Return the figures that the targets are of; a family left out has its structure chosen without it too."""
    family = report.nested.leave_family_out
    found = {
        "leave_family_out": family,
        "nested": report.nested.leave_one_out,
        "leave_one_out": report.model.leave_one_out,
        "worst_left_out": report.model.worst_left_out,
        "in_sample": report.model.in_sample,
    }
    return {name: value for name, value in found.items() if value is not None}


def summary(calibration: Calibration) -> str:
    """Return the figures of a calibration in a few lines of text."""
    report = calibration.report
    if report is None:
        return "not calibrated\n"
    found = figures(report)
    lines = [f"fitted on {len(report.rows)} rows of {calibration.params.fitted_on}; mean absolute error of throughput:"]
    lines += [f"  {found[name] * 100:5.1f} %  {said}" for name, said, _ in TARGETS if name in found]
    lines.append(f"  80 % bands hold {sum(row.held for row in report.rows)} of {len(report.rows)} rows left out")
    return "\n".join(lines) + "\n"


def markdown(calibration: Calibration, device: DeviceSpec) -> str:
    """Return the whole report; what was noted of a device's shipped calibration follows it."""
    report = calibration.report
    if report is None:
        return f"# {device.title}, modelled\n\nNot calibrated.\n"
    parts = [
        f"# {device.title}, modelled",
        _HEAD.format(sheet=calibration.params.fitted_on, device=device.name),
        "## How far it is off",
        _targets(report),
        _rows(report),
        _ROWS_READ,
        "## Rows apart",
        _apart(report),
        _APART_READ,
        "## Beside simpler ways to predict",
        _errors_table((report.model, report.nested, *report.baselines)),
        *_int8(report),
        "## The fitted numbers",
        _parameters(calibration),
        _NUMBERS_READ,
        "## What each term is worth",
        _errors_table(report.terms),
        "One thing changed at a time, all else fitted anew. Rows left out are told by leverage here (Allen's PRESS).",
        *_notes(calibration, device),
    ]
    return "\n\n".join(parts) + "\n"


_HEAD = """\
Printed by `speedsheet twin calibrate {sheet} --device {device} --report docs/twin.md`, from the published sheet and
the device file alone: every host prints the same figures to the digits shown.

The model is no measurement. It predicts throughput; the published latency is derived (batch size x thread_num /
throughput) and tells nothing more. How the card is modelled stands in `twin/lower.py` and `twin/cost.py`, a reason
beside each formula."""
_ROWS_READ = """\
In sample is what the fit reaches on its own rows. The other columns predict a row from rows without it, without its
model, without its family (convolutional networks, transformers), and without it where the model's structure too is
chosen anew, among 16, by the remaining rows. The band holds 80 % of predictions for a row left out, from the errors of
the other rows. Binds is what a cluster spends most of a request on. The headline is a family left out with the
structure chosen without it."""
_APART_READ = """\
Their software or their shapes are not published: nothing was fitted to them, and no figure above holds them. What is
expected of them is good to a factor of two at best, and where the published figure is not in the band, not to that."""
_NUMBERS_READ = """\
x/÷ is a prior's spread in log units. A number is identifiable where the rows narrowed it to below 70 % of its prior's.
The clock and the rate of the arrays cannot be told apart: the published clock is not stated, and arrays that do better
than specified look like a higher clock."""


def _notes(calibration: Calibration, device: DeviceSpec) -> list[str]:
    """What was tried, where the calibration is of the device's own sheet."""
    path = resources.files("speedsheet") / "data" / "devices" / f"{device.name}.notes.md"
    own = calibration.params.fitted_on == device.published and path.is_file()
    return [path.read_text(encoding="utf-8").strip()] if own else []


def _targets(report: Report) -> str:
    found = figures(report)
    rows = [
        [said, f"{found[name] * 100:.1f} %", f"{most * 100:g} %", "met" if found[name] <= most else "MISSED"]
        for name, said, most in TARGETS
        if name in found
    ]
    held, of = sum(row.held for row in report.rows), len(report.rows)
    met = "met" if _HELD[0] <= held / of <= _HELD[1] else "MISSED"
    rows.append(["80 % bands that hold", f"{held} of {of}", "10 to 13 of 14", met])
    return _table(("Mean absolute error of throughput", "Found", "Target", ""), rows, right=(1, 2))


def _rows(report: Report) -> str:
    heads = (
        "Row",
        "Batch size",
        "thread_num",
        "Published",
        "In sample",
        "Row left out",
        "Model",
        "Family",
        "Nested",
        "80 % band",
        "Held",
        "Binds",
    )
    rows = [
        [
            row.name, str(row.batch_size), str(row.thread_num), f"{row.published:.0f}",
            *(_signed(value / row.published - 1) for value in (
                row.in_sample, row.leave_one_out, row.leave_model_out, row.leave_family_out, row.nested
            )),
            f"{row.low:.0f} to {row.high:.0f}", "yes" if row.held else "no", row.binding,
        ]
        for row in report.rows
    ]  # fmt: skip
    return _table(heads, rows, right=range(1, 10))


def _apart(report: Report) -> str:
    heads = ("Row", "Family", "Batch size", "thread_num", "Published", "Expected", "Band", "Held")
    rows = [
        [
            row.name, row.family, str(row.batch_size), str(row.thread_num), f"{row.published:.0f}",
            f"{row.predicted:.0f}", f"{row.low:.0f} to {row.high:.0f}", "yes" if row.held else "no",
        ]
        for row in report.apart
    ]  # fmt: skip
    return _table(heads, rows, right=range(2, 7))


def _errors_table(errors: Sequence[Errors]) -> str:
    heads = ("", "Free", "In sample", "Row left out", "Worst", "Model left out", "Family left out")
    rows = [
        [
            one.name, str(one.free),
            *(_percent(value) for value in (
                one.in_sample, one.leave_one_out, one.worst_left_out, one.leave_model_out, one.leave_family_out
            )),
        ]
        for one in errors
    ]  # fmt: skip
    return _table(heads, rows, right=range(1, 7))


def _int8(report: Report) -> Iterator[str]:
    if report.int8_from_fp16 is None or report.int8_by_ratio is None:
        return
    ours, trivial = _percent(report.int8_from_fp16), _percent(report.int8_by_ratio)
    yield (
        f"INT8 rows from a fit of the FP16 rows alone: {ours} off. INT8 as {USUAL_RATIO:g} x the same model's FP16 "
        f"row: {trivial}. Nothing is claimed for the model here."
    )


def _parameters(calibration: Calibration) -> str:
    heads = ("Number", "Value", "Prior", "x/÷", "After the fit", "Identifiable", "What it is")
    rows = []
    for one in calibration.params.parameters.values():
        before = f"{one.prior_spread:.2f}" if one.prior_spread else _BLANK
        after = _BLANK if one.spread is None else f"{one.spread:.2f}"
        value = f"{one.value:.3g} {one.unit}"
        rows.append([one.name, value, f"{one.prior:.3g}", before, after, _identifiable(one), one.reason])
    return _table(heads, rows, right=(1, 2, 3, 4))


def _identifiable(one: Parameter) -> str:
    if one.spread is None:
        return "not fitted"
    return "yes" if one.spread < _LEARNT * one.prior_spread else "no: mostly its prior"


def _percent(value: float | None) -> str:
    return _BLANK if value is None else f"{value * 100:.1f} %"


def _signed(value: float) -> str:
    return f"{value * 100:+.1f} %"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    marks = ["---:" if place in right else "---" for place in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows))
