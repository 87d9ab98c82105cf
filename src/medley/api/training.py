"""Training: describes, builds and trains models."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medley import models as model_room
from medley.api.arguments import dataset_of
from medley.data.dataset import Dataset
from medley.errors import InputError
from medley.files import sha256_of_json
from medley.models import Recommender
from medley.runs import History, Recipe, Run, TrainSettings, check_settings
from medley.training.fit import fit as fit_with
from medley.training.progress import Progress, ProgressBar
from medley.training.track import Several, Trackers
from medley.version import __version__

# torch says once per process that its sparse matrices, which multiply on a GPU, are young and that nobody checks their
# indices; users can do nothing about either.
warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")


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
    return model_room.build(model, dataset_of(data).inputs(), seed=seed, **options)


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
    return fit_with(model, dataset_of(data), checked, out=out, resume=resume, progress=shown)


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
    data = dataset_of(data)
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
    data = run.dataset() if data is None else dataset_of(data)
    again = train(recipe, data, out=out, resume=resume, progress=progress, track=track)
    again.update(refit_of=sha256_of_json(record.model_dump(mode="json")))
    return again


def _progress(progress: bool | Progress, title: str, settings: TrainSettings) -> Progress:
    if isinstance(progress, Progress):
        return progress
    return ProgressBar(title, settings.metric) if progress else Progress()
