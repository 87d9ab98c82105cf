"""Parts of a score."""

import pytest
import torch

from medley.nn.parts import inner_products
from medley.types import Embeddings


def test_a_part_of_a_score_is_the_inner_product_of_its_own_vectors():
    torch.manual_seed(0)
    parts = {m: Embeddings(torch.randn(4, dim), torch.randn(5, dim)) for m, dim in (("id", 2), ("visual", 3))}
    users, items = torch.tensor([3, 0]), torch.tensor([[1, 4, 1], [0, 2, 3]])
    found = inner_products(parts, users, items)
    assert list(found) == ["id", "visual"]
    for m, (user, item) in parts.items():
        expected = [[sum((user[u] * item[i]).tolist()) for i in row] for u, row in zip(users, items, strict=True)]
        assert found[m].tolist() == [pytest.approx(row, abs=1e-6) for row in expected]
