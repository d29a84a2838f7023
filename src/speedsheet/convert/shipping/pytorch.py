"""PyTorch: set parameters, compute references, and convert to a graph without its large weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from speedsheet.convert.graph.check import one_line
from speedsheet.convert.shipping.weights import Exported, Offer, Rule, dressed, is_large
from speedsheet.core.errors import BadInput, quoted
from speedsheet.core.workload import Arrays, InputSpec

OPSET = 20
_TRACED_SAMPLES = 3  # a batch of one would be taken for a constant
_SAVE = "safetensors.torch.save_file(model.state_dict(), 'FILE.safetensors')"


@dataclass(frozen=True, slots=True)
class Torch:
    """The author of a torch module that ships as `name`.

    `network` returns the architecture, whose forward takes the inputs by name and returns outputs in a dictionary.
    `settle` makes the small parameters from data, once, when the model is shipped for the first time.
    """

    name: str
    network: Callable[[], Any]
    rule: Rule
    settle: Callable[[Any], None]
    offers: Mapping[str, Offer] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Return the module, in evaluation mode, with its parameters at their shipped values."""
        import torch

        model = self.network().eval()
        tensors = _tensors(model)
        ships, values = dressed(self.name, {path: tuple(tensor.shape) for path, tensor in tensors.items()}, self.rule)
        with torch.no_grad():
            for path, value in values:
                tensors[path].copy_(torch.from_numpy(value))
            if not ships:
                self.settle(model)
        return model

    def values(self, model: Any) -> Arrays:
        """Return the float32 parameters and buffers by name."""
        return {path: tensor.detach().numpy() for path, tensor in _tensors(model).items()}

    def predict(self, model: Any, feed: Arrays) -> Arrays:
        """Compute what torch computes, by output name."""
        import torch

        with torch.no_grad():
            outputs = model(**{name: torch.from_numpy(array) for name, array in feed.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def export(self, model: Any, inputs: tuple[InputSpec, ...]) -> Exported:
        """Convert, and turn large initialisers into graph inputs before anything is serialised."""
        import torch

        tensors = {s.name: torch.zeros(s.at(_TRACED_SAMPLES), dtype=getattr(torch, s.dtype)) for s in inputs}
        batch = torch.export.Dim("batch")
        with torch.no_grad():
            names = list(model(**tensors))
            program = torch.onnx.export(
                model,
                kwargs=tensors,
                output_names=names,
                dynamic_shapes={name: {0: batch} for name in tensors},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        large = {path: path for path, tensor in _tensors(model).items() if is_large(tuple(tensor.shape))}
        return Exported(_without(program, set(large)), large)

    def refusal(self, weights: Path) -> BadInput | None:
        """Refuse all but safetensors: a .pt or .pth file is a pickle, and a pickle is a program."""
        if weights.suffix == ".safetensors":
            return None
        return BadInput("is not a .safetensors file", where=str(weights), do=_SAVE)

    def load(self, model: Any, weights: Path) -> None:
        """Read a dictionary of parameters; the file's reader bounds every offset by the file before it is used."""
        from safetensors import SafetensorError, safe_open

        tensors = _tensors(model)
        try:
            with safe_open(weights, framework="numpy") as file:
                names = list(file.keys())
                _same_names(set(names), set(tensors), weights)
                for name in names:
                    _assign(tensors[name], file.get_slice(name), name, weights)
        except (SafetensorError, OSError, TypeError, ValueError) as error:
            raise BadInput(f"is no safetensors file: {one_line(error)}", where=str(weights), do=_SAVE) from error

    def versions(self) -> dict[str, str]:
        """Say which releases build and convert here."""
        import onnxscript
        import torch

        return {"torch": torch.__version__, "onnxscript": onnxscript.__version__}


def settle_head(
    linear: Any, features: Callable[..., Any], feed: Arrays, *, mean: float = 0.0, spread: float | None = None
) -> None:
    """Centre a last linear layer on what `feed` makes of it; `features` computes what the layer reads.

    Each unit's mean over the samples becomes `mean`. With `spread`, the weight (which must be a small one, or its
    draw would no longer be it) is scaled to give that standard deviation over samples and units.
    """
    import torch

    product = features(**{name: torch.from_numpy(array) for name, array in feed.items()}) @ linear.weight.T
    scale = 1.0 if spread is None else spread / float((product - product.mean(dim=0)).std())
    if spread is not None:
        linear.weight.mul_(scale)
    linear.bias.copy_(mean - product.mean(dim=0) * scale)


def _same_names(found: set[str], wanted: set[str], weights: Path) -> None:
    for names, said in ((wanted - found, "lacks"), (found - wanted, "has, and the model has not,")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise BadInput(f"{said} the parameter {quoted(min(names))}{more}", where=str(weights), do=_SAVE)


def _assign(tensor: Any, stored: Any, name: str, weights: Path) -> None:
    """Copy one parameter, after its declared type and shape have been compared."""
    import torch

    shape, kind = tuple(stored.get_shape()), stored.get_dtype()
    if shape != tuple(tensor.shape) or kind != "F32":
        what = f"parameter {quoted(name)} is {shape} {kind}, and the model's is {tuple(tensor.shape)} F32"
        raise BadInput(what, where=str(weights), do=_SAVE)
    value = np.ascontiguousarray(stored[:])
    if not np.isfinite(value).all():
        what = f"parameter {quoted(name)} holds values that are not finite"
        raise BadInput(what, where=str(weights), do="train it again, or take an earlier checkpoint")
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(value))


def _tensors(model: Any) -> dict[str, Any]:
    import torch

    return {path: tensor for path, tensor in model.state_dict().items() if tensor.dtype == torch.float32}


def _without(program: Any, large: set[str]) -> onnx.ModelProto:
    """Serialise an exported program with these initialisers as inputs, so that their data is never copied."""
    graph = program.model.graph
    for path in large:
        graph.inputs.append(graph.initializers.pop(path))
    return program.model_proto
