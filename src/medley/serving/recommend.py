"""Recommends items with raw ids, titles and reasons, by a trained model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch

from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.errors import InputError
from medley.models import Recommender
from medley.scoring.top_k import top_k


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item: str  # raw id
    title: str | None
    score: float
    parts: dict[str, float]  # of the score, which is their sum: a modality, `id`, ...; empty if the score has none
    shares: dict[str, float]  # part / sum of |parts|; a negative share speaks against the item


def recommend(
    model: Recommender,
    data: Dataset,
    *,
    user: str,
    k: int = 10,
    explain: bool = False,
    seen: Sequence[str] = SPLITS,
) -> list[Recommendation]:
    """Returns the k best items for a user, best first.

    Args:
        model: a trained model.
        data: the data set that the model was built from.
        user: raw id.
        k: number of items; fewer are returned for a user who has seen nearly all items.
        explain: fill `parts` and `shares`, if the score is a sum of parts.
        seen: the user's items in these splits are not recommended.

    Raises:
        InputError: unknown user, or k below 1.
    """
    if k < 1:
        raise InputError("k", expected="at least 1", got=k)
    row = data.users.row(user)
    with torch.no_grad():
        items, scores = top_k(model.scorer(), np.array([row]), seen_items(data, seen), k)  # (1, k)
        items, scores = items[items >= 0], scores[items >= 0]  # -1 where unseen items run out
        contributions = model.contributions(torch.tensor([row]), torch.from_numpy(items)[None]) if explain else {}
    parts = {name: values[0].tolist() for name, values in contributions.items()}
    return [
        _recommendation(data, item, score, {name: values[place] for name, values in parts.items()})
        for place, (item, score) in enumerate(zip(items.tolist(), scores.tolist(), strict=True))
    ]


def seen_items(data: Dataset, splits: Sequence[str]) -> sp.csr_array:
    """Returns the 0/1 matrix (U, I) of the interactions in some splits."""
    parts = [data.interactions(split) for split in splits]
    user = np.concatenate([np.zeros(0, dtype=np.int32), *(part.user for part in parts)])
    item = np.concatenate([np.zeros(0, dtype=np.int32), *(part.item for part in parts)])
    size = (data.manifest.num_users, data.manifest.num_items)
    return sp.csr_array((np.ones(len(user), dtype=np.float32), (user, item)), shape=size)


def _recommendation(data: Dataset, item: int, score: float, parts: dict[str, float]) -> Recommendation:
    size = sum(abs(part) for part in parts.values())
    shares = {name: part / size if size else 0.0 for name, part in parts.items()}
    return Recommendation(data.items.raw_id(item), data.title(item), score, parts, shares)
