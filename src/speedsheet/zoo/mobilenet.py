"""Networks of inverted residuals (Sandler et al. 2018, https://arxiv.org/abs/1801.04381)."""

from __future__ import annotations

from functools import partial

from speedsheet.zoo import images

WORKLOADS = (
    images.classifier(
        "mobilenet_v2",
        partial(images.application, "MobileNetV2", name="mobilenet_v2"),
        images.SIGNED,
        framework="tensorflow",
        source="keras.applications.MobileNetV2, width 1.0, https://arxiv.org/abs/1801.04381",
        batch_size=32,
        thread_num=12,
        bf16=(0.9799, 0.25),
        imagenet=images.published("mobilenet_v2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"),
        calm=images.Calm(last=("_project_BN",), open=("_expand_BN", "_depthwise_BN")),
    ),
)
