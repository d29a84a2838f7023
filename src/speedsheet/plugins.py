"""Plug-ins by name: models and engines that ship with speedsheet, and those of strangers.

A shipped plug-in is a file in `zoo/` or `engines/`; nothing else lists it. A stranger's is an entry point in the
groups `speedsheet.models` and `speedsheet.engines`, or is named as `package.module:ATTRIBUTE`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points

from speedsheet.core.engine import Engine, EngineInfo, EngineUnavailable
from speedsheet.core.errors import UnknownName
from speedsheet.core.workload import Workload


@cache
def workloads() -> dict[str, Workload]:
    """Return every known model by name. Imports the declarations, no framework."""
    found: dict[str, Workload] = {}
    for module in _files("speedsheet.zoo"):
        found.update({workload.name: workload for workload in importlib.import_module(module).WORKLOADS})
    for entry in entry_points(group="speedsheet.models"):
        workload = entry.load()
        found[workload.name] = workload
    return found


def workload(name: str) -> Workload:
    """Return the model of that name."""
    if name not in workloads():
        raise UnknownName(
            f"no model is called {name!r}", do=f"{did_you_mean(name, workloads())}; see: speedsheet models"
        )
    return workloads()[name]


def engine_names() -> list[str]:
    """Return the names that `auto` chooses from; importing no engine."""
    shipped = [module.rpartition(".")[2] for module in _files("speedsheet.engines")]
    return [*shipped, *(entry.name for entry in entry_points(group="speedsheet.engines"))]


def engine(name: str) -> Engine:
    """Return the engine of that name, importing its file and not yet its library."""
    if ":" in name:
        return _attribute(name)
    for entry in entry_points(group="speedsheet.engines"):
        if entry.name == name:
            loaded: Engine = entry.load()
            return loaded
    if f"speedsheet.engines.{name}" in _files("speedsheet.engines"):
        return _attribute(f"speedsheet.engines.{name}:ENGINE")
    raise UnknownName(
        f"no engine is called {name!r}", do=f"{did_you_mean(name, engine_names())}; see: speedsheet engines"
    )


def probe(name: str) -> EngineInfo | EngineUnavailable:
    """Ask an engine what it can do here; a library that fails to import is a reason, not a crash."""
    try:
        return engine(name).probe()
    except (ImportError, OSError) as error:
        return EngineUnavailable(name, f"its library does not load: {error}", f"pip install --force-reinstall {name}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which names are near, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"


@cache
def _files(package: str) -> tuple[str, ...]:
    path = importlib.import_module(package).__path__
    return tuple(sorted(f"{package}.{found.name}" for found in pkgutil.iter_modules(path)))


def _attribute(name: str) -> Engine:
    module, _, attribute = name.partition(":")
    try:
        found: Engine = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownName(f"no engine at {name!r}: {error}", do="write package.module:ATTRIBUTE") from error
    return found
