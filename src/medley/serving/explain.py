"""Findings of a trained model about users and items, for people: with raw ids and titles instead of rows.

A model whose score is a sum of parts (modalities, `id`, ...) also shows which parts set a user's items apart from all
others. With s_ui = sum_p s_ui^p,

    margin_u^p = mean of s_ui^p over the items that u has seen in train - mean of s_ui^p over all items

both means over the items that have modality p. The definition is the same for all such models and needs the model and
the train split alone. Where no item lacks a modality, the margins of the parts sum to the margin of the score. The
dominant modality of a user is the modality with the largest margin; docs/results/tastes.md shows how often this is the
planted modality.

Shapes: U users, I items, B users.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch

from medley.data.dataset import Dataset
from medley.models import Recommender
from medley.models.base import Insight
from medley.types import Features, Inputs

MAX_SCORES = 2**24  # scores of each part at a time: 64 MiB


class Weighed(NamedTuple):
    """One line of a `Finding`."""

    key: str  # a name, or the raw id of a user or item
    title: str | None  # of an item, if it has one
    weight: float


class Finding(NamedTuple):
    """An insight about one user or one item; `models.base.Insight` with raw ids and titles."""

    topic: str
    kind: Literal["names", "users", "items"]  # of the keys
    weights: list[Weighed]  # largest first


def about_user(model: Recommender, data: Dataset, user: str) -> list[Finding]:
    """Returns the user's margins by part, if the score has parts, and the model's own insights.

    Args:
        model: a trained model.
        data: the data set that the model was built from.
        user: raw id.

    Raises:
        InputError: unknown user.
    """
    row = data.users.row(user)
    found = margins_by_part(model, data.inputs(model.learned_from), [row])
    margins = {name: float(values[0]) for name, values in found.items()}
    known = {name: margin for name, margin in margins.items() if np.isfinite(margin)}
    insights = [Insight.ranked("what sets the user's items apart", known, known.values())] if known else []
    with torch.no_grad():
        return [_finding(insight, data) for insight in [*insights, *model.about_user(row)]]


def about_item(model: Recommender, data: Dataset, item: str) -> list[Finding]:
    """Returns the model's insights about an item.

    Args:
        model: a trained model.
        data: the data set that the model was built from.
        item: raw id.

    Raises:
        InputError: unknown item.
    """
    with torch.no_grad():
        return [_finding(insight, data) for insight in model.about_item(data.items.row(item))]


def margins_by_part(model: Recommender, inputs: Inputs, users: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
    """Measures how far each part of the score sets the seen items of users apart from all others.

    Args:
        model: a trained model.
        inputs: the inputs of the model.
        users: (B,) rows.

    Returns:
        Part -> (B,) margins, in units of the score; NaN for a user who has seen no item with that modality. Empty for a
        model whose score has no parts.
    """
    num_items = inputs.train.num_items
    users, train = np.asarray(users, dtype=np.int64), inputs.train.csr()
    step = max(1, MAX_SCORES // num_items)
    margins: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(users), step):
        rows = users[start : start + step]
        seen = sp.csr_array(train[rows]).toarray()  # (step, I)
        for name, part in model.part_scores(torch.from_numpy(rows)).items():
            has = _present(inputs.features, name, num_items)
            margins.setdefault(name, []).append(_margin(part.cpu().numpy()[:, has], seen[:, has]))
    return {name: np.concatenate(blocks) for name, blocks in margins.items()}


def _margin(part: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Returns the margins (B,) from a part of the scores (B, I) and the seen items (B, I), 0 or 1."""
    num_seen = seen.sum(axis=1)
    mean = np.divide((part * seen).sum(axis=1), num_seen, out=np.full(len(part), np.nan), where=num_seen > 0)
    return mean - part.mean(axis=1)


def _present(features: Mapping[str, Features], part: str, num_items: int) -> np.ndarray:
    """Returns (I,), which items have the modality of a part; all True if the part is not a modality."""
    return features[part].present if part in features else np.ones(num_items, dtype=bool)


def _finding(insight: Insight, data: Dataset) -> Finding:
    weights = [_weighed(insight, key, weight, data) for key, weight in insight.weights.items()]
    return Finding(insight.topic, insight.kind, weights)


def _weighed(insight: Insight, key: str | int, weight: float, data: Dataset) -> Weighed:
    if insight.kind == "items":
        return Weighed(data.items.raw_id(int(key)), data.title(int(key)), weight)
    return Weighed(data.users.raw_id(int(key)) if insight.kind == "users" else str(key), None, weight)
