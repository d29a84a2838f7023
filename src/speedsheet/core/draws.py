"""Arrays drawn from raw generator bits: the same on every machine and every numpy version.

numpy promises that a bit generator's raw stream never changes, but not what its distributions make of it
(NEP 19). So every array here is arithmetic on raw 64-bit words of Philox keyed by SHA-256 of (seed, name):
no state is shared between names, and one array can be drawn without the others.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
_CHUNK_WORDS = 1 << 20


def bits(seed: int, name: str, words: int) -> NDArray[np.uint64]:
    """Draw `words` raw 64-bit words for (seed, name)."""
    return _generator(seed, name).random_raw(words).astype(np.uint64, copy=False)


def unit(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """Draw `count` float64 in [0, 1), 53 bits each."""
    return (bits(seed, name, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def symmetric(seed: int, name: str, shape: tuple[int, ...], limit: float) -> F32:
    """Draw float32 of `shape`, uniform in [-limit, limit); 24 bits each, two from one word."""
    count = int(np.prod(shape, dtype=np.int64))
    out = np.empty(count, np.float32)
    generator = _generator(seed, name)
    for start in range(0, count, 2 * _CHUNK_WORDS):
        want = min(2 * _CHUNK_WORDS, count - start)
        halves = generator.random_raw((want + 1) // 2).astype("<u8", copy=False).view("<u4")[:want]
        out[start : start + want] = (halves >> np.uint32(8)).astype(np.float32)
    out *= np.float32(2.0**-23)
    out -= np.float32(1.0)
    out *= np.float32(limit)
    return out.reshape(shape)


def normal(seed: int, name: str, count: int) -> NDArray[np.float64]:
    """Draw `count` standard normals by the Box-Muller transform."""
    pairs = (count + 1) // 2
    flat = unit(seed, name, 2 * pairs)
    radius = np.sqrt(-2.0 * np.log1p(-flat[:pairs]))
    angle = 2.0 * np.pi * flat[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def zipf(seed: int, name: str, count: int, cardinality: int, exponent: float = 1.05) -> NDArray[np.int64]:
    """Draw `count` indices in [0, cardinality) with P(rank k) ~ k^-exponent, ranks scattered over the range.

    The inverse of the continuous power law is used, so any cardinality costs the same.
    """
    u = unit(seed, name, count)
    power = 1.0 - exponent
    top = float(cardinality + 1) ** power
    rank = np.clip(np.floor((1.0 + u * (top - 1.0)) ** (1.0 / power)).astype(np.int64) - 1, 0, cardinality - 1)
    stride = _coprime_near(int(cardinality * 0.6180339887498949), cardinality)
    scattered: NDArray[np.int64] = (rank * stride) % cardinality
    return scattered


def natural_images(seed: int, name: str, count: int, height: int, width: int, channels: int) -> F32:
    """Draw images (count, height, width, channels) with a 1/f amplitude spectrum, in [0, 1).

    Natural scenes have it (Field 1987); white noise flatters caches and hides numerical error.
    """
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    images = np.empty((count, height, width, channels), np.float32)
    for index in range(count):
        noise = normal(seed, f"{name}/{index}", channels * height * width).reshape(channels, height, width)
        smooth = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(height, width))
        mixed = 0.8 * smooth.mean(axis=0, keepdims=True) * np.sqrt(channels) + 0.6 * smooth
        low, high = mixed.min(), mixed.max()
        images[index] = np.moveaxis((mixed - low) / (high - low + 1e-12), 0, -1)
    return np.minimum(images, np.float32(1.0 - 2.0**-24))


def _generator(seed: int, name: str) -> np.random.Philox:
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little"))


def _coprime_near(start: int, modulus: int) -> int:
    candidate = max(start, 1)
    while np.gcd(candidate, modulus) != 1:
        candidate += 1
    return candidate
