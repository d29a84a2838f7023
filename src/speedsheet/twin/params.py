"""Numbers that no manual states: what physics suggests before any row is seen, and what a fit made of them.

A prior is drawn from the device file alone. Without fitted numbers the priors are used, and whoever prints says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from math import sqrt
from typing import Any

from speedsheet.core.errors import UsageError
from speedsheet.twin.device import DeviceSpec
from speedsheet.twin.types import Parameter, Structure, TwinParams

SCHEMA = "speedsheet.twin/1"
#: What a fit may move; everything else stays as it is here.
FREE = ("clock_ghz", "llb_gb_per_s", "ddr_gb_per_s", "dispatch_us", "link_share")
#: DRAM of this kind delivers about so much of its peak to one stream.
_DRAM_SHARE = 0.75


def priors(device: DeviceSpec) -> TwinParams:
    """Return the parameters of a device before any row is seen. Raises UsageError where it has no arrays."""
    base = device["clock"]
    clock = sqrt(base * max(device.get("clock_highest") or base, base)) / 1e9
    llb = device["llb_bandwidth"] / 1e9
    ddr = _DRAM_SHARE * device["ddr_bandwidth"] / device.clusters / 1e9
    listed = (
        _prior("clock_ghz", clock, 0.15, "GHz", "clock of the arrays: half-way between base and highest setting"),
        _prior("llb_gb_per_s", llb, 0.4, "GB/s", "LLB of one cluster: as published"),
        _prior("ddr_gb_per_s", ddr, 0.3, "GB/s", "DDR of one cluster: three quarters of its share of the peak"),
        _prior("dispatch_us", 10.0, 0.7, "us", "to start an operator on the cores: usual for accelerators"),
        _prior("link_share", 0.5, 0.7, "share", "part of the host link's time that a cluster waits out: half"),
        _prior("vector_overlap", 0.55, 0.0, "share", "manual: the vector unit serialises 45 % of its time on BERT"),
        _prior("llb_overlap", 0.92, 0.0, "share", "manual: moves from the LLB overlapped by 92 % on BERT"),
        _prior("gather_us", 0.4, 0.0, "us", "one look-up in an embedding table, one after another; a guess"),
        _prior("request_us", 200.0, 0.0, "us", "to begin and end a request on a cluster; a guess"),
        _prior("host_us", 100.0, 0.0, "us", "a host thread's work for a request; a guess, and nothing here tells"),
        _prior("hop_us", 5.0, 0.0, "us", "from one station to the next: a doorbell, an interrupt; a guess, as above"),
        _prior("service_cv", 0.1, 0.0, "share", "spread of service times; a guess, and nothing here tells"),
    )
    return TwinParams({parameter.name: parameter for parameter in listed}, device=device.name)


def to_json(params: TwinParams) -> dict[str, Any]:
    """Return the parameters as JSON-ready data."""
    return {
        "schema": SCHEMA,
        "device": params.device,
        "fitted_on": params.fitted_on,
        "rows": list(params.rows),
        "structure": asdict(params.structure),
        "parameters": [asdict(parameter) for parameter in params.parameters.values()],
    }


def read(text: str, device: DeviceSpec, *, where: str) -> TwinParams:
    """Return the parameters that a fit wrote. Raises UsageError for another device's, or for what is none."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA or data["device"] != device.name:
            raise UsageError(f"holds no parameters of {device.name}", where=where, do="run: speedsheet twin calibrate")
        known = {item["name"]: Parameter(**item) for item in data["parameters"]}
        structure, source, rows = Structure(**data["structure"]), str(data["fitted_on"]), tuple(data["rows"])
    except (ValueError, KeyError, TypeError) as error:
        do = "write it again: speedsheet twin calibrate"
        raise UsageError(f"is no file of parameters: {error}", where=where, do=do) from error
    start = priors(device)
    missing = [name for name in start.parameters if name not in known]
    if missing:
        raise UsageError(f"lacks {missing[0]}", where=where, do="write it again: speedsheet twin calibrate")
    return replace(start, parameters=known, fitted_on=source, rows=rows, structure=structure)


def moved(params: TwinParams, values: Mapping[str, float], spreads: Mapping[str, float]) -> TwinParams:
    """Return parameters at fitted values with their spreads after the fit."""
    changed = {
        name: replace(params.parameters[name], value=value, spread=spreads[name]) for name, value in values.items()
    }
    return replace(params, parameters={**params.parameters, **changed})


def _prior(name: str, value: float, spread: float, unit: str, reason: str) -> Parameter:
    return Parameter(name, value, value, spread, unit, reason)
