"""Calibrates the rule that embeds new items: finds its numbers by predicting items of train from all others, as if they
were new.

    k_m        the k out of KS whose predicted scores rank the seen items of users highest when m alone predicts
    a_m        2 AUC - 1 of this ranking, if positive
    gain       the median over items of the standard deviation over users of true scores, over that of predicted scores
    offset     so large that these items enter the top 20 of some users of train (the judges) as often as an average
               item of train does, times `exposure`; pairs that a judge has seen do not count, as they do not in lists

Shapes: U users, I items, V columns of item vectors, B judges, Q columns of queries, n items that are predicted, d_m raw
dimension of modality m, k neighbours.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import scipy.sparse as sp
from scipy.stats import rankdata

from medley.errors import InputError
from medley.serving.item_features import SMALLEST, ItemFeatures
from medley.serving.item_paths import OwnPath
from medley.serving.new_items import AT, NewItems, mean_weights
from medley.serving.scores import Concepts, Scores

KS = (10, 50, 200)
NUM_PROBES = 1000  # items of train that calibrate, and users who judge
MAX_NUMBERS = 2**24  # in the queries of the judges, and in their scores at a time: 64 MiB
GAINS = (0.25, 10.0)  # bounds of the gain


def fit_new_items(
    scores: Scores,
    table: Mapping[str, ItemFeatures],
    train: sp.csr_array,
    *,
    content: OwnPath | None = None,
    reason: str = "",
    exposure: float = 1.0,
    seed: int = 0,
) -> NewItems:
    """Chooses the rule and calibrates it.

    Args:
        scores: of the model.
        table: modality -> raw features.
        train: (U, I), what the model was trained on.
        content: the model's own path, if it has one.
        reason: why new items cannot be embedded; empty: they can.
        exposure: places of a new item in the top 20 of all users, over those of an average item of train.
        seed: of the items and users that calibrate.

    Raises:
        InputError: an exposure other than 1 where items of train go the same path as new ones.
    """
    if not table and not reason:
        reason = "the data set has no features"
    known = np.bincount(train.indices, minlength=scores.num_items) > 0  # (I,)
    if reason or not known.any():
        return NewItems("none", reason or "no item has interactions")
    table = {m: ItemFeatures(np.asarray(f.values, dtype=np.float32), f.present) for m, f in table.items()}
    by_neighbours = table if content is None or not content.path.is_whole else {}
    means, norms = {}, {}
    for m, f in by_neighbours.items():
        rows = known & f.present
        means[m] = f.values[rows].mean(axis=0) if rows.any() else np.zeros(f.values.shape[1], dtype=np.float32)
        norms[m] = np.linalg.norm(f.values - means[m], axis=1)
    rule = NewItems(
        "content" if content else "neighbours",
        k=dict.fromkeys(by_neighbours, KS[-1]),
        weights=dict.fromkeys(by_neighbours, 1.0),
        exposure=exposure,
        content=content.path if content else None,
        known=known,
        means=means,
        norms=norms,
        centre=_mean_item(scores, np.flatnonzero(known)),
    )
    if content is not None and content.of_all:
        if exposure != 1:
            expected = "1 for a model whose items all follow from features: no item is lifted"
            raise InputError("exposure", expected=expected, got=exposure)
        return rule
    rng = np.random.default_rng(seed)
    probes = rng.permutation(np.flatnonzero(known))[:NUM_PROBES]
    size = max(1, min(NUM_PROBES, MAX_NUMBERS // max(1, len(rule.centre))))
    judges = np.sort(rng.permutation(np.flatnonzero(np.diff(train.indptr)))[:size])
    history = sp.csr_array(train[judges])  # (B, I)
    seen = sp.csr_array(history[:, probes]).toarray() > 0
    if content is not None and content.path.is_whole:
        places, vectors = _by_path(rule, scores, table, probes)
    else:
        rule, places, vectors = _calibrated(rule, scores, table, probes, scores.queries(judges), seen)
    if not len(places):
        return NewItems("none", "no item of train has features")
    return replace(rule, offset=_offset(rule, scores, vectors, judges, history, seen[:, places]))


def _by_path(
    rule: NewItems, scores: Scores, table: Mapping[str, ItemFeatures], probes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places items of train (n,) by the model's own path, each as if it were not among the others.

    Returns:
        Which of them can be placed (p,), and their vectors (p, V).
    """
    assert rule.content is not None
    places, vectors = [], []
    for place, i in enumerate(probes):
        features = {m: f.values[i] for m, f in table.items() if f.present[i]}
        if rule.content.reads(features):
            places.append(place)
            vectors.append(rule.by_path(scores, features, _without(table, i)).vector)
    return np.array(places, dtype=np.int64), np.reshape(vectors, (len(places), -1))


def _without(table: Mapping[str, ItemFeatures], item: int) -> dict[str, ItemFeatures]:
    """Returns the features of all items but one, whose rows stay."""
    rows = np.arange(len(next(iter(table.values())).present))
    return {m: f._replace(present=f.present & (rows != item)) for m, f in table.items()}


