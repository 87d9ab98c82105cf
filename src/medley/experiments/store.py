"""Keeps the runs of all studies, so that nothing is trained twice. The folder holds

<model>/<address>/                  a run folder (see `medley.runs.run`)
<model>/<address>/diverged.txt      in place of a result: why the training ended
<model>/<address>/evaluations/      what was measured on test, one file per protocol
<model>/<address>.lock              held by the process that trains

The address of a run is a hash of the parts of the data that its model reads, the fingerprint of its recipe, and the
code that can change its result (`medley.experiments.code`).
"""

import functools
import io
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from medley import api, models
from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyWarning, TrainingError
from medley.evaluation.evaluator import Evaluation
from medley.experiments.code import code_of_evaluations, code_of_runs
from medley.files import locked, read_json, sha256_of_json, write_atomic, write_json
from medley.runs import History, Recipe, Run
from medley.runs.run import FEATURES
from medley.training.progress import Progress
from medley.types import Features, Inputs, Interactions

DIGITS = 24  # of an address
SMALL, DENSITY = (96, 64), 0.2  # users and items of the inputs that tell what a model reads, and their interactions


class Protocol(NamedTuple):
    """How a run is evaluated on test: arguments of `medley.evaluate`."""

    at: tuple[int, ...] = (10, 20)
    candidates: str = "all"
    groups: bool = True
    metrics: tuple[str, ...] = ("recall", "precision", "ndcg")
    beyond: bool = False
    history: str = "train"  # with fresh, a model that cannot take fresh histories is evaluated with those of train

    @property
    def file(self) -> str:
        """The name of its files: a hash of the protocol and of the code that evaluates."""
        return sha256_of_json([*self, code_of_evaluations()])[:DIGITS]


@dataclass(frozen=True, eq=False)
class Task:
    """One training, and the protocols under which its run is evaluated; none for a point of a grid."""

    label: str
    recipe: Recipe
    data: Path  # folder of the data set
    folder: Path  # of the run
    protocols: tuple[Protocol, ...] = ()


@dataclass(frozen=True)
class Trained:
    """A finished run, as it lies in the store."""

    folder: Path
    recipe: Recipe
    history: History
    num_parameters: int
    peak_gb: float
    machines: tuple[str, ...]  # that trained; empty if the run does not say
    evaluations: tuple[Evaluation, ...]  # in the order of the protocols of the task
    device: str = "cpu"  # that trained
    versions: Mapping[str, str] = field(default_factory=dict)  # of the libraries that trained


class Diverged(NamedTuple):
    """A training that diverged: its loss became NaN or infinite."""

    message: str


class Store:
    """Runs by their address."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def task(self, label: str, recipe: Recipe, data: Dataset, protocols: tuple[Protocol, ...] = ()) -> Task:
        """Returns the task that makes a run.

        Raises:
            InputError: the model cannot be built on such data.
        """
        run = self.folder / recipe.model.replace(":", ".") / address_of(recipe, data)
        return Task(label, recipe, data.folder.resolve(), run, protocols)


def address_of(recipe: Recipe, data: Dataset) -> str:
    """Returns the hash of all that can change the run of a recipe on a data set.

    Raises:
        InputError: the model cannot be built on such data.
    """
    read = parts_read(recipe, data)
    parts = {name: digest for name, digest in data.manifest.parts.items() if name in read}
    identity = {"data": parts, "recipe": recipe.fingerprint, "code": code_of_runs(recipe.model)}
    return sha256_of_json(identity)[:DIGITS]


def parts_read(recipe: Recipe, data: Dataset) -> list[str]:
    """Returns the names of the parts of a data set that a model reads, as `medley.runs.run.DataRecord` records them.

    Raises:
        InputError: the model cannot be built on data with such modalities.
    """
    dims = tuple((name, record.dim) for name, record in data.manifest.modalities.items())
    modalities = _modalities_read(recipe.model, json.dumps(recipe.options, sort_keys=True), dims)
    return ["log", "users", "items", *(f"{FEATURES}{m}" for m in modalities)]


@functools.lru_cache(maxsize=10_000)
def _modalities_read(model: str, options: str, dims: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Builds the model on a few users and items: which features a model reads may depend on its options."""
    num_users, num_items = SMALL
    generator = np.random.default_rng(0)
    user, item = np.nonzero(generator.random((num_users, num_items)) < DENSITY)
    train = Interactions(user.astype(np.int32), item.astype(np.int32), num_users, num_items, np.arange(len(user)))
    present = np.ones(num_items, dtype=bool)
    features = {m: Features(generator.standard_normal((num_items, d), dtype=np.float32), present) for m, d in dims}
    built = models.build(model, Inputs(train, features), **json.loads(options))
    return tuple(built.spec.options.get("modalities") or features) if built.reads_features else ()


