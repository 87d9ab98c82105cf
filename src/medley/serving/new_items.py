"""Vectors of new items from their features, in numpy; imports no torch.

    content      the model's own path from features to item vectors: an MLP on all modalities (DUIF, CB2CF), or a matrix
                 per modality and part of the score (VBPR); the other parts follow by `neighbours`
    neighbours   the mean vector of the k most similar items of train: by cosine of the features, per modality that the
                 new item has, weighted by the cosine, then the mean over these modalities. A part of the score that is
                 a modality follows from this modality alone, and is 0 where the new item lacks the modality.

A mean of vectors is shorter than its terms and would rarely win or, where all share a direction, too often. So the
deviation of a mean from the mean item is lengthened by `gain`, and an `offset` is added to the score. Both are found at
export by predicting items of train from all others, as if they were new:

    gain     the median over items of the standard deviation over users of true scores, over that of predicted scores
    offset   the number with which predicted items get, in the top 20 of all users, `exposure` times as many places as
             they have in truth: with 1, a new item is shown as often as an average item of train

Shapes: U users, I items, V columns of item vectors, d_m raw dimension of modality m, k neighbours, n new items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from medley.errors import InputError
from medley.serving.scores import Concepts, Scores

Rule = Literal["content", "neighbours", "none"]
K = 10
NUM_PROBES = 1000  # items of train that calibrate, and users who judge
AT = 20
GAINS = (0.25, 4.0)  # bounds of the gain
SMALLEST = 1e-12


class ItemFeatures(NamedTuple):
    """Raw features of the items of a bundle in one modality; rows of items that lack it carry no meaning."""

    values: np.ndarray  # (I, d_m) float32 or float16, possibly memory-mapped
    present: np.ndarray  # (I,) bool


class Scaling(NamedTuple):
    """What scales raw features for the model: f -> f / |f| if `to_unit`, else (f - shift) * factor."""

    to_unit: bool
    shift: np.ndarray  # (d_m,)
    factor: np.ndarray  # (d_m,)

    def __call__(self, f: np.ndarray) -> np.ndarray:
        """Scales features (n, d_m)."""
        f = np.asarray(f, dtype=np.float32)
        if self.to_unit:
            return f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), SMALLEST)
        return (f - self.shift) * self.factor


@dataclass(frozen=True)
class ContentPath:
    """The model's own path from features to columns of item vectors.

    kind `mlp`: all columns are W2 relu(b1 + sum_m W_m f_m) + b2, with a learned vector `absent_m` for a missing W_m f_m.
    kind `linear`: the columns `columns_m` of each modality are W_m f_m, and 0 where the item lacks m.
    """

    kind: Literal["mlp", "linear"]
    scaling: Mapping[str, Scaling]
    arrays: Mapping[str, np.ndarray]  # W_m, absent_m, b1, W2, b2 or W_m, columns_m

    def write(self, features: Mapping[str, np.ndarray], out: np.ndarray) -> None:
        """Writes the columns of one item into its vector (V,)."""
        a = self.arrays
        if self.kind == "linear":
            for m in self.scaling:
                f = features.get(m)
                out[a[f"columns_{m}"]] = 0 if f is None else a[f"W_{m}"] @ self.scaling[m](f[None])[0]
            return
        hidden = a["b1"].copy()
        for m, scale in self.scaling.items():
            f = features.get(m)
            hidden += a[f"absent_{m}"] if f is None else a[f"W_{m}"] @ scale(f[None])[0]
        out[:-1] = a["W2"] @ np.maximum(hidden, 0) + a["b2"]


class Embedded(NamedTuple):
    """The vector of a new item, or why there is none."""

    vector: np.ndarray | None  # (V,), the last column the offset
    reason: str | None = None
    missing: Sequence[str] = ()  # modalities of the bundle that the item lacks


@dataclass(frozen=True)
class NewItems:
    """A rule with its arrays."""

    rule: Rule
    reason: str = ""  # of rule `none`
    k: int = K
    gain: float = 1.0
    offset: float = 0.0
    exposure: float = 1.0
    content: ContentPath | None = None
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))  # (I,), items of train
    norms: Mapping[str, np.ndarray] = field(default_factory=dict)  # modality -> (I,) lengths of the features
    centre: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))  # (V,), the mean item of train

    def __call__(
        self,
        scores: Scores,
        table: Mapping[str, ItemFeatures],
        features: Mapping[str, np.ndarray],
        *,
        leave_out: int | None = None,
    ) -> Embedded:
        """Embeds one item.

        Args:
            scores: of the bundle.
            table: the features of its items.
            features: modality -> (d_m,) raw vector, as the encoder gives it.
            leave_out: row of an item that is not a neighbour: the item itself, when it is predicted from all others.

        Raises:
            InputError: an unknown modality, or a vector of another length or not finite.
        """
        features = _checked(features, table)
        missing = [m for m in table if m not in features]
        if self.rule == "none":
            return Embedded(None, self.reason, missing)
        if not features and (self.content is None or self.content.kind == "linear"):
            return Embedded(None, "the item has no features", missing)
        if self.content is not None and self.content.kind == "mlp":
            vector = np.zeros(len(self.centre), dtype=np.float32)
            self.content.write(features, vector)
            return Embedded(vector, None, missing)
        vector = self._mean(scores, table, features, leave_out)
        if vector is None:
            return Embedded(None, "no item of train has features in the same modality", missing)
        vector = self.centre + np.float32(self.gain) * (vector - self.centre)
        for m, columns in scores.parts.items():
            if m in missing:
                vector[columns] = 0
        if self.content is not None:
            self.content.write(features, vector)
        if isinstance(scores, Concepts):
            vector = _as_concepts(vector, scores)
        vector[-1] = self.offset
        return Embedded(vector, None, missing)

    def neighbours(
        self, table: Mapping[str, ItemFeatures], modality: str, f: np.ndarray, *, leave_out: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows (k,) of the most similar items of train in one modality, and their cosines (k,)."""
        values, present = table[modality]
        norms = self.norms[modality]
        cosine = (values @ f.astype(values.dtype)).astype(np.float32)
        cosine /= np.maximum(norms * np.linalg.norm(f), SMALLEST)
        allowed = present & self.known & (norms > 0)
        if leave_out is not None:
            allowed[leave_out] = False
        rows = np.flatnonzero(allowed)
        order = np.argsort(-cosine[rows], kind="stable")[: self.k]
        return rows[order], cosine[rows[order]]

    def _mean(
        self,
        scores: Scores,
        table: Mapping[str, ItemFeatures],
        features: Mapping[str, np.ndarray],
        leave_out: int | None,
    ) -> np.ndarray | None:
        means = {}
        for m, f in features.items():
            rows, cosine = self.neighbours(table, m, f, leave_out=leave_out)
            if len(rows):
                weight = np.maximum(cosine, 0)
                weight = weight / weight.sum() if weight.sum() > 0 else np.full(len(rows), 1 / len(rows))
                means[m] = weight.astype(np.float32) @ scores.item_vectors(rows)
        if not means:
            return None
        vector = np.mean(list(means.values()), axis=0, dtype=np.float32)
        for m, mean in means.items():
            if m in scores.parts:
                vector[scores.parts[m]] = mean[scores.parts[m]]
        return vector


