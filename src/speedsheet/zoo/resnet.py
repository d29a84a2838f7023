"""Residual networks for image classification (He et al. 2015, https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from speedsheet.convert import tensorflow, weights
from speedsheet.convert.recipe import Shape
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Limit, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

#: ImageNet's mean colour in the order blue, green, red; the networks read 0..255 less this.
_MEAN_BGR = (103.939, 116.779, 123.68)
_SIDE = 224
_IMAGE = InputSpec("image", (None, _SIDE, _SIDE, 3), "float32", -123.68, 151.061)
_SETTLING_IMAGES = 16
_HEAD = "predictions"
_LAST_NORM = "_3_bn"
_REFINEMENT = 0.25


def draw(seed: int, samples: int) -> Arrays:
    """Draw images of natural spectrum, preprocessed as the networks expect."""
    images = draws.natural_images(seed, "image", samples, _SIDE, _SIDE, 3)
    images *= 255.0
    images -= _MEAN_BGR
    return {_IMAGE.name: images}


def _network(make: Callable[..., Any]) -> Any:
    """Return a network of keras.applications with its input and output named."""
    import keras

    image = keras.Input(_IMAGE.shape[1:], name=_IMAGE.name)
    network = make(weights=None, input_tensor=image)
    return keras.Model({_IMAGE.name: image}, {"probabilities": network.outputs[0]}, name=network.name)


def _resnet50() -> Any:
    import keras

    return _network(keras.applications.ResNet50)


def _limit(path: str, shape: Shape) -> float:
    """He everywhere; the classifier is drawn wider, so that the classes of one image differ as a trained one's do."""
    return weights.he(path, shape) * (8.0 if path.startswith(_HEAD) else 1.0)


def _settle(model: Any) -> None:
    """Take batch-norm statistics from images; take from the classifier what all images have in common.

    The last norm of each block is scaled down first: a trained block refines what passes by it, while equal shares
    of random blocks amplify rounding until FP32 itself is in doubt.
    """
    for layer in model.layers:
        if layer.name.endswith(_LAST_NORM):
            layer.gamma.assign(layer.gamma * _REFINEMENT)
    feed = draw(weights.SEED, _SETTLING_IMAGES)
    tensorflow.settle_batch_norms(model, feed)
    tensorflow.settle_head(model, _HEAD, feed)


WORKLOADS = (
    Workload(
        name="resnet50",
        task="image classification",
        framework="tensorflow",
        source="keras.applications.ResNet50 (stride on the 1x1), https://arxiv.org/abs/1512.03385; "
        "STCP920 v1.2.0rc1 sheet",
        inputs=(_IMAGE,),
        batch_size=16,
        thread_num=12,
        draw=draw,
        build=tensorflow.Keras("resnet50", _resnet50, _limit, _settle),
        precisions=("fp16", "fp32", "bf16"),
        limits={
            "fp32": Limit(0.999999, 1e-4, "docs/gate-limits.md"),
            "bf16": Limit(0.9756, 0.25, "docs/gate-limits.md"),
        },
    ),
)
