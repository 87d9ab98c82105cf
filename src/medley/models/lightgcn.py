"""LightGCN. He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020,
https://arxiv.org/abs/2002.02126.

    E(k+1) = D^-1/2 A D^-1/2 E(k)      E = mean_k E(k), k = 0..K      s_ui = e_u . e_i

A joins users and items only, so with R^ = D_u^-1/2 R D_i^-1/2 one layer is: users R^ E_i, items R^T E_u.

Shapes: U users, I items, d = dim, B triplets.
Differs from the authors' code: nothing that changes results; e0 is Xavier uniform (theirs: normal with std 0.1).
"""

from torch import Tensor

from medley import graphs
from medley.models.base import Recommender, at_least
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.propagation import Rows, distinct_rows, propagate_rows
from medley.types import Embeddings, Inputs, Triplets


class LightGCN(Recommender):
    """Vectors of users and items, smoothed over the interaction graph.

    Choose it first, where interactions are what you have: hard to beat for its cost, but blind to new items.
    """

    reads_features = False

    def __init__(self, inputs: Inputs, *, dim: int = 64, num_layers: int = 3, reg: float = 1e-4):
        super().__init__(inputs)
        at_least(0, "lightgcn", num_layers=num_layers)
        self.num_layers, self.reg = num_layers, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e0_user = xavier(self.num_users, dim)  # (U, d)
        self.e0_item = xavier(self.num_items, dim)  # (I, d)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        return self._travelled()[0]

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the layer-0 rows that the batch touches (eq. 15)."""
        rows, places = distinct_rows(batch)
        e, e0 = self._travelled(rows)
        return bpr_loss(e, places) + self.reg * l2_of_batch(e0, places)

    def _travelled(self, rows: Rows | None = None) -> tuple[Embeddings, Embeddings]:
        """Vectors, and those of layer 0, of all or of some users and items."""
        e0, K = Embeddings(self.e0_user, self.e0_item), self.num_layers
        return propagate_rows(self.graph, e0, [1 / (K + 1)] * (K + 1), rows)  # eq. 3, 4 with alpha_k = 1 / (K + 1)
