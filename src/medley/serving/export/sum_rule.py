"""Makes the rule `sum` of a model at export, from what the model declares: `medley.types.HistorySum`.

Shapes: I items, D + 1 columns of queries and item vectors, d of a sum, k constants.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from medley.errors import InputError
from medley.models import Recommender
from medley.serving.fold_in import FoldIn
from medley.serving.in_memory import evaluating
from medley.serving.scores import Scores, Vectors
from medley.serving.sums import NEW_LENGTH, SCALE
from medley.types import HistorySum

NUM_COMPARED = 32  # users of the model that are made again
TOLERANCE = 1e-4  # of a vector, as a share of its largest number


class Exact(NamedTuple):
    """The rule of a model whose users are sums over their items."""

    rule: FoldIn
    ages: np.ndarray | None  # (n,), of the interactions of train by user, then item; None if the order is not read


def sum_rule(model: Recommender, scores: Scores, train: sp.csr_array) -> Exact | None:
    """Returns the rule of a model whose users are sums over their items; None for any other model.

    Args:
        model: a trained model.
        scores: of the model.
        train: (U, I), what the model has learned from, columns ascending within each row.

    Raises:
        InputError: the sums over these interactions are not the users of the model.
    """
    with evaluating(model):
        declared = model.history_sum()
    if declared is None or not isinstance(scores, Vectors):
        return None
    known, length = np.unique(train.indices), _numpy(declared.length)
    arrays = _columns(declared, scores) | {"length": length}
    arrays |= {} if declared.transition is None else {"A": _numpy(declared.transition)}
    arrays |= {} if declared.by_age is None else {"by_age": _numpy(declared.by_age)}
    new_length = float(length[known].mean()) if len(known) else 1.0
    rule = FoldIn("sum", arrays, {SCALE: float(declared.scale), NEW_LENGTH: new_length})
    ages = declared.age.cpu().numpy() if rule.reads_ages and declared.age is not None else None
    _check(rule, scores, train, ages, type(model).__name__)
    return Exact(rule, ages)


def _columns(declared: HistorySum, scores: Vectors) -> dict[str, np.ndarray]:
    """Returns place, constants, and the covariance of the items."""
    num_columns = scores.item.shape[1] - 1
    parts = scores.parts or {"": slice(0, num_columns)}
    width = {name: columns.stop - columns.start for name, columns in parts.items()}
    size = d = max((width[name] for name in parts if name not in declared.constants), default=0)
    place, constants = np.zeros(num_columns, dtype=np.int64), [np.zeros(0, dtype=np.float32)]
    for name, columns in parts.items():
        if name not in declared.constants:
            place[columns] = np.arange(width[name])
            continue
        place[columns] = np.arange(size, size + width[name])
        constants.append(_numpy(declared.constants[name]))
        size += width[name]
    constants = np.concatenate(constants)
    if len(constants) != size - d or (declared.transition is not None and declared.transition.shape != (d, d)):
        got = f"{len(constants)} constants"
        if declared.transition is not None:
            got += f", A of shape {tuple(declared.transition.shape)}"
        raise InputError("history_sum of the model", expected=f"{size - d} constants, A of shape {(d, d)}", got=got)
    join = sp.csr_array((np.ones(num_columns), (place, np.arange(num_columns))), shape=(size, num_columns))
    items = join @ np.asarray(scores.item[:, :-1], dtype=np.float64).T  # (d + k, I)
    covariance = np.cov(items, bias=True).reshape(size, size).astype(np.float32)
    return {"place": place, "constants": constants, "covariance": covariance}


def _check(rule: FoldIn, scores: Vectors, train: sp.csr_array, ages: np.ndarray | None, name: str) -> None:
    """Compares some users of the model with the sums over their items."""
    what = f"history_sum of {name}"
    remedy = "export with the data of the training, or correct history_sum() of the model"
    num_ages = 0 if ages is None else len(ages)
    if rule.reads_ages and num_ages != train.nnz:
        expected = f"{train.nnz:,} ages, one per interaction"
        raise InputError(what, expected=expected, got=f"{num_ages:,}", remedy=remedy)
    for user in np.linspace(0, len(scores.user) - 1, min(NUM_COMPARED, len(scores.user))).astype(np.int64):
        own, exact = slice(train.indptr[user], train.indptr[user + 1]), scores.user[user, :-1]
        history = train.indices[own]
        weights = rule.weights_of(np.zeros(len(history)) if ages is None else ages[own])
        distance = np.abs(rule(scores, history, weights)[:-1] - exact).max(initial=0)
        if distance > TOLERANCE * max(1.0, float(np.abs(exact).max(initial=0))):
            expected, got = "users that are the sums over their items of train", f"another vector of user row {user}"
            raise InputError(what, expected=expected, got=got, remedy=remedy)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32)
