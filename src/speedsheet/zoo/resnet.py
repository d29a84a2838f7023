"""Residual networks for image classification (He et al. 2015, https://arxiv.org/abs/1512.03385)."""

from __future__ import annotations

from functools import partial
from typing import Any

from speedsheet.zoo import images

_PAPER = "https://arxiv.org/abs/1512.03385"
_STAGES = (64, 128, 256, 512)
_BLOCKS = (3, 4, 6, 3)


def backbone(name: str, block: str, side: int = images.SIDE) -> Any:
    """Return a network of keras_hub with pooling and a classifier; its blocks have their stride on the 3x3.

    Its weights are the same for any `side` of its images.
    """
    import keras
    import keras_hub

    image = keras.Input((side, side, 3), name=images.NAME)
    backbone = keras_hub.models.ResNetBackbone(
        [64], [7], _STAGES, _BLOCKS, (1, 2, 2, 2), block, image_shape=(side, side, 3), name="backbone"
    )
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone(image))
    classes = keras.layers.Dense(images.CLASSES, activation="softmax", name=images.HEAD)(pooled)
    return keras.Model({images.NAME: image}, {"probabilities": classes}, name=name)


WORKLOADS = (
    images.classifier(
        "resnet34",
        partial(backbone, "resnet34", "basic_block"),
        images.STANDARD,
        framework="keras_tf",
        source=f"keras_hub ResNetBackbone, basic_block {list(_BLOCKS)}, {_PAPER}",
        batch_size=32,
        thread_num=16,
        bf16=(0.9952, 0.12),
        calm=images.Calm(last=("_2_bn",)),
        gain=3.0,
    ),
    images.classifier(
        "resnet50",
        partial(images.application, "ResNet50", name="resnet50"),
        images.CAFFE,
        framework="tensorflow",
        source=f"keras.applications.ResNet50 (stride on the 1x1), {_PAPER}",
        batch_size=16,
        thread_num=12,
        bf16=(0.981, 0.25),
        calm=images.Calm(last=("_3_bn",)),
        imagenet=images.published(
            "resnet", "resnet50_weights_tf_dim_ordering_tf_kernels.h5", "2cb95161c43110f7111970584f804107"
        ),
    ),
    images.classifier(
        "resnet50_v1p5",
        partial(backbone, "resnet50_v1p5", "bottleneck_block"),
        images.STANDARD,
        framework="tensorflow",
        source=f"keras_hub ResNetBackbone, bottleneck_block {list(_BLOCKS)} (stride on the 3x3), {_PAPER}",
        batch_size=16,
        thread_num=12,
        bf16=(0.9907, 0.17),
        calm=images.Calm(last=("_3_bn",)),
        gain=3.0,
    ),
    images.classifier(
        "resnet101",
        partial(images.application, "ResNet101", name="resnet101"),
        images.CAFFE,
        framework="keras_tf",
        source=f"keras.applications.ResNet101 (stride on the 1x1), {_PAPER}",
        batch_size=16,
        thread_num=8,
        bf16=(0.9874, 0.2),
        calm=images.Calm(last=("_3_bn",), refinement=0.125),
        imagenet=images.published(
            "resnet", "resnet101_weights_tf_dim_ordering_tf_kernels.h5", "f1aeb4b969a6efcfb50fad2f0c20cfc5"
        ),
    ),
)
