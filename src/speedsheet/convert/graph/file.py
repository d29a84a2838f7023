"""Read an ONNX file that may be anything: nothing in it is executed, and what is wrong with it is said in one line."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from speedsheet.convert.graph.check import check
from speedsheet.convert.graph.growth import check_growth
from speedsheet.core.errors import BadModel, UsageError

#: Protobuf cannot hold more in one message; larger models keep their weights in files beside the graph.
MAX_GRAPH_BYTES = 2**31 - 1
_EXPORT = "give a model exported to ONNX (torch.onnx.export, tf2onnx, optimum-cli export onnx)"
#: Where a format's mark lies, the mark, and what a file that has it is.
_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PK\x03\x04", "a zip archive, such as a PyTorch .pt or a Keras .keras file"),
    (0, b"\x89HDF", "an HDF5 file, such as a Keras .h5 model"),
    (0, b"\x80\x02", "a Python pickle, such as an old PyTorch checkpoint"),
    (0, b"\x80\x04", "a Python pickle"),
    (0, b"\x80\x05", "a Python pickle"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x7fELF", "a program"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in ONNX Runtime's own ORT format"),
    (8, b'{"', "a safetensors file"),
)
_HEAD_BYTES = 512
_LFS = "a Git LFS pointer"
#: How the first 512 bytes of files without a mark look.
_HEADS: tuple[tuple[bytes, str], ...] = (
    (rb"version https://git-lfs", _LFS),
    (rb"\s*<(!doctype html|html)", "a web page"),
    (rb"\s*<\?xml", "an XML file, such as an OpenVINO .xml model"),
    (rb"[\t\n\r\x20-\x7e]+\Z", "text"),
    (rb"\x08\x01\x12.{1,5}\x0a", "a TensorFlow SavedModel .pb file"),
)


def read_model(path: Path | str) -> onnx.ModelProto:
    """Return the ModelProto of a file, checked, its external weights not loaded.

    Raises BadModel for what is no ONNX file, is damaged, or asks for what is outside its folder or unknown here.
    """
    file = Path(path)
    with located(file):
        model = _parse(_read(file))
        check(model, file.parent)
        check_growth(model)
    return model


@contextmanager
def located(path: Path) -> Iterator[None]:
    """Name the file in every complaint about it that does not yet say where."""
    try:
        yield
    except UsageError as error:
        if error.where:
            raise
        raise type(error)(error.what, where=str(path), do=error.do) from error


def _read(path: Path) -> bytes:
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            raise BadModel("is a directory", do="name the .onnx file in it")
        if not stat.S_ISREG(facts.st_mode):
            raise BadModel("is not a regular file", do="give the path of an .onnx file")
        if facts.st_size > MAX_GRAPH_BYTES:
            raise BadModel(
                f"is {facts.st_size / 2**30:.1f} GiB, above the 2 GiB that an ONNX graph file can be",
                do="save it with save_as_external_data=True, so that the weights lie beside the graph",
            )
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise BadModel("no such file", do="check the path") from error
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadModel(f"cannot be read: {reason}", do="check the path and its rights") from error
    if not data:
        raise BadModel("is empty", do="export or download the model again")
    return data


def _parse(data: bytes) -> onnx.ModelProto:
    other = looks_like(data)
    if other == _LFS:
        raise BadModel("is a Git LFS pointer, not the model", do="fetch it with: git lfs pull")
    if other is not None:
        raise BadModel(f"is not ONNX: it looks like {other}", do=_EXPORT)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise BadModel(
            "is not ONNX, or is truncated or damaged: its bytes do not parse",
            do="download or export it again, and compare its size with the original's",
        ) from error
    if not model.ir_version or not model.HasField("graph"):
        raise BadModel(
            "holds no ONNX graph: it may be a TensorFlow .pb file, other protobuf data, or truncated",
            do=_EXPORT,
        )
    return model


def looks_like(data: bytes) -> str | None:
    """Return what a file's first bytes say that it is, where that is not ONNX."""
    for offset, mark, kind in _MARKS:
        if data[offset : offset + len(mark)] == mark:
            return kind
    head = data[:_HEAD_BYTES]
    return next((kind for pattern, kind in _HEADS if re.match(pattern, head, re.IGNORECASE | re.DOTALL)), None)
