"""Arrays where engines can use them in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

ALIGNMENT_BYTES = 64


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
    """Return an uninitialised array that begins on a cache line, so that engines share it without a copy."""
    kind = np.dtype(dtype)
    size_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    raw = np.empty(size_bytes + ALIGNMENT_BYTES, np.uint8)
    offset = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[offset : offset + size_bytes].view(kind).reshape(shape)


def aligned_copy(array: NDArray[np.generic], dtype: DTypeLike | None = None) -> NDArray[np.generic]:
    """Return a contiguous copy that begins on a cache line, of the same or the given type."""
    copy = aligned(array.shape, dtype or array.dtype)
    copy[...] = array
    return copy


def save(folder: Path, arrays: dict[str, NDArray[np.generic]], names: list[str]) -> None:
    """Write arrays as `<position in names>.npy`: a model's names are not to be trusted as file names."""
    folder.mkdir()
    for position, name in enumerate(names):
        np.save(folder / f"{position}.npy", arrays[name], allow_pickle=False)


def load(folder: Path, names: list[str]) -> dict[str, NDArray[np.generic]]:
    """Read what `save` wrote, aligned and writable."""
    return {
        name: aligned_copy(np.load(folder / f"{position}.npy", mmap_mode="r", allow_pickle=False))
        for position, name in enumerate(names)
    }
