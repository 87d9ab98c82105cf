"""Scores that are sums of inner products, one per part: the IDs, a modality."""

from collections.abc import Mapping

from torch import Tensor

from medley.types import Embeddings


def inner_products(parts: Mapping[str, Embeddings], users: Tensor, items: Tensor) -> dict[str, Tensor]:
    """Every part of the scores of users (B,) for items (B, K) -> (B, K).

    Args:
        parts: name -> vectors of all users and items whose inner product is this part of the score.
        users: rows.
        items: rows.
    """
    return {name: (x.user[users][:, None] * x.item[items]).sum(dim=2) for name, x in parts.items()}
