"""The contract of a model as checks, and the tools to test its equations by hand. Needs no test framework.

    from medley.testing import check_model

    def test_my_model():
        check_model("mypkg.mymodel:Mine")

`check_model` checks what every model promises, one function of `medley.testing.contract` per promise. Whether a model
computes the equations of its paper needs another test: `drawn` builds the model on `five_nodes()` with parameters far
from zero, `parameters_of` returns these parameters, slow loops over SEEN compute the paper's scores from the
parameters, and `scores_of` says what the model computes.

Shapes: U users, I items, d dimensions, n rows.
"""

from medley.testing.computed import DIM, Model, drawn, parameters_of, scores_of, vectors_of
from medley.testing.contract import CHECKS, check_model
from medley.testing.inputs import BATCH, EDGES, SEEN, SEEN_BY, checkerboard, five_nodes, with_99_where_missing
from medley.testing.loops import bpr, content_of, edge_weights, leaky_relu, lightgcn, nearest, softmax, unit
from medley.testing.small import Options

__all__ = [
    "BATCH",
    "CHECKS",
    "DIM",
    "EDGES",
    "SEEN",
    "SEEN_BY",
    "Model",
    "Options",
    "bpr",
    "check_model",
    "checkerboard",
    "content_of",
    "drawn",
    "edge_weights",
    "five_nodes",
    "leaky_relu",
    "lightgcn",
    "nearest",
    "parameters_of",
    "scores_of",
    "softmax",
    "unit",
    "vectors_of",
    "with_99_where_missing",
]
