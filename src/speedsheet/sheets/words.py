"""The words of a printed sheet in one language, as a frozen value: a language that lacks one does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """Every phrase that a sheet prints of its own; texts in braces are filled in.

    `headings` are by the column's English name, `labels` by the field of the front matter, `blanks` by the code of the
    reason. `findings` says for a code what it is and what to do; the finding's own English sentence, with its figures,
    follows in parentheses. Where a code has no sentence here, its own stands alone.
    """

    lang: str
    title: str
    headings: Mapping[str, str]
    labels: Mapping[str, str]
    label: str
    comma: str
    aside: str
    items: str
    others: str
    statuses: Mapping[str, str]
    passed: str
    wrong: str
    metrics: Mapping[str, str]
    asked: str
    cores: str
    clocks: Mapping[str, str]
    asked_clocks: Mapping[str, str]
    clock_locked: str
    price: str
    cost_note: str
    host: str
    legend: str
    one_process: str
    processes: str
    some_processes: str
    resources: str
    unavailable: str
    batch: str
    thread_num: str
    gate: str
    cost: str
    accuracy: str
    accuracy_legend: str
    notes: str
    spread: str
    bins: Mapping[str, str]
    no_requests: str
    needs: str
    no_reason: str
    blanks: Mapping[str, str]
    findings: Mapping[str, str]

    def heading(self, name: str) -> str:
        """Return a column's heading."""
        return self.headings.get(name, name)

    def listed(self, pieces: list[str]) -> str:
        """Return pieces as a list within a sentence."""
        return self.comma.join(pieces)


ENGLISH = Words(
    lang="en",
    title="Inference speed sheet",
    headings={},
    labels={
        "publisher": "Publisher",
        "version": "Version",
        "date": "Date",
        "tool": "Tool",
        "software": "Software",
        "hardware": "Hardware",
        "clock_note": "Clock",
        "price": "Price",
        "source": "Source",
    },
    label="{label}: {text}",
    comma=", ",
    aside="{text} ({aside})",
    items=", ",
    others="the others",
    statuses={"failed": "failed", "skipped": "skipped"},
    passed="pass",
    wrong="FAIL",
    metrics={
        "centred_cosine": "cosine",
        "relative_error": "error",
        "absolute_error": "absolute error",
        "agreement": "agreement",
        "missing_output": "output missing",
        "non_finite": "NaN or infinite",
    },
    asked="{ran} (asked {asked})",
    cores="{n} cores",
    clocks={
        "default": "the processor changes its clock as it likes",
        "unknown": "this host does not show the processor's clock",
    },
    asked_clocks={"default": "default", "tuned": "tuned"},
    clock_locked="processor clock locked at {at}",
    price="{amount} an hour",
    cost_note="the cost of a million samples has the ± of its throughput",
    host="Host: {line}.",
    legend=(
        "Latency is the mean time from the call to the outputs in host memory, queueing included; p50, p90 and p99 "
        "are in msec. ± is half the 95 % interval of the throughput. Executed is the type that ran the "
        "multiply-accumulates. Gate compares outputs of the timed requests with FP32 right answers: the figure that "
        "decided, and its limit."
    ),
    one_process=(
        "Each row was measured in one process: what differs between one process and the next is not in its ± "
        "(--processes 3 puts it in)."
    ),
    processes="Each row was measured in {n} processes one after the other, and its ± holds the spread between them.",
    some_processes=(
        "Rows were measured in different numbers of processes (see the JSON); where it was one, what differs between "
        "one process and the next is not in ±."
    ),
    resources="Resources",
    unavailable="unavailable",
    batch="batch {n}",
    thread_num="thread_num {n}",
    gate="gate {verdict}",
    cost="{amount} per million samples",
    accuracy="top-1 {share} % ({low} to {high}), FP32 {wide} %, {n} samples",
    accuracy_legend=(
        "Accuracy is the share of labelled samples whose right class scored highest, with its 95 % interval (Wilson), "
        "answered once each, untimed, by the session that was timed; FP32 is the same graph's, of the same samples."
    ),
    notes="notes {numbers}",
    spread="{name}: latency in ms of {n} requests, {bins}",
    bins={
        "one": "one bin",
        "equal": "equal bins",
        "logarithmic": "logarithmic bins",
        "mixed": "equal bins to 99 %, logarithmic above",
    },
    no_requests="{name}: no requests",
    needs="{name} needs {time} more",
    no_reason="no reason was given",
    blanks={
        "few_requests": "a percentile is blank below so many requests: {p50} for p50, {p90} for p90, {p99} for p99; "
        "measure longer (--time)",
        "interval_blank": "± is blank: the batches of rounds differ too much for an interval; measure longer (--time)",
        "not_judged": "Gate is blank: the outputs of this row were not judged",
        "not_audited": "Executed is blank: what precision ran was not audited",
        "steady_unknown": "too few windows, of a second and two rounds each, to see whether the run had settled; "
        "measure longer (--time)",
    },
    findings={
        "few_requests": "a percentile is blank where too few independent requests support it; measure longer (--time)",
    },
)
