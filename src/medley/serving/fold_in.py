"""Folds in new users: from a history of items to a query, without training. In numpy; imports no torch.

Exact rules, where the model itself makes a user of seen items:

    history        item-to-item weights: the history is the query
    encoder        concepts: the encoder of the model
    sum            vectors: the model's own sum over the history, `medley.serving.sums`

Else the vector of a user is inferred from the item vectors v_i of the history H, n = |H|, centred on the mean item
(a constant per user changes no ranking):

    map                     x = b + A s,  s = sum_{i in H} v_i / sqrt(n);  ridge regression on the users of train
    least squares           x = m + D,    m = the mean user
    map and least squares   x = b + A s + D

D is the optimum of weighted ridge regression on the item table: the score of an item of H should be y, the mean score
of train pairs, and the score of other items should stay what it is, with a weight of their own as in implicit ALS:

    min_D  1/kappa sum_{i in H} (y - (x_0 + D) . v_i)^2 + omega sum_i (D . v_i)^2 + p D^T S^-1 D

S is the covariance of the vectors of train users around x_0 (the residuals of the map, or of the mean), and p the mean
of v_i^T S v_i, so kappa and omega have no unit. So columns in which all users agree, and columns that repeat each other
(the parts of one user vector), stay as they are in the model. Rule, ridge, kappa and omega are chosen at export by
Recall@20 on the validation items of users who are left out of the fit.

An item of the history weighs recency^age, where age is the number of later items, so the latest item weighs 1. Of an
exact rule, recency is that of the model; of the others, a value below 1 is chosen in the same way if it beats recency
1. In a `sum`, the model may have learned the weights of the latest L items; older items then weigh 0. A history is a
list whose latest item is the last, unless weights or ages are given with it.

Shapes: U users, I items, D columns, n items of a history.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from medley.errors import InputError
from medley.serving.ages import by_place, weighted
from medley.serving.scores import Concepts, ItemToItem, Scores, Vectors, spread
from medley.serving.sums import lengths_of, summed, weights_by_age

Rule = Literal["history", "encoder", "sum", "map", "least squares", "map and least squares"]
RIDGES = (1e-3, 1e-2, 1e-1)  # of the map, as a share of the mean variance of s
KAPPAS = (0.3, 3.0, 30.0)
OMEGAS = (0.0, 3e-3, 3e-2)
RECENCIES = (0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3)  # tried beside 1; of medley.nn.chosen, which imports torch
DEFAULT: tuple[Rule, float, float, float] = ("map and least squares", 1e-2, 3.0, 3e-3)  # without validation items
NUM_PROBES = 500  # users that choose the rule
AT = 20


@dataclass(frozen=True)
class FoldIn:
    """A rule with its arrays."""

    rule: Rule
    arrays: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # centre, mean, b (D,); covariance (of items), A, C (D, D); of a sum: `medley.serving.sums.Sum`
    settings: Mapping[str, float] = field(default_factory=dict)  # target, noise, and recency unless it is 1; of a sum
    measured: Mapping[str, float] = field(default_factory=dict)  # rule -> Recall@20 at export; `trained`: of the model

    @property
    def recency(self) -> float:
        """The base of the weights of a history, 1 if the order does not matter."""
        return self.settings.get("recency", 1.0)

    @property
    def reads_ages(self) -> bool:
        """Whether the order of a history matters."""
        return self.recency != 1 or "by_age" in self.arrays

    def weights_of(self, ages: np.ndarray) -> np.ndarray:
        """Returns the weights (n,) of liked items of these ages (n,)."""
        return weights_by_age(ages, self.arrays["by_age"]) if "by_age" in self.arrays else self.recency**ages

    def __call__(self, scores: Scores, history: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the query (Q,) of a user.

        Args:
            scores: of the bundle.
            history: (n,) rows of items, distinct, the latest last.
            weights: (n,), `weights_of` the ages by default; negative: items that the user dislikes.

        Raises:
            InputError: rows out of range or twice, weights of another length or not finite, or negative weights where
                the rule knows no dislikes.
        """
        num_items = scores.num_items
        weights = self.weights_of(by_place(len(history))) if weights is None else weights
        history, weights = _checked(history, weights, num_items)
        if isinstance(scores, Vectors):
            return self.of_vectors(scores.item[history], weights, history)
        if isinstance(scores, Concepts) and (weights < 0).any():
            got = f"{int((weights < 0).sum())} negative weights"
            raise InputError("weights of a history", expected="0 or more: this model knows no dislikes", got=got)
        seen = np.zeros((1, num_items), dtype=np.float32)
        seen[0, history] = weights
        return scores.query_of(seen)[0]

    def of_vectors(
        self,
        vectors: np.ndarray,
        weights: np.ndarray,
        rows: np.ndarray,
        own_lengths: Mapping[int, float] = MappingProxyType({}),
    ) -> np.ndarray:
        """Returns the query (Q,) of a history given as item vectors, for scores of kind `vectors`.

        Args:
            vectors: (n, D + 1), of items of the bundle or of new items.
            weights: (n,); negative: items that the user dislikes.
            rows: (n,), of these items; new items have rows from I on.
            own_lengths: row -> length of items whose vector is not that of the bundle; read by the rule `sum` alone.
        """
        if self.rule == "sum":
            length = lengths_of(rows, self.arrays, self.settings, own_lengths)
            return summed(vectors, weights * length, self.arrays, self.settings)
        x = self.arrays["mean"]
        if weights.any():
            x = _infer(vectors[:, :-1] - self.arrays["centre"], weights, self.arrays, self.settings)
        return np.concatenate([x, spread(x[None], self.arrays["covariance"])], dtype=np.float32)


