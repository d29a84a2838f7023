"""Post-training quantisation of any artifact into one int8 graph that every engine runs (QDQ, by NNCF).

Norms and biases are folded into the products first, since engines recognise a quantised convolution only where nothing
stands between it and its quantisers. The batch dimension stays free. https://github.com/openvinotoolkit/nncf

An x86 processor without VNNI adds pairs of int8 products in 16 bits, and what does not fit is cut off (vpmaddubsw,
Intel 64 and IA-32 manual, volume 2). On such a processor weights get seven bits, which always fit: EfficientNet-Lite0
then keeps a centred cosine of .976 with FP32, where eight bits leave .899 on OpenVINO and .916 on ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from speedsheet import plugins
from speedsheet.convert.shipping.recipe import GRAPH
from speedsheet.core.artifact import Artifact
from speedsheet.core.engine import Setup
from speedsheet.core.errors import MissingExtra, RowFailed
from speedsheet.core.folders import publish
from speedsheet.core.macs import CONVOLUTIONS, PRODUCTS, of_integers
from speedsheet.core.workload import Arrays
from speedsheet.host.facts import host_facts

RECORD = "record.json"
#: Counts up when the same artifact would be quantised otherwise.
_FORM = 2
_X86 = frozenset({"x86_64", "AMD64", "i686"})
#: Any of these adds int8 products in 32 bits.
_WIDE_SUMS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
_FOLDER = "onnxruntime"
_INLINE_BYTES = 1024
_ATTENTIONS = 2


@dataclass(frozen=True, slots=True)
class Quantised:
    """An int8 artifact and how it came to be.

    `float_layers` are the product nodes left in floating point; `sqnr_db` is the signal-to-quantisation-noise ratio of
    each product against the same layer in FP32, on the first calibration batch.
    """

    artifact: Artifact
    tool: str
    calibration_sha256: str
    float_layers: tuple[str, ...]
    sqnr_db: Mapping[str, float]


def quantise(artifact: Artifact, calibration: Sequence[Arrays], calibration_sha256: str, cache: Path) -> Quantised:
    """Return the int8 form of an artifact, from the cache where the same inputs calibrated it before.

    `calibration` are requests of any batch size. Raises MissingExtra without NNCF, RowFailed where it cannot quantise.
    """
    narrow_sums = sums_saturate(host_facts())
    tool = quantiser() + (", weights in seven bits (no VNNI here)" if narrow_sums else "")
    key = json.dumps([_FORM, artifact.sha256, calibration_sha256, tool])
    folder = cache / f"int8-{hashlib.sha256(key.encode()).hexdigest()[:24]}"
    if not (folder / RECORD).exists():
        wide = _folded(artifact)
        if not products(wide):
            raise RowFailed("the model has no product that int8 could run", do="leave --precision int8")
        narrow = quantised(wide, calibration, seven_bits=narrow_sums)
        with suppress(FileExistsError):
            publish(cache, lambda: folder.name, lambda whole: _fill(whole, wide, narrow, calibration[0]))
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    made = replace(artifact, folder=folder, graph_name=GRAPH, sha256=record["sha256"], size_bytes=record["size_bytes"])
    return Quantised(
        artifact=replace(made, check=f"{artifact.check}; int8 from it by {tool}"),
        tool=tool,
        calibration_sha256=calibration_sha256,
        float_layers=tuple(record["float_layers"]),
        sqnr_db=record["sqnr_db"],
    )


def _fill(whole: Path, wide: onnx.ModelProto, narrow: onnx.ModelProto, feed: Arrays) -> None:
    nodes = products(narrow)
    seen = [_seen(model, nodes, feed) for model in (wide, narrow)]
    ratios = layer_sqnr_db(*seen)
    _write(narrow, whole)
    files = sorted(whole.iterdir())
    record = {
        "sha256": hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest(),
        "size_bytes": sum(path.stat().st_size for path in files),
        "float_layers": float_layers(narrow),
        "sqnr_db": ratios,
    }
    (whole / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def _write(model: onnx.ModelProto, folder: Path) -> None:
    copy = onnx.ModelProto()  # saving moves the weights out of what is saved
    copy.CopyFrom(model)
    onnx.save(copy, folder / GRAPH, save_as_external_data=True, location="weights.bin", size_threshold=_INLINE_BYTES)


def _seen(model: onnx.ModelProto, nodes: Sequence[str], feed: Arrays) -> Arrays:
    """Return what each of these nodes computes, by the name of its output, with graph optimisation off."""
    with tempfile.TemporaryDirectory(prefix="speedsheet-") as folder:
        _write(exposing(model, nodes), Path(folder))
        artifact = Artifact(Path(folder), "", 0, 0, 0, "")
        setup = Setup(
            "CPUExecutionProvider", "fp32", 1, 1, os.cpu_count() or 1, {"graph_optimization_level": "disable"}
        )
        session = plugins.engine(_FOLDER).load(artifact, setup, lambda: None)
        request = session.bind(feed, {})
        request.run()
        outputs = request.outputs()
        session.close()
    return outputs


def float_layers(model: onnx.ModelProto) -> list[str]:
    """Return the product nodes of a QDQ graph that compute in floating point."""
    maker = {output: node.op_type for node in model.graph.node for output in node.output}
    return [
        node.name or node.output[0]
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS | PRODUCTS
        and not of_integers(node.op_type)
        and not all(_reaches_quantiser(name, model, maker) for name in node.input[:2])
    ]


def layer_sqnr_db(wide: Mapping[str, NDArray[Any]], narrow: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Return the signal-to-quantisation-noise ratio of each tensor that both hold, in decibel."""
    ratios = {}
    for name in sorted(wide.keys() & narrow.keys()):
        signal, noise = wide[name].astype(np.float64), narrow[name].astype(np.float64) - wide[name]
        power = float(np.sum(noise**2))
        ratios[name] = float(10 * np.log10(np.sum(signal**2) / power)) if power > 0 else float("inf")
    return ratios


