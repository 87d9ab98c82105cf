import numpy as np
import pytest
import torch

import medley
from medley import models
from medley.errors import InputError
from medley.models.base import Insight
from medley.serving.explain import about_item, about_user, margins_by_part
from medley.types import Inputs, Interactions


def test_margins_are_means_over_seen_items_less_means_over_all_that_have_the_modality(five_nodes):
    model = models.build("ludp", five_nodes, dim=4)  # its parts `id` and the modalities
    margins = margins_by_part(model, five_nodes, [1, 0])
    with torch.no_grad():
        parts = model.contributions(torch.tensor([0, 1]), torch.arange(3).expand(2, -1))
    seen = {0: [0, 1], 1: [2]}
    for name, has in {"id": [0, 1, 2], "visual": [0, 1, 2], "acoustic": [0, 1]}.items():
        for place, user in enumerate([1, 0]):
            of = [parts[name][user, i].item() for i in seen[user] if i in has]
            everything = [parts[name][user, i].item() for i in has]
            if of:
                expected = sum(of) / len(of) - sum(everything) / len(everything)
                assert margins[name][place] == pytest.approx(expected, abs=1e-6)
            else:
                assert np.isnan(margins[name][place])  # user 1 has seen item 2 alone, which lacks sound


def test_margins_of_the_parts_sum_to_that_of_the_score_where_nothing_is_missing(five_nodes):
    features = {m: f._replace(present=np.ones(3, dtype=bool)) for m, f in five_nodes.features.items()}
    inputs = five_nodes._replace(features=features)
    model = models.build("vbpr", inputs, dim=4)
    margins = margins_by_part(model, inputs, [0])
    with torch.no_grad():
        embeddings = model()
        scores = (embeddings.user[0] @ embeddings.item.T).tolist()
    assert sum(margins.values())[0] == pytest.approx((scores[0] + scores[1]) / 2 - sum(scores) / 3, abs=1e-6)


def test_blocks_of_users_do_not_change_the_margins(five_nodes, monkeypatch):
    model = models.build("mmgcn", five_nodes, dim=4)
    whole = margins_by_part(model, five_nodes, [0, 1, 0])
    monkeypatch.setattr("medley.serving.explain.MAX_SCORES", 3)  # one user at a time
    for name, values in margins_by_part(model, five_nodes, [0, 1, 0]).items():
        assert np.allclose(values, whole[name], atol=1e-6, equal_nan=True) and len(values) == 3


def test_a_user_without_train_interactions_and_a_score_without_parts_have_no_margins(five_nodes):
    lonely = Inputs(Interactions(np.array([0], "i4"), np.array([0], "i4"), 2, 3), five_nodes.features)
    margins = margins_by_part(models.build("vbpr", lonely, dim=4), lonely, [1])
    assert all(np.isnan(values).all() for values in margins.values())
    assert margins_by_part(models.build("lightgcn", lonely, dim=4), lonely, [0]) == {}


def test_findings_about_a_user_are_margins_then_insights_of_the_model_largest_first(simulated):
    model = models.build("dualgnn", simulated.inputs(), dim=8, k=3)
    user = simulated.users.raw_id(7)
    apart, weights, company = about_user(model, simulated, user)
    assert apart.topic == "what sets the user's items apart" and apart.kind == "names"
    margins = margins_by_part(model, simulated.inputs(), [7])
    assert {key: weight for key, _, weight in apart.weights} == {name: values[0] for name, values in margins.items()}
    for finding in (apart, weights, company):
        values = [weight for _, _, weight in finding.weights]
        assert values == sorted(values, reverse=True)
    inside = model.about_user(7)[1]
    assert company.kind == "users" and len(company.weights) == 3
    assert [simulated.users.row(key) for key, _, _ in company.weights] == list(inside.weights)


def test_rows_of_items_become_raw_ids_with_titles(simulated, monkeypatch):
    model = models.build("mf", simulated.inputs(), dim=8)
    assert medley.about_user(model, simulated, user=simulated.users.raw_id(0)) == []
    monkeypatch.setattr(type(model), "about_item", lambda self, item: [Insight("near", {4: 0.5, item: 0.1}, "items")])
    (finding,) = about_item(model, simulated, simulated.items.raw_id(2))
    assert finding.weights == [
        (simulated.items.raw_id(row), simulated.title(row), w) for row, w in ((4, 0.5), (2, 0.1))
    ]


def test_unknown_ids_are_refused(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    with pytest.raises(InputError, match="unknown user id"):
        about_user(model, simulated, "nobody")
    with pytest.raises(InputError, match="unknown item id"):
        about_item(model, simulated, "nothing")
