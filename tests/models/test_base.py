"""What models share: insights, and contributions out of parts or item weights."""

import numpy as np
import pytest
import torch

from medley.models.base import Insight, Recommender
from medley.types import Embeddings, ItemToItem, Seen


def test_an_insight_is_ranked_from_lists_or_tensors_and_equal_weights_keep_their_order():
    expected = [(7, 0.75), (5, 0.5), (3, 0.25), (4, 0.25)]
    for keys, weights in (
        ([3, 4, 5, 7], [0.25, 0.25, 0.5, 0.75]),
        (torch.tensor([3, 4, 5, 7]), torch.tensor([0.25, 0.25, 0.5, 0.75], requires_grad=True)),
    ):
        insight = Insight.ranked("near", keys, weights, kind="items")
        assert (insight.topic, list(insight.weights.items()), insight.kind) == ("near", expected, "items")


def test_insights_without_names_are_numbered_from_1():
    insight = Insight.numbered("channels", "channel", torch.tensor([0.25, 0.75]))
    assert list(insight.weights.items()) == [("channel 2", 0.75), ("channel 1", 0.25)] and insight.kind == "names"


class InParts(Recommender):
    """A score of two parts."""

    def parts(self):
        torch.manual_seed(0)
        return {m: Embeddings(torch.randn(2, dim), torch.randn(3, dim)) for m, dim in (("id", 2), ("visual", 5))}


class ByItems(Recommender):
    """Item weights in two parts: the same, and the next item."""

    def scorer(self):
        seen = Seen(torch.tensor([0, 1, 1]), torch.tensor([2, 0, 1]), torch.tensor([0, 1]))
        return ItemToItem(lambda users: seen, {"same": torch.eye(3), "next": 2 * torch.eye(3).roll(1, 1)})


def test_contributions_are_the_inner_products_of_the_parts(five_nodes):
    model = InParts(five_nodes)
    users, items = torch.tensor([1, 0, 1]), torch.tensor([[0, 2], [2, 2], [1, 0]])
    found = model.contributions(users, items)
    assert list(found) == ["id", "visual"]
    for m, (user, item) in model.parts().items():
        expected = [[float(user[u] @ item[i]) for i in row] for u, row in zip(users, items, strict=True)]
        assert np.allclose(found[m].numpy(), expected, atol=1e-6)


def test_contributions_of_a_model_of_item_weights_are_sums_over_the_seen_items(five_nodes):
    model, users, items = ByItems(five_nodes), torch.tensor([0, 1]), torch.tensor([[0, 2], [1, 2]])
    found = {name: part.tolist() for name, part in model.contributions(users, items).items()}
    assert found == {"same": [[0, 1], [1, 0]], "next": [[2, 0], [2, 2]]}


def test_a_model_of_interactions_alone_and_without_parts_has_no_contributions(five_nodes):
    model = ByItems(five_nodes)
    model.reads_features = False
    assert model.contributions(torch.tensor([0, 1]), torch.tensor([[0], [1]])) == {}


def test_a_model_without_vectors_or_loss_says_so(five_nodes):
    model = ByItems(five_nodes)
    with pytest.raises(NotImplementedError, match=r"the score of ByItems is not an inner product: use scorer\(\)"):
        model()
    with pytest.raises(NotImplementedError, match="ByItems has nothing to train"):
        model.loss(None)
