"""The contract of a model as checks, and the tools to test its equations by hand. Needs no test framework.

    from medley.testing import check_model

    def test_my_model():
        check_model("mypkg.mymodel:Mine")

`check_model` checks what every model promises. Whether a model computes the equations of its paper needs another test:
`drawn` builds the model on `five_nodes()` with parameters far from zero, `parameters_of` returns these parameters, slow
loops over SEEN compute the paper's scores from the parameters, and `scores_of` says what the model computes.

Shapes: U users, I items, d dimensions, n rows.
"""

from medley.testing.computed import DIM, Model, drawn, parameters_of, scores_of, vectors_of
from medley.testing.contract import CHECKS, check_model
from medley.testing.declaration import (
    cites_its_paper,
    has_a_summary,
    has_typed_options_with_defaults,
    refuses_negative_counts,
)
from medley.testing.inputs import BATCH, EDGES, SEEN, SEEN_BY, checkerboard, five_nodes, with_99_where_missing
from medley.testing.learning import (
    LEARNED,
    NUM_STEPS,
    learns_the_checkerboard,
    resumes_from_its_parameters,
    trains_every_parameter,
)
from medley.testing.loops import bpr, content_of, edge_weights, leaky_relu, lightgcn, nearest, softmax, unit
from medley.testing.scores import (
    accepts_one_modality_of_any_name,
    follows_its_seed,
    has_parts_that_sum_to_the_score,
    ignores_the_numbering_of_items,
    restores_its_scores_from_saved_weights,
    scores_all_users_and_items,
    scores_without_chance,
)
from medley.testing.small import LEARNING_RATE, SMALL_DIM, Options
from medley.testing.state import keeps_its_tensors_as_parameters_and_buffers, leaves_nothing_behind

__all__ = [
    "BATCH",
    "CHECKS",
    "DIM",
    "EDGES",
    "LEARNED",
    "LEARNING_RATE",
    "NUM_STEPS",
    "SEEN",
    "SEEN_BY",
    "SMALL_DIM",
    "Model",
    "Options",
    "accepts_one_modality_of_any_name",
    "bpr",
    "check_model",
    "checkerboard",
    "cites_its_paper",
    "content_of",
    "drawn",
    "edge_weights",
    "five_nodes",
    "follows_its_seed",
    "has_a_summary",
    "has_parts_that_sum_to_the_score",
    "has_typed_options_with_defaults",
    "ignores_the_numbering_of_items",
    "keeps_its_tensors_as_parameters_and_buffers",
    "leaky_relu",
    "learns_the_checkerboard",
    "leaves_nothing_behind",
    "lightgcn",
    "nearest",
    "parameters_of",
    "refuses_negative_counts",
    "restores_its_scores_from_saved_weights",
    "resumes_from_its_parameters",
    "scores_all_users_and_items",
    "scores_of",
    "scores_without_chance",
    "softmax",
    "trains_every_parameter",
    "unit",
    "vectors_of",
    "with_99_where_missing",
]
