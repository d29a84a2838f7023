"""What the parts of the model hand each other: an operator's work, parameters with their priors, a request's cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

#: What an operator is to the card: a matrix product by its kind (`product`: of two activations; `attention`: two of
#: those around a softmax), vector work, a look-up, or not known here.
Kind = Literal[
    "conv", "depthwise", "matmul", "product", "attention", "vector", "pool", "norm", "softmax", "gather", "unknown"
]
#: Where intermediates live: in DDR; in the LLB; in L1; in L1 with batches split and operators fused.
Schedule = Literal["O0", "O1", "O2", "O3"]
SCHEDULES: tuple[Schedule, ...] = ("O0", "O1", "O2", "O3")
Place = Literal["ddr", "llb", "l1"]
PLACES: tuple[Place, ...] = ("ddr", "llb", "l1")


@dataclass(frozen=True, slots=True)
class Operator:
    """One fused operator; every count is per sample but `weight_elements`, which a batch shares.

    A product is `groups` times (m x k) by (k x n), m the rows of one sample; `taps` is the kernel's area. `vector_ops`
    are element operations of the fused tail, `special_ops` those of the exp, div and sqrt unit, `gathers` are rows
    fetched by index. `inner_elements` are intermediates that fusing keeps out of memory: the scores of attention, whose
    `k` counts both of its products. `source` names the ONNX nodes' types.
    """

    name: str
    kind: Kind
    m: int = 0
    k: int = 0
    n: int = 0
    groups: int = 1
    taps: int = 1
    weight_elements: int = 0
    input_elements: int = 0
    output_elements: int = 0
    vector_ops: int = 0
    special_ops: int = 0
    gathers: int = 0
    inner_elements: int = 0
    unknown: bool = False
    source: str = ""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return self.groups * self.m * self.k * self.n


@dataclass(frozen=True, slots=True)
class Workpiece:
    """A model as the card sees it: operators in order, and what a sample brings and takes over the host link.

    `input_elements` and `output_elements` are of one sample with their widths in bytes as the graph declares them;
    `samples` is how many samples a graph with a fixed batch holds, 1 where the batch is free.
    """

    name: str
    operators: tuple[Operator, ...]
    input_bytes: int
    output_bytes: int
    input_elements: int
    samples: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(operator.macs for operator in self.operators)

    @property
    def weight_elements(self) -> int:
        """Weights that one request must have at hand."""
        return sum(operator.weight_elements for operator in self.operators)


@dataclass(frozen=True, slots=True)
class Structure:
    """Which effects the model holds; a fit chooses among them inside each fold, by its own rows alone.

    `tiles`: rows and columns fill whole tiles of the array. `requantises`: INT8 costs vector work on each accumulator.
    `split_rereads`: cores that share a sample each read all weights. `dispatch_parts`: an operator is started anew for
    each part that fits L1, and not only for each wave of samples.
    """

    tiles: bool = True
    requantises: bool = True
    split_rereads: bool = True
    dispatch_parts: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number of the model that no manual states: its value, where that came from, and how well it is known.

    `prior` is what physics suggests before any row is seen, `prior_spread` its standard deviation in log units;
    `spread` is that of the value after the fit, null where it was not fitted. `reason` says in a line what it is.
    """

    name: str
    value: float
    prior: float
    prior_spread: float
    unit: str
    reason: str
    spread: float | None = None

    @property
    def fitted(self) -> bool:
        """Whether rows moved it."""
        return self.spread is not None


@dataclass(frozen=True, slots=True)
class TwinParams:
    """Every parameter by name, the effects that the model holds, and the rows that fitted them; "" for the priors."""

    parameters: Mapping[str, Parameter]
    device: str = ""
    structure: Structure = Structure()
    fitted_on: str = ""
    rows: tuple[str, ...] = field(default_factory=tuple)

    def __getitem__(self, name: str) -> float:
        return self.parameters[name].value

    def over(self, values: Mapping[str, float]) -> TwinParams:
        """Return the same parameters at other values."""
        moved = {name: replace(self.parameters[name], value=value) for name, value in values.items()}
        return replace(self, parameters={**self.parameters, **moved})


@dataclass(frozen=True, slots=True)
class RequestCost:
    """What one request of one batch costs each station; means in microseconds.

    `cluster_us` is the time that one cluster is busy with it, `host_us` that of a host thread before and after,
    `link_us` that of the host link for `link_bytes_in` and `link_bytes_out`. `breakdown_us` shares `cluster_us` among
    causes and sums to it. `operators_us` is the time of each operator by name, in order of execution.
    """

    batch_size: int
    cluster_us: float
    host_us: float
    link_us: float
    link_bytes_in: int
    link_bytes_out: int
    weight_bytes: int
    breakdown_us: Mapping[str, float]
    operators_us: Mapping[str, float]
    unknown_operators: tuple[str, ...] = ()
