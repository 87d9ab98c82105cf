"""What a model computes."""

import numpy as np
import torch
from tests.testing.good import like_good

from medley.models import build
from medley.testing import scores_of
from medley.types import Embeddings, ItemToItem, Neighbours, Seen


def test_scores_are_the_same_from_vectors_weights_and_a_function(five_nodes):
    """Item weights W: item 0 points to 1, item 1 to 0 and 2, item 2 to 2."""
    dense = torch.tensor([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0], [0.0, 0.0, 5.0]])
    neighbours = Neighbours(torch.tensor([[1, 0], [0, 2], [2, 0]]), torch.tensor([[2.0, 0.0], [3.0, 4.0], [5.0, 0.0]]))
    expected = np.array([[3.0, 2.0, 4.0], [0.0, 0.0, 5.0]])  # user 0 has seen items 0 and 1, user 1 item 2
    seen = Seen(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), torch.tensor([0, 2]))
    scorers = [
        Embeddings(torch.tensor(expected, dtype=torch.float32), torch.eye(3)),
        ItemToItem(lambda users: seen, {"dense": dense}),
        ItemToItem(lambda users: seen, {"sparse": neighbours}),
        lambda users: torch.tensor(expected, dtype=torch.float32)[users],
    ]
    for scorer in scorers:
        model = build(like_good(scorer=lambda self, scorer=scorer: scorer), five_nodes)
        assert np.array_equal(scores_of(model), expected)
    summed = ItemToItem(lambda users: seen, {"dense": dense, "sparse": neighbours})
    assert np.array_equal(scores_of(build(like_good(scorer=lambda self: summed), five_nodes)), 2 * expected)