def _checked(features: Mapping[str, np.ndarray], table: Mapping[str, ItemFeatures]) -> dict[str, np.ndarray]:
    for m, f in features.items():
        if m not in table:
            raise InputError("modality of a new item", expected=" or ".join(table) or "none", got=repr(m))
        f, dim = np.asarray(f), table[m].values.shape[1]
        if f.shape != (dim,) or not np.isfinite(f).all():
            got = f"shape {f.shape}" if f.shape != (dim,) else "NaN or infinity"
            remedy = "use the encoder that made the features of the bundle"
            raise InputError(f"{m} features of a new item", expected=f"{dim} finite numbers", got=got, remedy=remedy)
    return {m: np.asarray(features[m], dtype=np.float32) for m in table if m in features}


def _as_concepts(vector: np.ndarray, scores: Concepts) -> np.ndarray:
    """Makes h of length one and weights that sum to one."""
    d = scores.item.shape[1]
    vector[:d] /= max(float(np.linalg.norm(vector[:d])), SMALLEST)
    weight = np.maximum(vector[d:-1], SMALLEST)
    vector[d:-1] = weight / weight.sum()
    return vector


def fit_new_items(
    scores: Scores,
    table: Mapping[str, ItemFeatures],
    train: sp.csr_array,
    *,
    content: ContentPath | None = None,
    reason: str = "",
    k: int = K,
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
        k: number of neighbours.
        exposure: places of a new item in the top 20 of all users, over those of an average item of train.
        seed: of the items and users that calibrate.
    """
    if not table and not reason:
        reason = "the data set has no features"
    known = np.bincount(train.indices, minlength=train.shape[1]) > 0  # (I,)
    if reason or not known.any():
        return NewItems("none", reason or "no item has interactions")
    norms = {m: np.linalg.norm(np.asarray(f.values, dtype=np.float32), axis=1) for m, f in table.items()}
    centre = _mean_item(scores, np.flatnonzero(known))
    rule = NewItems("content" if content else "neighbours", k=k, content=content, known=known, norms=norms, centre=centre)
    if content is not None and content.kind == "mlp":
        return rule
    rng = np.random.default_rng(seed)
    probes = rng.permutation(np.flatnonzero(known))[:NUM_PROBES]
    users = np.sort(rng.permutation(np.flatnonzero(np.diff(train.indptr)))[:NUM_PROBES])
    judges, seen = scores.queries(users), train[users].toarray() > 0
    truth = scores.item_vectors(probes)

    def predicted(rule: NewItems) -> tuple[np.ndarray, np.ndarray]:
        found = [
            rule(scores, table, {m: f.values[i] for m, f in table.items() if f.present[i]}, leave_out=i).vector
            for i in probes
        ]
        has = np.array([vector is not None for vector in found])
        return np.stack([vector for vector in found if vector is not None]) if has.any() else truth[:0], has

    vectors, has = predicted(rule)
    if not has.any():
        return NewItems("none", "no item of train has features")
    if not isinstance(scores, Concepts):
        true_spread, spread = (scores.match(judges, v).std(axis=0) for v in (truth[has], vectors))
        gain = np.clip(np.median(true_spread) / max(float(np.median(spread)), SMALLEST), *GAINS)
        rule = replace(rule, gain=float(gain))
        vectors, has = predicted(rule)
    offset = _offset(scores, judges, seen, probes[has], vectors, exposure)
    return replace(rule, offset=offset, exposure=exposure)


def _mean_item(scores: Scores, rows: np.ndarray) -> np.ndarray:
    blocks = np.array_split(rows, 1 + len(rows) // 1024)
    return (sum(scores.item_vectors(block).sum(axis=0, dtype=np.float64) for block in blocks) / len(rows)).astype("f4")


def _offset(
    scores: Scores, judges: np.ndarray, seen: np.ndarray, items: np.ndarray, predicted: np.ndarray, exposure: float
) -> float:
    """Returns the offset with which predicted items get `exposure` times the places of the true ones.

    Args:
        scores: of the model.
        judges: (B, Q) queries.
        seen: (B, I) bool, what does not compete.
        items: (n,) rows.
        predicted: (n, V) vectors of these items, without offset.
        exposure: as in `fit_new_items`.
    """
    everything = np.where(seen, -np.inf, scores.scores(judges))  # (B, I)
    at = min(AT, everything.shape[1])
    least = -np.partition(-everything, at - 1, axis=1)[:, [at - 1]]  # (B, 1), of the top 20 of each judge
    wanted = exposure * float((everything[:, items] >= least).sum())
    gap = (least - scores.match(judges, predicted))[~seen[:, items]]  # the offset that each pair needs
    gap = np.sort(gap[np.isfinite(gap)])
    return float(gap[min(round(wanted), len(gap) - 1)]) if len(gap) else 0.0


def document(rule: NewItems) -> dict[str, Any]:
    """Returns what the manifest says about the rule."""
    own = None if rule.content is None else rule.content.kind
    fields = ("rule", "reason", "k", "gain", "offset", "exposure")
    return {**{name: getattr(rule, name) for name in fields}, "content": own}
