"""The two sides of a comparison as they are typed: ``resnet50@openvino,fp32`` and ``@bf16``.

A side is a model, and behind an ``@`` what is particular about it, with commas between: an engine, a precision, or
KEY=VALUE. The keys engine, device, precision, batch and threads are ours, any other is a setting of the engine. A side
B without a model is A with that changed; an engine named begins with its own settings.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from speedsheet.cli.options import read_count
from speedsheet.core.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from speedsheet.core.request import RowRequest

EXAMPLE = "speedsheet compare --live resnet50@openvino,fp32 @bf16"
_ELSEWHERE = re.compile(r"\w+(\.\w+)+:\w+")


def read_sides(texts: tuple[str, ...], base: RowRequest) -> tuple[RowRequest, RowRequest]:
    """Return what A and B ask for; `base` holds what was asked of both. Raises UsageError."""
    if len(texts) != 2:  # noqa: PLR2004  A and B
        raise UsageError(f"compare takes two sides, A and B, and {len(texts)} came", do=f"for example: {EXAMPLE}")
    a = _read(texts[0], base, None)
    b = _read(texts[1], base, a)
    if a.own or b.own:
        a, b = (side if side.own else replace(side, inputs=(), carry={}, reference=None) for side in (a, b))
    return a, b


def _read(text: str, base: RowRequest, other: RowRequest | None) -> RowRequest:
    model, said = _split(text)
    if not model and other is None:
        raise UsageError("A names no model", where=text, do=f"for example: {EXAMPLE}")
    request = replace(base, model=model) if model or other is None else other
    for part in filter(None, (part.strip() for part in said.split(","))):
        key, mark, value = (piece.strip() for piece in part.partition("="))
        request = _with(request, key, value, base, text) if mark else _named(request, part, base, text)
    return request


def _split(text: str) -> tuple[str, str]:
    """Part the model from what is said of it; a file's name may hold an @ of its own."""
    if Path(text).suffix == ".onnx" or "@" not in text:
        return text, ""
    head, dot, rest = text.rpartition(".onnx@")
    if dot:
        return f"{head}.onnx", rest
    model, _, said = text.partition("@")
    return model, said


def _named(request: RowRequest, word: str, base: RowRequest, where: str) -> RowRequest:
    """Take a word without a key: a precision or an engine."""
    from speedsheet.core.request import AS_IS, PRECISIONS
    from speedsheet.plugins import did_you_mean, engine_names

    if word.lower() in {*PRECISIONS, AS_IS}:
        return replace(request, precision=word.lower())
    known = ["auto", *engine_names()]
    if word in known or _ELSEWHERE.fullmatch(word):
        return replace(request, engine=word, device=base.device, settings=base.settings)
    commas = word.replace(":", ",")
    near = f"write {commas}" if ":" in word else did_you_mean(word, [*known, *PRECISIONS])
    raise UnknownName(
        f"{word!r} is no engine and no precision", where=where, do=f"{near}; a setting of the engine is KEY=VALUE"
    )


def _with(request: RowRequest, key: str, value: str, base: RowRequest, where: str) -> RowRequest:
    """Take KEY=VALUE."""
    if not key or not value:
        raise UsageError(f"{key}={value} lacks a name or a value", where=where, do="write KEY=VALUE")
    try:
        match key.lower():
            case "engine" | "precision":
                return _named(request, value, base, where)
            case "device":
                return replace(request, device=value)
            case "batch":
                return replace(request, batch_size=read_count(value))
            case "threads":
                return replace(request, thread_num=read_count(value))
    except UsageError as error:
        raise type(error)(error.what, where=error.where or f"{where}, {key}", do=error.do) from error
    return replace(request, settings={**request.settings, key: value})
