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
from speedsheet.core.errors import SpeedsheetError, UnknownName, UsageError, quoted
from speedsheet.core.workload import Workload

_MOST_NAMES = 40


@cache
def workloads() -> dict[str, Workload]:
    """Return every known model by name. Imports the declarations, no framework."""
    found: dict[str, Workload] = {}
    for module in _files("speedsheet.zoo"):
        found.update({workload.name: workload for workload in importlib.import_module(module).WORKLOADS})
    for entry in entry_points(group="speedsheet.models"):
        try:
            workload = entry.load()
            found[workload.name] = workload
        except Exception as error:
            what = f"a model of another package does not load: {type(error).__name__}: {error}"
            raise UsageError(what, where=entry.value, do="mend that package, or uninstall it") from error
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
    except SpeedsheetError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a library or a stranger's file fails with
        package = name.partition(":")[0].partition(".")[0]
        return EngineUnavailable(name, f"it does not load: {error}", f"pip install --force-reinstall {package}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Say which names are near, or all of them; names may come from a hostile file."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(map(_shown, near))}?"
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"known: {', '.join(map(_shown, names[:_MOST_NAMES]))}{more}"


def _shown(name: str) -> str:
    """Return a name that can be printed, without its quotes."""
    return quoted(name)[1:-1]


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