def _calibrated(
    rule: NewItems,
    scores: Scores,
    table: Mapping[str, ItemFeatures],
    probes: np.ndarray,
    queries: np.ndarray,
    seen: np.ndarray,
) -> tuple[NewItems, np.ndarray, np.ndarray]:
    """Finds k_m, a_m and the gain, and places the probes by them.

    Args:
        rule: not calibrated.
        scores: of the model.
        table: features of the items.
        probes: (n,) rows of items, which are predicted from all others.
        queries: (B, Q), of the judges.
        seen: (B, n) bool, which probes these users have seen.

    Returns:
        The rule, which of the probes can be placed (p,), and their vectors (p, V).
    """
    near = {
        m: [rule.neighbours(_without(table, i), m, f.values[i]) if f.present[i] else None for i in probes]
        for m, f in table.items()
    }

    def weights(m: str, k: int) -> sp.csr_array:
        """Returns (n, I), the weights of the k nearest neighbours of the probes."""
        return mean_weights([None if x is None else (x[0][:k], x[1][:k]) for x in near[m]], len(rule.known))

    strength = {(m, k): _strength(scores, weights(m, k), queries, seen) for m in table for k in KS}
    best = {m: max(KS, key=lambda k: strength[m, k]) for m in table}
    rule = replace(rule, k=best, weights={m: max(strength[m, best[m]], 0.0) for m in table})
    chosen = {m: weights(m, best[m]) for m in table}
    has = np.sum([np.diff(rows.indptr) for rows in chosen.values()], axis=0) > 0
    features = [{m: f.values[i] for m, f in table.items() if f.present[i]} for i in probes[has]]
    means = rule.joined(scores, chosen)[has]
    vectors = rule.finished(scores, means, features, table)
    if has.any() and not isinstance(scores, Concepts):
        true_spread = scores.match(queries, scores.item_vectors(probes[has])).std(axis=0)
        spread = scores.match(queries, vectors).std(axis=0)
        gain = np.clip(np.median(true_spread) / max(float(np.median(spread)), SMALLEST), *GAINS)
        rule = replace(rule, gain=float(gain))
        vectors = rule.finished(scores, means, features, table)
    return rule, np.flatnonzero(has), vectors


def _offset(
    rule: NewItems, scores: Scores, vectors: np.ndarray, judges: np.ndarray, history: sp.csr_array, seen: np.ndarray
) -> np.ndarray:
    """Returns the offset (1,) under which items enter as many lists of the judges as they should.

    Args:
        rule: without an offset.
        scores: of the model.
        vectors: (p, V), of items of train that were placed as if they were new.
        judges: (B,) rows of users.
        history: (B, I), what these users have seen.
        seen: (B, p) bool, which of the placed items they have seen.
    """
    queries = scores.queries(judges)
    least = _last_scores(scores, queries, history)
    judged = np.isfinite(least) & (queries[:, -1] > 0)
    gap = (least[judged, None] - scores.match(queries[judged], vectors)) / queries[judged, -1:]
    gap = gap[~seen[judged]]  # the offsets that lead into a list, one per unseen pair
    if not len(gap):
        return np.zeros(1, dtype=np.float32)
    wanted = round(min(rule.exposure * AT / max(int(rule.known.sum()), 1), 1.0) * len(gap))
    return np.partition(gap, max(wanted, 1) - 1)[[max(wanted, 1) - 1]].astype(np.float32)


def _last_scores(scores: Scores, queries: np.ndarray, history: sp.csr_array) -> np.ndarray:
    """Returns the last score (B,) of the list of each query (B, Q) among the items that its user has not seen."""
    at, found = min(AT, scores.num_items), []
    for rows in np.array_split(np.arange(len(queries)), 1 + len(queries) * scores.num_items // MAX_NUMBERS):
        seen = sp.csr_array(history[rows]).toarray() > 0
        among = np.where(seen, -np.inf, scores.scores(queries[rows]))
        found.append(-np.partition(-among, at - 1, axis=1)[:, at - 1])
    return np.concatenate(found)


def _strength(scores: Scores, weights: sp.csr_array, queries: np.ndarray, seen: np.ndarray) -> float:
    """Returns how far predicted scores rank the items that users have seen above others: 2 AUC - 1, mean over users.

    Args:
        scores: of the model.
        weights: (n, I), of the neighbours of the probes; empty rows lack the modality.
        queries: (B, Q), of the judges.
        seen: (B, n) bool, which probes these users have seen.
    """
    has = np.diff(weights.indptr) > 0
    if has.sum() < 2:
        return 0.0
    score, seen = scores.match(queries, scores.mean_vectors(sp.csr_array(weights[has]))), seen[:, has]
    users = seen.any(axis=1) & ~seen.all(axis=1)
    rank = rankdata(score[users], axis=1)
    count, others = seen[users].sum(axis=1), (~seen[users]).sum(axis=1)
    auc = ((rank * seen[users]).sum(axis=1) - count * (count + 1) / 2) / (count * others)
    return float(2 * auc.mean() - 1) if len(auc) else 0.0


def _mean_item(scores: Scores, rows: np.ndarray) -> np.ndarray:
    """Returns the mean vector (V,) of items (n,)."""
    weights = sp.csr_array((np.full(len(rows), 1 / len(rows)), rows, [0, len(rows)]), shape=(1, scores.num_items))
    return scores.mean_vectors(weights)[0].astype(np.float32)
