"""OpenVINO, by device.

Default rule on the CPU: as many streams as clients, at most the cores; all cores as inference threads; pinning as
OpenVINO chooses, read back into the row. Requests beyond the streams queue inside OpenVINO, and that wait is in their
latency. The precision hint is always set, since OpenVINO's own default on a BF16 processor is bfloat16.
The timed call is `InferRequest.infer` on tensors set once per request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from math import prod
from typing import Any

import numpy as np

from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Operation, Request, Setup
from speedsheet.core.errors import BadInput, EngineFailed
from speedsheet.core.macs import conv_macs, conv_transpose_macs, matmul_macs, product_macs
from speedsheet.core.workload import Arrays

#: What the executed graph names beside its steps.
_NO_STEPS = frozenset({"Const", "Input", "Output", ""})
_HINT = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
_TYPES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_CAPABILITY = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16", "INT8": "int8"}
_WHERE = ("Exception from", "Check '", "FrontEnd API failed", "Model wasn't fully converted")
_REASON_LETTERS = 240
_READ_BACK = ("NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING", "INFERENCE_PRECISION_HINT")


class OpenVino:
    """The engine; its library is imported on first use."""

    name = "openvino"

    def probe(self) -> EngineInfo | EngineUnavailable:
        """Name OpenVINO's devices and what each says it can execute."""
        try:
            import openvino
        except ModuleNotFoundError:
            return EngineUnavailable(self.name, "openvino is not installed", 'pip install "speedsheet[openvino]"')
        core = openvino.Core()
        precisions = {}
        for device in core.available_devices:
            able = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
            precisions[device] = tuple(ours for theirs, ours in _CAPABILITY.items() if theirs in able)
        if not precisions:
            return EngineUnavailable(self.name, "OpenVINO finds no device", "install a device's driver")
        default = "CPU" if "CPU" in precisions else next(iter(precisions))
        copied = "none on the CPU: tensors are shared"
        return EngineInfo(self.name, version("openvino"), precisions, default, copied, ("AUTO", "HETERO", "MULTI"))

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> OpenVinoSession:
        """Read the model, then compile it for the device."""
        import openvino

        core = openvino.Core()
        with _told("openvino does not read the model"):
            model = core.read_model(artifact.graph)
        settings = _default_settings(setup) | dict(setup.settings)
        if setup.audit:
            settings["PERF_COUNT"] = "YES"
        mark()
        with _told("openvino does not compile the model"):
            compiled = core.compile_model(model, setup.device, settings)
        return OpenVinoSession(compiled, settings)


class OpenVinoSession:
    """A compiled model; its requests share its streams."""

    def __init__(self, compiled: Any, settings: Mapping[str, str]) -> None:
        self._compiled = compiled
        self.settings = {**settings, **_read_back(compiled)}

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        """Set the tensors of a new infer request once; arrays are shared, not copied."""
        with _told("openvino does not take the inputs"):
            return _Bound(self._compiled, feed, into)

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        """Read the executed graph: every node's type and shapes; what a Subgraph has swallowed, by its names."""
        macs: Counter[str] = Counter()
        elements: Counter[str] = Counter()
        for node in self._compiled.get_runtime_model().get_ops():
            facts = node.get_rt_info()
            layer, kind = _text(facts, "layerType"), _TYPES.get(_text(facts, "runtimePrecision"))
            if not kind or not node.get_output_size() or layer in {"Const", "Input", "Output", "Reorder"}:
                continue
            if layer == "Subgraph":
                names = set(_text(facts, "originalLayersNames").split(","))
                macs[kind] += sum(macs_by_name.get(name, 0) for name in names)
            else:
                macs[kind] += _node_macs(layer, node)
            if kind != "int8":  # booleans run as u8 too
                elements[kind] += prod(_shape(node.output(0)))
        counted = macs if macs.total() else elements
        return {kind: share / counted.total() for kind, share in counted.items() if share}

    def operations(self) -> Sequence[Operation]:
        """Read the executed graph: the mean time of each node over all runs; what was folded away is left out."""
        told = []
        for node in self._compiled.get_runtime_model().get_ops():
            facts = node.get_rt_info()
            layer, time_us = _text(facts, "layerType"), _text(facts, "execTimeMcs")
            if layer in _NO_STEPS or not time_us.isdigit():
                continue
            nodes = tuple(name for name in _text(facts, "originalLayersNames").split(",") if name)
            kind = _TYPES.get(_text(facts, "runtimePrecision"), "")
            told.append(Operation(node.get_friendly_name(), layer, float(time_us), kind, nodes))
        return told

    def close(self) -> None:
        """Drop the compiled model, and with it its streams."""
        self._compiled = None


