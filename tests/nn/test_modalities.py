"""Features of items as models read them: scaled, laid side by side, fused."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from medley import models
from medley.nn.modalities import Content, by_name, item_features, masked_softmax, sum_of
from medley.testing import scores_of
from medley.types import Features, Inputs, Interactions


def test_statistics_are_those_of_the_items_of_train_that_have_the_modality():
    values = np.random.default_rng(0).normal(3, 2, (6, 2)).astype("f4")
    present = np.array([True, True, False, True, True, True])
    train = Interactions(np.array([0, 0, 0, 0], "i4"), np.array([0, 1, 2, 4], "i4"), num_users=1, num_items=6)
    features = item_features(Inputs(train, {"visual": Features(values, present)}), "standard")["visual"]
    known = values[[0, 1, 4]].astype("f8")
    expected = (values - known.mean(axis=0)) / known.std(axis=0)
    expected[2] = 0
    assert np.allclose(features.values, expected, atol=1e-5)
    assert features.present[:, 0].tolist() == present.tolist()


def test_models_see_as_many_dimensions_as_the_scale_leaves(checkerboard: Inputs):
    features = item_features(checkerboard, "pca-whitening-2")
    assert list(features) == ["visual", "acoustic", "mood"]
    assert all(f.dim == 2 and f.values.shape == (32, 2) for f in features.values())
    assert Content(features, 3)().shape == (32, 3)


@pytest.mark.parametrize("name", [name for name, model in models.MODELS.items() if model.reads_features])
def test_every_model_with_a_feature_scale_takes_whitened_features(name: str, checkerboard: Inputs):
    options = models.describe(name)["options"]
    if "feature_scale" not in options:
        pytest.skip("reads raw features alone")
    small = {"dim": 8} if "dim" in options else {}
    reading = {"use_content": True} if "use_content" in options else {}
    scores = [
        scores_of(models.build(name, checkerboard, feature_scale=how, **small, **reading))
        for how in ("pca-whitening-2", "pca-whitening-3")
    ]
    assert all(np.isfinite(each).all() for each in scores)
    if name not in ("bm3", "freedom"):  # their features enter the loss alone
        assert not np.array_equal(*scores)


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
