"""Evaluation: measures a model on held-out items, and compares runs that were measured alike."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from medley.api.arguments import model_and_data
from medley.auditing import quick_flags
from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyWarning
from medley.evaluation.beyond import Beyond
from medley.evaluation.evaluator import Evaluation, Evaluator, same_protocol
from medley.evaluation.statistics import Comparison, compare_with_first, with_values
from medley.evaluation.user_groups import PartScores
from medley.models import Recommender
from medley.runs import Run
from medley.scoring.blocks import parts_of
from medley.types import ItemToItem, Scorer


def evaluate(
    run: Run | Recommender,
    data: Dataset | None = None,
    *,
    split: str = "test",
    at: int | Sequence[int] = (10, 20),
    beyond: bool = False,
    genres: str | None = None,
    genre_separator: str | None = None,
    **protocol: Any,
) -> Evaluation:
    """Evaluates a model on the held-out items of a split. The evaluation of a run is also written into its folder.

    Args:
        run: a run, or a model.
        data: the data set; by default the data set of the run.
        split: valid or test.
        at: cut-offs K.
        beyond: also measure the lists beyond accuracy, and popular and random lists to compare them with: the fields
            `beyond` and `references` of the evaluation, see `medley.evaluation.beyond`. Figures of single users are
            in `per_user`, unless its rows are pairs.
        genres: with `beyond`, the column of the item table that holds genres or the like.
        genre_separator: between several genres of an item; by default `|`, `;` or `,`.
        protocol: `history`, `candidates`, `groups`, `metrics`, `seed`: see `medley.evaluation.evaluator.Evaluator`.
            With history="fresh" users are made of train and validation interactions. The evaluation of a run is
            written beside those with other histories and candidates; one with the same is replaced.

    Raises:
        InputError: an unknown split, history, metric, kind of candidates or column; a model without data; a run that
            has learned from the split; fresh histories for a model with learned user vectors, for a run that has
            learned from validation, or where the split is not by time.
    """
    if not beyond and (genres is not None or genre_separator is not None):
        remedy = "ask for them too: beyond=True"
        raise InputError("column of genres", expected="figures beyond accuracy", got="none", remedy=remedy)
    _refuse_what_it_knows(run, split, protocol.get("history", "train"))
    model, data = model_and_data(run, data)
    at = (at,) if isinstance(at, int | np.integer) else tuple(at)
    with torch.no_grad():
        evaluator = Evaluator(data, split=split, at=at, **protocol)
        score = model.scorer() if evaluator.history is None else model.scorer_of(evaluator.history)
        measure = None
        if beyond:
            measure = Beyond(data, evaluator.queries, at=at, genres=genres, separator=genre_separator)
        parts = None
        if protocol.get("groups"):  # by the parts of the trained users: the same groups, whatever the histories
            parts = _part_scores(model, score if evaluator.history is None else model.scorer())
        evaluation = evaluator(score, parts)
        items = evaluator.top_lists(score)
        evaluation = replace(evaluation, lists=evaluator.lists(items), flags=quick_flags(data))
        if measure is not None:
            means, per_user = measure(items)
            per_user = evaluation.per_user | (per_user if evaluator.per == "user" else {})
            evaluation = replace(evaluation, beyond=means, references=measure.references(), per_user=per_user)
        is_constant = any(True for _ in model.parameters()) and evaluator.is_same_for_all(score)
    if evaluation.num_unknown_users:
        unknown, measured = evaluation.num_unknown_users, evaluation.num_users
        message = f"{unknown:,} of {measured:,} users have no train interaction: the model knows nothing about them"
        warnings.warn(message, MedleyWarning, stacklevel=2)
    if is_constant:  # popularity, which has no parameters, is meant to be the same for everybody
        message = "the scores of this model do not depend on the user: everybody gets the same list, less what was seen"
        warnings.warn(message, MedleyWarning, stacklevel=2)
    if isinstance(run, Run):
        run.save_evaluation(evaluation)
    return evaluation


class Compared(NamedTuple):
    """One row of `compare`."""

    run: str
    model: str
    metrics: dict[str, float]  # accuracy, and the figures beyond accuracy if they were measured
    comparison: Comparison | None  # to the first run; None for the first run itself
    flags: tuple[str, ...] = ()  # of the data set, see `medley.auditing`


def compare(
    runs: Sequence[Run | str | Path] | Mapping[str, Run],
    *,
    split: str = "test",
    history: str = "train",
    candidates: str = "all",
    metric: str = "recall@20",
    correction: str = "holm",
    test: str = "permutation",
) -> list[Compared]:
    """Compares evaluated runs with the first run, user by user.

    Args:
        runs: runs or their folders, or names with runs.
        split: the split of the evaluations.
        history: of the evaluations: train or fresh.
        candidates: of the evaluations: all, cold, sampled-1000, ...
        metric: of the comparison: 95% bootstrap interval of the difference, p-value, effect size and minimal detectable
            difference. Any figure that users have one by one, also of a group; the users for whom all runs have a value
            are compared.
        correction: of the p-values of several comparisons: holm or bh (Benjamini-Hochberg).
        test: whose p-value is adjusted: permutation (sign flips), t or wilcoxon.

    Raises:
        InputError: fewer than one run; a run was not evaluated on the split or under another protocol; the metric was
            not measured, or for fewer than two users; an unknown correction or test.
    """
    if isinstance(runs, Run | str | Path):
        runs = [runs]
    if not isinstance(runs, Mapping):
        opened = [run if isinstance(run, Run) else Run(run) for run in runs]
        runs = {str(run.folder): run for run in opened}
    if not runs:
        raise InputError("runs to compare", expected="at least one", got="none")
    evaluations = {name: run.evaluation(split, history, candidates) for name, run in runs.items()}
    same_protocol(evaluations)
    for name, evaluation in evaluations.items():
        if metric not in evaluation.per_user:
            known = ", ".join(evaluation.per_user)
            raise InputError(f"metric of {name}", expected=known, got=repr(metric), remedy="evaluate at other K")
    values = with_values({name: evaluation.per_user[metric] for name, evaluation in evaluations.items()})
    compared = compare_with_first(values, correction=correction, test=test)
    return [
        Compared(name, run.record.recipe.model, found.metrics | found.beyond, compared[name], tuple(found.flags))
        for (name, run), found in zip(runs.items(), evaluations.values(), strict=True)
    ]


def _refuse_what_it_knows(run: Run | Recommender, split: str, history: str) -> None:
    """Refuses to judge a refitted run or model on what it has learned from."""
    learned = run.record.recipe.settings.train_on if isinstance(run, Run) else getattr(run, "learned_from", "train")
    if learned == "train":
        return
    what, got = "run" if isinstance(run, Run) else "model", f"one that was trained on {learned}"
    if split in learned.split("+"):
        remedy = "evaluate the run that was refitted"
        raise InputError(f"split {split!r}", expected=f"a split that the {what} has not seen", got=got, remedy=remedy)
    if history == "fresh":
        remedy = f"evaluate with history=train: the {what} knows these histories"
        raise InputError("fresh histories", expected=f"a {what} that was trained on train", got=got, remedy=remedy)


def _part_scores(model: Recommender, score: Scorer) -> PartScores | None:
    """Returns a function from users to the parts of their scores; None if the score of the model has no parts.

    Unlike `Recommender.part_scores`, the function computes the vectors of the model once, not for every block of users.
    """
    parts = model.parts()
    if parts:
        return lambda users: {name: x.user[users.to(x.user.device)] @ x.item.T for name, x in parts.items()}
    if isinstance(score, ItemToItem) and model.reads_features:
        return lambda users: parts_of(score, users)
    return None
