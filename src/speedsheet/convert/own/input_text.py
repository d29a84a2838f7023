"""Inputs as people type them: NAME=SHAPE:DTYPE[:LOW:HIGH]."""

from __future__ import annotations

import re
from math import isfinite, prod

import numpy as np

from speedsheet.core.errors import BadInput
from speedsheet.core.workload import InputSpec
from speedsheet.plugins import did_you_mean

#: Element types that numpy holds and engines take.
DTYPES = (
    *("float32", "float16", "float64", "int64", "int32", "int16", "int8"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
)
MAX_INPUT_BYTES = 2**31
_FORM = "write NAME=SHAPE:DTYPE[:LOW:HIGH], such as x=1x3x48x320:float32 or ids=1x128:int64:0:30000"
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_TEXT = re.compile(
    rf"(?P<shape>[0-9]+(?:x[0-9]+)*)?(?::(?P<dtype>[A-Za-z0-9_]*)(?::(?P<low>{_NUMBER}):(?P<high>{_NUMBER}))?)?"
)


def parse_input(text: str) -> InputSpec:
    """Read one ``--input``: the shape as it is written to the graph (empty is a scalar), HIGH excluded.

    Left out, DTYPE is the empty string and the range empty (low equals high): both are then the model's to say.
    Names may hold any character, since only what follows the last ``=`` is read. Raises BadInput.
    """
    name, equals, rest = text.rpartition("=")
    match = _TEXT.fullmatch(rest)
    if not name or not equals or match is None:
        raise BadInput(f"cannot read the input {text!a}", do=_FORM)
    spec = InputSpec(
        name=name,
        shape=_shape(match["shape"], text),
        dtype=_dtype(match["dtype"] or "", text),
        low=float(match["low"] or 0.0),
        high=float(match["high"] or 0.0),
    )
    _check_bytes(spec, text)
    if match["low"] is not None:
        check_range(spec, text)
    return spec


def format_input(spec: InputSpec) -> str:
    """Write a spec as parse_input reads it; a free first axis is not text, so there is none."""
    shape = "x".join(str(size) for size in spec.shape)
    text = f"{spec.name}={shape}"
    if spec.dtype or ranged(spec):
        text += f":{spec.dtype}"
    return f"{text}:{_number(spec.low)}:{_number(spec.high)}" if ranged(spec) else text


def ranged(spec: InputSpec) -> bool:
    """Whether a range was given."""
    return spec.low < spec.high


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) <= 2.0**63 else repr(value)


def _shape(text: str | None, whole: str) -> tuple[int, ...]:
    if not text:
        return ()
    sizes = text.split("x")
    if any(len(size) > len("2147483647") for size in sizes):
        raise BadInput(f"the shape in {whole!a} is out of range", do=_FORM)
    return tuple(int(size) for size in sizes)


def _dtype(text: str, whole: str) -> str:
    if text and text not in DTYPES:
        raise BadInput(f"no element type {text!r} in {whole!a}", do=did_you_mean(text, DTYPES))
    return text


def _check_bytes(spec: InputSpec, text: str) -> None:
    width = np.dtype(spec.dtype or "float32").itemsize
    if prod(size or 0 for size in spec.shape) * width > MAX_INPUT_BYTES:
        raise BadInput(f"{text!a} is an input above 2 GiB", do="give a smaller shape")


def check_range(spec: InputSpec, text: str) -> None:
    """Raise BadInput unless the range is one that the element type holds; `text` is what was typed."""
    if not (isfinite(spec.low) and isfinite(spec.high) and spec.low < spec.high):
        raise BadInput(f"the range in {text!a} is empty or not finite", do="LOW must be below HIGH, which is excluded")
    kind = np.dtype(spec.dtype).kind if spec.dtype else "f"
    if kind == "b":
        raise BadInput(f"{text!a} gives a range for booleans", do="leave out :LOW:HIGH")
    if kind in "iu":
        bounds = np.iinfo(spec.dtype)
        whole = spec.low.is_integer() and spec.high.is_integer()
        if not whole or spec.low < bounds.min or spec.high > float(bounds.max) + 1:
            raise BadInput(
                f"the range in {text!a} is not one of {spec.dtype}",
                do=f"give whole numbers from {bounds.min} to {bounds.max}, HIGH excluded",
            )
    elif spec.dtype == "float16" and max(abs(spec.low), abs(spec.high)) > float(np.finfo(np.float16).max):
        raise BadInput(f"the range in {text!a} overflows float16", do="give a range within 65504")
