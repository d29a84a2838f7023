"""The pool of inputs that a row is measured with: drawn, or from the user's own file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from speedsheet.convert.graph.check import one_line
from speedsheet.convert.graph.file import located
from speedsheet.convert.graph.shapes import shape_text
from speedsheet.convert.own.input_text import MAX_INPUT_BYTES
from speedsheet.core.arrays import aligned_copy
from speedsheet.core.errors import BadInput, quoted
from speedsheet.core.workload import Arrays, InputSpec, Workload
from speedsheet.plugins import did_you_mean

MAX_DATA_BYTES = 2**32
_MAX_ARRAYS = 4096
_MAX_HEADER_BYTES = 10_000
#: The array beside the inputs that a data file may hold, whether or not it is used.
_ASIDE = "labels"
_SAVE = "save it with numpy.savez(FILE, NAME=array, ...), samples first"
_MAX_LABELS = 100_000_000
_CLASSES = "save one whole number a sample, counted from 0 in the order of the model's outputs"


def input_pool(workload: Workload, batch_size: int, batches: int, seed: int) -> list[Arrays]:
    """Draw `batches` request feeds, each array C-contiguous, on a cache line, and of the shape of one request.

    `workload.draw(seed, samples)` gives batched inputs samples first and the others at exactly their shape; where
    there are others, each request is drawn from a seed of its own, so that they differ too.
    Raises BadInput where a model draws what it did not declare, or an input of a request is above 2 GiB.
    """
    _check_bytes(workload, batch_size)
    if all(spec.batched for spec in workload.inputs):
        drawn = workload.draw(seed, batches * batch_size)
        rows = [slice(slot * batch_size, (slot + 1) * batch_size) for slot in range(batches)]
        requests = [{name: array[row] for name, array in drawn.items()} for row in rows]
    else:
        requests = [workload.draw(seed + slot, batch_size) for slot in range(batches)]
    return [_drawn_feed(workload, request, batch_size) for request in requests]


@dataclass(frozen=True, slots=True)
class DataFile:
    """A user's samples, read: the array of each input, and where it came from.

    `samples` counts the rows of batched inputs, None where no input has a batch axis; `drawn` names the inputs that the
    file leaves out.
    """

    path: Path
    workload: Workload
    batch_size: int
    stored: Arrays
    samples: int | None
    requests: int
    drawn: tuple[str, ...]

    def feed(self, slot: int) -> Arrays:
        """Return one request; the samples are taken round and round."""
        return {spec.name: _rows(spec, self.stored[spec.name], slot, self.batch_size) for spec in self.workload.inputs}

    def said(self, batches: int) -> str:
        """Say what a pool of `batches` requests takes from the file."""
        words = _said(self.path, self.samples, self.requests, batches * self.batch_size)
        return f"{words}; {', '.join(self.drawn)} drawn" if self.drawn else words


def data_pool(
    path: Path | str, workload: Workload, batch_size: int, batches: int, aside: str = _ASIDE
) -> tuple[list[Arrays], str]:
    """Read the user's samples as `read_data` does; return `batches` request feeds and where they came from, in words.

    Fewer samples than the pool holds are taken round and round.
    """
    data = read_data(path, workload, batch_size, aside)
    return [data.feed(slot) for slot in range(batches)], data.said(batches)


def read_data(path: Path | str, workload: Workload, batch_size: int, aside: str = _ASIDE) -> DataFile:
    """Read the user's samples from an .npz file.

    Arrays go by input name, samples first; an input without a batch axis may be one array of exactly its shape, one
    per request, or left out, and is then drawn. Recurrent state and full masks may be left out too. An array called
    `labels`, or as `aside` says, is passed over. Nothing in the file is executed, and nothing above 4 GiB is read.
    Raises BadInput for what does not fit.
    """
    _check_bytes(workload, batch_size)
    file = Path(path)
    with located(file):
        stored = _read(file, {spec.name: spec for spec in workload.inputs}, aside)
        absent = [spec.name for spec in workload.inputs if spec.name not in stored]
        if absent:
            drawn = _drawn_feed(workload, workload.draw(0, batch_size), batch_size)
            stored |= {name: drawn[name] for name in absent}
        counts = {
            spec.name: len(stored[spec.name])
            for spec in workload.inputs
            if spec.name not in absent and (spec.batched or stored[spec.name].ndim > len(spec.shape))
        }
        samples = _common({name: counts[name] for name in counts if _spec(workload, name).batched})
    return DataFile(file, workload, batch_size, stored, samples, max(counts.values(), default=1), tuple(absent))


def read_labels(labels: str, data: Path) -> np.ndarray:
    """Return int64 classes, one a sample: from an .npy file, or from the array of that name in the data file.

    Read with the same suspicion as the samples. Raises BadInput for what is no list of whole numbers.
    """
    own = labels.endswith(".npy")
    file, save = (Path(labels), "save it with numpy.save(FILE, labels)") if own else (data, _SAVE)
    with located(file), _readable(save), file.open("rb") as stream:
        if own:
            return _classes(_plain(lambda: file.open("rb"), file.stat().st_size, labels, _check_list), labels)
        with zipfile.ZipFile(stream) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()[:_MAX_ARRAYS]}
            if labels not in members:
                do = f"{did_you_mean(labels, members)}; or give --labels FILE.npy"
                raise BadInput(f"holds no array {quoted(labels)}", do=do)
            member = members[labels]
            return _classes(_plain(lambda: archive.open(member), member.file_size, labels, _check_list), labels)


def _check_list(shape: tuple[int, ...]) -> None:
    if len(shape) != 1 or not 0 < shape[0] <= _MAX_LABELS:
        raise BadInput(f"labels are {shape_text(shape)}, not one class for each sample", do=_CLASSES)


def _classes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "iu" or not _lossless(array, np.dtype(np.int64)) or array.min() < 0:
        raise BadInput(f"labels {quoted(name)} are {array.dtype} and not all classes", do=_CLASSES)
    return array.astype(np.int64)


def _check_bytes(workload: Workload, batch_size: int) -> None:
    """Refuse what no memory should be asked for: a model file may declare any size, and a batch may be any number."""
    for spec in workload.inputs:
        shape = spec.at(batch_size)
        if prod(shape) * np.dtype(spec.dtype).itemsize > MAX_INPUT_BYTES:
            raise BadInput(
                f"input {quoted(spec.name)} of one request is {shape_text(shape)} {spec.dtype}, above 2 GiB",
                where=workload.name,
                do="give a smaller --batch, or a smaller shape: --input NAME=SHAPE:DTYPE",
            )


def _drawn_feed(workload: Workload, request: Mapping[str, np.ndarray], batch_size: int) -> Arrays:
    feed: Arrays = {}
    for spec in workload.inputs:
        array = request.get(spec.name)
        if array is None or array.shape != spec.at(batch_size) or not _lossless(array, np.dtype(spec.dtype)):
            found = "nothing" if array is None else f"{shape_text(array.shape)} {array.dtype}"
            wanted = f"{shape_text(spec.at(batch_size))} {spec.dtype}"
            raise BadInput(
                f"draw gives {found} for input {quoted(spec.name)}, declared {wanted}",
                where=workload.name,
                do="make the model's draw(seed, samples) return what its inputs declare, samples first",
            )
        feed[spec.name] = aligned_copy(array, spec.dtype)
    return feed


def _read(path: Path, specs: Mapping[str, InputSpec], aside: str) -> Arrays:
    with _readable(_SAVE), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        return _read_archive(archive, specs, aside)


@contextmanager
def _readable(do: str) -> Iterator[None]:
    """Say in one line what is wrong with a file."""
    try:
        yield
    except FileNotFoundError as error:
        raise BadInput("no such file", do="check the path") from error
    except zipfile.BadZipFile as error:
        raise BadInput(f"is not an .npz file, or is damaged: {one_line(error)}", do=do) from error
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, MemoryError, zlib.error) as error:
        raise BadInput(f"cannot be read: {one_line(error)}", do=do) from error


def _read_archive(archive: zipfile.ZipFile, specs: Mapping[str, InputSpec], aside: str) -> Arrays:
    members = archive.infolist()
    if len(members) > _MAX_ARRAYS:
        raise BadInput(f"holds {len(members)} arrays, more than {_MAX_ARRAYS}", do=_SAVE)
    if any(member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} for member in members):
        raise BadInput("is compressed in a way that numpy does not write", do=_SAVE)
    names = [member.filename.removesuffix(".npy") for member in members]
    for name in names:
        if name not in specs and name not in {_ASIDE, aside}:
            raise BadInput(f"array {quoted(name)} is no input of the model", do=did_you_mean(name, specs))
    nothing = not set(names) & set(specs)
    needed = [name for name, spec in specs.items() if nothing or (spec.batched and not spec.constant)]
    missing = [name for name in needed if name not in names]
    if missing:
        raise BadInput(f"holds no array for input {quoted(missing[0])}", do=f"add it: {_SAVE}")
    chosen = {name: member for name, member in zip(names, members, strict=True) if name in specs}
    total = sum(member.file_size for member in chosen.values())
    if total > MAX_DATA_BYTES:
        raise BadInput(
            f"declares {total / 2**30:.1f} GiB of arrays, above {MAX_DATA_BYTES / 2**30:.0f} GiB",
            do="save fewer samples: a pool of batches is all that is used",
        )
    return {name: _read_array(archive, chosen[name], spec) for name, spec in specs.items() if name in chosen}


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, spec: InputSpec) -> np.ndarray:
    array = _plain(lambda: archive.open(member), member.file_size, spec.name, lambda shape: _check_axes(spec, shape))
    return _cast(spec, array)


def _plain(
    opened: Callable[[], IO[bytes]],
    size_bytes: int,
    name: str,
    check: Callable[[tuple[int, ...]], None],
) -> np.ndarray:
    """Believe neither the archive nor the header: what they declare is compared before any array is made."""
    with opened() as stream:
        shape, dtype, header_bytes = _header(stream)
    if dtype.hasobject:
        raise BadInput(f"array {quoted(name)} holds Python objects, which are never loaded", do=_SAVE)
    if prod(shape) * dtype.itemsize + header_bytes != size_bytes:
        raise BadInput(
            f"array {quoted(name)} declares {shape_text(shape)} {dtype}, not the {size_bytes} bytes stored", do=_SAVE
        )
    check(shape)
    with opened() as stream:
        array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_MAX_HEADER_BYTES)
    return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    version = np.lib.format.read_magic(stream)
    readers: Mapping[tuple[int, int], Callable[..., Any]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise BadInput(f"is of numpy's array format {version[0]}.{version[1]}, which is not read", do=_SAVE)
    try:
        shape, _, dtype = readers[version](stream, max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # it is read as Python's own literals, which are refused in many ways
        raise BadInput(f"an array's header is damaged: {one_line(error)}", do=_SAVE) from error
    return shape, dtype, stream.tell()


def _check_axes(spec: InputSpec, shape: tuple[int, ...]) -> None:
    """Batched inputs come samples first; the others as they are, or with one axis of requests before."""
    wanted = spec.shape[1:] if spec.batched else spec.shape
    fits = shape[1:] == wanted if spec.batched else wanted in {shape, shape[1:]}
    if not fits or (len(shape) > len(wanted) and shape[0] < 1):
        form = shape_text(("samples", *wanted)) if spec.batched else f"{shape_text(spec.shape)} or one such per request"
        raise BadInput(
            f"array {quoted(spec.name)} is {shape_text(shape)}, and the input takes {form}",
            do="save it in that shape, at least one sample, samples first",
        )


def _cast(spec: InputSpec, array: np.ndarray) -> np.ndarray:
    dtype = np.dtype(spec.dtype)
    if array.dtype.kind not in "biuf" or not _lossless(array, dtype):
        raise BadInput(
            f"array {quoted(spec.name)} is {array.dtype}, and its values do not all fit the input's {spec.dtype}",
            do=f"save it as {spec.dtype}: array.astype({spec.dtype!r})",
        )
    return array.astype(dtype, copy=False)


def _lossless(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether a cast keeps what is meant: floats may be rounded but not overflow, all else must come out equal."""
    if array.dtype == dtype:
        return True
    if array.dtype.kind == "f" and dtype.kind != "f":
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if array.dtype.kind == "f":
        return bool(np.array_equal(np.isfinite(cast), np.isfinite(array)))
    return bool(np.array_equal(cast, array))