def find(task: Task) -> Trained | Diverged | None:
    """Returns the result of a task if it is in the store, complete, with all its evaluations."""
    if (task.folder / "diverged.txt").exists():
        return Diverged((task.folder / "diverged.txt").read_text(encoding="utf-8"))
    if not (task.folder / "run.json").exists():
        return None
    run = Run(task.folder)
    if run.record.status != "finished":
        return None
    evaluations = [_read(_path(task, protocol)) for protocol in task.protocols]
    if None in evaluations:
        return None
    done = tuple(each for each in evaluations if each is not None)
    record = run.record
    return Trained(
        task.folder,
        record.recipe,
        run.history,
        record.num_parameters,
        record.peak_gb,
        tuple(record.machines),
        evaluations=done,
        device=record.device,
        versions=record.versions,
    )


def complete(task: Task, progress: bool | Progress = False) -> bool:
    """Trains and evaluates what a task lacks, from where an earlier process was stopped; then `find` finds the result.

    A process that trains the same run elsewhere is waited for. A finished run without a weights file that must
    be evaluated is deleted with its evaluations and trained again.

    Returns:
        Whether anything was trained; false where the run was finished and only lacked an evaluation, or nothing.

    Raises:
        InputError: the model cannot be built on the data, or the data set is gone.
        KeyboardInterrupt: Ctrl-C has stopped the training.
    """
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(task.folder.with_name(f"{task.folder.name}.lock"), wait=True):
        if find(task) is not None:
            return False
        data = Dataset(task.data)
        if (task.folder / "run.json").exists() and not Run(task.folder).is_whole:
            text = f"{task.folder}: a finished run without its weights file cannot be evaluated, and is trained again"
            warnings.warn(text, MedleyWarning, stacklevel=2)
            shutil.rmtree(task.folder)
        is_new = find(replace(task, protocols=())) is None
        try:
            run = api.train(task.recipe, data, out=task.folder, resume=True, progress=progress)
        except TrainingError as error:
            write_atomic(task.folder / "diverged.txt", str(error))
            return True
        if run.record.status != "finished":
            raise KeyboardInterrupt
        for protocol in task.protocols:
            if _read(_path(task, protocol)) is None:
                _write(_path(task, protocol), _evaluate(task, protocol, run, data))
    return is_new


def _evaluate(task: Task, protocol: Protocol, run: Run, data: Dataset) -> Evaluation:
    if protocol.history == "fresh" and not run.model(data).folds_in:
        protocol = protocol._replace(history="train")
        known = _read(_path(task, protocol))
        if known is not None:
            return known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MedleyWarning)  # results hold what the warnings say
        return api.evaluate(run, data, split="test", **protocol._asdict())


def _path(task: Task, protocol: Protocol) -> Path:
    return task.folder / "evaluations" / f"{protocol.file}.json"


def _write(path: Path, evaluation: Evaluation) -> None:
    table = io.BytesIO()
    evaluation.table().write_parquet(table)
    write_atomic(path.with_suffix(".parquet"), table.getvalue())
    write_json(path, evaluation.document())  # last: its existence says that both are there


def _read(path: Path) -> Evaluation | None:
    if not path.exists():
        return None
    remedy = "remove the file: the study evaluates the run again"
    document = read_json(path, remedy=remedy)
    try:
        return Evaluation.of(document, pl.read_parquet(path.with_suffix(".parquet")))
    except (OSError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise InputError("not an evaluation", file=path, got=str(error), remedy=remedy) from None
