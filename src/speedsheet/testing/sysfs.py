"""A tree of /sys and /proc that looks like a machine's, to be handed in as `root`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_CPUS = "sys/devices/system/cpu"


def write_tree(root: Path, files: Mapping[str, object]) -> None:
    """Write each file below `root` as the kernel shows it: one line."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="ascii")


def policy(number: int, **changes: object) -> dict[str, object]:
    """Return the files of one cpufreq policy, from 0.8 to 3.6 GHz with a base clock of 2.6; `changes` win."""
    files: dict[str, object] = {
        "related_cpus": f"{2 * number} {2 * number + 1}",
        "scaling_driver": "intel_pstate",
        "scaling_governor": "powersave",
        "scaling_available_governors": "performance powersave",
        "scaling_cur_freq": 1_234_567,
        "scaling_min_freq": 800_000,
        "scaling_max_freq": 3_600_000,
        "cpuinfo_min_freq": 800_000,
        "cpuinfo_max_freq": 3_600_000,
        "base_frequency": 2_600_000,
        **changes,
    }
    return {f"{_CPUS}/cpufreq/policy{number}/{name}": content for name, content in files.items()}


def machine(root: Path, *policies: Mapping[str, object], boost: int | None = 1) -> Path:
    """Write a machine of these policies (two of the usual kind where none are given), and return its root."""
    for files in policies or (policy(0), policy(1)):
        write_tree(root, files)
    write_tree(root, {"proc/sys/kernel/random/boot_id": "0b00"})
    if boost is not None:
        write_tree(root, {f"{_CPUS}/cpufreq/boost": boost})
    return root


def contents(root: Path) -> dict[str, str]:
    """Return every file below `root` that can be read, to compare what was with what is."""
    return {
        str(path.relative_to(root)): path.read_text(encoding="ascii").strip()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