def exposing(model: onnx.ModelProto, nodes: Sequence[str]) -> onnx.ModelProto:
    """Return a copy whose outputs are the first outputs of the named product nodes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    wanted = set(nodes)
    for node in copy.graph.node:
        if (node.name or node.output[0]) in wanted:
            copy.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))
    return copy


def products(model: onnx.ModelProto) -> list[str]:
    """Return the nodes that multiply matrices, in order."""
    return [node.name or node.output[0] for node in model.graph.node if node.op_type in CONVOLUTIONS | PRODUCTS]


def _reaches_quantiser(name: str, model: onnx.ModelProto, maker: Mapping[str, str]) -> bool:
    """Whether a tensor is dequantised, or a mere rearrangement of one that is."""
    passing = {"Transpose", "Reshape", "Flatten", "MaxPool", "Pad", "Squeeze", "Unsqueeze", "Slice", "Concat"}
    source = {output: node.input[0] for node in model.graph.node for output in node.output if node.input}
    while maker.get(name) in passing:
        name = source[name]
    return maker.get(name) == "DequantizeLinear"


def quantiser() -> str:
    """Return the name and version of what quantises; raises MissingExtra where it is not installed."""
    try:
        return f"NNCF {version('nncf')}"
    except ModuleNotFoundError as error:
        raise MissingExtra("int8 needs NNCF, which is not installed", do='pip install "speedsheet[int8]"') from error


def _folded(artifact: Artifact) -> onnx.ModelProto:
    """Let ONNX Runtime fold norms and biases into the convolutions; only standard operators come out.

    It is written beside the weights, since what was not folded still points to them. A graph without convolutions has
    no norms to fold, and its products are better left as they are: engines look for a MatMul between quantisers.
    """
    whole = onnx.load(artifact.folder / GRAPH)
    if not any(node.op_type in CONVOLUTIONS for node in whole.graph.node):
        return whole
    path = artifact.folder / f".folded-{os.getpid()}.onnx"
    settings = {"graph_optimization_level": "basic", "optimized_model_filepath": str(path)}
    setup = Setup("CPUExecutionProvider", "fp32", 1, 1, 1, settings)
    try:
        plugins.engine(_FOLDER).load(replace(artifact, graph_name=GRAPH), setup, lambda: None).close()
        return onnx.load(path)
    finally:
        path.unlink(missing_ok=True)


def sums_saturate(host: Mapping[str, Any]) -> bool:
    """Whether the processor of these host facts cuts off sums of int8 products; one that tells nothing does not."""
    flags = set(host["cpu_flags"])
    return host["machine"] in _X86 and "avx2" in flags and not flags & _WIDE_SUMS


def quantised(model: onnx.ModelProto, calibration: Sequence[Arrays], *, seven_bits: bool) -> onnx.ModelProto:
    """Let NNCF quantise a model whose norms are folded; `seven_bits` leaves the weights' upper bit unused.

    Raises RowFailed where it cannot.
    """
    import nncf

    fix = nncf.OverflowFix.ENABLE if seven_bits else nncf.OverflowFix.FIRST_LAYER
    attentions = sum(node.op_type == "Softmax" for node in model.graph.node)
    transformer = nncf.ModelType.TRANSFORMER if attentions >= _ATTENTIONS else None
    try:
        return nncf.quantize(
            model,
            nncf.Dataset(list(calibration)),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            model_type=transformer,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )
    except Exception as error:
        raise RowFailed(f"NNCF does not quantise the model: {str(error).strip()[:200]}") from error
