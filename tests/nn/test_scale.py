"""Scales of features against plain formulas, and what they refuse."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg

from medley.errors import InputError
from medley.nn import scale as module
from medley.nn.scale import Scale, scale
from medley.types import Features

SCALES = ["none", "l2", "standard", "pca-whitening", "pca-whitening-3"]


def made(dtype: str = "float32", rows: int = 30, dim: int = 7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values with correlated columns, presence, and items of train; column 2 is constant, one row is zero."""
    random = np.random.default_rng(0)
    values = random.normal(3, 2, (rows, dim)) @ random.normal(size=(dim, dim))
    present, train = random.random(rows) < 0.8, random.random(rows) < 0.7
    values[:, 2], values[np.flatnonzero(present & train)[0]] = 5, 0
    return values.astype(dtype), present, train


def expected(values: np.ndarray, present: np.ndarray, train: np.ndarray, how: str) -> np.ndarray:
    """Item by item, column by column, or with the eigenvectors of scipy."""
    there, known = np.flatnonzero(present), values[present & train]
    out = np.zeros(values.shape)
    out[there] = values[there]
    if how == "l2":
        for i in there:
            out[i] /= max(float(np.sqrt((out[i] ** 2).sum())), 1e-12)
    elif how == "standard":
        for column, kept in zip(out.T, known.T, strict=True):
            column[there] = (column[there] - kept.mean()) / max(float(kept.std()), 1e-6)
    elif how.startswith("pca"):
        variance, vectors = scipy.linalg.eigh(np.cov(known.T, bias=True))
        dim = 3 if how.endswith("3") else values.shape[1]
        out = np.zeros((len(values), dim))
        for d in range(dim):
            vector = vectors[:, -1 - d]
            vector = vector * np.sign(vector[np.abs(vector).argmax()])
            variance_of_d = max(variance[-1 - d], 1e-6 * variance[-1])
            out[there, d] = (values[there] - known.mean(axis=0)) @ vector / np.sqrt(variance_of_d)
    return out


