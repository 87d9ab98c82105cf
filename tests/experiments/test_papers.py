"""The papers' recipes: models and training accept all their options and settings."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medley import models
from medley.errors import InputError
from medley.evaluation.metrics import METRICS
from medley.experiments import papers
from medley.experiments.papers import PAPERS
from medley.experiments.reporting import published_scores
from medley.runs import Recipe
from medley.types import Features

CASES = papers.names()


@pytest.fixture
def inputs(checkerboard):
    """The checkerboard with modalities of the papers, all of 128 dimensions as on TikTok."""
    rng, features = np.random.default_rng(0), {}
    for m, f in zip(("visual", "acoustic", "textual"), checkerboard.features.values(), strict=True):
        features[m] = Features(rng.normal(size=(len(f.present), 128)).astype("f4"), f.present)
    return checkerboard._replace(features=features)


def as_json(options: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


@pytest.mark.parametrize("model", PAPERS)
def test_a_paper_has_data_sets_variants_a_grid_and_doubts(model):
    paper = PAPERS[model]
    assert {"tiktok", "movielens"} <= papers.published_of(paper).keys()
    assert paper.VARIANTS and paper.GRID and all(doubt.endswith(".") for doubt in paper.DOUBTS)


@pytest.mark.parametrize("name", CASES)
def test_the_recipe_of_every_data_set_and_variant_is_what_the_paper_ran(name):
    model, data = name.split("/")
    published = papers.published_of(PAPERS[model])[data]
    expected = as_json({**published.options, **published.settings})
    assert expected.items() <= papers.find(name).flat().items()
    for variant, options in PAPERS[model].VARIANTS.items():
        found = papers.find(f"{name}/{variant}")
        assert (expected | as_json(options)).items() <= found.flat().items()


@pytest.mark.parametrize("name", CASES)
def test_the_model_of_every_data_set_builds(name, inputs):
    recipe = papers.find(name)
    built = models.build(recipe.model, inputs, **recipe.options)
    assert recipe.options.items() <= built.spec.options.items()


@pytest.mark.parametrize("model", PAPERS)
def test_every_variant_builds(model, inputs):
    for variant in PAPERS[model].VARIANTS:
        recipe = papers.find(f"{model}/tiktok/{variant}")
        embeddings = models.build(model, inputs, **recipe.options).eval()()
        assert embeddings.user.isfinite().all() and embeddings.item.isfinite().all()


@pytest.mark.parametrize("model", PAPERS)
def test_every_value_of_the_grid_is_accepted(model):
    for key, values in PAPERS[model].GRID.items():
        for value in values:
            assert Recipe.of({"model": model, key: value}).flat()[key] == value


@pytest.mark.parametrize("name", CASES)
def test_published_scores_are_shares_under_metrics_that_medley_has(name):
    published = papers.describe(name)["scores"]
    for scores in published.values():
        for metric_at_k, value in scores.items():
            metric, _, k = metric_at_k.partition("@")
            assert metric in METRICS and int(k) > 0 and 0 < value < 1
    assert len(published) >= 5


@pytest.mark.parametrize("name", CASES)
def test_published_scores_stand_beside_those_of_a_study_with_their_source_and_selection(name):
    model, data = name.split("/")
    results: Any = SimpleNamespace(entries=[SimpleNamespace(entry=SimpleNamespace(model=model))], data={"name": "mine"})
    rows, published = published_scores(results, data), papers.published_of(PAPERS[model])[data]
    assert [row.metrics for row in rows] == [dict(scores) for scores in published.scores.values()]
    assert all(published.data in row.source and row.selection for row in rows)
    assert published_scores(results) == published_scores(results, "none") == []
    with pytest.raises(InputError, match=r"published: expected auto or none or .*, got 'lfm2k'"):
        published_scores(results, "lfm2k")


@pytest.mark.parametrize("name", ["mmgcn", "mmgcn/netflix", "ncf/tiktok", "", "mmgcn/tiktok/four layers"])
def test_an_unknown_recipe_or_variant_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError, match=r"expected (mmgcn/kwai or|co-id or)"):
        papers.find(name)
