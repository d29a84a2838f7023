"""Densely connected networks for image classification (Huang et al. 2016, https://arxiv.org/abs/1608.06993)."""

from __future__ import annotations

from functools import partial

from speedsheet.zoo import images

WORKLOADS = (
    images.classifier(
        "densenet101",
        partial(images.application, "DenseNet121", name="densenet101"),
        images.STANDARD,
        framework="keras_tf",
        source="keras.applications.DenseNet121 (the sheet's densenet101: the paper has none of that depth, and the "
        "publisher's later tables give the same speed as densenet121), https://arxiv.org/abs/1608.06993",
        batch_size=8,
        thread_num=12,
        bf16=(0.9852, 0.22),
        calm=images.Calm(),  # its blocks join what they read, and add nothing to it
        gain=3.0,
        imagenet=images.published(
            "densenet", "densenet121_weights_tf_dim_ordering_tf_kernels.h5", "9d60b8095a5708f2dcce2bca79d332c7"
        ),
    ),
)
