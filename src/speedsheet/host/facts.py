"""Facts of the host, for the record and the foot of the sheet. What the machine does not tell is "unavailable"."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from speedsheet import __version__
from speedsheet.host import cpufreq
from speedsheet.host.cgroup import cpu_quota_cores, memory_limit_bytes

UNAVAILABLE = "unavailable"
_GIB = 1 << 30
#: Instruction sets that decide which precisions are fast.
_FLAGS = (
    "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni",
    "amx_tile", "amx_bf16", "amx_int8", "amx_fp16", "asimdhp", "bf16", "i8mm", "sve", "sve2",
)  # fmt: skip
_ROOT = Path("/")


def host_facts(root: Path = _ROOT) -> dict[str, Any]:
    """Return what is known of this host, JSON-ready. `root` is where /proc and /sys are looked for."""
    flags, limit_bytes = _cpu_flags(root), memory_limit_bytes(root)
    return {
        "hostname": platform.node() or UNAVAILABLE,
        "cpu": _cpu_model(root),
        "cores_physical": psutil.cpu_count(logical=False),
        "cores_logical": psutil.cpu_count(logical=True),
        "cores_allowed": allowed_cores(root),
        "cpu_quota_cores": cpu_quota_cores(root),
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 2),
        "memory_limit_gib": None if limit_bytes is None else round(limit_bytes / _GIB, 2),
        "os": _os_name(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "virtualisation": _virtualisation(root, flags),
        "frequency_driver": _cpufreq(root, "scaling_driver"),
        "governor": _cpufreq(root, "scaling_governor"),
        "clock_state": clock_state(root),
        "python": platform.python_version(),
        "speedsheet": __version__,
    }


def allowed_cores(root: Path = _ROOT) -> int:
    """Return how many whole cores this process may use: its affinity, cut to the control groups' quota."""
    mask = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    cores = len(mask) or os.cpu_count() or 1
    quota = cpu_quota_cores(root)
    return max(1, cores if quota is None else min(cores, int(quota)))


def clock_state(root: Path = _ROOT) -> str:
    """Return "default", "locked at X GHz" where no core's clock may move, or "unknown" where the host does not tell."""
    return cpufreq.clock_state(root)


def _cpu_model(root: Path) -> str:
    for line in _lines(root / "proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip().lower() in {"model name", "hardware", "cpu model"} and value.strip():
            return " ".join(value.split())
    return platform.processor() or UNAVAILABLE


def _cpu_flags(root: Path) -> frozenset[str]:
    for line in _lines(root / "proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip().lower() in {"flags", "features"}:
            return frozenset(value.split())
    return frozenset()


def _virtualisation(root: Path, flags: frozenset[str]) -> str:
    """Name the container and the hypervisor as far as they show themselves; "none seen" proves nothing."""
    seen = [
        name for name, mark in (("docker", ".dockerenv"), ("podman", "run/.containerenv")) if (root / mark).exists()
    ]
    if "hypervisor" in flags:
        vendor = _line(root / "sys/class/dmi/id/sys_vendor") or _line(root / "sys/hypervisor/type")
        seen.append(f"virtual machine ({vendor})" if vendor else "virtual machine")
    if seen:
        return " in ".join(seen)
    return "none seen" if flags else UNAVAILABLE


def _cpufreq(root: Path, name: str) -> str:
    found = {_line(path) for path in (root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/cpufreq/{name}")}
    return ", ".join(sorted(found - {""})) or UNAVAILABLE


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return f"{platform.system()} {platform.mac_ver()[0]}".strip() or UNAVAILABLE


def _line(path: Path) -> str:
    return next(iter(_lines(path)), "").strip()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
