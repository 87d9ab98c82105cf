"""The Python interface; the command line, the demo and the studies call the same functions.

import medley

data = medley.load("data/mine")                                    # or medley.Dataset.from_frames(...)
run = medley.train("mmgcn", data, out="runs/mmgcn", dim=64, lr=1e-3, num_epochs=100, patience=10)
print(medley.evaluate(run, split="test").metrics)
for item in medley.recommend(run, user="42", k=10, explain=True):
    print(item.title, item.score, item.shares)
for finding in medley.about_user(run, user="42"):
    print(finding.topic, finding.weights)
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from medley import models as model_room
from medley.auditing import Audit, quick_flags
from medley.auditing import audit as audit_with
from medley.data.dataset import Dataset
from medley.data.importing import import_dataset
from medley.data.manifest import SPLITS
from medley.data.simulate import SimulationSettings, planted, preset, simulate
from medley.errors import InputError, MedleyWarning
from medley.evaluation.beyond import Beyond
from medley.evaluation.evaluator import Evaluation, Evaluator, same_protocol
from medley.evaluation.statistics import Comparison, compare_with_first, with_values
from medley.evaluation.user_groups import PartScores
from medley.files import refuse_existing, sha256_of_json
from medley.media.extract import Extracted
from medley.media.extract import extract as extract_with
from medley.media.progress import ExtractBar, ExtractProgress
from medley.media.thumbnails import thumbnails
from medley.models import Recommender
from medley.runs import History, Recipe, Run, TrainSettings, check_settings
from medley.scoring.blocks import parts_of
from medley.serving import explain as explaining
from medley.serving import recommend as recommending
from medley.serving.batch import BatchBar, BatchProgress, write_lists
from medley.serving.bundle import Bundle
from medley.serving.explain import Finding
from medley.serving.export import Cold
from medley.serving.export import export as export_with
from medley.serving.lists import Lists
from medley.serving.recommend import Recommendation, write_recommendations
from medley.serving.service import Service
from medley.training.fit import fit as fit_with
from medley.training.progress import Progress, ProgressBar
from medley.training.track import Several, Trackers
from medley.types import ItemToItem, Scorer
from medley.version import __version__

__all__ = [
    "Audit",
    "Compared",
    "Dataset",
    "Evaluation",
    "Extracted",
    "Finding",
    "History",
    "Recipe",
    "Recommendation",
    "Recommender",
    "Run",
    "Service",
    "SimulationSettings",
    "TrainSettings",
    "about_item",
    "about_user",
    "audit",
    "build",
    "compare",
    "evaluate",
    "export",
    "extract",
    "fit",
    "import_dataset",
    "load",
    "open_service",
    "planted",
    "preset",
    "recommend",
    "recommend_all",
    "refit",
    "similar",
    "simulate",
    "train",
    "write_recommendations",
]


def load(folder: str | Path) -> Dataset:
    """Opens a data set folder made by `import_dataset`, `simulate` or their commands.

    Raises:
        InputError: not a data set folder.
    """
    return _dataset(folder)


def audit(data: Dataset) -> Audit:
    """Audits a data set: can a benchmark on it be believed?

    Does the order of rows or raw ids tell held-out items, does popularity drift, do a few users or items rule, are
    judged users like trained ones, are the splits disjoint and in order of time, do features tell items apart, and
    what do lists for everybody get? A finding is a flag if it is both large and certain: see `medley.auditing`.

    Returns:
        `findings` (figure, expected value, why the figure matters, remedy), `flags`, `as_dict()`, `tables()`.
    """
    return audit_with(_dataset(data))


def extract(
    data: Dataset,
    media: str | Path | pl.DataFrame | None = None,
    *,
    progress: bool | ExtractProgress = True,
    **options: Any,
) -> Extracted:
    """Turns media (images, videos, sounds, texts) into modalities of a data set: resumable, repeats only what changed.

    Args:
        data: the data set, in whose folder the modalities are written.
        media: a folder whose files are named after item ids; or a table with `item_id` and any of `image`, `video`,
            `audio` and `text`; or None, with `text=["title", ...]`: columns of the items.
        progress: True shows a bar on standard error; an object of a subclass of `ExtractProgress` shows anything else.
        options: `visual`, `acoustic`, `textual` (encoders), `name`, `text`, `id_rule`, `scale`, `batch`, `device`,
            `jobs`, `limits`, `overwrite`: see `medley.media.extract.extract`.

    Raises:
        InputError: a wrong option, nothing to encode, no usable medium, or a modality of another origin; the data set
            is not changed.
        MissingExtraError: the extra media is not installed.
    """
    if not isinstance(progress, ExtractProgress):
        progress = ExtractBar() if progress else ExtractProgress()
    return extract_with(_dataset(data), media, progress=progress, **options)


def models(name: str | type[Recommender] | None = None) -> list[dict[str, Any]]:
    """Describes all models, or one: name, title, paper, summary, when to choose it, options with types and defaults."""
    return [model_room.describe(each) for each in (model_room.names() if name is None else [name])]


def build(model: str | type[Recommender], data: Dataset, *, seed: int = 0, **options: Any) -> Recommender:
    """Returns a new model on the train split and the item features of a data set.

    Args:
        model: a name (`mf`, `lightgcn`, `mmgcn`, ...: see `medley.api.models()`), an import path
            (`mypkg.mymodel:Mine`) or a class.
        data: the data set, whose validation and test interactions are not read.
        seed: of the initial parameters and, if the model is trained, of everything else that is drawn at random.
        options: of the model, e.g. `dim=64, num_layers=2, reg=1e-4`; for models that read features also
            `modalities=["visual"]`, `drop_modalities=0.5` and `random_features=True`.

    Raises:
        InputError: unknown model, option or modality, or a value of the wrong type or range.
    """
    return model_room.build(model, _dataset(data).inputs(), seed=seed, **options)


def fit(
    model: Recommender,
    data: Dataset,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Progress = True,
    **settings: Any,
) -> History:
    """Trains a model until validation no longer improves; the best parameters are left in the model.

    Args:
        model: made by `build`, whose seed also decides batches and negatives.
        data: the data set that the model was built from.
        out: folder of the run; None keeps everything in memory.
        resume: continue the run in `out`.
        progress: True shows a bar on standard error; an object of a subclass of `Progress` shows anything else.
        settings: `lr, batch_size, num_epochs, patience, metric, candidates, device`: see `TrainSettings`.

    Raises:
        InputError: as in `medley.training.fit.fit`; an unknown setting.
        TrainingError: the loss is not a finite number.
    """
    if "seed" in settings:
        remedy = "build(..., seed=...) decides the parameters, the batches and the negatives"
        raise InputError("seed of fit", expected="the seed of the model", got=settings["seed"], remedy=remedy)
    checked = check_settings({**getattr(model, "default_settings", {}), **settings})
    shown = _progress(progress, type(model).__name__, checked)
    return fit_with(model, _dataset(data), checked, out=out, resume=resume, progress=shown)


def train(
    recipe: Recipe | str | type[Recommender],
    data: Dataset,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool | Progress = True,
    track: str | Sequence[str] = (),
    **changes: Any,
) -> Run:
    """Builds a model and trains it: `medley.train("lightgcn", data, out="runs/one", num_epochs=3, seed=1)`.

    Args:
        recipe: a recipe, or a model as in `build`.
        data: train interactions to learn from, validation interactions to choose the epoch. Test is not read.
        out: folder of the run; None makes a temporary folder that is deleted with the returned run.
        resume: continue the run in `out`, or start it if there is none.
        progress: True shows a bar on standard error; an object of a subclass of `Progress` shows anything else.
        track: names of trackers, which write the training into local files: tensorboard (in the run folder), mlflow
            (`mlflow.db` beside the run folder). See `medley.training.track`.
        changes: options of the model, settings of the training and `seed`, which replace those of the recipe.

    Returns:
        The run, with `history`, `record` and `model(data)`.

    Raises:
        InputError: an unknown option, setting or tracker; no interactions to learn from; `out` holds another run.
        MissingExtraError: the package of a tracker is not installed.
        TrainingError: the loss is not a finite number.
    """
    data = _dataset(data)
    if track and out is None:
        raise InputError("where to track", expected="a run folder", got="none", remedy="pass out=...")
    if isinstance(recipe, Recipe):
        recipe = recipe.changed(changes) if changes else recipe
    else:
        recipe = Recipe.of({"model": recipe, **changes})
    temporary = None
    if out is None:
        temporary = TemporaryDirectory(prefix="medley-run-")
        out = temporary.name
    inputs = data.inputs(recipe.settings.train_on)
    model = model_room.build(recipe.model, inputs, seed=recipe.seed, **recipe.options)
    shown = _progress(progress, type(model).__name__, recipe.settings)
    about = {"data": data.manifest.name, "data hash": data.manifest.content_hash, "version": __version__}
    with Trackers.of(track, Path(out), recipe, about, resume=resume) as trackers:
        both = Several([shown, trackers])
        trackers.history = fit_with(model, data, recipe.settings, out=out, resume=resume, progress=both)
    run = Run(out)
    run.keep(model=model, data=data, temporary=temporary)
    return run


def refit(
    run: Run,
    data: Dataset | None = None,
    *,
    out: str | Path | None = None,
    include_test: bool = False,
    device: str | None = None,
    resume: bool = False,
    progress: bool | Progress = True,
    track: str | Sequence[str] = (),
) -> Run:
    """Trains once more for production, on train and validation interactions, as long as validation found best.

    Options, settings and seed are those of the run, `num_epochs` is its best epoch. No split is left to judge the new
    run by: its quality is that of the old run.

    Args:
        run: a finished run that validation has judged.
        data: the data set; by default the data set of the run.
        out: folder of the new run; None makes a temporary folder that is deleted with the returned run.
        include_test: learn from the test interactions too.
        device: as in `TrainSettings`; by default that of the run.
        resume: continue the run in `out`, or start it if there is none.
        progress: as in `train`.
        track: as in `train`.

    Raises:
        InputError: the run is not finished, was not judged on validation, or is a refit itself.
    """
    record, remedy = run.record, "train on train, with a validation split, to the end"
    if record.recipe.settings.train_on != "train":
        raise InputError("run to refit", file=run.folder, expected="a run on train", got="a refit", remedy=remedy)
    if record.status != "finished" or record.best is None:
        got = record.status if record.status != "finished" else "a run without validation"
        expected = "a finished run that validation has judged"
        raise InputError("run to refit", file=run.folder, expected=expected, got=got, remedy=remedy)
    recipe = record.recipe.refitted(record.best_epoch or 0, chosen=record.chosen, include_test=include_test)
    recipe = recipe.changed({"device": device}) if device is not None else recipe
    data = run.dataset() if data is None else _dataset(data)
    again = train(recipe, data, out=out, resume=resume, progress=progress, track=track)
    again.update(refit_of=sha256_of_json(record.model_dump(mode="json")))
    return again


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
            With history="fresh" users are made of train and validation interactions, and the evaluation of a run is
            written beside that with train histories.

    Raises:
        InputError: an unknown split, history, metric, kind of candidates or column; a model without data; a run that
            has learned from the split; fresh histories for a model with learned user vectors, for a run that has
            learned from validation, or where the split is not by time.
    """
    if not beyond and (genres is not None or genre_separator is not None):
        remedy = "ask for them too: beyond=True"
        raise InputError("column of genres", expected="figures beyond accuracy", got="none", remedy=remedy)
    learned = run.record.recipe.settings.train_on if isinstance(run, Run) else "train"
    if learned != "train" and split in learned.split("+"):
        got, remedy = f"a run that was trained on {learned}", "evaluate the run that was refitted"
        raise InputError(f"split {split!r}", expected="a split that the run has not seen", got=got, remedy=remedy)
    if learned != "train" and protocol.get("history") == "fresh":
        got, remedy = (
            f"a run that was trained on {learned}",
            "evaluate with history=train: the run knows these histories",
        )
        raise InputError("fresh histories", expected="a run that was trained on train", got=got, remedy=remedy)
    model, data = _model_and_data(run, data)
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
    metric: str = "recall@20",
    correction: str = "holm",
    test: str = "permutation",
) -> list[Compared]:
    """Compares evaluated runs with the first run, user by user.

    Args:
        runs: runs or their folders, or names with runs.
        split: the split of the evaluations.
        history: of the evaluations: train or fresh.
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
    evaluations = {name: run.evaluation(split, history) for name, run in runs.items()}
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


def open_service(run: Run | Recommender | Bundle, data: Dataset | None = None) -> Service:
    """Returns a service that answers questions in this process; `recommend` and `similar` take it in place of a run.

    The service of a run or a model is made at once: it takes no new users and no new items, as that of a bundle does.

    Args:
        run: a run, a trained model, or a bundle.
        data: the data set of a run or a model; by default the data set of the run.

    Raises:
        InputError: a model without data, data beside a bundle, or scores that are not numbers.
    """
    return _service(run, data)


def recommend(
    run: Run | Recommender | Bundle | Service,
    data: Dataset | None = None,
    *,
    user: Any,
    k: int = 10,
    explain: bool = False,
    include_seen: bool = False,
    where: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
) -> Any:
    """Returns the k best items for a user, best first; for several users a list of such lists.

    Args:
        run: a run, a trained model, a bundle, or a service.
        data: the data set of a run or a model; by default the data set of the run.
        user: a raw id (42 and "42" are one id), or several of them in a list, array or series.
        k: number of items; fewer are returned for a user who has seen nearly all items.
        explain: fill `parts` and `shares`, if the score of the model is a sum of parts.
        include_seen: recommend items again that the user has seen.
        where: column of the item table -> the value that recommended items must have there.
        exclude: raw id, or ids, of items that are not recommended.

    Returns:
        list[Recommendation] for one user, list[list[Recommendation]] for several.

    Raises:
        InputError: unknown user, item or column, k below 1, or a model without data.
    """
    service = _service(run, data)
    single = isinstance(user, str | int | np.integer)
    if not single and not isinstance(user, Iterable):
        raise InputError("user", expected="a raw id or several raw ids", got=repr(user))
    filters = _filters(include_seen, where, exclude)
    found = recommending.ask(service, [user] if single else list(user), k=k, explain=explain, **filters)
    return found[0] if single else found


def recommend_all(
    run: Run | Recommender | Bundle | Service,
    data: Dataset | None = None,
    *,
    out: str | Path,
    users: Iterable[Any] | None = None,
    k: int = 100,
    explain: bool = False,
    include_seen: bool = False,
    where: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
    progress: bool | BatchProgress = True,
) -> int:
    """Writes the k best items of everybody, or of many users, as one table; memory does not grow with the users.

    Args:
        run: a run, a trained model, a bundle, or a service.
        data: the data set of a run or a model; by default the data set of the run.
        out: a .csv, .parquet or .jsonl file, which is replaced in one step; columns user_id, place (from 1), item_id,
            title, score, and the share of every part as share_<part>.
        users: raw ids; None: everybody.
        k: number of items for each user.
        explain: also write the shares, if the score of the model is a sum of parts.
        include_seen: recommend items again that a user has seen.
        where: column of the item table -> the value that recommended items must have there.
        exclude: raw id, or ids, of items that are not recommended.
        progress: True shows a bar on standard error; an object of a subclass of `BatchProgress` shows anything else.

    Returns:
        The number of rows of the table.

    Raises:
        InputError: another kind of file, unknown user, item or column, k below 1, or a model without data.
    """
    if isinstance(users, str | int | np.integer) or (users is not None and not isinstance(users, Iterable)):
        raise InputError("users", expected="several raw ids", got=repr(users))
    lists = Lists(_service(run, data), users, k=k, explain=explain, **_filters(include_seen, where, exclude))
    if not isinstance(progress, BatchProgress):
        progress = BatchBar() if progress else BatchProgress()
    return write_lists(out, lists, progress)


def similar(
    run: Run | Recommender | Bundle | Service,
    data: Dataset | None = None,
    *,
    item: Any,
    by: str = "all",
    k: int = 10,
) -> list[Recommendation]:
    """Returns the k items that are most similar to an item, best first; their score is the similarity.

    Args:
        run: a run, a trained model, a bundle, or a service.
        data: the data set of a run or a model; by default the data set of the run.
        item: raw id; 42 and "42" are one id.
        by: `behaviour` (cosine of the item vectors, or weights between items), a modality (cosine of the features), or
            `all` (the mean of these, each standardised).
        k: number of items.

    Raises:
        InputError: unknown item, an unknown `by`, a modality that the item lacks, k below 1, or a model without data.
    """
    return recommending.similar(_service(run, data), item, by=by, k=k)


def export(
    run: Run | Recommender,
    data: Dataset | None = None,
    *,
    out: str | Path | None = None,
    cold: Cold = "model",
    exposure: float = 1.0,
    media: str | Path | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Exports a trained model as a bundle, which serves without torch and without the data set.

    Args:
        run: a run, whose best weights are exported, or a trained model.
        data: the data set; by default the data set of the run.
        out: the bundle to write: one file if the name ends in .medley or .zip, else a folder; None keeps the bundle in
            memory.
        cold: vectors of the items without train interactions: those of the `model`, or from `features` like new items.
        exposure: how often new items are shown, in relation to an average item of train.
        media: folder or table of media, as for `extract`: small pictures for the page.
        overwrite: replace the bundle in `out`.

    Raises:
        InputError: the model cannot be exported, `out` exists, a wrong option, or a model without data.
    """
    model, data = _model_and_data(run, data)
    exported = run if isinstance(run, Run) else model
    if out is not None:
        refuse_existing(Path(out), overwrite=overwrite)
    pictures = {} if media is None else dict(thumbnails(data, Path(media)))
    options = {"cold": cold, "exposure": exposure, "thumbnails": pictures, "overwrite": overwrite}
    return export_with(exported, data, out, **options)