class _Bound:
    """One infer request with its tensors in place."""

    def __init__(self, compiled: Any, feed: Arrays, into: Arrays) -> None:
        import openvino

        self._request = compiled.create_infer_request()
        self._kept = [*feed.values(), *into.values()]  # a shared tensor does not keep its array alive
        for name, array in feed.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        self._ports = {name: port for port in compiled.outputs for name in port.get_names()}
        for name in self._ports.keys() & into.keys():
            self._request.set_tensor(self._ports[name], openvino.Tensor(into[name], shared_memory=True))
        self.run = partial(self._request.infer, share_outputs=True)

    def give_up(self) -> None:
        """Cancel: what waits for a stream never begins, what runs ends after the node in hand."""
        self._request.cancel()

    def outputs(self) -> Arrays:
        """Copy the outputs of the latest run; a tensor with several names stands under each."""
        return {name: np.array(self._request.get_tensor(port).data) for name, port in self._ports.items()}


def _default_settings(setup: Setup) -> dict[str, str]:
    settings = {"INFERENCE_PRECISION_HINT": _HINT[setup.precision]}
    if setup.device == "CPU":
        settings["NUM_STREAMS"] = str(min(setup.thread_num, setup.cores))
        settings["INFERENCE_NUM_THREADS"] = str(setup.cores)
    return settings


def _read_back(compiled: Any) -> dict[str, str]:
    supported = set(compiled.get_property("SUPPORTED_PROPERTIES"))
    values = {key: compiled.get_property(key) for key in _READ_BACK if key in supported}
    return {key: value.to_string() if hasattr(value, "to_string") else str(value) for key, value in values.items()}


def _node_macs(layer: str, node: Any) -> int:
    shapes = [_shape(port) for port in node.inputs()]
    output = _shape(node.output(0))
    if layer in {"Convolution", "GroupConvolution"}:
        return conv_macs(shapes[1], output)
    if layer == "Deconvolution":
        return conv_transpose_macs(shapes[1], shapes[0])
    if layer == "FullyConnected":
        return matmul_macs(shapes[0], output)
    if layer == "MatMul":
        return product_macs(shapes[0], output)
    if layer in {"RNNSeq", "RNNCell"}:  # ..., both widths' weights of all gates and directions, bias
        return prod(shapes[0][:-1]) * (prod(shapes[-3]) + prod(shapes[-2]))
    return 0


def _shape(port: Any) -> tuple[int, ...]:
    shape = port.get_partial_shape()
    return tuple(axis.get_length() if axis.is_static else 1 for axis in shape) if shape.rank.is_static else ()


def _text(facts: Any, key: str) -> str:
    if key not in facts:
        return ""
    value = facts[key]
    return str(value.value if hasattr(value, "value") else value)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn whatever the library raises into one line of ours."""
    try:
        yield
    except (EngineFailed, BadInput):
        raise
    except Exception as error:
        raise EngineFailed(f"{what}: {_reason(str(error))}") from error


def _reason(message: str) -> str:
    """Return what OpenVINO means, without where in its sources it says so."""
    lines = [line.strip() for line in message.splitlines()]
    told = [line for line in lines if line and not line.startswith(_WHERE)]
    reason = " ".join(told or lines)
    return reason if len(reason) <= _REASON_LETTERS else f"{reason[:_REASON_LETTERS].rpartition(' ')[0]} ..."


ENGINE = OpenVino()
