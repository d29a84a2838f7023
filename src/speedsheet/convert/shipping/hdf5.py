"""Look an HDF5 file through before any framework reads it: plain arrays in groups of its own, and no more of them.

HDF5 may point to other files (external links and storage, virtual datasets), declare arrays of any size that store
nothing, and name filters that are loaded as plug-ins. Weights need none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from speedsheet.convert.graph.check import one_line
from speedsheet.core.errors import BadInput, quoted

_MAX_OBJECTS = 1_000_000
#: Attributes name layers and weights; a full-size network needs some hundred kB.
_MAX_ATTRIBUTE_BYTES = 1 << 26
#: deflate, shuffle, fletcher32: the library's own (H5Zpublic.h). All others are loaded from where the user's
#: environment says.
_FILTERS = frozenset({1, 2, 3})


def check_hdf5(path: Path, most_bytes: int, do: str) -> None:
    """Raise BadInput unless the file is HDF5 of plain numeric arrays, together at most `most_bytes` when read.

    `do` says how to write a file that is.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            what = _objection(file, most_bytes)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise BadInput(f"is no HDF5 file, or is damaged: {one_line(error)}", where=str(path), do=do) from error
    if what is not None:
        raise BadInput(what, where=str(path), do=do)


def _objection(file: Any, most_bytes: int) -> str | None:
    """Say what of the file is not to be read; None where all of it may be."""
    import h5py

    total, attributes = 0, 0
    for objects, (name, item) in enumerate(_walk(file)):
        if item is None:
            return f"{quoted(name)} is a link to another place or file"
        attributes += sum(_size(item.attrs.get_id(key)) for key in item.attrs)
        if attributes > _MAX_ATTRIBUTE_BYTES or objects > _MAX_OBJECTS:
            return f"holds more than {_MAX_OBJECTS} objects, or {_MAX_ATTRIBUTE_BYTES >> 20} MiB of attributes"
        if isinstance(item, h5py.Dataset):
            what = _odd(item)
            if what is not None:
                return f"array {quoted(name)} {what}"
            total += item.size * item.dtype.itemsize
            if total > most_bytes:
                return f"declares more than {most_bytes / 1e6:.0f} MB of arrays, above what the model holds"
        elif not isinstance(item, h5py.Group):
            return f"{quoted(name)} is neither an array nor a group"
    return None


def _size(attribute: Any) -> int:
    return 0 if attribute.shape is None else prod(attribute.shape) * int(attribute.dtype.itemsize)


def _walk(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield every object with its name, each once; None in the place of what is not the file's own."""
    import h5py

    seen, waiting = set(), [("/", file["/"])]
    while waiting:
        name, item = waiting.pop()
        yield name, item
        if not isinstance(item, h5py.Group):
            continue
        for key in item:
            inner = f"{name.rstrip('/')}/{key}"
            if not isinstance(item.get(key, getlink=True), h5py.HardLink):
                yield inner, None
                return
            address = h5py.h5o.get_info(item.id, key.encode()).addr
            if address not in seen:  # groups may hold one another
                seen.add(address)
                waiting.append((inner, item[key]))


def _odd(dataset: Any) -> str | None:
    """Say what a plain array of numbers would not have."""
    if dataset.external or dataset.is_virtual:
        return "is stored in another file"
    if dataset.shape is None or dataset.dtype.kind not in "fiub":
        return f"is not of plain numbers ({dataset.dtype})"
    made = dataset.id.get_create_plist()
    filters = {made.get_filter(index)[0] for index in range(made.get_nfilters())}
    if filters - _FILTERS:
        return f"is stored through the filter {min(filters - _FILTERS)}, which is a plug-in"
    return None