def about_user(run: Run | Recommender, data: Dataset | None = None, *, user: str) -> list[Finding]:
    """Returns what a model has learned about a user: `medley.serving.explain.about_user`."""
    return explaining.about_user(*_model_and_data(run, data), user)


def about_item(run: Run | Recommender, data: Dataset | None = None, *, item: str) -> list[Finding]:
    """Returns what a model has learned about an item: `medley.serving.explain.about_item`."""
    return explaining.about_item(*_model_and_data(run, data), item)


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


def _service(run: Run | Recommender | Bundle | Service, data: Dataset | None) -> Service:
    """Returns a service for questions: of a bundle, or of a model, which is exported in memory."""
    if not isinstance(run, Bundle | Service):
        return recommending.service_of(*_model_and_data(run, data, stacklevel=4))
    if data is not None:
        raise InputError("data", expected="none beside a bundle or a service", got=type(data).__name__)
    return Service(run, index="exact") if isinstance(run, Bundle) else run


def _filters(include_seen: bool, where: Mapping[str, Any] | None, exclude: Any) -> dict[str, Any]:
    if where is not None and not isinstance(where, Mapping):
        raise InputError("where", expected='columns with values, for example {"genre": "Comedy"}', got=repr(where))
    exclude = [exclude] if isinstance(exclude, str | int | np.integer) else list(exclude)
    return {"seen": () if include_seen else SPLITS, "where": where, "exclude": exclude}


def _model_and_data(
    run: Run | Recommender, data: Dataset | None, *, stacklevel: int = 3
) -> tuple[Recommender, Dataset]:
    if isinstance(run, Run):
        if run.record.status == "failed":
            message = f"the training of this run failed, the weights are of epoch {run.record.best_epoch or 0}: "
            warnings.warn(message + run.record.message, MedleyWarning, stacklevel=stacklevel)
        opened = run.dataset() if data is None else _dataset(data)
        return run.model(opened), opened
    if not isinstance(run, Recommender):
        raise InputError("what to evaluate or ask", expected="a run or a model", got=type(run).__name__)
    if data is None:
        raise InputError("a model without data", expected="a data set with the model, or a run", got=type(run).__name__)
    return run, _dataset(data)


def _dataset(data: Any) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return Dataset(data)
    remedy = "medley.load opens a folder, medley.Dataset.from_frames takes tables and arrays"
    raise InputError("data", expected="a Dataset", got=type(data).__name__, remedy=remedy)


def _progress(progress: bool | Progress, title: str, settings: TrainSettings) -> Progress:
    if isinstance(progress, Progress):
        return progress
    return ProgressBar(title, settings.metric) if progress else Progress()
