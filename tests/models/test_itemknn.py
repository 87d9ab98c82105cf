"""ItemKNN's scores as sums over the seen items, by interactions and by content."""

import numpy as np
import pytest
import torch

from medley import graphs, models
from medley.errors import InputError
from medley.testing import scores_of
from medley.types import Inputs

ALL_USERS = torch.arange(24)


@pytest.mark.parametrize("options", [{}, {"k": 2}, {"shrinkage": 0.0, "damping": 0.0}])
def test_scores_by_interactions_are_sums_over_the_items_of_the_user(checkerboard: Inputs, options: dict):
    chosen = {"k": 100, "shrinkage": 3.0, "damping": 0.5} | options
    s = graphs.item_cosine(checkerboard.train, **chosen).toarray()
    x = checkerboard.train.csr().toarray()
    expected = [[sum(s[j, i] for j in np.flatnonzero(x[u])) for i in range(32)] for u in range(24)]
    model = models.build("itemknn", checkerboard, **options)
    assert np.allclose(scores_of(model), expected, atol=1e-6)
    assert model.contributions(ALL_USERS, torch.zeros(24, 1, dtype=torch.int64)) == {}


@pytest.mark.parametrize("k", [1, 5, 100])
def test_scores_by_content_are_sums_of_cosines_in_every_modality(checkerboard: Inputs, k: int):
    x = checkerboard.train.csr().toarray()
    expected = {}
    for m, f in checkerboard.features.items():
        present = np.flatnonzero(f.present)
        unit = f.values / np.maximum(np.linalg.norm(f.values, axis=1, keepdims=True), 1e-12)
        s = np.zeros((32, 32))
        for j in present:
            nearest = sorted((i for i in present if i != j), key=lambda i: -unit[j] @ unit[i])[:k]
            s[j, nearest] = unit[nearest] @ unit[j]
        expected[m] = x @ s
    model = models.build("itemknn", checkerboard, similarity="content", k=k)
    assert np.allclose(scores_of(model), sum(expected.values()), atol=1e-4)
    parts = model.contributions(ALL_USERS, torch.arange(32).expand(24, 32))
    assert parts.keys() == expected.keys()
    assert all(np.allclose(parts[m].numpy(), expected[m], atol=1e-4) for m in expected)
    assert (parts["mood"][:, 3] == 0).all()  # the item that lacks it


def test_an_item_without_interactions_can_be_found_by_content_alone(checkerboard: Inputs):
    by_users, by_content = (
        models.build("itemknn", checkerboard, similarity=similarity) for similarity in ("interactions", "content")
    )
    assert (scores_of(by_users)[:, 31] == 0).all()
    assert (scores_of(by_content)[:, 31] != 0).all()


def test_insights_list_the_nearest_neighbours_first(checkerboard: Inputs):
    model = models.build("itemknn", checkerboard, k=4, similarity="content")
    insights = model.about_item(2)
    assert [insight.topic for insight in insights] == [f"neighbours by {m}" for m in checkerboard.features]
    s = graphs.item_knn(checkerboard.features["visual"], 4, include_self=False).toarray()[2]
    assert list(insights[0].weights) == list(np.argsort(-s, kind="stable")[:4])
    assert model.about_item(3)[2].weights == {}  # it has no mood
    by_users = models.build("itemknn", checkerboard)
    assert by_users.about_item(31)[0].weights == {}


def test_content_without_features_is_refused(checkerboard: Inputs):
    with pytest.raises(InputError, match="at least one modality"):
        models.build("itemknn", Inputs(checkerboard.train, {}), similarity="content")
