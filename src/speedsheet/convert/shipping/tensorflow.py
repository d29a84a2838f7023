"""Keras on TensorFlow: set variables, compute references, and convert to a graph without its large weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from speedsheet.convert.graph.check import one_line
from speedsheet.convert.shipping.forms import onnx_forms, select
from speedsheet.convert.shipping.hdf5 import check_hdf5
from speedsheet.convert.shipping.weights import Exported, Offer, Rule, dressed, is_large
from speedsheet.core.errors import BadInput, UsageError, quoted
from speedsheet.core.workload import Arrays, InputSpec

OPSET = 18
#: A file may hold more than the variables: a whole saved model has its optimiser's state too, twice as much.
_ROOM = 4
_SPARE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Keras:
    """The author of a Keras model that ships as `name`.

    `network` returns the architecture, with inputs and outputs in dictionaries by name and every layer named.
    `settle` makes the small variables from data, once, when the model is shipped for the first time.
    """

    name: str
    network: Callable[[], Any]
    rule: Rule
    settle: Callable[[Any], None]
    offers: Mapping[str, Offer] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Return the Keras model with its variables at their shipped values."""
        _quiet()
        import keras

        if keras.backend.backend() != "tensorflow":
            raise UsageError(
                f"Keras runs on {keras.backend.backend()}", where=self.name, do="set KERAS_BACKEND=tensorflow"
            )
        keras.utils.clear_session()  # names that Keras counts begin at one again, whatever was built before
        model = self.network()
        variables = _variables(model)
        ships, values = dressed(self.name, {path: tuple(v.shape) for path, v in variables.items()}, self.rule)
        for path, value in values:
            variables[path].assign(value)
        if not ships:
            self.settle(model)
        return model

    def values(self, model: Any) -> Arrays:
        """Return the float32 variables by path."""
        return {path: np.asarray(variable) for path, variable in _variables(model).items()}

    def predict(self, model: Any, feed: Arrays) -> Arrays:
        """Compute what Keras computes, by output name."""
        return {name: np.asarray(value) for name, value in model(dict(feed), training=False).items()}

    def export(self, model: Any, inputs: tuple[InputSpec, ...]) -> Exported:
        """Convert with large variables as graph inputs, so that no converter pass ever copies them.

        Small variables are constants, so that batch-norm folds.
        """
        import tensorflow as tf
        import tf2onnx
        from keras.src.export.tf2onnx_lib import patch_tf2onnx

        patch_tf2onnx()
        variables = _variables(model)
        paths = [path for path, variable in variables.items() if is_large(tuple(variable.shape))]
        large = {f"large_{index}": path for index, path in enumerate(paths)}
        signature = [tf.TensorSpec(spec.shape, spec.dtype, name=spec.name) for spec in inputs]
        signature += [tf.TensorSpec(variables[path].shape, "float32", name=name) for name, path in large.items()]
        forward = tf.function(_forward(model, inputs, variables, large), input_signature=signature, autograph=False)
        with onnx_forms():
            proto, _ = tf2onnx.convert.from_function(
                forward, input_signature=signature, opset=OPSET, custom_op_handlers={"SelectV2": (select, [])}
            )
        layers = model._flatten_layers(include_self=False)  # noqa: SLF001  model.layers hides nested ones
        return Exported(proto, large, frozenset(layer.name for layer in layers))

    def refusal(self, weights: Path) -> BadInput | None:
        """Refuse all but HDF5: a .keras file is a program too, and what else there is may be a pickle."""
        if weights.suffix in {".h5", ".hdf5"}:
            return None
        return BadInput("is not a file of Keras weights", where=str(weights), do=_save(self.name))

    def load(self, model: Any, weights: Path) -> None:
        """Read weights alone, from .weights.h5 or the older .h5; a saved model's configuration is never looked at."""
        held = sum(4 * prod(variable.shape) for variable in model.variables)
        check_hdf5(weights, _ROOM * held + _SPARE_BYTES, _save(self.name))
        for variable in _variables(model).values():  # Keras passes over layers that a file has not, with a warning
            variable.assign(np.full(variable.shape, np.nan, np.float32))
        try:
            model.load_weights(weights)
        except (ValueError, KeyError, TypeError, OSError, RuntimeError, IndexError, AttributeError) as error:
            what = f"does not fit {self.name}: {one_line(error)}"
            raise BadInput(what, where=str(weights), do=_save(self.name)) from error
        for path, value in self.values(model).items():
            if not np.isfinite(value).all():
                what = f"variable {quoted(path)} is not in the file, or holds values that are not finite"
                raise BadInput(what, where=str(weights), do=_save(self.name))

    def versions(self) -> dict[str, str]:
        """Say which releases build and convert here."""
        import keras
        import tensorflow as tf
        import tf2onnx

        return {"tensorflow": tf.__version__, "keras": keras.__version__, "tf2onnx": tf2onnx.__version__}


def settle_batch_norms(model: Any, feed: Arrays) -> None:
    """Give every batch-norm the statistics of `feed`, by one pass in training mode with momentum 0.

    Without it, random weights end in outputs that are tiny and all alike, and accuracy cannot be judged.
    """
    layers = model._flatten_layers()  # noqa: SLF001  model.layers hides nested ones
    norms = [layer for layer in layers if type(layer).__name__ == "BatchNormalization"]
    before = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(dict(feed), training=True)
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum


def settle_head(model: Any, layer: str, feed: Arrays, *, mean: float = 0.0, spread: float | None = None) -> None:
    """Centre the last dense layer on what `feed` makes of it, so that outputs follow the input and not the weights.

    Each unit's mean over the samples becomes `mean`. With `spread`, the kernel (which must be a small one, or its
    draw would no longer be it) is scaled to give that standard deviation over samples and units.
    """
    import keras

    head = model.get_layer(layer)
    kernel, bias = np.asarray(head.kernel), np.asarray(head.bias)
    product = np.asarray(keras.Model(model.input, head.input)(dict(feed))) @ kernel
    centred = product - product.mean(axis=0)
    scale = 1.0 if spread is None else spread / float(centred.std())
    if spread is not None:
        head.kernel.assign(kernel * scale)
    head.bias.assign(np.full_like(bias, mean) - product.mean(axis=0) * scale)


def _save(name: str) -> str:
    return f"build it by speedsheet.plugins.workload({name!r}).build(), and save_weights('FILE.weights.h5')"


def _quiet() -> None:
    # read by the libraries when they are first imported: no banner, and a failed rewrite is an error, not a log line
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def _variables(model: Any) -> dict[str, Any]:
    return {variable.path: variable for variable in model.variables if variable.dtype == "float32"}


def _forward(
    model: Any, inputs: tuple[InputSpec, ...], variables: Mapping[str, Any], large: Mapping[str, str]
) -> Callable[..., Any]:
    """Return the model as a function of its inputs, followed by its large variables."""
    import keras
    import tensorflow as tf

    # read now: inside a trace a variable has no value
    small = {path: np.asarray(variables[path]) for path in variables.keys() - set(large.values())}

    def forward(*arguments: Any) -> Any:
        feed = {spec.name: tensor for spec, tensor in zip(inputs, arguments, strict=False)}
        given = dict(zip(large.values(), arguments[len(inputs) :], strict=True))
        given |= {path: tf.constant(value) for path, value in small.items()}
        with keras.StatelessScope(state_mapping=[(variables[path], tensor) for path, tensor in given.items()]):
            return model(feed, training=False)

    return forward
