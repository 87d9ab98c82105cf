"""The base of models that read the items of a user in the order of time and predict the next item.

    s_ui = h_u . q_i        h_u: the state of user u after the latest items of u
                            q_i: row i of one table, with `use_content` plus the content of item i

A model brings its table of items, the state before the first item, an encoder and the loss.

Shapes: U users, I items, d = dim, W windows of at most L items, B triplets, r states.
"""

from functools import partial

import torch
from torch import Tensor

from medley.models.base import Recommender
from medley.nn.modalities import Content
from medley.nn.sequences import Histories, Windows, states
from medley.types import Embeddings, Inputs, Interactions, Triplets


class SequentialRecommender(Recommender):
    """Makes a user of the states after the items of the user; without items, of the start state."""

    folds_in = True
    content: Content | None  # set by the model after its own parameters

    def __init__(self, inputs: Inputs, *, max_length: int, dropout: float, use_content: bool):
        super().__init__(inputs)
        self.reads_features = use_content
        self.rate = dropout
        self.histories = Histories(inputs.train, max_length)

    def _table(self) -> Tensor:
        """Returns one learned vector per item, (I, d)."""
        raise NotImplementedError(f"{type(self).__name__} needs a table of items")

    def _start(self) -> Tensor:
        """Returns the learned state before the first item, (d,)."""
        raise NotImplementedError(f"{type(self).__name__} needs a start state")

    def _encode(self, x: Tensor, place: Tensor, rate: float) -> Tensor:
        """Returns the states in some places (r,) among the W * L of item vectors (W, L, d): (r, d).

        State k reads the first k items of its window alone.
        """
        raise NotImplementedError(f"{type(self).__name__} needs an encoder")

    def forward(self) -> Embeddings:
        """User vectors (U, d), the states after all their items, and item vectors (I, d)."""
        return self._embeddings(self.histories)

    def scorer_of(self, history: Interactions) -> Embeddings:
        """States after the items of another history, and item vectors."""
        return self._embeddings(self.histories.of(history))

    def _embeddings(self, histories: Histories) -> Embeddings:
        items, users = self._items(), torch.arange(histories.num_users)
        return Embeddings(self._states(histories.latest(users), items, len(users)), items)

    def _items(self) -> Tensor:
        """Returns item vectors (I, d): the table, plus the content with `use_content`."""
        table = self._table()
        return table if self.content is None else table + self.content()

    def _before(self, batch: Triplets) -> tuple[Tensor, Tensor]:
        """Returns the states (B, d) of the users before they saw their positives, and item vectors (I, d)."""
        items, rate = self._items(), self.rate if self.training else 0.0
        windows = self.histories.before(batch.user, batch.pos)
        return self._states(windows, items, len(batch.user), rate), items

    def _states(self, windows: list[Windows], items: Tensor, num_queries: int, rate: float = 0.0) -> Tensor:
        return states(windows, items, partial(self._encode, rate=rate), self._start(), num_queries)