def _common(counts: Mapping[str, int]) -> int | None:
    """Return how many samples the batched inputs hold, the same for all."""
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{quoted(name)} {count}" for name, count in counts.items())
        raise BadInput(f"its arrays hold different numbers of samples: {said}", do="save as many of each")
    return next(iter(counts.values()), None)


def _rows(spec: InputSpec, stored: np.ndarray, slot: int, batch_size: int) -> np.ndarray:
    dtype = np.dtype(spec.dtype)
    if spec.batched:
        return aligned_copy(stored[(slot * batch_size + np.arange(batch_size)) % len(stored)], dtype)
    return aligned_copy(stored[slot % len(stored)] if stored.ndim > len(spec.shape) else stored, dtype)


def _spec(workload: Workload, name: str) -> InputSpec:
    return next(spec for spec in workload.inputs if spec.name == name)


def _said(path: Path, samples: int | None, requests: int, wanted: int) -> str:
    if samples is None:
        return f"{path.name}: {requests} distinct request{'s' if requests != 1 else ''}"
    used = min(samples, wanted)
    words = f"{path.name}: {used} distinct sample{'s' if used != 1 else ''}"
    if samples > wanted:
        return f"{words} of {samples}"
    return f"{words}, taken round to fill {wanted}" if samples < wanted else words
