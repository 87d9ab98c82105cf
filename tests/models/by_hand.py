"""The loops of `medley.testing` under the names that tests of models have imported so far."""

from medley.testing import (
    BATCH,
    DIM,
    EDGES,
    bpr,
    content_of,
    drawn,
    edge_weights,
    leaky_relu,
    lightgcn,
    nearest,
    parameters_of,
    scores_of,
    softmax,
    unit,
    vectors_of,
    with_99_where_missing,
)
from medley.testing import SEEN as TOUCHED
from medley.testing import SEEN_BY as TOUCHED_BY

__all__ = [
    "BATCH",
    "DIM",
    "EDGES",
    "TOUCHED",
    "TOUCHED_BY",
    "bpr",
    "content_of",
    "drawn",
    "edge_weights",
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
