"""LR-GCCF. Chen, Wu, Hong, Zhang & Wang, "Revisiting Graph Based Collaborative Filtering: A Linear Residual Graph
Convolutional Network Approach", AAAI 2020, https://arxiv.org/abs/2001.10167.

For k = 0..K-1, with every node a neighbour of itself and D its degrees, itself counted:

    E(k+1) = D^-1/2 (A + I) D^-1/2 E(k)        s_ui(k+1) = s_ui(k) + e_u(k+1) . e_i(k+1)

Each layer adds the residual of the layers below to the score, so s_ui is the inner product of concatenated layers.
With D_u, D_i of users and items and R^ = D_u^-1/2 R D_i^-1/2 one layer is: users R^ E_i + D_u^-1 E_u, items
R^T E_u + D_i^-1 E_i.

Shapes: U users, I items, d = dim, K = num_layers, B triplets.
Differs from the paper: no linear map after a layer, like the authors' code. Differs from the authors' code: L2 of layer
0 (there of all layers); e0 is Xavier uniform (there normal with std 0.01).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from medley.graphs.normalise import scaled
from medley.models.base import Count, Layers, Recommender, Weight
from medley.models.spaces import LR, REG, Space, Whole
from medley.nn.init import xavier
from medley.nn.losses import bpr_loss, l2_of_batch
from medley.nn.propagation import distinct_rows, take_rows
from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings, Inputs, Triplets


class LRGCCF(Recommender):
    """Linear smoothing of user and item vectors; each layer adds its own part to the score.

    Choose it like LightGCN; its layers are kept apart, so the share of each layer in a score can be shown.
    """

    reads_features = False
    search_space: ClassVar[Mapping[str, Space]] = {
        "lr": LR,
        "reg": REG,
        "num_layers": Whole(1, 4),
    }
    default_settings: ClassVar[Mapping[str, Any]] = {"lr": 5e-3}  # docs/results/defaults.md
    self_user: Tensor  # (U, 1)
    self_item: Tensor  # (I, 1)

    def __init__(self, inputs: Inputs, *, dim: Count = 64, num_layers: Layers = 3, reg: Weight = 1e-2):
        super().__init__(inputs)
        self.num_layers, self.reg = num_layers, reg
        train = inputs.train
        self_user, self_item = 1 / (1 + train.items_per_user()), 1 / (1 + train.users_per_item())  # D^-1
        self.graph = SparseMatrix(scaled(train.csr(), np.sqrt(self_user), np.sqrt(self_item)))  # (U, I)
        self.register_buffer("self_user", torch.tensor(self_user[:, None], dtype=torch.float32), persistent=False)
        self.register_buffer("self_item", torch.tensor(self_item[:, None], dtype=torch.float32), persistent=False)
        self.e0_user = xavier(self.num_users, dim)  # (U, d)
        self.e0_item = xavier(self.num_items, dim)  # (I, d)

    def forward(self) -> Embeddings:
        """User (U, (K + 1) d) and item (I, (K + 1) d) vectors."""
        users, items = zip(*self.parts().values(), strict=True)
        return Embeddings(torch.cat(users, dim=1), torch.cat(items, dim=1))

    def parts(self) -> dict[str, Embeddings]:
        """`layer 0` .. `layer K` -> user (U, d) and item (I, d) vectors."""
        layers = [Embeddings(self.e0_user, self.e0_item)]
        for _ in range(self.num_layers):
            user, item = layers[-1]
            layers.append(
                Embeddings(self.graph @ item + self.self_user * user, self.graph.T @ user + self.self_item * item)
            )
        return {f"layer {k}": layer for k, layer in enumerate(layers)}

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of the layer-0 rows in the batch."""
        rows, places = distinct_rows(batch)
        layers = [take_rows(layer, rows) for layer in self.parts().values()]
        vectors = Embeddings(*(torch.cat(side, dim=1) for side in zip(*layers, strict=True)))
        return bpr_loss(vectors, places) + self.reg * l2_of_batch(layers[0], places)
