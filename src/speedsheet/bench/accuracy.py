"""Accuracy on the task: what the measured session answers to labelled samples, and FP32's own accuracy beside it.

Every sample of the file is answered once, after the window and untimed, by the session that was timed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from speedsheet.bench.job import Say
from speedsheet.bench.labelled import TOP, Labelled
from speedsheet.core.engine import Session
from speedsheet.core.measurement import Finding
from speedsheet.core.workload import Arrays
from speedsheet.stats.proportions import sign_test, wilson

#: With fewer classes the right one is among the best five too often to tell.
_CLASSES_FOR_TOP = 10
_DOUBT = 0.05


def task_accuracy(
    labelled: Labelled, session: Session, say: Say
) -> tuple[Mapping[str, float] | None, tuple[Finding, ...]]:
    """Return the shares that are right, as the row's JSON has them, and what is doubtful about them.

    `top1` with its 95 % interval `low` and `high` over `n` samples, `fp32_top1` of the same samples, `agreement` of
    the two, how many samples were `lost` and `gained` against FP32; `top5` and `fp32_top5` from ten classes. None
    where the session gives no scores. What calibrated an int8 model is not counted.
    """
    chosen = labelled.chosen(_answers(labelled, session, say))
    if chosen is None:
        return None, ()
    labels, choices = labelled.labels(), labelled.choices()
    right, right_before = chosen[:, 0] == labels, choices[:, 0] == labels
    n, count = len(labels), int(right.sum())
    low, high = wilson(count, n)
    lost, gained = int((right_before & ~right).sum()), int((right & ~right_before).sum())
    found: dict[str, float] = {
        "top1": count / n,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "n": n,
        "fp32_top1": float(right_before.mean()),
        "agreement": float((chosen[:, 0] == choices[:, 0]).mean()),
        "lost": lost,
        "gained": gained,
    }
    if labelled.classes >= _CLASSES_FOR_TOP:
        found |= {
            f"top{TOP}": float((chosen == labels[:, None]).any(axis=1).mean()),
            f"fp32_top{TOP}": float((choices == labels[:, None]).any(axis=1).mean()),
        }
    commonest = int(np.bincount(labels).max())
    return found, doubts(int(right_before.sum()), commonest, n, lost, gained)


def doubts(right_before: int, commonest: int, n: int, lost: int, gained: int) -> tuple[Finding, ...]:
    """Say what is doubtful: FP32 itself no better than the commonest label, or fewer right than in FP32.

    Of `n` samples FP32 answers `right_before` right; `lost` are right in FP32 only, `gained` here only.
    """
    return (*_guessing(right_before, commonest, n), *_loss(lost, gained, n))


def _answers(labelled: Labelled, session: Session, say: Say) -> Iterator[Arrays]:
    for done, feed in enumerate(labelled.feeds()):
        request = session.bind(feed, {})
        request.run()
        yield request.outputs()
        say("answering the labelled samples", (done + 1) / labelled.requests, None)


def _guessing(right: int, commonest: int, n: int) -> tuple[Finding, ...]:
    if commonest == n or wilson(right, n)[0] > commonest / n:
        return ()
    text = (
        f"FP32 itself answers {right} of {n} labelled samples right, and the commonest label alone is right for "
        f"{commonest}: check that labels count from 0 in the order of the outputs, and that inputs are preprocessed"
    )
    return (Finding("labels_doubtful", text),)


def _loss(lost: int, gained: int, n: int) -> tuple[Finding, ...]:
    chance = sign_test(lost, gained)
    if lost <= gained or chance >= _DOUBT:
        return ()
    text = (
        f"of {n} labelled samples {lost} are right in FP32 only and {gained} here only; by luck {chance:.1g}: "
        "accuracy is lost, choose a wider precision where it matters"
    )
    return (Finding("accuracy_loss", text),)
