"""The same models with torch-geometric's layers and with torch's sparse matrices, to be timed in the same run. The
loss, the batches and Adam are those of Medley; only the propagation differs.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.nn.init import linear, xavier
from medley.nn.losses import bpr_loss, l2_of_batch, l2_of_parameters
from medley.types import Embeddings, Inputs, Triplets


def edges_of(inputs: Inputs) -> Tensor:
    """Returns (2, 2n) int64: both directions of every interaction, items numbered after users."""
    train = inputs.train
    user, item = torch.tensor(train.user, dtype=torch.int64), torch.tensor(train.item, dtype=torch.int64)
    there = torch.stack([user, item + train.num_users])
    return torch.cat([there, there.flip(0)], dim=1)


class LightGCNOpponent(nn.Module):
    """LightGCN over all nodes at once, as in PyG and most published code."""

    def __init__(self, inputs: Inputs, *, num_layers: int = 3, dim: int = 64, reg: float = 1e-4):
        super().__init__()
        self.num_users, self.num_layers, self.reg = inputs.train.num_users, num_layers, reg
        self.e0 = xavier(inputs.train.num_users + inputs.train.num_items, dim)

    def propagate(self, x: Tensor) -> Tensor:
        """Computes one layer."""
        raise NotImplementedError

    def forward(self) -> Embeddings:
        """Returns the mean over the layers."""
        layers = [self.e0]
        for _ in range(self.num_layers):
            layers.append(self.propagate(layers[-1]))
        mean = torch.stack(layers).mean(dim=0)
        return Embeddings(mean[: self.num_users], mean[self.num_users :])

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of layer 0, as in Medley."""
        e0 = Embeddings(self.e0[: self.num_users], self.e0[self.num_users :])
        return bpr_loss(self(), batch) + self.reg * l2_of_batch(e0, batch)


class PygEdgeIndex(LightGCNOpponent):
    """torch_geometric.nn.LGConv on an edge_index: gather, scale, scatter."""

    def __init__(self, inputs: Inputs, **options: float):
        super().__init__(inputs, **options)
        from torch_geometric.nn import LGConv

        self.convolution = LGConv()
        self.register_buffer("edges", edges_of(inputs), persistent=False)

    def propagate(self, x: Tensor) -> Tensor:
        """LGConv"""
        return self.convolution(x, self.edges)


class PygCsr(LightGCNOpponent):
    """torch_geometric.nn.LGConv on a torch CSR matrix, normalised beforehand (PyG's fast path)."""

    def __init__(self, inputs: Inputs, **options: float):
        super().__init__(inputs, **options)
        from torch_geometric.nn import LGConv

        self.convolution = LGConv(normalize=False)
        self.matrix = normalised_csr(inputs)

    def propagate(self, x: Tensor) -> Tensor:
        """LGConv"""
        return self.convolution(x, self.matrix)


class TorchCsr(LightGCNOpponent):
    """torch.sparse CSR times dense, with torch's own backward."""

    def __init__(self, inputs: Inputs, **options: float):
        super().__init__(inputs, **options)
        self.matrix = normalised_csr(inputs)

    def propagate(self, x: Tensor) -> Tensor:
        """Sparse times dense."""
        return self.matrix @ x


def normalised_csr(inputs: Inputs) -> Tensor:
    """D^-1/2 A D^-1/2 over all nodes, torch CSR."""
    edges = edges_of(inputs)
    num_nodes = inputs.train.num_users + inputs.train.num_items
    degree = torch.bincount(edges[0], minlength=num_nodes).clamp(min=1).float()
    weight = (degree[edges[0]] * degree[edges[1]]).rsqrt()
    return torch.sparse_coo_tensor(edges, weight, (num_nodes, num_nodes)).coalesce().to_sparse_csr()


class PygMMGCN(nn.Module):
    """MMGCN with the mean aggregation of torch_geometric (gather and scatter over the edges), element-wise with ID."""

    def __init__(self, inputs: Inputs, *, dim: int = 64, num_layers: int = 3, reg: float = 1e-5):
        super().__init__()
        from torch_geometric.nn import SimpleConv

        train = inputs.train
        self.num_users, self.reg = train.num_users, reg
        self.register_buffer("edges", edges_of(inputs), persistent=False)
        self.mean = SimpleConv(aggr="mean")
        self.id = xavier(train.num_users + train.num_items, dim)
        self.user, self.features = nn.ParameterDict(), {}
        self.W1, self.W2, self.W3 = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for m, features in inputs.features.items():
            values = torch.from_numpy(np.asarray(features.values, dtype=np.float32))
            self.features[m] = values
            self.user[m] = xavier(train.num_users, values.shape[1])
            sizes = [values.shape[1]] + [dim] * (num_layers - 1)
            self.W1[m] = nn.ModuleList(linear(size, dim) for size in sizes)
            self.W2[m] = nn.ModuleList(linear(size, dim) for size in sizes)
            self.W3[m] = nn.ModuleList(linear(dim, dim) for _ in sizes)

    def forward(self) -> Embeddings:
        """Sum over the modalities."""
        total = torch.zeros_like(self.id)
        for m in self.features:
            x = torch.cat([self.user[m], self.features[m]])
            for W1, W2, W3 in zip(self.W1[m], self.W2[m], self.W3[m], strict=True):
                h = F.leaky_relu(self.mean(W1(x), self.edges))
                x = F.leaky_relu(W3(h) + F.leaky_relu(W2(x)) + self.id)
            total = total + x
        return Embeddings(total[: self.num_users], total[self.num_users :])

    def loss(self, batch: Triplets) -> Tensor:
        """BPR and L2 of all parameters, as in Medley."""
        return bpr_loss(self(), batch) + self.reg * l2_of_parameters(self.parameters())


OPPONENTS: dict[str, dict[str, type[nn.Module]]] = {
    "lightgcn": {"torch-geometric, edge_index": PygEdgeIndex, "torch-geometric, CSR": PygCsr, "torch CSR": TorchCsr},
    "mmgcn": {"torch-geometric, mean by scatter": PygMMGCN},
}
