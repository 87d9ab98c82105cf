"""Vectors of new items from their features, in numpy; imports no torch.

    content      the model's own path from features to item vectors, `medley.serving.item_paths`; columns that it does
                 not write follow by `neighbours`
    neighbours   a mean of the vectors of items of train: per modality m that the new item has, the k_m most similar
                 items by cosine of the features less their mean, weighted by the cosine; over these modalities,
                 weighted by a_m. A part of the score that is a modality follows from this modality alone, and is 0
                 where the new item lacks the modality.

The numbers of the rule are found at export, by `medley.serving.export.new_items`:

    k_m, a_m   by how well modality m alone predicts
    gain       a mean of vectors is shorter than its terms, so its deviation from the mean item is lengthened
    offset     added to the score in units of the user's spread, the same for all new items: so large that items of
               train, placed as if they were new, enter the top 20 of as many users as they do by themselves, times
               `exposure`. So new items neither flood the lists nor vanish from them, and those that fit many
               users enter more lists than others. Without the unit, the users with the longest vectors would get
               all of them. Models whose items of train go the same path as new ones (DUIF, CB2CF) need none.

Shapes: U users, I items, V columns of item vectors, d_m raw dimension of modality m, k neighbours, n new items.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from medley.errors import InputError
from medley.serving.item_features import SMALLEST, ItemFeatures, nearest
from medley.serving.item_paths import ContentPath, kind_of
from medley.serving.scores import Concepts, Scores

Rule = Literal["content", "neighbours", "none"]
NOT_IN_TRAIN = "no item of train has features in the same modality"
AT = 20  # length of the lists that new items enter


class Embedded(NamedTuple):
    """The vector of a new item, or why there is none."""

    vector: np.ndarray | None  # (V,), the last column the offset
    reason: str | None = None
    missing: Sequence[str] = ()  # modalities of the bundle that the item lacks
    length: float | None = None  # with which the item counts in a history, where the model's own path tells it


@dataclass(frozen=True)
class NewItems:
    """A rule with its arrays."""

    rule: Rule
    reason: str = ""  # of rule `none`
    k: Mapping[str, int] = field(default_factory=dict)  # modality -> number of neighbours
    weights: Mapping[str, float] = field(default_factory=dict)  # modality -> a_m
    gain: float = 1.0
    exposure: float = 1.0
    content: ContentPath | None = None
    known: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))  # (I,), items of train
    means: Mapping[str, np.ndarray] = field(default_factory=dict)  # modality -> (d_m,), the mean over items of train
    norms: Mapping[str, np.ndarray] = field(
        default_factory=dict
    )  # modality -> (I,), lengths of features less this mean
    centre: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))  # (V,), the mean item of train
    offset: np.ndarray = field(default_factory=lambda: np.zeros(1, dtype=np.float32))  # (1,)

    def __call__(
        self,
        scores: Scores,
        table: Mapping[str, ItemFeatures],
        features: Mapping[str, np.ndarray],
    ) -> Embedded:
        """Embeds one item.

        Args:
            scores: of the bundle.
            table: the features of its items.
            features: modality -> (d_m,) raw vector, as the encoder gives it.

        Raises:
            InputError: an unknown modality, or a vector of another length or not finite.
        """
        features = _checked(features, table)
        missing = [m for m in table if m not in features]
        if self.rule == "none":
            return Embedded(None, self.reason, missing)
        own = self.content if self.content is not None and self.content.is_whole else None
        if not features and (own is None or not own.reads(features)):
            return Embedded(None, "the item has no features", missing)
        if own is not None and own.reads(features):
            return self.by_path(scores, features, table)._replace(missing=missing)
        if own is not None:
            return Embedded(None, NOT_IN_TRAIN, missing)
        near = {m: self.neighbours(table, m, f) for m, f in features.items()}
        weights = {m: mean_weights([found], len(self.known)) for m, found in near.items() if len(found[0])}
        if not weights:
            return Embedded(None, NOT_IN_TRAIN, missing)
        vectors = self.finished(scores, self.joined(scores, weights), [features], table)
        return Embedded(vectors[0], None, missing)

    def by_path(
        self, scores: Scores, features: Mapping[str, np.ndarray], table: Mapping[str, ItemFeatures]
    ) -> Embedded:
        """Embeds one item by the model's own path, which has to be whole and to read these features."""
        assert self.content is not None and self.content.is_whole
        vector = self.centre.copy()
        length = self.content.write(features, vector, scores, table)
        vector[-1:] = self.offset
        return Embedded(vector, length=length)

    def joined(self, scores: Scores, weights: Mapping[str, sp.csr_array]) -> np.ndarray:
        """Joins the means of the modalities: modality -> weights of neighbours (n, I) -> vectors (n, V)."""
        has = np.stack([np.diff(rows.indptr) > 0 for rows in weights.values()], axis=1)  # (n, M)
        a = has * np.array([self.weights[m] for m in weights])
        a = np.where(a.sum(axis=1, keepdims=True) > 0, a, has)
        a = (a / np.maximum(a.sum(axis=1, keepdims=True), SMALLEST)).astype(np.float32)
        means = {m: scores.mean_vectors(rows) for m, rows in weights.items()}
        vectors = np.asarray(sum(a[:, [at]] * mean for at, mean in enumerate(means.values())))
        for at, (m, mean) in enumerate(means.items()):
            if m in scores.parts:
                vectors[np.ix_(has[:, at], np.r_[scores.parts[m]])] = mean[has[:, at], scores.parts[m]]
        return vectors

    def finished(
        self,
        scores: Scores,
        means: np.ndarray,
        features: Sequence[Mapping[str, np.ndarray]],
        table: Mapping[str, ItemFeatures],
    ) -> np.ndarray:
        """Makes the vectors (n, V) of items from the joined means of their neighbours."""
        vectors = self.centre + np.float32(self.gain) * (means - self.centre)
        for vector, own in zip(vectors, features, strict=True):
            for m in table:
                if m in scores.parts and m not in own:
                    vector[scores.parts[m]] = 0
            if self.content is not None:
                self.content.write(own, vector, scores, table)
        if isinstance(scores, Concepts):
            vectors = _as_concepts(vectors, scores)
        vectors[:, -1] = self.offset
        return vectors

    def neighbours(
        self, table: Mapping[str, ItemFeatures], modality: str, f: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the rows (k,) of the most similar items of train in one modality, best first, and their cosines."""
        values, present = table[modality]
        mean, norms = self.means[modality], self.norms[modality]
        allowed = present & self.known & (norms > 0)
        f = f - mean
        direction = f / max(float(np.linalg.norm(f)), SMALLEST)
        return nearest(values, np.flatnonzero(allowed), norms, direction, float(mean @ direction), self.k[modality])


def mean_weights(near: Sequence[tuple[np.ndarray, np.ndarray] | None], num_items: int) -> sp.csr_array:
    """Returns (n, I) weights of the mean over neighbours: positive cosines that sum to one, equal if there are none."""
    size, columns, values = [0], [], []
    for found in near:
        rows, cosine = found or (np.zeros(0, np.int64), np.zeros(0, np.float32))
        weight = np.maximum(cosine, 0)
        values.append(weight / weight.sum() if weight.sum() > 0 else np.full(len(rows), 1 / max(len(rows), 1)))
        columns.append(rows)
        size.append(len(rows))
    content = (np.concatenate(values).astype(np.float32), np.concatenate(columns), np.cumsum(size))
    return sp.csr_array(content, shape=(len(near), num_items))


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


def _as_concepts(vectors: np.ndarray, scores: Concepts) -> np.ndarray:
    """Makes h of length one and weights that sum to one."""
    d = scores.item.shape[1]
    h, c = vectors[:, :d], np.maximum(vectors[:, d:-1], SMALLEST)
    h = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), SMALLEST)
    return np.concatenate([h, c / c.sum(axis=1, keepdims=True), vectors[:, -1:]], axis=1, dtype=np.float32)


def document(rule: NewItems) -> dict[str, Any]:
    """Returns what the manifest says about the rule."""
    own = None if rule.content is None else kind_of(rule.content)
    fields = ("rule", "reason", "k", "weights", "gain", "exposure")
    return {**{name: getattr(rule, name) for name in fields}, "content": own}
