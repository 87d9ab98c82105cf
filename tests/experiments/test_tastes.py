"""Planted tastes: each model finds users' dominant modalities better than chance, from its scores alone."""

import numpy as np
import pytest
import torch

from medley import models
from medley.data.simulate import planted, preset, simulate
from medley.experiments.studies import tastes
from tools import tastes_page


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """150 users who care for one of three modalities most, 300 items."""
    settings = preset("demo", num_users=150, num_items=300, num_interactions=4500, num_clusters=12)
    return simulate(tmp_path_factory.mktemp("tastes") / "data", settings=settings, seed=0)


@pytest.mark.parametrize("name", tastes.OPTIONS)
def test_the_planted_modality_is_found_far_more_often_than_by_chance(name, catalogue):
    options, training = {"dim": 16, **tastes.OPTIONS[name]}, {"lr": 2e-2, "num_epochs": 15, "batch_size": 1024}
    found = tastes.recover(name, catalogue, seed=0, options=options, training=training, control=False)
    chance = tastes.reference(catalogue).chance
    assert chance < 0.45
    standard_error = np.sqrt(chance * (1 - chance) / catalogue.manifest.num_users)
    assert found.margin > chance + 5 * standard_error
    assert found.clear > found.margin  # clear tastes are easier to find


def test_a_model_that_has_learned_nothing_finds_no_tastes(catalogue):
    found = tastes.recover("mmgcn", catalogue, seed=0, options={"dim": 16}, training={"num_epochs": 0})
    assert found.margin < 0.5 and found.random < 0.5


def test_chance_names_the_most_frequent_modality_and_clusters_know_more(catalogue):
    strongest = planted(catalogue).user_weights.argmax(axis=1)
    reference = tastes.reference(catalogue)
    assert reference.chance == pytest.approx(np.bincount(strongest).max() / 150)
    assert reference.clusters > 0.7


def test_items_in_liked_clusters_are_counted_by_modality(catalogue):
    truth, train = planted(catalogue), catalogue.train
    counts = tastes._liked(truth, catalogue)
    for user in (0, 7, 149):
        items = train.item[train.user == user]
        for m in range(3):
            assert counts[user, m] == sum(truth.item_clusters[i, m] in truth.user_clusters[user, m] for i in items)


def test_a_models_own_weights_name_the_heaviest_modality(catalogue):
    model = models.build("dualgnn", catalogue.inputs(), dim=8)
    with torch.no_grad():
        model.alpha.copy_(torch.rand(150, 3))
    assert np.array_equal(tastes.dominant_by_own_weights(model, catalogue), model.alpha.argmax(dim=1).numpy())
    assert tastes.dominant_by_own_weights(models.build("mmgcn", catalogue.inputs(), dim=8), catalogue) is None


def test_the_page_shows_means_and_spread_over_seeds():
    recoveries = {"ludp": [tastes.Recovery(0.8, 0.9, 0.7, 0.35, 0.2), tastes.Recovery(0.9, 0.9, 0.7, 0.35, 0.2)]}
    references = [tastes.Reference(0.34, 0.36, 0.9), tastes.Reference(0.36, 0.38, 0.9)]
    text = tastes_page.page(references, recoveries, [0, 1], preset("demo"))
    assert "| LUDP | 0.8500 ± 0.0707 | 0.9000 ± 0.0000 | 0.7000 ± 0.0000 | 0.3500 ± 0.0000 | 0.2000 ± 0.0000 |" in text
    assert "| chance | 0.3500 ± 0.0141 | 0.3700 ± 0.0141 |" in text
    assert "By margin, seed by seed: LUDP 0.800, 0.900." in text
