"""The contract of a model: all checks, and `check_model`, which runs them."""

import inspect
from collections.abc import Callable, Collection

from medley.models.registry import find, name_of
from medley.testing.computed import Model
from medley.testing.declaration import (
    cites_its_paper,
    has_a_summary,
    has_typed_options_with_defaults,
    refuses_negative_counts,
)
from medley.testing.learning import learns_the_checkerboard, resumes_from_its_parameters, trains_every_parameter
from medley.testing.scores import (
    accepts_one_modality_of_any_name,
    follows_its_seed,
    has_parts_that_sum_to_the_score,
    ignores_the_numbering_of_items,
    restores_its_scores_from_saved_weights,
    scores_all_users_and_items,
    scores_without_chance,
)
from medley.testing.small import Options
from medley.testing.state import keeps_its_tensors_as_parameters_and_buffers, leaves_nothing_behind

CHECKS: tuple[Callable[[Model, Options], None], ...] = (
    has_typed_options_with_defaults,  # first, for the others read the options
    has_a_summary,
    cites_its_paper,
    refuses_negative_counts,
    keeps_its_tensors_as_parameters_and_buffers,
    scores_all_users_and_items,
    scores_without_chance,
    follows_its_seed,
    restores_its_scores_from_saved_weights,
    accepts_one_modality_of_any_name,
    has_parts_that_sum_to_the_score,
    leaves_nothing_behind,
    trains_every_parameter,
    resumes_from_its_parameters,
    learns_the_checkerboard,
    ignores_the_numbering_of_items,
)


def check_model(
    model: Model, *, options: Options | None = None, checks: Collection[Callable[[Model, Options], None]] = CHECKS
) -> None:
    """Checks that a model keeps the contract of `medley.models.Recommender`, in about a second.

    Args:
        model: a name, an import path (`mypkg.mymodel:Mine`) or a class.
        options: options with which to build the model; dim is 8 by default.
        checks: the promises to check, out of CHECKS.

    Raises:
        AssertionError: a promise is broken; the message says which, and how.
        InputError: an unknown model.
    """
    __tracebackhide__ = True  # a failing test shows the sentence, not this function
    find(model)
    for check in checks:
        try:
            check(model, dict(options or {}))
        except Exception as error:
            promise = (inspect.getdoc(check) or check.__name__).split("\n\n")[0]
            found = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise AssertionError(f"{name_of(model)} breaks a promise: {found}\nThe promise: {promise}") from error
