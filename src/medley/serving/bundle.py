"""The bundle: all that serving needs of a trained model, in one folder or one file. Reading it needs neither torch nor
the data set.

manifest.json              what the bundle is, measured quality, and the hash of every file
users.parquet              user_id (text), any metadata            row = user row
items.parquet              item_id (text), title, any metadata     row = item row
scores/*.npy, *.safetensors  what scores are computed from: `medley.serving.scores`
seen.safetensors           (U, I): 1 seen in train, 2 in validation, 3 in test, 4 disliked; perhaps ages of pairs
features/<m>.npy, <m>.present.npy   raw features, as the encoders give them
fold_in.safetensors        what folds in a new user: `medley.serving.fold_in`
new_items.safetensors      what embeds a new item: `medley.serving.new_items`
fitted/<m>.safetensors     what encodes the media of a new item, besides the encoder; only of extracted modalities
thumbnails.parquet         item (row), jpeg; only if the export was given media

`model_version` is the sha256 of the manifest, which holds the hashes of all other files: two bundles of one version
score alike. It detects damage and careless changes; it is not a signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from medley.data.ids import IdMap
from medley.errors import InputError
from medley.serving import bundle_files
from medley.serving.bundle_manifest import BundleManifest
from medley.serving.fold_in import FoldIn
from medley.serving.item_features import ItemFeatures
from medley.serving.new_items import Embedded, NewItems
from medley.serving.scores import Concepts, ItemToItem, Kind, Scores, Vectors
from medley.serving.seen import TRAIN


@dataclass(frozen=True)
class Bundle:
    """A model ready to serve, in memory or memory-mapped."""

    manifest: BundleManifest
    users: pl.DataFrame  # user_id and metadata
    items: pl.DataFrame  # item_id, title and metadata
    scores: Scores
    seen: sp.csr_array  # (U, I) int8, codes TRAIN to DISLIKED
    features: Mapping[str, ItemFeatures]
    fold_in_rule: FoldIn
    new_item_rule: NewItems
    age: np.ndarray | None = None  # (n,) int32, of the pairs of `seen`: `medley.serving.ages`; None: no rule reads it
    fitted: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)  # modality -> arrays of its encoder
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)  # item row -> a small JPEG

    @cached_property
    def user_ids(self) -> IdMap:
        """Raw ids of the users, in row order."""
        return IdMap(self.users["user_id"], kind="user")

    @cached_property
    def item_ids(self) -> IdMap:
        """Raw ids of the items, in row order."""
        return IdMap(self.items["item_id"], kind="item")

    @cached_property
    def popularity(self) -> np.ndarray:
        """(I,) int64, the number of train interactions of each item."""
        return np.bincount(self.seen.indices[self.seen.data == TRAIN], minlength=self.manifest.num_items)

    @property
    def kind(self) -> Kind:
        """How scores are computed: `medley.serving.scores`."""
        return self.scores.kind

    @property
    def parts(self) -> Mapping[str, slice]:
        """Part of the score -> its columns in queries and item vectors; empty if the score has no parts."""
        return self.scores.parts

    @property
    def user(self) -> np.ndarray | None:
        """The table of users (U, D + 1) of kind `vectors`; None for the other kinds, whose users are histories."""
        return self.scores.user if isinstance(self.scores, Vectors) else None

    @property
    def item(self) -> np.ndarray | None:
        """The table of items: (I, D + 1) of kind `vectors`, (I, d) of `concepts`; None for `item-to-item`."""
        return None if isinstance(self.scores, ItemToItem) else self.scores.item

    @property
    def weights(self) -> Mapping[str, np.ndarray | sp.csr_array]:
        """Part -> weights (I, I) of kind `item-to-item`; empty for the other kinds."""
        return self.scores.weights if isinstance(self.scores, ItemToItem) else {}

    def history(self, user: int, codes: Sequence[int] = (TRAIN,)) -> np.ndarray:
        """Returns the item rows (n,) of a user with these codes in `seen`, ascending."""
        row = slice(self.seen.indptr[user], self.seen.indptr[user + 1])
        return self.seen.indices[row][np.isin(self.seen.data[row], codes)]

    def ages(self, user: int) -> np.ndarray:
        """Returns the ages (n,) of what the model has learned from, in the order of `history`."""
        row = slice(self.seen.indptr[user], self.seen.indptr[user + 1])
        learned = self.seen.data[row] == TRAIN
        return np.zeros(learned.sum(), dtype=np.int32) if self.age is None else self.age[row][learned]

    def fold_in(self, history: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns the query (Q,) of a user with this history of item rows (n,), the latest last.

        How it is made: `medley.serving.fold_in.FoldIn`.

        Raises:
            InputError: rows out of range or twice, or wrong weights.
        """
        return self.fold_in_rule(self.scores, history, weights)

    def embed(self, features: Mapping[str, np.ndarray]) -> Embedded:
        """Returns the vector (V,) of a new item from raw features, or the reason why there is none.

        Raises:
            InputError: an unknown modality, or a vector of another length or not finite.
        """
        return self.new_item_rule(self.scores, self.features, features)

    def weighted(self, queries: np.ndarray, weights: Mapping[str, float]) -> np.ndarray:
        """Returns queries (B, Q) whose parts weigh as given; 1 for parts that are not named.

        Raises:
            InputError: a part that the score does not have.
        """
        queries = np.array(queries)
        for name, weight in weights.items():
            if name not in self.parts:
                expected = " or ".join(self.parts) or "none: the score of this model has no parts"
                raise InputError("part of the score", expected=expected, got=repr(name))
            queries[..., self.parts[name]] *= weight
        return queries

    def because(
        self, query: np.ndarray, history: np.ndarray, vector: np.ndarray, k: int = 3
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the items of a history that speak most for an item, and how much.

        For weights between items this is what each adds to the score; else the cosine of the vectors of both items,
        each column weighted as the user weighs it on average over the history.

        Args:
            query: (Q,), of the user; only `item-to-item` reads it.
            history: (n,) item rows.
            vector: (V,), of the recommended item.
            k: the most items to return.

        Returns:
            Item rows (k,) and their weights (k,), largest first; only positive weights.
        """
        history = np.asarray(history, dtype=np.int64)
        if isinstance(self.scores, ItemToItem):
            size = self.manifest.num_items
            added = (query * vector)[: size * len(self.weights)].reshape(-1, size).sum(axis=0)
            weight = added[history]
        else:
            width = self.scores.item.shape[1] if isinstance(self.scores, Concepts) else -1
            own, other = self.scores.item_vectors(history)[:, :width], vector[:width]
            length = np.linalg.norm(own, axis=1) * np.linalg.norm(other)
            weight = own @ other / np.maximum(length, 1e-12)
        best = np.argsort(-weight, kind="stable")[:k]
        best = best[weight[best] > 0]
        return history[best], weight[best]

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Writes the bundle in one step: one file if the name ends in .medley or .zip, else a folder.

        Raises:
            InputError: the path exists, and `overwrite` is false.
        """
        bundle_files.write(self, Path(path), overwrite=overwrite)

    @classmethod
    def read(cls, path: str | Path, *, verify: bool = True) -> "Bundle":
        """Opens a bundle; arrays are memory-mapped.

        Args:
            path: the folder or file.
            verify: compare the hash of every file with the manifest (reads everything once).

        Raises:
            InputError: not a bundle, of a newer version, damaged or changed.
        """
        manifest, fields = bundle_files.read(Path(path), verify=verify)
        return cls(manifest, **fields)


def of(manifest: BundleManifest, **fields: Any) -> Bundle:
    """Returns a bundle whose manifest lists its files and has its version."""
    records = bundle_files.records(Bundle(manifest, **fields))
    listed = manifest.model_copy(update={"files": records})
    return Bundle(listed.model_copy(update={"model_version": listed.version()}), **fields)
