"""Small files of /proc and /sys, read without trust: bounded, never blocking, and absent where they cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

_LIMIT_BYTES = 1 << 12
# a name may be a pipe in a tree that somebody mounted: opening it must not wait
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def content(path: str | Path, limit_bytes: int = _LIMIT_BYTES, folder: int | None = None) -> bytes:
    """Return the first bytes of a file in one read; empty where it is not there, not readable or too slow.

    A relative path starts at the open directory `folder`.
    """
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=folder)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(descriptor, limit_bytes)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def text(path: str | Path) -> str:
    """Return a file of one line as text, what is not ASCII replaced."""
    return content(path).decode("ascii", "replace").strip()


def number(path: str | Path) -> int | None:
    """Return a file that holds one whole number of sane length; null for whatever else it holds."""
    return whole(content(path).strip())


def whole(digits: bytes) -> int | None:
    """Read a whole number of at most 20 digits, ASCII alone."""
    unsigned = digits.removeprefix(b"-")
    return int(digits) if unsigned.isdigit() and len(unsigned) <= 20 else None  # noqa: PLR2004  64 bits
