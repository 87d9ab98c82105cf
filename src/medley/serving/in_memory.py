"""Bundles that stay in memory: made at once, to ask a service about a model that is here anyway.

They are not calibrated: new users and new items are refused with the remedy. And they hold any model, also one whose
score is a function of users that only torch can compute, which no file can hold.

Shapes: B queries, I items, n item vectors.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from medley.data.ids import IdMap
from medley.errors import InputError
from medley.models import Recommender
from medley.scoring.blocks import refuse_nan, score_blocks
from medley.serving.bundle import Bundle
from medley.serving.fold_in import FoldIn
from medley.serving.new_items import Embedded, NewItems

MEMORY_MB = 64  # of a block of scores
GOT, REMEDY = "a bundle in memory without calibration", "export the model: medley.export (medley export)"


@dataclass(frozen=True)
class InMemory(Bundle):
    """A bundle without calibration, which cannot be written. Raw ids are those of the data set."""

    ids_of_users: IdMap | None = None
    ids_of_items: IdMap | None = None

    @property
    def user_ids(self) -> IdMap:  # type: ignore[override]
        """Raw ids of the users, in row order."""
        assert self.ids_of_users is not None
        return self.ids_of_users

    @property
    def item_ids(self) -> IdMap:  # type: ignore[override]
        """Raw ids of the items, in row order."""
        assert self.ids_of_items is not None
        return self.ids_of_items

    def because(
        self, query: np.ndarray, history: np.ndarray, vector: np.ndarray, k: int = 3
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the items of a history that speak most for an item; none if only torch can compute the score."""
        if isinstance(self.scores, Function):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        return super().because(query, history, vector, k)

    def write(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Refuses.

        Raises:
            InputError: always.
        """
        _refuse("writing a bundle")


class NoFoldIn(FoldIn):
    """Refuses new users."""

    def __call__(self, *_: object, **__: object) -> np.ndarray:
        """Raises InputError."""
        _refuse("a user without a learned vector")

    def of_vectors(self, *_: object, **__: object) -> np.ndarray:
        """Raises InputError."""
        _refuse("a user without a learned vector")


class NoNewItems(NewItems):
    """Refuses new items."""

    def __call__(self, *_: object, **__: object) -> Embedded:
        """Raises InputError."""
        _refuse("a new item")


@dataclass(frozen=True)
class Function:
    """Scores that torch computes: a query is the row of a user, an item vector the row of an item."""

    model: Recommender
    function: Callable[[Tensor], Tensor]  # user rows (B,) -> scores (B, I)
    kind: str = "function"

    @property
    def parts(self) -> Mapping[str, slice]:
        """None: a query has no columns of parts."""
        return {}

    @property
    def num_items(self) -> int:
        """I"""
        return self.model.num_items

    @property
    def item(self) -> NoReturn:
        """No table: raises InputError."""
        got = f"{type(self.model).__name__}, whose score is a function of users"
        remedy = "ask by a modality of the items"
        raise InputError("similarity by behaviour", expected="a model with item vectors", got=got, remedy=remedy)

    def queries(self, users: np.ndarray) -> np.ndarray:
        """Returns the queries (B, 1) of user rows (B,)."""
        return np.asarray(users, dtype=np.float64)[:, None]

    def item_vectors(self, items: np.ndarray) -> np.ndarray:
        """Returns the vectors (n, 1) of item rows (n,)."""
        return np.asarray(items, dtype=np.float64)[:, None]

    def scores(self, queries: np.ndarray) -> np.ndarray:
        """Returns the scores (B, I) of queries for all items.

        Raises:
            InputError: the scores hold NaN or have another shape.
        """
        users = queries[:, 0].astype(np.int64)
        scores = np.empty((len(users), self.num_items), dtype=np.float32)
        with evaluating(self.model):
            for rows, block in score_blocks(self.function, users, self.num_items, MEMORY_MB):
                refuse_nan(int(block.isnan().sum()))
                scores[rows] = block.cpu().numpy()
        return scores

    def match(self, queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Returns the scores (B, n) of queries for item vectors."""
        return self.scores(queries)[:, vectors[:, 0].astype(np.int64)]

    def match_parts(self, queries: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Returns part -> (B, n), if the model says what its scores are sums of."""
        users = torch.from_numpy(queries[:, 0].astype(np.int64))
        items = torch.from_numpy(vectors[:, 0].astype(np.int64)).expand(len(users), -1)
        with evaluating(self.model):
            found = self.model.contributions(users, items)
        return {name: part.cpu().numpy() for name, part in found.items()}


@contextmanager
def evaluating(model: Recommender) -> Iterator[None]:
    """Puts a model into evaluation mode without gradients, and back when the block ends."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _refuse(what: str) -> NoReturn:
    raise InputError(what, expected="a calibrated bundle", got=GOT, remedy=REMEDY)
