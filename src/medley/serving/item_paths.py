"""The paths of models from the features of a new item to its vector, in numpy; `medley.serving.export.content_paths`
makes them.

    mlp          W2 s(b1 + sum_m W_m f_m) + b2             s: relu (DUIF, CB2CF), leaky relu (CLCRec), tanh (DropoutNet)
    linear       the columns of modality m are W_m f_m; the others are left as they are (VBPR)
    item-graph   sum_m a_m (g mean_j w_j + W_m f_m), of length one; j: the k nearest items of train in modality m, w_j
                 their own vectors, a_m = 1 / number of modalities of the item (Mosaic)

Shapes: I items, V columns of item vectors, the last one the offset, d_m raw dimension of modality m, d' dimension after
scaling, d of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from medley.serving.item_features import SMALLEST, ItemFeatures, Scaling, nearest
from medley.serving.scores import Scores, Vectors

ID = "id"  # the part of the score that is made of the own vectors of the items
PRIOR = "popularity"  # the part that is the same for all users
LEAK = 0.01  # slope of torch's leaky ReLU
Features = Mapping[str, np.ndarray]  # modality -> (d_m,) raw vector of one item
Table = Mapping[str, ItemFeatures]  # modality -> raw features of the items of the bundle


@dataclass(frozen=True)
class ContentPath:
    """A path from features to columns of item vectors."""

    scaling: Mapping[str, Scaling]  # of the modalities that it reads
    arrays: Mapping[str, np.ndarray]

    is_whole: ClassVar[bool]  # whether it writes all columns but the offset

    def reads(self, features: Features) -> bool:
        """Whether it says anything about an item with these features."""
        return any(m in self.scaling for m in features)

    def write(self, features: Features, out: np.ndarray, scores: Scores, table: Table) -> float | None:
        """Writes the columns of one item into its vector (V,).

        Returns the length with which the item counts in a history, for `medley.serving.sums`; None if the path tells
        none.
        """
        raise NotImplementedError


class Linear(ContentPath):
    """Arrays: W_m (columns, d'), columns_m."""

    is_whole = False

    def write(self, features: Features, out: np.ndarray, scores: Scores, table: Table) -> None:
        """Writes the columns of all modalities, 0 where the item lacks one."""
        for m, scale in self.scaling.items():
            f = features.get(m)
            out[self.arrays[f"columns_{m}"]] = 0 if f is None else self.arrays[f"W_{m}"] @ scale(f[None])[0]


class Mlp(ContentPath):
    """Arrays: W_m (h, d'), absent_m (h,), which stands in for the W_m f_m of an item that lacks m, b1, W2, b2."""

    is_whole = True

    @staticmethod
    def activation(x: np.ndarray) -> np.ndarray:
        """The ReLU of hidden numbers (h,)."""
        return np.maximum(x, 0)

    def reads(self, features: Features) -> bool:
        """Always: it has learned what stands in for a missing modality."""
        return True

    def write(self, features: Features, out: np.ndarray, scores: Scores, table: Table) -> None:
        """Writes all columns but the offset."""
        a = self.arrays
        hidden = a["b1"].copy()
        for m, scale in self.scaling.items():
            f = features.get(m)
            hidden += a[f"absent_{m}"] if f is None else a[f"W_{m}"] @ scale(f[None])[0]
        out[:-1] = a["W2"] @ self.activation(hidden) + a["b2"]


class LeakyMlp(Mlp):
    """As `Mlp`, with a leaky ReLU."""

    @staticmethod
    def activation(x: np.ndarray) -> np.ndarray:
        """The leaky ReLU of hidden numbers (h,)."""
        return np.where(x > 0, x, np.float32(LEAK) * x)


class TanhMlp(Mlp):
    """As `Mlp`, with tanh."""

    @staticmethod
    def activation(x: np.ndarray) -> np.ndarray:
        """The hyperbolic tangent of hidden numbers (h,)."""
        return np.tanh(x)


class ItemGraph(ContentPath):
    """Arrays: W_m (d, d') if the model reads features, norms_m (I,) if it has an item graph, and known, length (I,),
    prior, k, g (1,)."""

    is_whole = True

    def write(self, features: Features, out: np.ndarray, scores: Scores, table: Table) -> float:
        """Writes the columns of all modalities and of the prior; those of an own vector are 0."""
        assert isinstance(scores, Vectors), "the item vectors are a table"
        own = [m for m in self.scaling if m in features]
        terms = {m: self._term(m, features[m], scores, table) / len(own) for m in own}
        length = float(np.linalg.norm(sum(terms.values())))
        out[:-1] = 0
        out[scores.parts[PRIOR]] = self.arrays["prior"]
        for m, term in terms.items():
            out[scores.parts[m]] = term / max(length, SMALLEST)
        return length

    def _term(self, modality: str, f: np.ndarray, scores: Vectors, table: Table) -> np.ndarray:
        """Returns g mean_j w_j + W f, (d,)."""
        a, scale, values = self.arrays, self.scaling[modality], table[modality]
        own = scores.parts[ID]
        term = np.zeros(own.stop - own.start, dtype=np.float32)
        if f"W_{modality}" in a:
            term += a[f"W_{modality}"] @ scale(f[None])[0]
        if f"norms_{modality}" in a and f.any():
            norms = a[f"norms_{modality}"]
            rows = np.flatnonzero(values.present & a["known"] & (norms > SMALLEST))
            near, cosine = nearest(values.values, rows, norms, *scale.direction(f), int(a["k"][0]))
            near = near[cosine > 0]
            if len(near):
                term += a["g"][0] * (a["length"][near] @ scores.item[near, own]) / len(near)
        return term


class OwnPath(NamedTuple):
    """The path of a model."""

    path: ContentPath
    of_all: bool  # whether the items of train go it too


KINDS: Mapping[str, type[ContentPath]] = {
    "mlp": Mlp,
    "mlp-leaky": LeakyMlp,
    "mlp-tanh": TanhMlp,
    "linear": Linear,
    "item-graph": ItemGraph,
}


def kind_of(path: ContentPath) -> str:
    """Returns the name of a path in a manifest."""
    return next(name for name, kind in KINDS.items() if type(path) is kind)
