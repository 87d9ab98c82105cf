"""Every model: the bundle's scores are the model's; what is wrong is refused."""

import numpy as np
import pytest
import torch
from tests.serving.items import without_items

import medley
from medley import models
from medley.errors import InputError
from medley.models import Recommender
from medley.scoring.blocks import score_blocks
from medley.serving.export import export, exportable, listed
from medley.serving.seen import DISLIKED, TEST, TRAIN, VALID
from medley.types import Embeddings

SMALL = {"huign": {"levels": [4, 2]}}


def small(name: str, data, **options) -> Recommender:
    known = models.describe(name)["options"]
    chosen = {"dim": 8} if "dim" in known else {}
    return models.build(name, data.inputs(), **chosen, **SMALL.get(name, {}), **options)


def exact_scores(model: Recommender, data) -> np.ndarray:
    model.eval()
    users = np.arange(data.manifest.num_users)
    with torch.no_grad():
        score = model.scorer()
    blocks = [scores.numpy().copy() for _, scores in score_blocks(score, users, data.manifest.num_items, 64)]
    return np.concatenate(blocks)


class Strange(Recommender):
    """A model whose score only a function knows."""

    reads_features = False

    def scorer(self):
        return lambda users: torch.zeros(len(users), self.num_items)


@pytest.mark.parametrize("name", models.MODELS)
def test_a_bundle_scores_all_users_and_items_as_its_model_does(name, simulated):
    model = small(name, simulated)
    assert exportable(model) is None and exportable(name) is None and listed(name)["reason"] is None
    exact = exact_scores(model, simulated)
    bundle = export(model, simulated)
    queries = bundle.scores.queries(np.arange(len(exact)))
    vectors = bundle.scores.item_vectors(np.arange(exact.shape[1]))
    size = max(1, np.abs(exact).max())
    np.testing.assert_allclose(bundle.scores.scores(queries), exact, atol=1e-4 * size)
    np.testing.assert_allclose(bundle.scores.match(queries, vectors), exact, atol=1e-4 * size)
    parts = bundle.scores.match_parts(queries, vectors)
    assert set(parts) == set(model.part_scores(torch.arange(2)))
    if parts:
        np.testing.assert_allclose(sum(parts.values()), exact, atol=1e-4 * size)
    np.testing.assert_array_equal(exact_scores(model, simulated), exact)  # the export changes no model


@pytest.mark.parametrize(
    ("name", "options"),
    [("itemknn", {"similarity": "content"}), ("macridvae", {"use_content": True}), ("lightgcn", {"use_content": True})],
)
def test_variants_score_as_their_models_do(name, options, simulated):
    model = small(name, simulated, **options)
    bundle, exact = export(model, simulated), exact_scores(model, simulated)
    queries = bundle.scores.queries(np.arange(len(exact)))
    np.testing.assert_allclose(bundle.scores.scores(queries), exact, atol=1e-4 * max(1, np.abs(exact).max()))
    assert set(bundle.parts) == set(model.part_scores(torch.arange(2)))


def test_a_score_that_is_a_function_cannot_be_exported_and_the_reason_is_said(simulated):
    model = Strange(simulated.inputs())
    assert "function of users" in exportable(model) and "function of users" in exportable(Strange)
    with pytest.raises(InputError, match=r"Strange cannot be exported.*function of users"):
        export(model, simulated)


def test_parts_that_do_not_sum_to_the_score_are_refused(simulated):
    class Wrong(type(small("mf", simulated))):
        def parts(self):
            return {"half": Embeddings(self.p / 2, self.q)}

    model = Wrong(simulated.inputs(), dim=8)
    with pytest.raises(InputError, match="parts of the score"):
        export(model, simulated)


def test_vectors_that_are_not_finite_are_refused(simulated):
    model = small("mf", simulated)
    with torch.no_grad():
        model.q[3, 2] = torch.nan
    with pytest.raises(InputError, match="finite numbers"):
        export(model, simulated)


def test_seen_items_say_in_which_split_and_popularity_counts_train(simulated):
    bundle = export(small("mf", simulated), simulated)
    for split, code in {"train": TRAIN, "valid": VALID, "test": TEST}.items():
        part = simulated.interactions(split)
        assert (bundle.seen[part.user, part.item] == code).all() and (bundle.seen.data == code).sum() == len(part)
    assert (bundle.seen.data == DISLIKED).sum() == len(simulated.disliked)
    np.testing.assert_array_equal(bundle.popularity, simulated.train.users_per_item())


def test_the_bundle_shares_no_memory_with_the_model(simulated):
    model = small("mf", simulated)
    bundle = export(model, simulated)
    before = bundle.scores.scores(bundle.scores.queries(np.arange(3)))
    with torch.no_grad():
        model.q.zero_()
    np.testing.assert_array_equal(bundle.scores.scores(bundle.scores.queries(np.arange(3))), before)


def test_a_run_carries_its_recipe_and_measured_quality(simulated, tmp_path):
    run = medley.train("mf", simulated, out=tmp_path / "run", dim=8, num_epochs=2, progress=False)
    evaluation = medley.evaluate(run, split="test")
    bundle = medley.export(run, out=tmp_path / "shop.medley")
    manifest = bundle.manifest
    assert manifest.recipe["options"]["dim"] == 8 and manifest.trained_at is not None
    assert manifest.metrics["test"] == evaluation.metrics and manifest.fingerprints["test"] == evaluation.fingerprint
    assert (tmp_path / "shop.medley").is_file()
    with pytest.raises(InputError, match="exists already"):
        medley.export(run, out=tmp_path / "shop.medley")
    assert medley.export(run, out=tmp_path / "shop.medley", overwrite=True).manifest == manifest


def test_cold_items_get_vectors_from_features_only_where_asked(simulated):
    gone = [3, 11]
    data = without_items(simulated, gone)
    model = small("mf", data)
    kept, placed = export(model, data), export(model, data, cold="features")
    changed = (kept.item != placed.item).any(axis=1)
    assert changed[gone].all() and changed.sum() == (kept.popularity == 0).sum()
    with pytest.raises(InputError, match="cold items from features"):
        export(small("ease", data), data, cold="features")


@pytest.mark.parametrize("wrong", [{"cold": "maybe"}, {"exposure": 0}, {"exposure": float("nan")}])
def test_wrong_options_are_refused(simulated, wrong):
    with pytest.raises(InputError, match="|".join(wrong)):
        export(small("mf", simulated), simulated, **wrong)


def test_a_data_set_of_another_size_is_refused(simulated, checkerboard):
    with pytest.raises(InputError, match="data set of an export"):
        export(models.build("mf", checkerboard, dim=8), simulated)
