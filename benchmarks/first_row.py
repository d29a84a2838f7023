"""From nothing to the first gated row: how long it takes and how much is installed.

    python benchmarks/first_row.py

Makes an empty environment and empty caches in a temporary folder, installs `.[onnxruntime]` from this checkout, and
measures a small .onnx of one's own; then, from the same install and empty caches, a model of the zoo. Prints seconds
and megabytes. The package index's speed is in the first figure.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MODEL = """
import onnx
from speedsheet.testing.contract import example_model
onnx.save(example_model(), "small.onnx")
"""


def main() -> None:
    """Install, measure twice, and print."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
        python = home / "venv" / "bin" / "python"
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", f"{ROOT}[onnxruntime]"], check=True)
        installed_s = time.perf_counter() - began
        subprocess.run([python, "-c", MODEL], check=True, cwd=home)
        own = row(home, python, "small.onnx", "own")
        own_s = time.perf_counter() - began
        began = time.perf_counter()
        zoo = row(home, python, "resnet50", "zoo")
        zoo_s = installed_s + time.perf_counter() - began
        print(f"{platform.node()}, Python {platform.python_version()}: installed in {installed_s:.0f} s, "
              f"{megabytes(home / 'venv')} MB in all, of which pip and setuptools "
              f"{sum(map(megabytes, (home / 'venv').glob('lib/*/site-packages/[ps][ie][pt]*')))} MB")  # fmt: skip
        print(f"first gated row of an own .onnx after {own_s:.0f} s ({own['status']}, gate {own['gate']['passed']})")
        print(f"first gated row of resnet50 after {zoo_s:.0f} s ({zoo['status']}, gate {zoo['gate']['passed']})")


def row(home: Path, python: Path, model: str, name: str) -> dict[str, Any]:
    """Measure one model with empty caches."""
    folders = {"SPEEDSHEET_CACHE": str(home / f"{name}-cache"), "SPEEDSHEET_DATA": str(home / f"{name}-data")}
    command: list[str | Path] = [python.parent / "speedsheet", "run", model, "--json"]
    done = subprocess.run(command, cwd=home, env=os.environ | folders, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)["rows"][0]
    return found


def megabytes(folder: Path) -> int:
    """Return the size of a folder's files in MB."""
    return round(sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


if __name__ == "__main__":
    main()
