"""The scores of a model, in numpy.

Shapes: U users, I items.
"""

import numpy as np
import scipy.sparse as sp
import torch

from medley.errors import InputError
from medley.models import Recommender
from medley.models.macridvae import MacridVAE
from medley.nn.seen import SeenItems
from medley.serving.in_memory import Function, evaluating
from medley.serving.scores import Concepts, ItemToItem, Scores, Vectors, spread
from medley.types import Embeddings, Neighbours
from medley.types import ItemToItem as Weights

NUM_COMPARED = 32  # users whose parts are summed
DIGITS = 6  # of a recency: 0.7 in place of the float32 next to it
TOLERANCE = 1e-4  # of a score, as a share of the largest; medley.testing.check_model asks the same
FINITE = "train with a lower learning rate, and look for NaN in the features"


def recency_of(model: Recommender) -> float:
    """Returns the base of the weights of seen items; 1 for a model that weighs them alike, or reads none.

    Raises:
        InputError: the seen items have weights that are not a recency.
    """
    if isinstance(model, MacridVAE):
        return 1.0
    with evaluating(model):
        score = model.scorer()
        if not isinstance(score, Weights):
            return 1.0
        if isinstance(score.seen, SeenItems):
            return round(float(score.seen.recency()), DIGITS)
        if score.seen(torch.arange(min(1, model.num_users))).weight is not None:
            name, expected = type(model).__name__, "seen items that medley.nn.seen.SeenItems weighs"
            raise InputError(f"{name} cannot be exported", expected=expected, got="weights of its own")
    return 1.0


def scores_of(model: Recommender, train: sp.csr_array) -> Scores | Function:
    """Returns the scores of the model, in numpy where numpy can compute them.

    Raises:
        InputError: the parts of the model do not sum to its score, or vectors or weights are not finite.
    """
    with evaluating(model):
        if isinstance(model, MacridVAE):
            return _concepts(model, train)
        score = model.scorer()
        if isinstance(score, Embeddings):
            return _vectors(model, score)
        return _item_to_item(model, score, train) if isinstance(score, Weights) else Function(model, score)


def _vectors(model: Recommender, score: Embeddings) -> Vectors:
    parts, columns, first = model.parts(), {}, 0
    for name, part in parts.items():
        columns[name] = slice(first, first + part.item.shape[1])
        first = columns[name].stop
    sides = zip(*(parts or {"": score}).values(), strict=True)
    user, item = (np.concatenate([_numpy(table) for table in side], axis=1, dtype=np.float32) for side in sides)
    user = np.column_stack(
        [user, spread(user, np.cov(item.T, bias=True).reshape(item.shape[1], -1)).astype(np.float32)]
    )
    item = np.column_stack([item, np.zeros(len(item), dtype=np.float32)])
    _check_sum(user, item, score)
    return Vectors(user, item, columns)


def _check_sum(user: np.ndarray, item: np.ndarray, score: Embeddings) -> None:
    """Refuses vectors that are not finite, and parts that do not sum to the score."""
    some = np.linspace(0, len(user) - 1, min(NUM_COMPARED, len(user))).astype(np.int64)
    exact = _numpy(score.user)[some] @ _numpy(score.item).T
    distance = np.abs(user[some] @ item.T - exact).max(initial=0)
    if not (np.isfinite(user).all() and np.isfinite(item).all()):
        raise InputError("vectors of the model", expected="finite numbers", got="NaN or infinity", remedy=FINITE)
    if distance > TOLERANCE * max(1.0, float(np.abs(exact).max(initial=0))):
        remedy = "medley.testing.check_model tests parts()"
        raise InputError("parts of the score", expected="a sum equal to the score", got=distance, remedy=remedy)


def _item_to_item(model: Recommender, score: Weights, train: sp.csr_array) -> ItemToItem:
    weights: dict[str, np.ndarray | sp.csr_array] = {}
    for name, w in score.weights.items():
        if isinstance(w, Neighbours):
            num_items, k = w.index.shape
            indptr = np.arange(0, num_items * k + 1, k)
            matrix = sp.csr_array(
                (_numpy(w.value).ravel(), _numpy(w.index).ravel(), indptr), shape=(num_items, num_items)
            )
            matrix.sum_duplicates()
            matrix.eliminate_zeros()
            weights[name] = matrix.astype(np.float32)
        else:
            weights[name] = _numpy(w).astype(np.float32)
    values = [w if isinstance(w, np.ndarray) else np.asarray(w.data) for w in weights.values()]
    if not all(np.isfinite(value).all() for value in values):
        raise InputError("weights of the model", expected="finite numbers", got="NaN or infinity", remedy=FINITE)
    columns = {name: slice(at * model.num_items, (at + 1) * model.num_items) for at, name in enumerate(weights)}
    return ItemToItem(weights, train, columns if model.reads_features else {})


def _concepts(model: MacridVAE, train: sp.csr_array) -> Concepts:
    h, t, logits = model._items()
    encoder = {"t": t, "b1": model.b1, "W2": model.W2.weight, "b2": model.b2}
    c = logits.softmax(dim=1)
    return Concepts(_numpy(h), _numpy(c), {name: _numpy(x) for name, x in encoder.items()}, model.tau, train)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Copies a tensor: the bundle shares no memory with the model."""
    return np.array(tensor.detach().cpu().numpy())
