"""Vectors that travel along the edges of a graph."""

from medley.nn.sparse import SparseMatrix
from medley.types import Embeddings


def propagate(graph: SparseMatrix, layer: Embeddings, num_layers: int) -> list[Embeddings]:
    """Layers 0..K of linear propagation: users <- graph @ items, items <- graph.T @ users, both from the layer before.

    Args:
        graph: (U, I), with the weights of the normalisation.
        layer: layer 0, user (U, d) and item (I, d).
        num_layers: K.
    """
    layers = [layer]
    for _ in range(num_layers):
        layer = Embeddings(graph @ layer.item, graph.T @ layer.user)
        layers.append(layer)
    return layers