def _checked(history: np.ndarray, weights: np.ndarray, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    history = np.asarray(history)
    if history.ndim != 1 or (len(history) and not np.issubdtype(history.dtype, np.integer)):
        got = f"{history.dtype} of shape {history.shape}"
        raise InputError("history", expected="an array (n,) of item rows", got=got)
    history = history.astype(np.int64)
    if len(history) and (history.min() < 0 or history.max() >= num_items):
        wrong = history[(history < 0) | (history >= num_items)][0]
        raise InputError("history", expected=f"item rows from 0 to {num_items - 1}", got=wrong)
    if len(np.unique(history)) < len(history):
        raise InputError("history", expected="distinct items", got=f"{len(history)} rows with repetitions")
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != history.shape or not np.isfinite(weights).all():
        got = f"shape {weights.shape}" if weights.shape != history.shape else "NaN or infinity"
        raise InputError("weights of a history", expected=f"{len(history)} finite numbers", got=got)
    return history, weights


def _infer(
    v: np.ndarray, weights: np.ndarray, arrays: Mapping[str, np.ndarray], settings: Mapping[str, float]
) -> np.ndarray:
    """Returns the vector (D,) of a user from centred item vectors (n, D) and their weights (n,), not all of them 0."""
    v, weights = v[weights != 0], weights[weights != 0]  # recency^age of an old item is too small for a number
    x = arrays["mean"]
    if "A" in arrays:
        x = arrays["b"] + arrays["A"] @ _sum(v, weights)
    if "C" in arrays:
        vc = v @ arrays["C"]  # (n, D)
        residual = settings["target"] * np.sign(weights) - v @ x
        x = x + vc.T @ np.linalg.solve(vc @ v.T + np.diag(settings["noise"] / np.abs(weights)), residual)
    return x


def _sum(v: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns s (D,)."""
    return weights @ v / np.sqrt(np.abs(weights).sum())


class _Fitted(NamedTuple):
    arrays: dict[str, np.ndarray]
    settings: dict[str, float]


def fit_fold_in(
    scores: Scores,
    train: sp.csr_array,
    valid: sp.csr_array | None,
    *,
    ages: np.ndarray | None = None,
    recency: float = 1.0,
    seed: int = 0,
) -> FoldIn:
    """Chooses and fits the rule of a model.

    Args:
        scores: of the model; its users are those of `train`.
        train: (U, I), what the model was trained on.
        valid: (U, I), what chooses the rule; None or empty: DEFAULT.
        ages: of the pairs of `train`, in their order; None: unknown.
        recency: of the model, for an exact rule.
        seed: of the users who choose.
    """
    if not isinstance(scores, Vectors):
        exact: Rule = "history" if isinstance(scores, ItemToItem) else "encoder"
        return FoldIn(exact, settings={} if recency == 1 else {"recency": recency})
    fit = _Fit(scores, train, ages)
    known = np.flatnonzero(np.diff(train.indptr) > 0)
    probes = known if valid is None else known[np.diff(valid.indptr)[known] > 0]
    probes = np.random.default_rng(seed).permutation(probes)[: min(NUM_PROBES, len(known) // 2)]
    if valid is None or not len(probes):
        rule, *choice = DEFAULT
        fitted = fit.fitted(rule, known, *choice)
        return FoldIn(rule, fitted.arrays, fitted.settings)
    others = np.setdiff1d(known, probes)
    best: dict[Rule, tuple[float, tuple[float, float, float]]] = {}
    for rule, choice in _choices():
        recall = fit.recall(fit.fitted(rule, others, *choice), probes, valid)
        if rule not in best or recall > best[rule][0]:
            best[rule] = recall, choice
    measured = {"trained": fit.recall(None, probes, valid)} | {rule: recall for rule, (recall, _) in best.items()}
    rule = max(best, key=lambda rule: best[rule][0])
    recall, choice = best[rule]
    for value in RECENCIES if ages is not None else ():
        other = fit.recall(fit.fitted(rule, others, *choice, value), probes, valid)
        if other > recall:
            recall, recency = other, value
    if recency != 1:
        measured |= {rule: recall, "without recency": best[rule][0]}
    fitted = fit.fitted(rule, known, *choice, recency)
    return FoldIn(rule, fitted.arrays, fitted.settings, measured)


def _choices() -> list[tuple[Rule, tuple[float, float, float]]]:
    ridge, kappa, omega = DEFAULT[1:]
    maps = product(RIDGES, (kappa,), (omega,))
    both: Rule = "map and least squares"
    return [
        *(("map", choice) for choice in maps),
        *(("least squares", choice) for choice in product((ridge,), KAPPAS, OMEGAS)),
        *((both, choice) for choice in product(RIDGES, KAPPAS, (omega,))),
    ]


class _Fit:
    """What all rules are fitted on."""

    def __init__(self, scores: Vectors, train: sp.csr_array, ages: np.ndarray | None = None):
        self.user = np.asarray(scores.user[:, :-1], dtype=np.float64)  # (U, D)
        items = np.asarray(scores.item[:, :-1], dtype=np.float64)
        self.centre = items.mean(axis=0)
        self.v = items - self.centre  # (I, D)
        self.train, self.ages = train, ages
        self.total = train @ self.v  # (U, D)

    def _s(self, users: np.ndarray, recency: float) -> np.ndarray:
        """Returns s (n, D) of users (n,)."""
        if recency == 1:
            size = np.maximum(np.diff(self.train.indptr)[users], 1)
            return self.total[users] / np.sqrt(size)[:, None]
        weight = sp.csr_array(weighted(self.train, self.ages, recency)[users])
        size = np.maximum(weight.sum(axis=1), 1)  # the latest item weighs 1
        return weight @ self.v / np.sqrt(size)[:, None]

    def fitted(
        self, rule: Rule, users: np.ndarray, ridge: float, kappa: float, omega: float, recency: float = 1.0
    ) -> _Fitted:
        """Fits one rule on some users."""
        x, mean = self.user[users], self.user[users].mean(axis=0)
        arrays = {"centre": self.centre, "mean": mean, "covariance": self.v.T @ self.v / len(self.v)}
        settings, guess = {} if recency == 1 else {"recency": recency}, np.broadcast_to(mean, x.shape)
        if rule != "least squares":
            s = self._s(users, recency)
            s_mean = s.mean(axis=0)
            cov = (s - s_mean).T @ (s - s_mean) / len(s)
            cov[np.diag_indices_from(cov)] += ridge * max(np.trace(cov) / len(cov), 1e-12)
            A = np.linalg.solve(cov, (s - s_mean).T @ (x - mean) / len(s)).T
            b = mean - A @ s_mean
            arrays |= {"A": A, "b": b}
            guess = s @ A.T + b
        if rule != "map":
            residual = x - guess
            value, vector = np.linalg.eigh(residual.T @ residual / len(x))
            kept = value > max(value[-1], 0) * 1e-9
            L = vector[:, kept] * np.sqrt(value[kept])  # (D, r), S = L L^T
            if L.shape[1]:
                vl = self.v @ L
                p = max(float(np.square(vl).sum(axis=1).mean()), 1e-12)
                inner = np.eye(L.shape[1]) + (omega / p) * (vl.T @ vl)
                arrays["C"] = L @ np.linalg.solve(inner, L.T)
                pairs = np.diff(self.train.indptr)[users].sum()
                settings |= {"target": float((x * self.total[users]).sum() / pairs), "noise": kappa * p}
        return _Fitted({name: array.astype(np.float32) for name, array in arrays.items()}, settings)

    def recall(self, fitted: _Fitted | None, users: np.ndarray, valid: sp.csr_array) -> float:
        """Returns Recall@20 of users on their validation items; of their trained vectors if nothing is fitted."""
        x = self.user[users]
        if fitted is not None:
            v = self.v.astype(np.float32)
            folded, train = [], weighted(self.train, self.ages, fitted.settings.get("recency", 1.0))
            for user in users:
                pairs = slice(train.indptr[user], train.indptr[user + 1])
                folded.append(_infer(v[train.indices[pairs]], train.data[pairs].astype(np.float64), *fitted))
            x = np.stack(folded)
        return recall_at(x @ self.v.T, sp.csr_array(self.train[users]), sp.csr_array(valid[users]))


def recall_at(scores: np.ndarray, seen: sp.csr_array, held_out: sp.csr_array, k: int = AT) -> float:
    """Returns the mean Recall@k of users with held-out items; scores (B, I), changed; seen items do not compete."""
    scores[np.repeat(np.arange(len(scores)), np.diff(seen.indptr)), seen.indices] = -np.inf
    best = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
    hits = np.take_along_axis(held_out.toarray() > 0, best, axis=1).sum(axis=1)
    size = np.diff(held_out.indptr)
    return float((hits[size > 0] / size[size > 0]).mean()) if (size > 0).any() else 0.0


def document(fold_in: FoldIn) -> dict[str, Any]:
    """Returns what the manifest says about the rule."""
    return {"rule": fold_in.rule, "settings": dict(fold_in.settings), "measured": dict(fold_in.measured)}
