"""What is asked for one row, and what is told while it is measured. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speedsheet.core.plan import Reached, Target
from speedsheet.core.workload import InputSpec

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
#: A model measured in the types that its file has, quantised elsewhere.
AS_IS = "as-is"
#: Clocks that a row may be measured at: as the host has them, or held at the highest that they sustain.
DEFAULT_CLOCKS, TUNED = "default", "tuned"
CLOCKS = (DEFAULT_CLOCKS, TUNED)


@dataclass(frozen=True, slots=True)
class RowRequest:
    """One row as asked: a zoo name or the path of an .onnx file, and how to measure it.

    Null batch_size, thread_num and precision mean the workload's own. `inputs` gives shapes and ranges of a user's
    model, `data` its samples, `carry` maps outputs to the inputs that they become in the next request. `reference` is
    the .onnx file whose FP32 outputs are the right ones, where the model itself was quantised elsewhere. `weights` is a
    file of the model's framework, or the name of weights that the framework offers; null means drawn. `labels` is an
    .npy file, or the name of an array in `data`: the right class of each sample.

    The window is `window_s` long, less where every one of `targets` is met before; `quick` shortens it and nothing
    else. `processes` worker processes measure the row one after the other, each for a window of its own. `clocks` is
    one of CLOCKS.
    """

    model: str
    engine: str = "auto"
    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    thread_num: int | None = None
    window_s: float = 10.0
    settings: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[InputSpec, ...] = ()
    data: Path | None = None
    reference: Path | None = None
    weights: str | None = None
    labels: str | None = None
    carry: Mapping[str, str] = field(default_factory=dict)
    strict_precision: bool = False
    seed: int = 920
    targets: tuple[Target, ...] = ()
    quick: bool = False
    processes: int = 1
    clocks: str = DEFAULT_CLOCKS

    @property
    def own(self) -> bool:
        """Whether the model is the user's own file."""
        return self.model.endswith(".onnx")


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of what is going on: row `row` of `rows`, its stage, how much of the stage is done.

    `remaining_s` is the time left of the stage, `sheet_left_s` of the whole sheet, where they can be told. `reached` is
    the target that is farthest from being met.
    """

    row: int
    rows: int
    label: str
    stage: str
    done: float | None = None
    remaining_s: float | None = None
    sheet_left_s: float | None = None
    reached: Reached | None = None


Listener = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Tell nobody."""
