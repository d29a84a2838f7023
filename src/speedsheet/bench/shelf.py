"""What the worker processes of one row leave for the last of them, which pools it: samples and facts, in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from speedsheet.core.measurement import Measurement
from speedsheet.core.samples import Samples
from speedsheet.records import columns


@dataclass(frozen=True, slots=True)
class Facts:
    """What one process took of time before it measured, and of memory."""

    load_ms: float
    compile_ms: float
    first_inference_ms: float
    peak_rss_mb: float

    def on(self, row: Measurement) -> Measurement:
        """Put them on the row."""
        return replace(
            row, load_ms=self.load_ms, compile_ms=self.compile_ms, first_inference_ms=self.first_inference_ms,
            peak_rss_mb=self.peak_rss_mb,
        )  # fmt: skip


def leave(folder: Path, process: int, samples: Samples, facts: Facts) -> None:
    """Write the samples and facts of one process."""
    place = folder / str(process)
    place.mkdir()
    columns.write(samples, place / "samples.parquet")
    columns.write_windows(samples.windows, place / "windows.parquet")
    kept = {"open_ns": samples.open_ns, "close_ns": samples.close_ns, "steady": samples.steady, "facts": asdict(facts)}
    (place / "facts.json").write_text(json.dumps(kept), encoding="ascii")


def found(folder: Path, process: int) -> tuple[list[Samples], list[Facts]]:
    """Read what the processes before `process` left."""
    samples, facts = [], []
    for number in range(process):
        place = folder / str(number)
        kept = json.loads((place / "facts.json").read_text(encoding="ascii"))
        taken = columns.read(place / "samples.parquet", kept["open_ns"], kept["close_ns"])
        windows = columns.read_windows(place / "windows.parquet")
        samples.append(replace(taken, windows=windows, steady=kept["steady"]))
        facts.append(Facts(**kept["facts"]))
    return samples, facts


def together(facts: Sequence[Facts]) -> Facts:
    """Return one set of facts for all processes: the middle of each time, and the largest memory."""
    return Facts(
        median(each.load_ms for each in facts),
        median(each.compile_ms for each in facts),
        median(each.first_inference_ms for each in facts),
        max(each.peak_rss_mb for each in facts),
    )
