"""Which models can be exported, and as what."""

from typing import get_type_hints

import torch

from medley import models
from medley.models import Recommender
from medley.models.macridvae import MacridVAE
from medley.serving.export.content_paths import PATHS
from medley.types import Embeddings, ItemToItem

FUNCTION = "its score is a function of users that only torch can compute"


def exportable(model: Recommender | type[Recommender] | str) -> str | None:
    """Returns None if the model can be exported, else the reason why not.

    Args:
        model: a model, or a name, import path or class; of a class, the return type of scorer() decides.

    Raises:
        InputError: no such model.
    """
    if isinstance(model, Recommender):
        if isinstance(model, MacridVAE):
            return None
        with torch.no_grad():
            return None if isinstance(model.scorer(), Embeddings | ItemToItem) else FUNCTION
    found = models.find(model)
    if found.scorer is Recommender.scorer or issubclass(found, MacridVAE):
        return None
    return None if get_type_hints(found.scorer).get("return") in (Embeddings, ItemToItem) else FUNCTION


def listed(model: str) -> dict[str, str | None]:
    """Describes how a model is exported, without building it: `kind`, `new_users`, `new_items`, `reason` if it is not.

    Raises:
        InputError: no such model.
    """
    found, reason = models.find(model), exportable(model)
    row: dict[str, str | None] = {"name": model, "kind": None, "new_users": None, "new_items": None, "reason": reason}
    if reason is not None:
        return row
    if issubclass(found, MacridVAE):
        row |= {"kind": "concepts", "new_users": "exact: its encoder"}
    elif found.scorer is Recommender.scorer:
        is_sum = found.history_sum is not Recommender.history_sum
        exact = "exact: the model's sum over the history"
        row |= {"kind": "vectors", "new_users": exact if is_sum else "inferred from the item vectors"}
    else:
        row |= {"kind": "item-to-item", "new_users": "exact: the history"}
    row["new_items"] = "its own content path" if found in PATHS else "neighbours by features"
    return row
