"""Options that measuring verbs share, defined once; and how their values are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from speedsheet.core.errors import UsageError
from speedsheet.core.units import parse_duration_s, parse_frequency_khz

if TYPE_CHECKING:
    from speedsheet.core.plan import Target
    from speedsheet.core.request import RowRequest
    from speedsheet.sheets.cost import Price
    from speedsheet.sheets.words import Words

_LONGEST_CURRENCY = 8
#: A sheet without a wish is measured until every row is known so well, or so many seconds are spent.
_TARGET, _BUDGET_S = 0.05, 1800.0
#: What a target may be for, by its name on the command line.
_QUANTITIES = {"throughput": "throughput", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99.9": "p99_9"}
FORMATS = ("table", "markdown", "csv", "json")
DEBUG = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")


class Read(click.ParamType[Any]):
    """An option's value, read by one of our own functions, whose error names the option."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self.read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ARG002  click's signature
        """Read text; what is already read (a default) passes through. Raises UsageError."""
        if not isinstance(value, str):
            return value
        try:
            return self.read(value)
        except UsageError as error:
            where = f"{param.opts[0]}, {error.where}" if param and error.where else param.opts[0] if param else ""
            raise type(error)(error.what, where=where, do=error.do) from error


def read_count(text: str) -> int:
    """Read a whole number from 1 up."""
    return _whole(text, least=1)


def read_seed(text: str) -> int:
    """Read a whole number from 0 up."""
    return _whole(text, least=0)


def read_pair(text: str) -> tuple[str, str]:
    """Read LEFT=RIGHT; RIGHT may be empty and may hold further ``=``."""
    left, mark, right = text.partition("=")
    if not mark or not left.strip():
        raise UsageError(f"{text!r} is not of the form NAME=VALUE", do="put one = between name and value")
    return left.strip(), right.strip()


def read_precision(text: str) -> str:
    """Read a precision in either case."""
    from speedsheet.sheets.suite import parse_precision

    return parse_precision(text)


def read_language(text: str) -> Words:
    """Read the name of a language of sheets."""
    from speedsheet.sheets.languages import parse_language

    return parse_language(text)


def read_amount(text: str) -> float:
    """Read an amount of money above zero."""
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount > 0):
        raise UsageError(f"{text!r} is not an amount above zero", do="write a number: 1.25")
    return amount


def read_share(text: str) -> float:
    """Read a percentage above zero as a share: ``5%``."""
    try:
        share = float(text.strip().removesuffix("%")) / 100 if text.strip().endswith("%") else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise UsageError(f"{text!r} is not a percentage from above 0% to 100%", do="write 5%")
    return share


def read_rate(text: str) -> float:
    """Read samples per second above zero."""
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise UsageError(f"{text!r} is not a rate above zero", do="write samples per second: 20000")
    return rate


def read_targets(text: str) -> tuple[Target, ...]:
    """Read ``2%`` (of throughput), ``p99=5%``, or several of these with commas between them."""
    from speedsheet.core.plan import Target

    return tuple(Target(share, quantity) for quantity, share in map(_target, text.split(",")))


def _target(text: str) -> tuple[str, float]:
    name, mark, share = text.strip().rpartition("=")
    quantity = _QUANTITIES.get(name.strip().lower()) if mark else "throughput"
    if quantity is None:
        raise UsageError(f"{name!r} is no figure with a target", do=f"known: {', '.join(_QUANTITIES)}")
    return quantity, read_share(share)


def read_clocks(text: str) -> tuple[str, ...]:
    """Read one or several of ``default,tuned``: a row is measured at each."""
    from speedsheet.core.request import CLOCKS
    from speedsheet.plugins import did_you_mean

    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    for name in names:
        if name not in CLOCKS:
            raise UsageError(f"{name!r} are no clocks", do=did_you_mean(name, CLOCKS))
    return names


