"""ONNX Runtime, by execution provider.

Default rule: sequential execution, no pinning. Clients are not queued: each computes in its own thread, and all share
the session's pool of further threads, one for each core that then is left (cores - min(clients, cores)).
The timed call is `run_with_iobinding` on arrays bound once per request.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import EngineInfo, EngineUnavailable, Operation, Request, Setup
from speedsheet.core.errors import BadInput, EngineFailed
from speedsheet.core.macs import CONVOLUTIONS, GATES, PRODUCTS, conv_macs, of_integers, product_macs, recurrent_macs
from speedsheet.core.workload import Arrays

_CPU = "CPUExecutionProvider"
# providers that have half-precision kernels; the CPU's float16 is storage only, its sums run in float32
_HALF = frozenset(
    {
        "CUDAExecutionProvider",
        "TensorrtExecutionProvider",
        "ROCMExecutionProvider",
        "MIGraphXExecutionProvider",
        "DmlExecutionProvider",
        "CoreMLExecutionProvider",
        "WebGpuExecutionProvider",
    }
)
_TYPES = {"float": "fp32", "double": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
_SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_IMAGE_RANK = 3
#: What the profile adds to a node's name.
_KERNEL = re.compile(r"(_token_\d+)?_kernel_time$")


class OnnxRuntime:
    """The engine; its library is imported on first use."""

    name = "onnxruntime"

    def probe(self) -> EngineInfo | EngineUnavailable:
        """Name the execution providers of the installed wheel."""
        try:
            import onnxruntime
        except ModuleNotFoundError:
            return EngineUnavailable(self.name, "onnxruntime is not installed", 'pip install "speedsheet[onnxruntime]"')
        providers = [name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"]
        precisions = {
            name: ("fp32", "fp16", "int8") if name in _HALF else ("fp32", "int8") for name in reversed(providers)
        }
        # the wheel may be that of onnxruntime-gpu, or another that brings the same module
        version = onnxruntime.__version__
        return EngineInfo(self.name, version, precisions, _CPU, "none on the CPU: arrays are shared")

    def load(self, artifact: Artifact, setup: Setup, mark: Callable[[], None]) -> OnnxRuntimeSession:
        """Open a session; ONNX Runtime reads and compiles in one step, which is counted as compiling."""
        import onnxruntime

        settings = _default_settings(setup) | dict(setup.settings)
        options, provider_options = _options(settings, setup)
        profile = tempfile.TemporaryDirectory(prefix="speedsheet-") if setup.audit else None
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = f"{profile.name}/profile"
        mark()
        with _told("onnxruntime does not load the model"):
            session = onnxruntime.InferenceSession(
                _source(artifact, setup), options, providers=[setup.device], provider_options=[provider_options]
            )
        if session.get_providers()[0] != setup.device:
            raise EngineFailed(
                f"onnxruntime fell back from {setup.device} to {session.get_providers()[0]}",
                do="check the provider's drivers, or choose another --device",
            )
        return OnnxRuntimeSession(session, settings, profile)


class OnnxRuntimeSession:
    """A loaded model; many clients run it at once."""

    def __init__(
        self, session: Any, settings: Mapping[str, str], profile: tempfile.TemporaryDirectory[str] | None
    ) -> None:
        self._session, self.settings, self._profile = session, settings, profile

    def bind(self, feed: Arrays, into: Arrays) -> Request:
        """Bind inputs and outputs once; arrays on the CPU are shared, not copied."""
        with _told("onnxruntime does not take the inputs"):
            return _Bound(self._session, feed, into)

    def executed(self, macs_by_name: Mapping[str, int]) -> Mapping[str, float]:
        """Read the profile: each node's kernel, its types and its shapes."""
        return _shares(self._nodes(), macs_by_name)

    def operations(self) -> Sequence[Operation]:
        """Read the profile: the median time of each node's kernel over all runs but the first."""
        times_us: dict[str, list[float]] = {}
        known: dict[str, dict[str, Any]] = {}
        for node in self._nodes():
            times_us.setdefault(node["name"], []).append(float(node["time_us"]))
            known[node["name"]] = node
        return [
            Operation(
                name, str(node["op_name"]), median(times_us[name][1:] or times_us[name]), _kind(node) or "", (name,)
            )
            for name, node in known.items()
        ]

    def _nodes(self) -> list[dict[str, Any]]:
        assert self._profile is not None, "load the session with audit"
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        return [
            {"name": _KERNEL.sub("", event["name"]), "time_us": event.get("dur", 0), **event["args"]}
            for event in events
            if event.get("cat") == "Node" and "op_name" in event.get("args", {})
        ]

    def close(self) -> None:
        """Drop the session, and with it its arena."""
        self._session = None
        if self._profile:
            self._profile.cleanup()


class _Bound:
    """One request: a binding whose inputs and outputs stay where they are."""

    def __init__(self, session: Any, feed: Arrays, into: Arrays) -> None:
        import onnxruntime

        self._binding = session.io_binding()
        self._kept = [*feed.values(), *into.values()]  # a binding does not keep its arrays alive
        self._names = [output.name for output in session.get_outputs()]
        for name, array in feed.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        for name in self._names:
            if name in into:
                self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(into[name]))
            else:
                self._binding.bind_output(name, "cpu")
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = 4
        self.run = partial(session.run_with_iobinding, self._binding, self._options)

    def give_up(self) -> None:
        """Terminate: the run ends after the node in hand."""
        self._options.terminate = True

    def outputs(self) -> Arrays:
        """Copy the outputs of the latest run."""
        return {
            name: np.array(value.numpy()) for name, value in zip(self._names, self._binding.get_outputs(), strict=True)
        }


