"""Draws: the same on every machine, whatever was drawn before, and of the distribution that they claim."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from speedsheet.core import draws

SEEDS = st.integers(0, 2**63)
NAMES = st.text(max_size=20)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def test_the_stream_never_changes():
    """Shipped recipes hold hashes of what these functions drew; a change here breaks every one of them."""
    assert digest(draws.bits(920, "golden", 1000)) == "06392e0f3d3d7a33"
    assert digest(draws.unit(920, "golden", 1000)) == "b69ac3dffbb86ca8"
    assert digest(draws.symmetric(920, "golden", (7, 11, 13), 0.25)) == "c046e0bbd509d6fa"


@given(SEEDS, NAMES, st.integers(0, 300))
def test_words_depend_on_seed_and_name_alone(seed: int, name: str, words: int):
    """Drawing something else in between, or more of it, changes nothing."""
    once = draws.bits(seed, name, words)
    draws.bits(seed + 1, name, 7)
    assert np.array_equal(once, draws.bits(seed, name, words + 5)[:words])


@given(SEEDS, NAMES)
def test_other_names_and_seeds_draw_other_words(seed: int, name: str):
    """Neither two variables of a model nor two seeds of a variable share their values."""
    words = draws.bits(seed, name, 4)
    assert not np.array_equal(words, draws.bits(seed, name + "x", 4))
    assert not np.array_equal(words, draws.bits(seed + 1, name, 4))


@given(SEEDS, NAMES, st.integers(1, 500), st.floats(1e-3, 10.0))
def test_symmetric_is_arithmetic_on_raw_halves(seed: int, name: str, count: int, limit: float):
    """Each value is the upper 24 bits of half a word, low half first, scaled to [-limit, limit)."""
    halves = draws.bits(seed, name, (count + 1) // 2).astype("<u8").view("<u4")[:count]
    wanted = ((halves >> 8).astype(np.float64) * 2.0**-23 - 1.0).astype(np.float32) * np.float32(limit)
    got = draws.symmetric(seed, name, (count,), limit)
    assert got.dtype == np.float32
    assert np.array_equal(got, wanted)
    assert got.min() >= -np.float32(limit)
    assert got.max() < np.float32(limit)


@pytest.mark.parametrize("extra", [-1, 0, 1, 2])
def test_symmetric_does_not_depend_on_chunks(extra: int):
    """An array that ends near the boundary of an inner chunk begins like a shorter one and like a longer one."""
    boundary = 2 * draws._CHUNK_WORDS
    whole = draws.symmetric(3, "chunks", (boundary + 10,), 1.0)
    assert np.array_equal(whole[: boundary + extra], draws.symmetric(3, "chunks", (boundary + extra,), 1.0))


@given(SEEDS, st.integers(1, 64), st.integers(1, 64))
def test_shape_only_folds_the_stream(seed: int, rows: int, columns: int):
    """A matrix is its flat draw, row by row."""
    flat = draws.symmetric(seed, "shape", (rows * columns,), 1.0)
    assert np.array_equal(draws.symmetric(seed, "shape", (rows, columns), 1.0).ravel(), flat)


@pytest.mark.parametrize("seed", range(5))
def test_draws_are_uniform(seed: int):
    """Kolmogorov and Smirnov find nothing against it, and neighbours are not correlated."""
    uniform = draws.unit(seed, "uniform", 20_000)
    wide = draws.symmetric(seed, "uniform", (20_000,), 2.0)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-4
    assert stats.kstest(wide, stats.uniform(-2, 4).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(wide[:-1], wide[1:])[0, 1]) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_normals_are_normal(seed: int):
    """Box and Muller's transform gives finite standard normals."""
    sample = draws.normal(seed, "normal", 20_001)
    assert sample.shape == (20_001,)
    assert np.isfinite(sample).all()
    assert stats.kstest(sample, "norm").pvalue > 1e-4


@given(SEEDS, st.integers(1, 10**7), st.integers(1, 200), st.sampled_from([0.7, 1.05, 1.1, 2.0]))
def test_zipf_stays_in_range(seed: int, cardinality: int, count: int, exponent: float):
    """Every index is one of the table's rows, also of a table of one."""
    drawn = draws.zipf(seed, "zipf", count, cardinality, exponent)
    assert drawn.dtype == np.int64
    assert drawn.shape == (count,)
    assert drawn.min() >= 0
    assert drawn.max() < cardinality


def test_zipf_is_skewed_and_scattered():
    """A few rows take much of the traffic, and they are not neighbours: a cache sees what it sees in service."""
    drawn = draws.zipf(5, "zipf", 50_000, 100_000)
    rows, counts = np.unique(drawn, return_counts=True)
    top = rows[np.argsort(counts)[::-1][:10]]
    assert np.sort(counts)[::-1][:100].sum() > 0.3 * len(drawn)
    assert np.diff(np.sort(top)).min() > 100


def test_images_have_a_natural_spectrum():
    """Amplitude falls as one over frequency, values lie in [0, 1), and images differ."""
    images = draws.natural_images(2, "image", 4, 64, 64, 3)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() < 1
    assert not np.array_equal(images[0], images[1])
    amplitude = np.abs(np.fft.rfft2(images.mean(axis=-1), axes=(1, 2))).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None, :])
    band = (frequency > 0.03) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(amplitude[band]), 1)[0]
    assert slope == pytest.approx(-1.0, abs=0.15)


def test_an_image_does_not_depend_on_how_many_are_drawn():
    """The second of two is the second of five."""
    two, five = draws.natural_images(2, "image", 2, 16, 16, 3), draws.natural_images(2, "image", 5, 16, 16, 3)
    assert np.array_equal(two, five[:2])
