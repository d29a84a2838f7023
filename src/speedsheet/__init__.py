"""Inference speed sheets that can be checked: a model goes in, a row comes out, and every number can be verified."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["History", "PrintedSheet", "__version__", "load", "measure"]


def __getattr__(name: str) -> Any:
    """Import the interface when it is first asked for: a worker process does without it."""
    if name in __all__:
        return getattr(importlib.import_module("speedsheet.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