def _default_settings(setup: Setup) -> dict[str, str]:
    left = setup.cores - min(setup.thread_num, setup.cores)
    return {
        "intra_op_num_threads": str(1 + left),  # the client's own thread is counted
        "inter_op_num_threads": "1",
        "execution_mode": "sequential",
        "graph_optimization_level": "all",
    }


def _options(settings: Mapping[str, str], setup: Setup) -> tuple[Any, dict[str, str]]:
    """Turn settings into session options; dotted keys are session configuration, others the provider's own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    provider_options: dict[str, str] = {}
    for key, value in settings.items():
        with _told(f"onnxruntime does not take --set {key}={value}", kind=BadInput):
            match key:
                case "intra_op_num_threads" | "inter_op_num_threads":
                    setattr(options, key, int(value))
                case "execution_mode":
                    options.execution_mode = getattr(onnxruntime.ExecutionMode, f"ORT_{value.upper()}")
                case "graph_optimization_level":
                    options.graph_optimization_level = _level(value)
                case "optimized_model_filepath":
                    options.optimized_model_filepath = value
                case "enable_cpu_mem_arena" | "enable_mem_pattern" | "enable_mem_reuse":
                    setattr(options, key, _switch(key, value))
                case _ if "." in key:
                    options.add_session_config_entry(key, value)
                case _ if setup.device == _CPU:
                    raise BadInput(
                        f"onnxruntime has no setting {key!r}",
                        do=f"use {', '.join(_default_settings(setup))}, or a session.* configuration key",
                    )
                case _:
                    provider_options[key] = value
    return options, provider_options


def _switch(key: str, value: str) -> bool:
    if value.lower() not in _SWITCHES:
        raise BadInput(f"{key}={value} is neither on nor off", do=f"use {', '.join(_SWITCHES)}")
    return _SWITCHES[value.lower()]


def _level(name: str) -> Any:
    import onnxruntime

    if name.lower() not in _LEVELS:
        raise BadInput(f"{name!r} is not a level", do=f"use {', '.join(_LEVELS)}")
    return getattr(onnxruntime.GraphOptimizationLevel, _LEVELS[name.lower()])


def _source(artifact: Artifact, setup: Setup) -> str:
    """Return the file to open: the artifact's, or beside it a half-precision copy with wide inputs and outputs."""
    if setup.precision != "fp16":
        return str(artifact.graph)
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = artifact.graph.with_suffix(".fp16.onnx")
    if not half.exists():
        with _told("the model does not convert to fp16"):
            model = convert_float_to_float16(onnx.load(artifact.graph), keep_io_types=True)
            weights = f"{half.stem}.bin"
            onnx.save(model, half, save_as_external_data=True, location=weights, size_threshold=1024)
    return str(half)


def _shares(nodes: list[dict[str, Any]], macs_by_name: Mapping[str, int]) -> dict[str, float]:
    """Weigh each node's type by its multiply-accumulates, or by its elements where nothing multiplies.

    Quantised convolutions do not tell the shape of their packed weights: those are found by name.
    """
    macs: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for node in nodes:
        inputs = [shape for typed in node["input_type_shape"] for shape in typed.values()]
        outputs = [shape for typed in node["output_type_shape"] for shape in typed.values()]
        kind = _kind(node)
        if kind and outputs:
            told = _node_macs(node["op_name"], inputs, outputs[0])
            macs[kind] += told or macs_by_name.get(node["name"], 0)
            elements[kind] += prod(outputs[0])
    counted = macs if macs.total() else elements
    return {kind: share / counted.total() for kind, share in counted.items() if share}


def _kind(node: dict[str, Any]) -> str | None:
    op, types = node["op_name"], [kind for typed in node["input_type_shape"] for kind in typed]
    if of_integers(op):
        return "int8"
    return next((_TYPES[kind] for kind in types if kind in _TYPES), None)


def _node_macs(op: str, inputs: list[list[int]], output: list[int]) -> int:
    if op in CONVOLUTIONS:
        weights = [shape for shape in inputs[1:] if len(shape) >= _IMAGE_RANK]
        return conv_macs(weights[0], output) if weights else 0
    if op in PRODUCTS:
        return product_macs(inputs[0], output)
    if op == "Attention" and len(inputs) > 1 and len(inputs[1]) == len(inputs[0]):  # ONNX's own: QK' and PV
        return inputs[1][-2] * (prod(inputs[0]) + prod(output))
    if op in {"Attention", "QAttention"}:  # (batch, sequence, hidden) x (hidden, 3 hidden), then QK' and PV
        batch, sequence, hidden = inputs[0]
        return batch * sequence * hidden * (3 * hidden + 2 * sequence)
    if op in GATES:
        return recurrent_macs(inputs[0], output, GATES[op])
    return 0


@contextmanager
def _told(what: str, kind: type[EngineFailed | BadInput] = EngineFailed) -> Iterator[None]:
    """Turn whatever the library raises into one line of ours."""
    try:
        yield
    except (EngineFailed, BadInput):
        raise
    except Exception as error:
        raise kind(f"{what}: {str(error).strip()[:300]}") from error


ENGINE = OnnxRuntime()
