"""Interactions or features -> graphs. Graphs read the train split alone: `Inputs` holds no other.

bipartite      users and items joined by interactions
cosine         items joined by the similarity of their users
knn            items joined by the similarity of their features; knn_faiss is its approximate counterpart
cooccurrence   items joined by common users, users joined by common items
warm           items joined to the items with interactions that are most similar in content
normalise      from edge weights to propagation weights
cache          expensive graphs on disk
"""

from medley.graphs.bipartite import Bipartite, mean_over_neighbours, symmetric, with_modality
from medley.graphs.cooccurrence import item_cointeraction, user_cooccurrence
from medley.graphs.cosine import item_cosine
from medley.graphs.knn import item_knn
from medley.graphs.knn_faiss import item_knn_faiss
from medley.graphs.normalise import binarise, normalise_rows, normalise_symmetric, softmax_rows
from medley.graphs.warm import warm_knn

__all__ = [
    "Bipartite",
    "binarise",
    "item_cointeraction",
    "item_cosine",
    "item_knn",
    "item_knn_faiss",
    "mean_over_neighbours",
    "normalise_rows",
    "normalise_symmetric",
    "softmax_rows",
    "symmetric",
    "user_cooccurrence",
    "warm_knn",
    "with_modality",
]
