"""What is being measured now, as a file that others may look at: the parent writes it, no worker is asked.

    <data>/running/<pid>-<8 hex>.json     title, host, rows asked, the stage in hand, the rows that are done

It is written at most once a second, whole or not at all, and goes when the sheet has ended. One whose process is gone
(a crash, a kill) is not shown, and is swept by the next.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from speedsheet.core.measurement import Measurement
from speedsheet.core.request import Listener, Progress, RowRequest

RUNNING_SCHEMA = "speedsheet.running/1"
_EVERY_S = 1.0
_MAX_BYTES = 8 << 20


@dataclass(slots=True)
class Running:
    """A sheet under way, told to whoever looks at the folder. `listen` and `finished` pass on what they hear."""

    folder: Path
    title: str
    requests: Sequence[RowRequest]
    tell: Listener
    told: Callable[[Measurement], None]
    clock: Callable[[], float] = time.monotonic
    _path: Path = field(init=False)
    _progress: Progress | None = None
    _done: list[dict[str, Any]] = field(default_factory=list)
    _written_s: float = float("-inf")

    def __post_init__(self) -> None:
        self._path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"

    def __enter__(self) -> Self:
        _sweep(self.folder)
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def listen(self, progress: Progress) -> None:
        """Hear of a stage."""
        self._progress = progress
        if self.clock() - self._written_s >= _EVERY_S:
            self._write()
        self.tell(progress)

    def finished(self, row: Measurement) -> None:
        """Hear of a row that is done; once all are, of one that is better known and takes its place."""
        if len(self._done) < len(self.requests):
            self._done.append(_few(row))
        elif self._progress is not None:
            self._done[self._progress.row - 1] = _few(row)
        self._write()
        self.told(row)

    def _write(self) -> None:
        """Write the file; a folder that cannot be written to is no reason to stop measuring."""
        self._written_s = self.clock()
        state = {
            "schema": RUNNING_SCHEMA, "pid": os.getpid(), "started_s": _started_s(os.getpid()), "title": self.title,
            "rows": [{"model": one.model, "precision": one.precision, "engine": one.engine} for one in self.requests],
            "progress": None if self._progress is None else asdict(self._progress), "done": self._done,
        }  # fmt: skip
        hidden = self._path.with_name(f".{self._path.name}")
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            hidden.write_text(json.dumps(state, default=str), encoding="utf-8")
            hidden.replace(self._path)


def running(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what is under way here; files of processes that are gone, and such as cannot be read, are passed over."""
    for path in sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else ():
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            if path.stat().st_size > _MAX_BYTES:
                continue
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["schema"] == RUNNING_SCHEMA and _started_s(int(state["pid"])) == state["started_s"]:
                yield state


def _few(row: Measurement) -> dict[str, Any]:
    told = row.throughput_samples_per_s
    return {
        "model": row.model, "precision": row.precision, "engine": row.engine, "status": row.status, "error": row.error,
        "samples_per_s": told.value, "half_width": told.half_width, "mean_ms": row.latency_ms.mean,
        "gate": row.gate.passed, "record": Path(row.record).name if row.record else None,
    }  # fmt: skip


def _started_s(pid: int) -> float | None:
    """When a process began, null where there is none: a number that was given out again belongs to another."""
    with suppress(psutil.Error):
        return float(psutil.Process(pid).create_time())
    return None


def _sweep(folder: Path) -> None:
    for path in folder.glob("[0-9]*.json") if folder.is_dir() else ():
        pid = path.name.partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            with suppress(OSError):  # another user's
                path.unlink(missing_ok=True)
