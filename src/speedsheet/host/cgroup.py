"""What a container allows: the tightest CPU quota and memory limit of the control groups that this process is in.

Both versions are read: v2 has one tree (``0::/path``), v1 one per controller (``4:memory:/path``). A limit on any
group above binds too, so each path is walked up to its root.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60  # v1 writes "no limit" as the largest page-aligned integer


def cpu_quota_cores(root: Path = Path("/")) -> float | None:
    """Return how many cores' worth of time the groups allow; None where there is no limit."""
    quotas = [_v2_quota(_text(folder / "cpu.max")) for folder in _folders(root, "")]
    for folder in _folders(root, "cpu"):
        quota, period = (_number(_text(folder / f"cpu.cfs_{part}_us")) for part in ("quota", "period"))
        quotas.append(quota / period if quota and period and quota > 0 else None)
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """Return the smallest memory limit of the groups, bytes; None where there is no limit."""
    limits = [_number(_text(folder / "memory.max")) for folder in _folders(root, "")]
    limits += [_number(_text(folder / "memory.limit_in_bytes")) for folder in _folders(root, "memory")]
    return min((limit for limit in limits if limit is not None and limit < _UNLIMITED_BYTES), default=None)


def throttle_files(root: Path = Path("/")) -> tuple[Path, ...]:
    """Return the accounts of throttling of the groups that have one, leaf first; a group above throttles too."""
    found = [*_folders(root, ""), *_folders(root, "cpu")]
    return tuple(folder / "cpu.stat" for folder in found if "throttled_" in _text(folder / "cpu.stat"))


def pressure_file(root: Path = Path("/")) -> Path | None:
    """Return where the innermost group of this process tells how it lacks processors; version 2 alone does."""
    return next((folder / "cpu.pressure" for folder in _folders(root, "") if _text(folder / "cpu.pressure")), None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group of one controller, leaf first; the empty name is version 2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, group = rest.partition(":")
        if controller not in names.split(",") or (not controller and number != "0"):
            continue
        mount = root / "sys/fs/cgroup" / controller
        leaf = mount / group.strip("/")
        yield from [leaf, *leaf.parents][: len(leaf.relative_to(mount).parts) + 1]


def _v2_quota(text: str) -> float | None:
    quota, _, period = text.partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.strip().isdigit() and int(period) else None


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
