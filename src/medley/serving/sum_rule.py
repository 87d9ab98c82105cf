"""Makes the rule `sum` of a model at export, from what the model declares: `medley.types.HistorySum`.

Shapes: I items, D + 1 columns of queries and item vectors, d of a sum, k constants.
"""

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from medley.errors import InputError
from medley.models import Recommender
from medley.serving.fold_in import FoldIn
from medley.serving.in_memory import evaluating
from medley.serving.scores import Scores, Vectors
from medley.serving.sums import NEW_LENGTH, SCALE
from medley.types import HistorySum, Interactions

NUM_COMPARED = 32  # users of the model that are made again
TOLERANCE = 1e-4  # of a vector, as a share of its largest number


def sum_rule(model: Recommender, scores: Scores, learned: Interactions) -> FoldIn | None:
    """Returns the rule of a model whose users are sums over their items; None for any other model.

    Args:
        model: a trained model.
        scores: of the model.
        learned: the interactions that the model has learned from.

    Raises:
        InputError: the sums over these interactions are not the users of the model.
    """
    with evaluating(model):
        declared = model.history_sum()
    if declared is None or not isinstance(scores, Vectors):
        return None
    count = learned.users_per_item()
    length = _numpy(declared.length)
    arrays = _columns(declared, scores) | {"length": length}
    arrays |= {} if declared.transition is None else {"A": _numpy(declared.transition)}
    arrays |= {} if declared.by_age is None else {"by_age": _numpy(declared.by_age)}
    new_length = float(length[count > 0].mean()) if count.any() else 1.0
    rule = FoldIn("sum", arrays, {SCALE: float(declared.scale), NEW_LENGTH: new_length})
    _check(rule, scores, learned, type(model).__name__)
    return rule


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


def _check(rule: FoldIn, scores: Vectors, learned: Interactions, name: str) -> None:
    """Compares some users of the model with the sums over their items."""
    age = learned.ages(distinct=True) if rule.reads_ages else np.zeros(len(learned), dtype=np.int64)
    for user in np.linspace(0, len(scores.user) - 1, min(NUM_COMPARED, len(scores.user))).astype(np.int64):
        own, exact = learned.user == user, scores.user[user, :-1]
        query = rule(scores, learned.item[own], rule.weights_of(age[own]))[:-1]
        if np.abs(query - exact).max(initial=0) > TOLERANCE * max(1.0, float(np.abs(exact).max(initial=0))):
            raise InputError(
                f"history_sum of {name}",
                expected="users that are the sums over the items that the model has learned from",
                got=f"another vector of user row {user}",
                remedy="export the run, with the data of its training, or correct history_sum() of the model",
            )


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32)
