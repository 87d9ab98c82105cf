"""Scaling of raw features: what it computes, and that it needs no second copy of them."""

import tracemalloc

import numpy as np
import pytest

from medley.nn import features as module
from medley.nn.features import FeatureScale, item_features
from medley.types import Features, Inputs, Interactions

NOBODY = Interactions(np.zeros(0, "i4"), np.zeros(0, "i4"), num_users=1, num_items=1)


def scaled(values: np.ndarray, present: np.ndarray, scale: FeatureScale) -> np.ndarray:
    return item_features(Inputs(NOBODY, {"visual": Features(values, present)}), scale)["visual"].values.numpy()


def expected(values: np.ndarray, present: np.ndarray, scale: FeatureScale) -> np.ndarray:
    """Item by item or column by column."""
    there = [i for i in range(len(values)) if present[i]]
    out = np.zeros(values.shape)
    out[there] = values[there]
    if scale == "l2":
        for i in there:
            out[i] /= max(float(np.sqrt((out[i] ** 2).sum())), 1e-12)
    elif scale == "standard":
        for column in out.T:
            mean, deviation = column[there].mean(), column[there].std()
            column[there] = (column[there] - mean) / max(float(deviation), 1e-6)
    return out


@pytest.mark.parametrize("part_bytes", [1, 100, 2**27])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("scale", ["none", "l2", "standard"])
def test_scales_are_what_they_say_in_parts_of_any_size(scale: FeatureScale, dtype: str, part_bytes: int, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    random = np.random.default_rng(0)
    values, present = random.normal(3, 2, (30, 7)).astype(dtype), random.random(30) < 0.8
    values[:, 2], values[np.flatnonzero(present)[0]] = 5, 0  # a column that tells nothing, an item without a direction
    before = values.copy()
    assert np.allclose(scaled(values, present, scale), expected(values.astype("f8"), present, scale), atol=1e-5)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("scale", ["none", "l2", "standard"])
def test_features_are_scaled_within_the_copy_that_a_model_keeps(scale: FeatureScale, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 2**18)
    values, present = np.ones((4096, 1024), "f2"), np.ones(4096, bool)
    tracemalloc.start()
    try:
        scaled(values, present, scale)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * values.size * 4
