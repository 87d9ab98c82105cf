"""LightGCN. He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020,
https://arxiv.org/abs/2002.02126.

    E(k+1) = D^-1/2 A D^-1/2 E(k)      E = mean_k E(k), k = 0..K      s_ui = e_u . e_i

A joins users and items only, so with R^ = D_u^-1/2 R D_i^-1/2 one layer is R^ E_i for users and R^^T E_u for items.

Two papers compare with other forms of it. Without its two graphs LUDP (Fig. 3) is LightGCN with the sum of the layers:
`combine` = "sum". EgoGCN (Sec. 4.2, Table 3) gives it the concatenated features as the input vectors of the items:
`use_content` = True, e_i(0) = W [f_i1 || f_i2 || ...]. It leaves open how features come to d dimensions (here: W is
learned), whether IDs stay beside them (here: not), and an item that lacks m (here: a learned vector stands in).

Shapes: U users, I items, d = dim, B triplets.
Differs from the authors' code: nothing that changes results; e0 is Xavier uniform (theirs: normal with std 0.1).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from medley import graphs
from medley.models.base import Count, Layers, Recommender, Weight
from medley.models.cold import Cold, ColdItems
from medley.models.spaces import LR, Log, Space, Whole
from medley.nn.chosen import Offset
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.modalities import Content, FeatureScale, item_features
from medley.nn.propagation import Rows, distinct_rows, lightgcn
from medley.types import Embeddings, Inputs, Triplets

Combine = Literal["mean", "sum"]


class LightGCN(Recommender):
    """Vectors of users and items, smoothed over the interaction graph.

    Choose it first if the data has interactions alone: hard to beat at its cost, but it cannot score new items.
    """

    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": Log(1e-6, 1e-2),  # Sec. 4.1.2
        "num_layers": Whole(1, 4),  # Table 3
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Count = 64,
        num_layers: Layers = 3,
        combine: Combine = "mean",
        use_content: bool = False,
        reg: Weight = 1e-3,  # Sec. 4.1.2: 1e-4 beside a sum; docs/results/defaults.md
        feature_scale: FeatureScale = "l2",
        cold: Cold = "model",
        cold_offset: Offset = "auto",
    ):
        super().__init__(inputs)
        self.reads_features = use_content or cold == "neighbours"
        self.num_layers, self.combine, self.reg = num_layers, combine, reg
        self.graph = graphs.symmetric(inputs.train)  # (U, I)
        self.e0_user = xavier(self.num_users, dim)  # (U, d)
        self.e0_item = None if use_content else xavier(self.num_items, dim)  # (I, d)
        self.content = Content(item_features(inputs, feature_scale), dim) if use_content else None  # -> (I, d)
        self.cold = ColdItems(inputs, cold, cold_offset)

    def forward(self) -> Embeddings:
        """User (U, d) and item (I, d) vectors."""
        return self.cold.score(self._propagated()[0])

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the layer-0 rows of the batch (eq. 15)."""
        rows, places = distinct_rows(batch)
        e, e0 = self._propagated(rows)
        return bpr_loss(e, places) + self.reg * l2_of_batch(e0, places)

    def _propagated(self, rows: Rows | None = None) -> tuple[Embeddings, Embeddings]:
        """Final vectors and vectors of layer 0; with `rows` of these users and items alone."""
        item = self.e0_item if self.content is None else self.content()
        assert item is not None, "the items have either vectors of their own or contents"
        e0 = Embeddings(self.e0_user, item)
        return lightgcn(self.graph, e0, self.num_layers, rows, combine=self.combine)  # eq. 3, 4, alpha_k = 1 / (K + 1)
