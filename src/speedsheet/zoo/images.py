"""What image classifiers share: images of natural spectrum, and weights whose outputs follow them.

Declares no model of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import Any

from speedsheet.convert.shipping import tensorflow, weights
from speedsheet.convert.shipping.recipe import Shape
from speedsheet.core import draws
from speedsheet.core.workload import Arrays, InputSpec, Workload, limits_found

NAME = "image"
SIDE = 224
HEAD = "predictions"
CLASSES = 1000
_SETTLING_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a network reads: pixels in [0, 1) times `scale`, less `mean`, over `deviation`, by channel."""

    scale: float
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def spec(self) -> InputSpec:
        """The declared input; its bounds are those of the channels together."""
        low = min((0.0 - mean) / width for mean, width in zip(self.mean, self.deviation, strict=True))
        high = max((self.scale - mean) / width for mean, width in zip(self.mean, self.deviation, strict=True))
        return InputSpec(NAME, (None, SIDE, SIDE, 3), "float32", round(low - 5e-4, 3), round(high + 5e-4, 3))

    def draw(self, seed: int, samples: int) -> Arrays:
        """Draw images of natural spectrum, preprocessed."""
        images = draws.natural_images(seed, NAME, samples, SIDE, SIDE, 3)
        images *= self.scale
        images -= self.mean
        images /= self.deviation
        return {NAME: images}


#: 0..255 in the order blue, green, red, less ImageNet's mean colour: the original networks.
CAFFE = Preprocessing(255.0, (103.939, 116.779, 123.68))
#: ImageNet's mean and deviation of each channel, of pixels in 0..1.
STANDARD = Preprocessing(1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: -1..1, whatever the data set.
SIGNED = Preprocessing(2.0, (1.0, 1.0, 1.0))


def published(folder: str, file: str, md5: str | None = None) -> weights.Offer:
    """Return where keras.applications has a network's ImageNet weights, and the MD5 that it states (version 3.15)."""
    return weights.Offer(f"https://storage.googleapis.com/tensorflow/keras-applications/{folder}/{file}", md5)


def application(make: str, *, name: str) -> Any:
    """Return a network of keras.applications, by the name of its function, with its input and output named."""
    import keras

    image = keras.Input((SIDE, SIDE, 3), name=NAME)
    network = getattr(keras.applications, make)(weights=None, input_tensor=image)
    return keras.Model({NAME: image}, {"probabilities": network.outputs[0]}, name=name)


def limit(gain: float, path: str, shape: Shape) -> float:
    """He everywhere; the classifier is drawn `gain` wider, so that classes differ as a trained network's do.

    A depthwise kernel (height, width, channels, 1) has the fan-in of one channel.
    """
    if "depthwise" in path:
        return sqrt(6.0 / prod(shape[:2]))
    return weights.he(path, shape) * (gain if path.startswith(HEAD) else 1.0)


@dataclass(frozen=True, slots=True)
class Calm:
    """Which norms of a network are set so that its depth does not amplify rounding until FP32 itself is in doubt.

    The norm that ends a residual block (its name ends with one of `last`) is scaled by `refinement`: a trained block
    refines what passes by it, equal shares of random blocks do not. A norm before ReLU (one of `open`) is lifted by
    one deviation, where a block has no path around it: layers that shut half of their units one after another tell
    ever smaller differences apart.
    """

    last: tuple[str, ...] = ()
    refinement: float = 0.25
    open: tuple[str, ...] = ()

    def apply(self, model: Any) -> None:
        """Set the norms of a Keras model."""
        for layer in model._flatten_layers():  # noqa: SLF001  model.layers hides nested ones
            if self.last and layer.name.endswith(self.last):
                layer.gamma.assign(layer.gamma * self.refinement)
            if self.open and layer.name.endswith(self.open):
                layer.beta.assign(layer.beta + 1.0)


def settle(preprocessing: Preprocessing, calm: Calm, model: Any) -> None:
    """Take batch-norm statistics from images; take from the classifier what all images have in common."""
    calm.apply(model)
    feed = preprocessing.draw(weights.SEED, _SETTLING_IMAGES)
    tensorflow.settle_batch_norms(model, feed)
    tensorflow.settle_head(model, HEAD, feed)


def classifier(
    name: str,
    network: Callable[[], Any],
    preprocessing: Preprocessing,
    *,
    framework: str,
    source: str,
    batch_size: int,
    thread_num: int,
    calm: Calm,
    bf16: tuple[float, float],
    gain: float = 8.0,
    imagenet: weights.Offer | None = None,
) -> Workload:
    """Declare an image classifier of 1000 classes; `imagenet` is where its framework has trained weights of it."""
    return Workload(
        name=name,
        task="image classification",
        framework=framework,
        source=f"{source}; STCP920 v1.2.0rc1 sheet",
        inputs=(preprocessing.spec,),
        batch_size=batch_size,
        thread_num=thread_num,
        draw=preprocessing.draw,
        build=tensorflow.Keras(
            name,
            network,
            partial(limit, gain),
            partial(settle, preprocessing, calm),
            {"imagenet": imagenet} if imagenet else {},
        ),
        precisions=("fp16", "fp32", "bf16"),
        limits=limits_found(bf16=bf16),
    )


WORKLOADS: tuple[Workload, ...] = ()
