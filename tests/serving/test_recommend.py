import numpy as np
import pytest
import torch

from medley import models
from medley.errors import InputError
from medley.serving.recommend import recommend
from medley.types import Embeddings


def best_by_hand(model, data, user: int, seen) -> list[int]:
    with torch.no_grad():
        embeddings: Embeddings = model()
        scores = (embeddings.user[user] @ embeddings.item.T).numpy()
    for split in seen:
        part = data.interactions(split)
        scores[part.item[part.user == user]] = -np.inf
    order = np.argsort(-scores, kind="stable")
    return [int(item) for item in order if np.isfinite(scores[item])]


@pytest.mark.parametrize("seen", [("train",), ("train", "valid"), ("train", "valid", "test")])
def test_the_best_unseen_items_come_first(simulated, seen):
    model = models.build("lightgcn", simulated.inputs(), dim=8)
    found = recommend(model, simulated, user=simulated.users.raw_id(7), k=5, seen=seen)
    assert [simulated.items.row(item.item) for item in found] == best_by_hand(model, simulated, 7, seen)[:5]


def test_a_user_gets_no_more_items_than_there_are(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    found = recommend(model, simulated, user=simulated.users.raw_id(0), k=10_000)
    assert len(found) == len(best_by_hand(model, simulated, 0, ("train", "valid", "test")))


def test_shares_are_the_parts_of_the_score_by_modality(simulated):
    model = models.build("mmgcn", simulated.inputs(), dim=8)
    for item in recommend(model, simulated, user=simulated.users.raw_id(0), explain=True):
        assert set(item.parts) == {"visual", "acoustic", "textual"}
        assert sum(item.parts.values()) == pytest.approx(item.score, abs=1e-4)
        row = simulated.items.row(item.item)
        for modality, features in simulated.features.items():
            assert features.present[row] or item.shares[modality] == 0


def test_a_model_whose_score_has_no_parts_says_so_by_giving_none(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    assert recommend(model, simulated, user=simulated.users.raw_id(0), explain=True)[0].parts == {}


def test_an_unknown_user_and_a_senseless_k_are_refused(simulated):
    model = models.build("mf", simulated.inputs(), dim=8)
    with pytest.raises(InputError, match="unknown user id"):
        recommend(model, simulated, user="nobody")
    with pytest.raises(InputError, match="k"):
        recommend(model, simulated, user=simulated.users.raw_id(0), k=0)
