"""Calibrated new items: liked by those whose taste they fit, and on average shown as often as other items."""

import numpy as np
import pytest
from tests.serving.items import own_features, without_items

import medley
from medley import models
from medley.serving.export import export


@pytest.mark.parametrize("name", ["mf", "mmgcn", "ease", "itemknn", "macridvae", "vbpr", "clcrec", "mosaic"])
@pytest.mark.parametrize("exposure", [0.5, 1.0, 3.0])
def test_new_items_enter_as_many_lists_on_average_as_items_of_train_times_exposure(name, exposure, simulated):
    options = {"dim": 8} if "dim" in models.describe(name)["options"] else {}
    bundle = export(models.build(name, simulated.inputs(), **options), simulated, exposure=exposure)
    train, known = bundle.seen.toarray() == 1, np.flatnonzero(bundle.popularity > 0)
    queries = bundle.scores.queries(np.arange(len(train)))
    least = np.sort(np.where(train, -np.inf, bundle.scores.scores(queries)), axis=1)[:, -20]
    enters = []
    for row in known:
        others = {m: f._replace(present=f.present & (np.arange(90) != row)) for m, f in bundle.features.items()}
        vector = bundle.new_item_rule(bundle.scores, others, own_features(bundle, row)).vector
        if vector is not None:
            found = bundle.scores.match(queries, vector[None])[:, 0] >= least - 1e-5
            enters.extend(found[~train[:, row]].tolist())
    wanted = min(exposure * 20 / len(known), 1)
    assert np.mean(enters) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(("name", "options"), [("ease", {}), ("itemknn", {"similarity": "content"})])
def test_new_items_rank_higher_for_users_whose_planted_taste_they_fit(name, options, tmp_path):
    """Items are left out of the training and come back by their features alone."""
    settings = medley.preset("demo", num_users=200, num_items=240, num_interactions=6000, num_clusters=6)
    data = medley.simulate(tmp_path / "data", settings=settings, seed=2)
    gone = np.random.default_rng(0).permutation(240)[:30]
    part = without_items(data, gone)
    bundle = export(medley.build(name, part, **options), part)
    found = {int(i): bundle.embed(own_features(bundle, i)).vector for i in gone}
    vectors = {i: vector for i, vector in found.items() if vector is not None}
    score = bundle.scores.match(bundle.scores.queries(np.arange(len(part.users))), np.stack([*vectors.values()]))
    rank = score.argsort(axis=1).argsort(axis=1) / (len(vectors) - 1)
    liked = np.zeros((200, 240), dtype=bool)
    liked[data.log["user"].to_numpy(), data.log["item"].to_numpy()] = True
    users = np.array([data.users.row(raw) for raw in part.users.raw])
    assert rank[liked[np.ix_(users, list(vectors))]].mean() > 0.62  # 0.5 by chance
