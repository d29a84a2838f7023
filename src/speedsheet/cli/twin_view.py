"""The modelled card's tables for a terminal: a line for each claim and one for what it hangs on; cards where narrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from speedsheet.cli.twin_words import TwinWords
from speedsheet.sheets.digits import rounded
from speedsheet.sheets.letters import BLANK, clean, to_ascii
from speedsheet.sheets.wrapping import wrapped

if TYPE_CHECKING:
    from speedsheet.core.measurement import Finding
    from speedsheet.twin.ceilings import Flip
    from speedsheet.twin.claims import Judgement
    from speedsheet.twin.judging import Case
    from speedsheet.twin.types import RequestCost

_COLUMNS = ("model", "precision", "batch_size", "thread_num", "published", "expected", "band", "ceiling", "binding",
            "verdict")  # fmt: skip
_NUMBERS = frozenset({"batch_size", "thread_num", "published", "expected", "band", "ceiling", "us", "share"})
_GAP, _INDENT = "  ", "  "
_STYLES = {"optimistic": "yellow", "impossible": "bold red"}
_COSTLIEST, _BAR, _BESIDE_BAR, _NAMES = 10, 40, 26, 5
_LEAST_SHARE = 0.005
#: Findings that stand with their row; the others hold for the whole table, and its head says them.
_TOLD = frozenset({"unknown_operators", "unsaturated", "below_band"})


def claims(case: Case, words: TwinWords, width: int, *, ascii_only: bool = False) -> Text:
    """Return the table of claims as styled text whose lines fit `width` cells."""
    room = width - (2 if ascii_only else 0)
    judged = case.judged
    lines = [Text(part, "bold") for part in wrapped(words.title.format(device=clean(case.device.title)), room)]
    lines += [Text(part, "dim") for line in _above(case, words) for part in wrapped(line, room)]
    rows = [_cells(one, words) for one in judged]
    heads = [words.headings[name] for name in _COLUMNS]
    sizes = [max(cell_len(text) for text in column) for column in zip(heads, *rows, strict=True)]
    lines.append(Text())
    if sum(sizes) + len(_GAP) * (len(sizes) - 1) <= room:
        lines += [Text(_joined(_COLUMNS, heads, sizes), "bold"), Text("─" * min(_span(sizes), room), "dim")]
        for one, row in zip(judged, rows, strict=True):
            lines.append(_painted(_joined(_COLUMNS, row, sizes), one, words))
            lines += [Text(part, "dim") for part in wrapped(_hangs_on(one, words), room, _INDENT, _INDENT)]
    else:
        for one, row in zip(judged, rows, strict=True):
            lines += _card(one, row, heads, words, room)
    lines += [Text(), *(Text(part, "dim") for line in _below(case, words) for part in wrapped(line, room))]
    return _plain(lines, ascii_only=ascii_only)


def explanation(judged: Judgement, words: TwinWords, width: int, *, ascii_only: bool = False) -> Text:
    """Return where the time of one request goes: a bar of causes, and the ten costliest operators."""
    room = width - (2 if ascii_only else 0)
    claim, spent = judged.claim, judged.spent
    if spent is None:
        return Text()
    said = words.request.format(
        model=clean(claim.model),
        precision=claim.precision.upper(),
        batch=claim.batch_size,
        us=rounded(spent.cluster_us),
    )
    bounds = words.comma.join(
        words.bound.format(resource=words.resources[bound.resource], value=rounded(bound.throughput, usual=3))
        for bound in judged.ceiling.bounds
    )
    lines = [Text(part, "bold") for part in wrapped(said, room)]
    lines += [Text(part, "dim") for part in wrapped(words.ceilings.format(bounds=bounds), room)]
    lines += [
        *_bars(spent, words, room),
        Text(),
        Text(words.costliest, "bold"),
        *_operators(judged, spent, words, room),
    ]
    return _plain(lines, ascii_only=ascii_only)


def curve(one: Judgement, case: Case, words: TwinWords, width: int, *, ascii_only: bool = False) -> Text:
    """Return what other numbers of clients would see: nothing published validates it, and the text says so."""
    from speedsheet.twin.extrapolate import NOT_VALIDATED
    from speedsheet.twin.judging import thread_points

    claim = one.claim
    columns = ("thread_num", "published", "expected", "band", "ceiling")
    heads = [words.headings["thread_num"], words.throughput, "p50 ms", "p99 ms", words.headings["binding"]]
    rows = [
        [
            str(point.thread_num),
            rounded(point.throughput_samples_per_s, usual=3),
            _time(point.latency_ms.p50),
            _time(point.latency_ms.p99),
            words.resources[point.binding],
        ]
        for point in thread_points(one, case)
    ]
    sizes = [max(cell_len(text) for text in column) for column in zip(heads, *rows, strict=True)]
    room = width - (2 if ascii_only else 0)
    said = f"{clean(claim.model)} · {claim.precision.upper()} · {words.headings['batch_size']} {claim.batch_size}"
    warning = words.findings.get(NOT_VALIDATED.code, NOT_VALIDATED.text)
    lines = [Text(said, "bold"), *(Text(part, "yellow") for part in wrapped(warning, room))]
    lines += [Text(_INDENT + _joined(columns, cells, sizes)) for cells in (heads, *rows)]
    return _plain(lines, ascii_only=ascii_only)


def _time(value: float | None) -> str:
    return BLANK if value is None else rounded(value, usual=3)


def flip_text(flip: Flip, words: TwinWords) -> str:
    """Return an assumption in the language of the table."""
    from speedsheet.twin.ceilings import written

    known = words.flips.get(flip.code)
    return flip.text if known is None else known.format(value=written(flip.value))


def _finding(finding: Finding, words: TwinWords) -> str:
    """Return a finding in the language of the table, its figures behind it."""
    known = words.findings.get(finding.code)
    return clean(finding.text if known is None else words.aside.format(text=known, aside=finding.text))


def _above(case: Case, words: TwinWords) -> Iterator[str]:
    """What was assumed of the device, and how well its model is known."""
    device, calibration, setting = case.device, case.calibration, case.setting
    if not device.modelled or calibration is None:
        yield words.bounded
    elif calibration.report is None:
        yield words.priors
    else:
        report = calibration.report
        left = (report.model.leave_one_out, report.model.leave_model_out, report.nested.leave_family_out)
        loo, lmo, lfo = (BLANK if error is None else f"{error * 100:.1f}" for error in left)
        yield words.calibrated.format(
            rows=len(report.rows), sheet=clean(calibration.params.fitted_on), loo=loo, lmo=lmo, lfo=lfo
        )
    changed = []
    if device.set_clock_hz:
        changed.append(words.clock.format(ghz=f"{device.set_clock_hz / 1e9:g}"))
    if setting.cards > 1:
        changed.append(words.cards.format(n=setting.cards))
    if setting.schedule != "O3":
        changed.append(words.schedule.format(name=setting.schedule))
    if changed:
        yield words.comma.join(changed)


def _below(case: Case, words: TwinWords) -> Iterator[str]:
    judged = case.judged
    counted = Counter(one.verdict for one in judged if one.verdict)
    if counted:
        told = words.comma.join(f"{n} {words.verdicts[name].lower()}" for name, n in counted.most_common())
        yield words.counts.format(n=sum(counted.values()), counts=told)
    if case.unread:
        rest = [words.rest.format(n=len(case.unread) - _NAMES)] if case.unread[_NAMES:] else []
        yield words.unread.format(names=words.comma.join([*map(clean, case.unread[:_NAMES]), *rest]))
    yield words.expected
    if any(one.predicted for one in judged):
        yield words.alone
    if counted and case.latency.startswith("derived"):
        yield words.derived


def _cells(one: Judgement, words: TwinWords) -> list[str]:
    claim, predicted = one.claim, one.predicted
    return [
        clean(claim.model),
        claim.precision.upper(),
        str(claim.batch_size),
        BLANK if one.spent is None else str(claim.thread_num),
        BLANK if claim.published is None else rounded(claim.published),
        BLANK if predicted is None else rounded(predicted.throughput, usual=3),
        BLANK if predicted is None else f"{rounded(predicted.low, usual=3)}..{rounded(predicted.high, usual=3)}",
        rounded(one.ceiling.throughput, usual=3),
        words.resources[one.binding],
        words.verdicts[one.verdict] if one.verdict else BLANK,
    ]


def _hangs_on(one: Judgement, words: TwinWords) -> str:
    """What decides the verdict, which calibrated row is most like it, and what else is doubtful."""
    said = [flip_text(flip, words) for flip in one.telling]
    if one.nearest:
        relation = words.relations.get(one.relation, one.relation)
        said.append(words.like.format(row=one.nearest, relation=relation))
    said += [_finding(finding, words) for finding in one.findings if finding.code in _TOLD]
    return words.joint.join(said)


def _card(one: Judgement, row: Sequence[str], heads: Sequence[str], words: TwinWords, room: int) -> list[Text]:
    """A claim on lines of its own: its name, then each figure with its heading."""
    named = dict(zip(_COLUMNS, row, strict=True))
    title = (
        f"{named['model']} · {named['precision']} · {heads[2]} {named['batch_size']} · {heads[3]} {named['thread_num']}"
    )
    lines = [Text(part, "bold") for part in wrapped(title, room)]
    told = [f"{head} {named[name]}" for name, head in zip(_COLUMNS[4:], heads[4:], strict=True) if named[name] != BLANK]
    lines += [_painted(part, one, words) for part in wrapped(" · ".join(told), room, _INDENT, _INDENT)]
    return [*lines, *(Text(part, "dim") for part in wrapped(_hangs_on(one, words), room, _INDENT, _INDENT))]


def _bars(spent: RequestCost, words: TwinWords, room: int) -> list[Text]:
    causes = sorted(spent.breakdown_us.items(), key=lambda item: -item[1])
    shown = [(words.resources[cause], us, us / spent.cluster_us) for cause, us in causes if us > 0]
    shown = [item for item in shown if item[2] >= _LEAST_SHARE]
    name = max(cell_len(item[0]) for item in shown)
    longest = max(min(_BAR, room - name - _BESIDE_BAR), 1)
    lines = []
    for said, us, share in shown:
        bar = "█" * max(round(share / shown[0][2] * longest), 1)
        space = " " * (name - cell_len(said))
        lines.append(Text(f"{_INDENT}{said}{space}  {share * 100:5.1f} %  {rounded(us, usual=3):>8} us  {bar}"))
    return lines


def _operators(judged: Judgement, spent: RequestCost, words: TwinWords, room: int) -> list[Text]:
    kinds = {operator.name: operator.kind for operator in judged.claim.piece.operators}
    ranked = sorted(spent.operators_us.items(), key=lambda item: -item[1])
    columns = ("us", "share", "kind", "operator")
    rows = [
        [rounded(us, usual=3), f"{us / spent.cluster_us * 100:.1f} %", kinds[name], clean(name)]
        for name, us in ranked[:_COSTLIEST]
    ]
    if ranked[_COSTLIEST:]:
        left = sum(us for _, us in ranked[_COSTLIEST:])
        share = f"{left / spent.cluster_us * 100:.1f} %"
        rows.append([rounded(left, usual=3), share, "", words.rest.format(n=len(ranked) - _COSTLIEST)])
    heads = [words.headings[name] for name in columns]
    sizes = [max(cell_len(text) for text in column) for column in zip(heads, *rows, strict=True)]
    lines = [Text(_INDENT + _joined(columns, heads, sizes), "dim")]
    for row in rows:
        text = Text(_INDENT + _joined(columns, row, sizes))
        text.truncate(room, overflow="ellipsis")
        lines.append(text)
    return lines


def _joined(columns: Sequence[str], cells: Sequence[str], sizes: Sequence[int]) -> str:
    padded = []
    for name, text, size in zip(columns, cells, sizes, strict=True):
        space = " " * (size - cell_len(text))
        padded.append(space + text if name in _NUMBERS else text + space)
    return _GAP.join(padded).rstrip()


def _span(sizes: Sequence[int]) -> int:
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)


def _painted(line: str, one: Judgement, words: TwinWords) -> Text:
    text = Text(line)
    if one.verdict in _STYLES:
        text.highlight_words([words.verdicts[one.verdict]], _STYLES[one.verdict])
    return text


def _plain(lines: Sequence[Text], *, ascii_only: bool) -> Text:
    text = Text("\n").join(lines)
    return Text(to_ascii(text.plain)) if ascii_only else text
