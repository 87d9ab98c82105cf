"""Similar items: by behaviour, by one modality, or by all of them.

    behaviour    cosine of the item vectors, without the offset; of weights between items: the weights themselves
    a modality   cosine of the raw features, centred on the mean item
    all          mean of these, each standardised over the catalogue, over those that the item has

Shapes: N items, deleted and added ones included, d_m raw dimension of modality m, V columns of item vectors.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sp

from medley.errors import InputError
from medley.serving.bundle import Bundle
from medley.serving.catalogue import Catalogue
from medley.serving.scores import ItemToItem, Vectors

BLOCK = 2**15  # rows of features multiplied at a time
BEHAVIOUR, ALL = "behaviour", "all"
SMALLEST = 1e-12


class Similarity:
    """Similarities of one item to all others."""

    def __init__(self, bundle: Bundle, catalogue: Catalogue):
        self.bundle, self.catalogue = bundle, catalogue
        self._centred: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def kinds(self) -> list[str]:
        """The values of `by`."""
        return [BEHAVIOUR, *self.bundle.features, ALL]

    def to(self, item: int, by: str) -> np.ndarray:
        """Returns the similarity (N,) of all items to one; -inf where an item cannot be compared.

        Raises:
            InputError: an unknown `by`, or a modality that the item lacks.
        """
        if by not in self.kinds:
            raise InputError("by", expected=" or ".join(self.kinds), got=repr(by))
        available = self.available(item)
        if by not in available:
            remedy = f"choose {' or '.join(available)}" if available else "put features that the bundle has"
            raise InputError(f"{by} of the item", expected="an item that has it", got="none", remedy=remedy)
        if by == ALL:
            return self._by_all(item)
        return self._by_behaviour(item) if by == BEHAVIOUR else self._by_features(by, self.catalogue.features(item)[by])

    def nearest(self, item: int, by: str, k: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the most similar items of one item.

        Args:
            item: row.
            by: one of `kinds`.
            k: the most items to return.
            allowed: (N,) bool, which items may be listed.

        Returns:
            Item rows (k,), the most similar first, and their similarities (k,).

        Raises:
            InputError: as in `to`.
        """
        similarity = self.to(item, by)
        size = min(len(similarity), len(allowed))
        rows = np.flatnonzero(allowed[:size] & np.isfinite(similarity[:size]))
        rows = rows[rows != item]
        if len(rows) > k:
            least = np.partition(-similarity[rows], k - 1)[k - 1]
            rows = rows[-similarity[rows] <= least]
        rows = rows[np.lexsort((rows, -similarity[rows]))][:k]
        return rows, similarity[rows]

    def available(self, item: int) -> list[str]:
        """Returns the values of `by` that an item has."""
        known = [*([BEHAVIOUR] if self.catalogue.placed.values[item] else []), *self.catalogue.features(item)]
        return [*known, ALL] if known else []

    def _by_all(self, item: int) -> np.ndarray:
        total, count = np.zeros(len(self.catalogue)), np.zeros(len(self.catalogue))
        for by in self.available(item)[:-1]:
            similarity = self.to(item, by)
            known = np.isfinite(similarity)
            known[item] = False
            if known.sum() > 1:
                scaled = (similarity - similarity[known].mean()) / max(float(similarity[known].std()), SMALLEST)
                total[known] += scaled[known]
                count[known] += 1
        return np.where(count > 0, total / np.maximum(count, 1), -np.inf).astype(np.float32)

    def _by_behaviour(self, item: int) -> np.ndarray:
        scores = self.bundle.scores
        if isinstance(scores, ItemToItem):
            return self._by_weights(scores, item)
        vector = self.catalogue.vectors(np.array([item]))[0, :-1]
        table = np.asarray(scores.item)
        width = table.shape[1] - (1 if isinstance(scores, Vectors) else 0)
        changed = self.catalogue.own_vectors()  # before the padding, which then has a place for all of them
        out = self._padded(_cosine(table[:, :width], self._lengths, vector[:width]))
        for row, own in changed.items():
            length = np.linalg.norm(own[:width]) * np.linalg.norm(vector[:width])
            out[row] = own[:width] @ vector[:width] / max(length, SMALLEST)
        return out

    def _by_weights(self, scores: ItemToItem, item: int) -> np.ndarray:
        if item >= self.catalogue.num_bundled:
            size = self.catalogue.num_bundled
            vector = self.catalogue.vectors(np.array([item]))[0, :-1]
            return self._padded(vector.reshape(-1, size).sum(axis=0))
        total = np.zeros(self.catalogue.num_bundled, dtype=np.float32)
        for weights in scores.weights.values():
            total += weights[item] if isinstance(weights, np.ndarray) else sp.csr_array(weights[[item]]).toarray()[0]
        return self._padded(total)

    def _by_features(self, modality: str, feature: np.ndarray) -> np.ndarray:
        values, present = self.bundle.features[modality]
        centre, lengths = self._centre(modality)
        feature = np.asarray(feature, dtype=np.float32) - centre
        similarity = np.empty(len(values), dtype=np.float32)
        for start in range(0, len(values), BLOCK):
            block = np.asarray(values[start : start + BLOCK], dtype=np.float32)
            similarity[start : start + BLOCK] = block @ feature - centre @ feature
        similarity /= np.maximum(lengths * np.linalg.norm(feature), SMALLEST)
        changed = self.catalogue.own_features(modality)
        out = self._padded(np.where(present, similarity, -np.inf))
        for row, own in changed.items():
            if own is None:
                out[row] = -np.inf
                continue
            own = np.asarray(own, dtype=np.float32) - centre
            out[row] = own @ feature / max(float(np.linalg.norm(own) * np.linalg.norm(feature)), SMALLEST)
        return out

    def _centre(self, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the mean features (d_m,) and the lengths (I,) of the centred features."""
        if modality not in self._centred:
            values, present = self.bundle.features[modality]
            starts = range(0, len(values), BLOCK)
            total = np.zeros(values.shape[1])
            for s in starts:
                total += np.asarray(values[s : s + BLOCK])[present[s : s + BLOCK]].sum(axis=0, dtype=np.float64)
            centre = (total / max(int(present.sum()), 1)).astype(np.float32)
            blocks = [np.asarray(values[s : s + BLOCK], dtype=np.float32) - centre for s in starts]
            lengths = [np.linalg.norm(block, axis=1) for block in blocks]
            self._centred[modality] = centre, np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.float32)
        return self._centred[modality]

    @cached_property
    def _lengths(self) -> np.ndarray:
        """(I,), of the item vectors without offset."""
        table = np.asarray(self.bundle.item)
        return np.linalg.norm(table[:, :-1] if isinstance(self.bundle.scores, Vectors) else table, axis=1)

    def _padded(self, similarity: np.ndarray) -> np.ndarray:
        """Appends -inf for the items that were added."""
        out = np.full(len(self.catalogue), -np.inf, dtype=np.float32)
        out[: len(similarity)] = similarity
        return out


def _cosine(table: np.ndarray, lengths: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (table @ vector) / np.maximum(lengths * np.linalg.norm(vector), SMALLEST)
