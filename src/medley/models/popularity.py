"""Popularity: every user is recommended the items with the most interactions.

s_ui = |N_i|
"""

from collections.abc import Mapping
from typing import ClassVar

import torch

from medley.models.base import Recommender
from medley.models.spaces import Space
from medley.types import Embeddings, Inputs


class Popularity(Recommender):
    """The number of train interactions of an item. No parameters.

    Choose it as the baseline that every model must beat, and for users without interactions.
    """

    reads_features = False
    search_space: ClassVar[Mapping[str, Space]] = {}  # no options

    def __init__(self, inputs: Inputs):
        super().__init__(inputs)
        popularity = torch.from_numpy(inputs.train.users_per_item()).float()
        self.register_buffer("popularity", popularity[:, None], persistent=False)  # (I, 1)

    def forward(self) -> Embeddings:
        """User (U, 1) and item (I, 1) vectors."""
        return Embeddings(self.popularity.new_ones(self.num_users, 1), self.popularity)