def read_currency(text: str) -> str:
    """Read a short word that is printed behind amounts."""
    from speedsheet.sheets.letters import clean

    if not clean(text) or len(clean(text)) > _LONGEST_CURRENCY:
        raise UsageError(f"{text!r} is not a currency", do=f"write 1 to {_LONGEST_CURRENCY} letters: EUR")
    return clean(text)


def read_input(text: str) -> Any:
    """Read NAME=SHAPE:DTYPE[:LOW:HIGH] into an InputSpec."""
    from speedsheet.convert.own.workload import parse_input

    return parse_input(text)


COUNT, SEED = Read("whole number", read_count), Read("whole number", read_seed)
DURATION = Read("duration", parse_duration_s)
FREQUENCY = Read("frequency", parse_frequency_khz)
PAIR = Read("pair", read_pair)
PRECISION = Read("precision", read_precision)
INPUT = Read("input", read_input)
LANGUAGE = Read("language", read_language)
SHARE, RATE = Read("share", read_share), Read("rate", read_rate)
TARGETS = Read("targets", read_targets)
CLOCKS = Read("clocks", read_clocks)
AMOUNT, CURRENCY = Read("amount", read_amount), Read("currency", read_currency)

#: How rows are measured, and what is made of them.
_MEASURING = (
    click.option("--engine", metavar="auto|NAME", help="Engine to run on; auto tries each and takes the best."),
    click.option("--device", metavar="NAME", help="A device of that engine: GPU.0, CUDAExecutionProvider, ..."),
    click.option("--set", "settings", type=PAIR, multiple=True, metavar="KEY=VALUE", help="A setting of the engine."),
    click.option("--precision", type=PRECISION, metavar="NAME", help="fp32, fp16, bf16, int8; as-is: the file's own."),
    click.option("--strict-precision", is_flag=True, help="Fail a row where another precision ran than was asked."),
    click.option("--batch", type=COUNT, metavar="N", help="Samples in a request."),
    click.option("--threads", type=COUNT, metavar="N", help="Clients that ask at once (thread_num)."),
    click.option("--time", "window_s", type=DURATION, metavar="10s",
                 help="Measured window of each row; with a target, at most."),
    click.option("--precision-target", "targets", type=TARGETS, multiple=True, metavar="5%|p99=5%",
                 help="Measure until ± of throughput, or of a percentile, is at most this."),
    click.option("--budget", "budget_s", type=DURATION, metavar="5m", help="Time for the whole sheet."),
    click.option("--processes", type=COUNT, metavar="N", help="Worker processes for each row, one after the other."),
    click.option("--quick", is_flag=True, help="Shorter windows, and nothing else less."),
    click.option("--seed", type=SEED, metavar="N", help="Seed of synthetic inputs."),
    click.option("--stall-limit", "stall_limit_s", type=DURATION, default=300.0, metavar="300s",
                 help="A row that says nothing for so long is ended; 300s by default."),
)  # fmt: skip
_SHEET = (
    click.option("--clocks", type=CLOCKS, default="default", metavar="default,tuned",
                 help="Measure each row at the clocks as they are, held at the highest sustained, or both."),
    click.option("--resume", is_flag=True, help="Measure only rows that have no record yet."),
    click.option("--out", metavar="DIR|URL", help="Where records and sheets go; records to a URL of fsspec too."),
    click.option("--format", "shape", type=click.Choice(FORMATS), help="Default: table in a terminal, else markdown."),
    click.option("--lang", "words", type=LANGUAGE, default="en", metavar="en|zh",
                 help="Language of the sheet; English by default."),
    click.option("--price-per-hour", type=AMOUNT, metavar="X", help="Show what a million samples cost at that price."),
    click.option("--currency", type=CURRENCY, metavar="NAME", help="The currency of that price: EUR, CNY, ..."),
    click.option("--html", is_flag=True, help="Write the sheet as a page too, and say where it is."),
    click.option("--resources", is_flag=True, help="Show loading time, memory, size and energy in the terminal too."),
    click.option("--json", "as_json", is_flag=True, help="The same as --format json."),
    DEBUG,
)  # fmt: skip


