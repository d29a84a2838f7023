"""From samples to the figures of a row: with what was disturbed left out and kept beside, and what is doubtful said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from speedsheet.core.measurement import Finding, Interference, Measurement, WithFlagged
from speedsheet.core.plan import LoadPlan, Reached, Target
from speedsheet.core.samples import Samples
from speedsheet.core.units import NS_PER_MS, NS_PER_S, format_duration
from speedsheet.stats.estimates import Estimates, pooled
from speedsheet.stats.interference import ledger

#: A half-width is an estimate too: so much longer makes it likely that the target is then met.
_MARGIN = 1.1
#: So many medians are named in a finding.
_NAMED = 6


def figured(row: Measurement, samples: Samples, plan: LoadPlan, unavailable: Sequence[str] = ()) -> Measurement:
    """Return the row with what its samples say. `unavailable` names the signals that the host does not tell."""
    parts = samples.parts()
    said = pooled(parts, batch_size=row.batch_size, thread_num=row.thread_num)
    targets = tuple(_reached(said, target, len(parts)) for target in plan.targets)
    disturbed = _ledger(samples, plan, said.window_s / len(parts), targets, unavailable)
    return replace(
        row, latency_ms=said.latency_ms, throughput_samples_per_s=said.throughput_samples_per_s,
        requests=said.requests, wall_s=said.window_s, little_residual=said.little_residual,
        effective_n=said.effective_n, tau_s=said.tau_s,
        coverage_checked=said.checked(ended=bool(targets) and all(each.met for each in targets)),
        warmup_s=sum(_warmup_ns(part) for part in parts) / len(parts) / NS_PER_S, steady=samples.steady,
        targets=targets, processes=len(parts), interference=disturbed,
        with_flagged=_with_flagged(row, samples, disturbed), samples_per_joule=_per_joule(row, samples),
    ).noting(
        *said.findings, *_unsteady(samples), *_disturbed(disturbed), *_wide(targets, said.window_s / len(parts)),
    )  # fmt: skip


def _warmup_ns(samples: Samples) -> int:
    """How long load was offered before the measured window opened."""
    return samples.open_ns - int(samples.start_ns.min())


def _with_flagged(row: Measurement, samples: Samples, disturbed: Interference) -> WithFlagged | None:
    if not disturbed.flagged:
        return None
    whole = pooled(samples.with_flagged().parts(), batch_size=row.batch_size, thread_num=row.thread_num)
    return WithFlagged(whole.throughput_samples_per_s, whole.latency_ms)


def _per_joule(row: Measurement, samples: Samples) -> float | None:
    """Samples for each joule of the undisturbed windows; null where the host does not tell power in each of them."""
    windows = samples.measured()
    kept = [window for window in windows if not window.flags] or windows
    powers_w = [window.signals.get("power_w") for window in kept]
    if not kept or None in powers_w:
        return None
    joules = (
        sum((power_w or 0.0) * window.duration_ns for power_w, window in zip(powers_w, kept, strict=True)) / NS_PER_S
    )
    return int(samples.window.sum()) * row.batch_size / joules if joules > 0 else None


def _reached(said: Estimates, target: Target, processes: int) -> Reached:
    if target.quantity == "throughput":
        half = said.throughput_samples_per_s.half_width
    else:
        value, bounds = getattr(said.latency_ms, target.quantity), said.latency_ms.bounds.get(target.quantity)
        half = None if value is None or bounds is None else (bounds[1] - bounds[0]) / 2 / value
    if half is None:
        more_s = said.more_s.get(target.quantity)
    else:
        more_s = said.window_s / processes * max((half / target.half_width) ** 2 * _MARGIN - 1.0, 0.0)
    reached = Reached(target.quantity, target.half_width, half, more_s)
    return replace(reached, more_s=0.0) if reached.met else reached


def _ledger(
    samples: Samples, plan: LoadPlan, clean_s: float, targets: Sequence[Reached], unavailable: Sequence[str]
) -> Interference:
    """Count windows. Those flagged were measured again as far as the window, or the targets, came to what was asked."""
    windows = samples.measured()
    flagged = [window for window in windows if window.flags]
    each_s = sum(window.duration_ns for window in windows) / max(len(windows), 1) / NS_PER_S
    lacking_s = 0.0 if targets and all(each.met for each in targets) else max(plan.window_s - clean_s, 0.0)
    lacking = round(lacking_s / each_s) if each_s else 0
    all_flagged = len(flagged) == len(windows)
    again = 0 if all_flagged else max(len(flagged) - lacking, 0)
    return ledger([window.flags for window in windows], unavailable, again)


def _unsteady(samples: Samples) -> Iterator[Finding]:
    if samples.steady is not False:
        return
    medians = [f"{window.median_ns / NS_PER_MS:.4g}" for window in samples.windows]
    named = [*medians[: _NAMED // 2], "...", *medians[-_NAMED // 2 :]] if len(medians) > _NAMED else medians
    yield Finding(
        "not_steady",
        f"the medians of {len(medians)} windows do not settle ({', '.join(named)} ms); measure longer (--time), or "
        "find what changes: heat, clocks, memory",
    )


def _disturbed(found: Interference) -> Iterator[Finding]:
    if not found.flagged:
        return
    signals = ", ".join(f"{name} {count}" for name, count in found.by_signal.items())
    if found.flagged == found.windows:
        which = f"all {found.windows} windows were" if found.windows > 1 else "the only window was"
        what = f"{which} disturbed ({signals}), and the figures are of all there is"
        yield Finding("interference", f"{what}; end other work on this machine and measure again")
        return
    what = f"{found.flagged} of {found.windows} windows were disturbed ({signals}) and are left out"
    if found.remeasured == found.flagged:
        yield Finding("interference", f"{what}; as many were measured in their place")
    else:
        again = f"{found.remeasured} were measured again" if found.remeasured else "there was no time to replace them"
        yield Finding("interference", f"{what}; {again}: end other work on this machine, or give a longer --time")


def _wide(targets: Sequence[Reached], window_s: float) -> Iterator[Finding]:
    for reached in targets:
        if reached.met:
            continue
        name = reached.quantity.replace("_", ".")
        known = "has no interval" if reached.half_width is None else f"is known to ±{reached.half_width * 100:.2g} %"
        text = f"{name} {known} after {format_duration(window_s)}, not to ±{reached.target * 100:g} %"
        if reached.more_s is not None:
            longer_s = window_s + reached.more_s
            text += (
                f"; at this noise it takes {format_duration(longer_s)}: --time {longer_s:.0f}s, or a longer --budget"
            )
        yield Finding("wide_interval", text)