@pytest.mark.parametrize("part_bytes", [1, 100, 2**27])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("how", SCALES)
def test_scales_are_what_they_say_in_parts_of_any_size(how: str, dtype: str, part_bytes: int, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    values, present, train = made(dtype)
    before = values.copy()
    scaled = scale(Features(values, present), how, train=train)
    assert scaled.values.dtype == np.float32 and scaled.present is present
    assert np.allclose(scaled.values, expected(values.astype("f8"), present, train, how), atol=2e-4)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("how", SCALES)
def test_items_without_the_modality_or_out_of_train_teach_nothing(how: str):
    values, present, train = made()
    changed = values.copy()
    changed[~present] = 99
    first, second = (scale(Features(each, present), how, train=train).values for each in (values, changed))
    assert np.array_equal(first, second)
    changed[~train] *= 2
    third = scale(Features(changed, present), how, train=np.flatnonzero(train)).values
    assert np.array_equal(first[train], third[train])


def test_whitened_items_of_train_are_uncorrelated_with_variance_one():
    values, present, train = made(rows=200)
    known = scale(Features(values, present), "pca-whitening", train=train).values[present & train].astype("f8")
    assert np.allclose(known.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(np.cov(known.T, bias=True), np.eye(7), atol=1e-4)


def test_fewer_whitened_dimensions_are_the_first_of_all():
    values, present, train = made()
    few, all_ = (
        scale(Features(values, present), how, train=train).values for how in ("pca-whitening-3", "pca-whitening")
    )
    assert np.allclose(few, all_[:, :3], atol=1e-6)


def test_whitening_keeps_at_most_as_many_dimensions_as_there_are_items_of_train():
    values = made()[0][:6]
    scaled = scale(Features(values, np.ones(6, bool)), "pca-whitening", train=np.arange(4))
    assert scaled.values.shape == (6, 4)
    assert np.isfinite(scaled.values).all() and np.abs(scaled.values).max() < 1e4


def test_directions_without_variance_are_not_blown_up():
    values = np.random.default_rng(0).normal(size=(50, 3)).astype("f4")
    scaled = scale(Features(values[:, [0, 1, 2, 0]], np.ones(50, bool)), "pca-whitening", train=np.arange(50)).values
    assert np.allclose(scaled.std(axis=0), [1, 1, 1, 0], atol=1e-3)


def test_equal_items_become_zero_rather_than_infinite():
    values = np.full((5, 3), 7, "f4")
    for how in ("standard", "pca-whitening"):
        assert not scale(Features(values, np.ones(5, bool)), how, train=np.arange(5)).values.any()


@pytest.mark.parametrize("how", SCALES)
def test_a_restored_scale_gives_a_single_item_the_vector_of_the_batch(how: str):
    values, present, train = made("float16", rows=300, dim=64)
    fitted = Scale.fit(how, values, present & train)
    restored = Scale.restore(how, fitted.arrays)
    batch = scale(Features(values, present), how, train=train).values
    assert restored.dim == fitted.dim == (batch.shape[1] if fitted.arrays else None)
    for row in np.flatnonzero(present)[:20]:
        alone = restored.apply(values[row : row + 1])
        assert alone.dtype == np.float32
        assert np.allclose(alone[0], batch[row], rtol=1e-6, atol=1e-6)
    assert np.array_equal(fitted.apply(values)[present], batch[present])


@pytest.mark.parametrize("how", ["none", "l2", "standard"])
def test_features_are_scaled_within_the_one_copy_that_is_returned(how: str, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 2**18)
    assert peak_of(how) < 1.1 * 4096 * 1024 * 4


def test_whitening_needs_its_result_and_a_few_square_matrices(monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 2**18)
    assert peak_of("pca-whitening-8", dim=256) < 4096 * 8 * 4 + 8 * 256**2 * 8 + 2**22


def peak_of(how: str, dim: int = 1024) -> int:
    features = Features(np.ones((4096, dim), "f2"), np.ones(4096, bool))
    tracemalloc.start()
    try:
        scale(features, how, train=features.present)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("how", ["l1", "", "pca-whitening-", "pca-whitening-0", "pca-whitening--3", "PCA-whitening"])
def test_an_unknown_scale_is_refused(how: str):
    values, present, train = made()
    with pytest.raises(InputError, match=r"scale of features: expected none, l2, standard, .* with D a number"):
        scale(Features(values, present), how, train=train)


@pytest.mark.parametrize(
    ("rows", "how", "most"), [(30, "pca-whitening-8", "at most 7"), (5, "pca-whitening-6", "at most 5")]
)
def test_more_dimensions_than_there_are_get_the_largest_possible_number(rows: int, how: str, most: str):
    with pytest.raises(InputError, match=most):
        Scale.fit(how, made()[0], np.arange(rows))


@pytest.mark.parametrize("how", ["standard", "pca-whitening"])
def test_nothing_can_be_learned_from_no_item(how: str):
    values, present, train = made()
    with pytest.raises(InputError, match="at least one item of train that has the modality"):
        scale(Features(values, present), how, train=train & ~present)


def test_stored_arrays_must_belong_to_their_scale():
    standard = Scale.fit("standard", *made()[:2])
    with pytest.raises(InputError, match=r"expected mean and matrix, .* got mean \(7,\), deviation \(7,\)"):
        Scale.restore("pca-whitening", standard.arrays)
    with pytest.raises(InputError, match="expected none"):
        Scale.restore("l2", standard.arrays)


@pytest.mark.parametrize("how", ["standard", "pca-whitening-3"])
def test_values_of_another_dimension_are_refused(how: str):
    fitted = Scale.fit(how, *made()[:2])
    with pytest.raises(InputError, match=r"shape \(n, 7\), got \(1, 8\)"):
        fitted.apply(np.ones((1, 8)))