def measuring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options of how rows are measured."""
    for option in reversed(_MEASURING):
        command = option(command)
    return command


def printing_sheets(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the options of measuring, and those of the sheet that it prints and keeps."""
    for option in reversed(_SHEET):
        command = option(command)
    return measuring(command)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of measuring as given; null where the suite or the model decides."""

    engine: str | None
    device: str | None
    settings: Sequence[tuple[str, str]]
    precision: str | None
    strict_precision: bool
    batch: int | None
    threads: int | None
    window_s: float | None
    targets: Sequence[tuple[Target, ...]]
    budget_s: float | None
    processes: int | None
    quick: bool
    seed: int | None
    stall_limit_s: float
    out: str | None
    shape: str | None
    words: Words
    as_json: bool
    clocks: tuple[str, ...] = ("default",)
    resume: bool = False
    price_per_hour: float | None = None
    currency: str | None = None
    html: bool = False
    resources: bool = False
    refine: bool = False

    @property
    def price(self) -> Price | None:
        """The machine's price, where one was given. Raises UsageError for a currency without a price."""
        from speedsheet.sheets.cost import Price

        if self.price_per_hour is None and self.currency:
            raise UsageError("--currency is of no price", do="give --price-per-hour X too")
        return None if self.price_per_hour is None else Price(self.price_per_hour, self.currency or "")

    def settled(self, *, refine: bool = False, budget_s: float | None = None) -> Options:
        """Return the options with how well rows are to be known; with `refine` they are, where nothing is said.

        Where no time is said, rows that miss their targets are measured again while the budget lasts; `budget_s` is the
        suite's. Raises UsageError where a target is to be met in a hurry, or two are given for one figure.
        """
        from speedsheet.core.plan import Target

        if self.quick and self.targets:
            raise UsageError("--quick and --precision-target ask for opposite things", do="give one of them")
        unsaid = not self.targets and not self.quick and self.window_s is None
        targets = [target for several in self.targets for target in several]
        targets += [Target(_TARGET)] if refine and unsaid else []
        mapping("--precision-target", [(target.quantity, f"{target.half_width}") for target in targets])
        again = bool(targets) and self.window_s is None
        default_s = _BUDGET_S if targets else None
        return replace(
            self, targets=[tuple(dict.fromkeys(targets))], refine=again, budget_s=self.budget_s or budget_s or default_s
        )

    def over(self, request: RowRequest) -> RowRequest:
        """Return a row's request with what was given on the command line in place of its own."""
        given = {
            "engine": self.engine,
            "device": self.device,
            "precision": self.precision,
            "strict_precision": self.strict_precision or None,
            "batch_size": self.batch,
            "thread_num": self.threads,
            "window_s": self.window_s,
            "seed": self.seed,
            "targets": tuple(target for several in self.targets for target in several) or None,
            "quick": self.quick or None,
            "processes": self.processes,
            "settings": {**request.settings, **mapping("--set", self.settings)},
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(request, **changes)

    def paired(self, requests: Sequence[RowRequest]) -> list[RowRequest]:
        """Return each request once for each of the clocks, side by side."""
        return [replace(request, clocks=clocks) for request in requests for clocks in self.clocks]

    def format_for(self, *, terminal: bool) -> str:
        """Return the format to print. Raises UsageError where two were asked for."""
        if self.as_json and self.shape not in {None, "json"}:
            raise UsageError(f"--json and --format {self.shape} ask for two formats", do="give one of them")
        return "json" if self.as_json else self.shape or ("table" if terminal else "markdown")


def mapping(option: str, pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """Return pairs as a mapping. Raises UsageError where a name comes twice with different values."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise UsageError(f"{name} is given twice", where=option, do="give it once")
    return found


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a whole number", do=f"give {least} or more") from error
    if not least <= number < 1 << 31:
        raise UsageError(
            f"{text} is below {least}" if number < least else f"{text} is too large", do=f"give {least} or more"
        )
    return number
