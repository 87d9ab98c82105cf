"""Features of items as models read them: scaled, laid side by side, fused."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from medley.nn import modalities as module
from medley.nn.modalities import Content, FeatureScale, by_name, item_features, masked_softmax, sum_of
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
    values[:, 2], values[np.flatnonzero(present)[0]] = 5, 0  # a constant column, an item without a direction
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


def test_content_is_a_linear_layer_on_the_concatenated_features(five_nodes: Inputs):
    content = Content(item_features(five_nodes, "none"), 3, bias=True)
    torch.nn.init.normal_(content.b)
    matrix = np.concatenate([content.W[m].weight.detach().numpy() for m in ("visual", "acoustic")], axis=1)
    features = np.concatenate([five_nodes.features[m].values for m in ("visual", "acoustic")], axis=1)
    expected = features[:2] @ matrix.T + content.b.detach().numpy()
    assert np.allclose(content().detach()[:2], expected, atol=1e-6)


def test_a_learned_vector_stands_in_for_a_modality_that_an_item_lacks(five_nodes: Inputs):
    content = Content(item_features(five_nodes, "none"), 3)
    assert set(content.absent) == {"acoustic"}
    visual = content.W["visual"](torch.from_numpy(five_nodes.features["visual"].values[2]))
    assert torch.allclose(content()[2], visual + content.absent["acoustic"][0], atol=1e-6)
    content()[2].sum().backward()
    assert content.absent["acoustic"].grad is not None and content.absent["acoustic"].grad.ne(0).all()


def test_a_sum_is_that_of_a_loop_and_reaches_every_part():
    parts = [torch.arange(6.0).view(2, 3).add(n).requires_grad_() for n in range(3)]
    total = sum_of(part for part in parts)
    assert total.tolist() == [[sum(part[i, j].item() for part in parts) for j in range(3)] for i in range(2)]
    total.square().sum().backward()
    assert all(torch.equal(part.grad, 2 * total) for part in parts)


def test_the_sum_of_a_single_tensor_is_the_tensor():
    (alone,) = [torch.ones(1, 2)]
    assert sum_of([alone]) is alone


def test_a_masked_softmax_runs_over_what_a_row_has():
    score = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], requires_grad=True)
    has = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    weight = masked_softmax(score, has)
    for n in range(3):
        odds = [math.exp(score[n, m].item()) if has[n, m] else 0.0 for m in range(3)]
        assert weight[n].tolist() == pytest.approx([odd / (sum(odds) or 1) for odd in odds])
    weight[:, 0].sum().backward()
    assert score.grad.isfinite().all() and not score.grad[~has].any()


def test_modules_by_name_are_part_of_their_owner_and_keep_their_order():
    owner = nn.Module()
    owner.W = by_name({"visual": nn.Linear(2, 1), "acoustic": nn.Linear(3, 1)})
    assert list(owner.W) == ["visual", "acoustic"] and owner.W["acoustic"].in_features == 3
    assert [name for name, _ in owner.named_parameters()][::2] == ["W.visual.weight", "W.acoustic.weight"]
