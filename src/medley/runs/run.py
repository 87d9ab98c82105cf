"""The folder of one run, which training fills and evaluation, serving and reports read. Only this file knows the names:

run.json                 recipe, hashes of the data that the model read, status, best epoch, versions
history.jsonl            one JSON line per epoch
weights.safetensors      the best parameters so far
checkpoint.safetensors   the state of the training, with which `--resume` goes on
<split>.json             metrics of an evaluation
<split>.parquet          the metrics of every user
test-fresh.json          the same with fresh histories (`medley.evaluation.histories`), and test-fresh.parquet
test-cold.json           the same with other candidates: test-sampled-1000.json, test-fresh-cold.json, ..., and .parquet
"""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import polars as pl
from pydantic import BaseModel, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from medley import models
from medley.data.dataset import Dataset
from medley.errors import InputError, invalid
from medley.evaluation.evaluator import Evaluation, check_candidates
from medley.evaluation.histories import check_history
from medley.files import read_json, write_atomic, write_json
from medley.models import Recommender
from medley.runs.history import Ending, Epoch, History, append_epoch, read_epochs, write_epochs
from medley.runs.recipe import Recipe
from medley.version import versions

Status = Literal["running", "finished", "interrupted", "failed"]

EXTENDABLE = {"num_epochs", "patience"}  # settings that may differ when a run is resumed
FEATURES = "features/"  # what the names of parts that are modalities begin with
REMEDY = "give a folder that medley train or medley.train wrote"


class DataRecord(BaseModel):
    """The data set of a run, and the hashes of the parts that its model read."""

    path: str
    name: str
    split_hash: str
    parts: dict[str, str] = {}  # part of the data set -> hash; empty in runs of Medley 0.1
    content_hash: str | None = None  # of the whole data set, in runs of Medley 0.1

    @classmethod
    def of(cls, data: Dataset, model: Recommender) -> "DataRecord":
        """Returns the record of a model and its data set: hashes of log, users, items and the modalities read."""
        manifest = data.manifest
        modalities = (model.spec.options.get("modalities") or manifest.modalities) if model.reads_features else ()
        read = ["log", "users", "items", *(f"{FEATURES}{modality}" for modality in modalities)]
        return cls(
            path=str(data.folder.resolve()),
            name=manifest.name,
            split_hash=manifest.split_hash,
            parts={part: manifest.parts[part] for part in read},
        )

    @property
    def modalities(self) -> list[str]:
        """The modalities that the model read; empty in runs of Medley 0.1."""
        return [part.removeprefix(FEATURES) for part in self.parts if part.startswith(FEATURES)]

    def differences(self, data: Dataset) -> list[str]:
        """Returns the names of the parts that this data set lacks or has with another content."""
        if not self.parts:
            return [] if data.manifest.content_hash == self.content_hash else ["content"]
        return [part for part, digest in self.parts.items() if data.manifest.parts.get(part) != digest]


class RunRecord(BaseModel):
    """`run.json`"""

    recipe: Recipe
    data: DataRecord
    status: Status = "running"
    message: str = ""  # how the training ended (`medley.runs.history.Ending`), or the text of the error it ended with
    num_parameters: int = 0
    device: str = "cpu"
    machines: list[str] = []  # processor and GPU of each machine that trained; empty in older runs
    num_epochs_done: int = 0
    best_epoch: int | None = None
    best: float | None = None  # the validation metric at the best epoch, with the chosen numbers
    chosen: dict[str, float] = {}  # option that was "auto" -> the value that validation chose after the training
    refit_of: str | None = None  # hash of the run record whose settings and epoch this run repeats on more data
    seconds: float = 0.0
    peak_gb: float = 0.0  # largest resident memory of the process that trained, so far
    versions: dict[str, str] = Field(default_factory=versions)

    @model_validator(mode="before")
    @classmethod
    def _of_medley_0_1(cls, document: Any) -> Any:
        """Reads records of Medley 0.1: the fields of the recipe at the top, the seed among the settings."""
        if not isinstance(document, dict) or "recipe" in document or "model" not in document:
            return document
        rest = dict(document)
        settings = dict(rest.pop("settings"))
        seed_of_settings, seed = settings.pop("seed", 0), rest.pop("seed", None)
        recipe = {"model": rest.pop("model"), "options": rest.pop("options"), "settings": settings}
        return {"recipe": recipe | {"seed": seed_of_settings if seed is None else seed}, **rest}


class Run:
    """A run folder that exists."""

    def __init__(self, folder: str | Path):
        """Opens a run folder.

        Raises:
            InputError: not a run folder.
        """
        self.folder = Path(folder)
        document = read_json(self.folder / "run.json", remedy=REMEDY)
        try:
            self.record = RunRecord.model_validate(document)
        except ValidationError as error:
            raise invalid(error, "field", file=self.folder / "run.json", remedy=REMEDY) from None
        self._trained: Recommender | None = None
        self._data: Dataset | None = None
        self._temporary: TemporaryDirectory | None = None

    @classmethod
    def create(cls, folder: str | Path, record: RunRecord) -> "Run":
        """Starts a new run folder.

        Raises:
            InputError: the folder holds a run already.
        """
        folder = Path(folder)
        if (folder / "run.json").exists():
            remedy = "choose another folder, or continue this run: resume=True"
            raise InputError("the folder holds a run already", file=folder, remedy=remedy)
        _write_record(folder, record)
        return cls(folder)

    @classmethod
    def open_or_create(cls, folder: str | Path, record: RunRecord, data: Dataset, *, resume: bool) -> "Run":
        """Returns a new run, or with `resume` the run in the folder if it has the same recipe and data.

        Raises:
            InputError: without `resume`, the folder holds a run; with it, another recipe or other data, or settings
                that would have ended the training earlier.
        """
        folder = Path(folder)
        if not (resume and (folder / "run.json").exists()):
            return cls.create(folder, record)
        run = cls(folder)
        differences = _complete(run.record.recipe).differences(_complete(record.recipe))
        if not differences.keys() <= EXTENDABLE:
            was, is_now = (", ".join(f"{name}={pair[at]}" for name, pair in differences.items()) for at in (0, 1))
            remedy = (
                "resume with the same options and settings (num_epochs and patience may differ), or choose a new folder"
            )
            raise InputError("the run to resume", file=folder, expected=was, got=is_now, remedy=remedy)
        _refuse_an_earlier_end(run, differences)
        if changed := run.record.data.differences(data):
            remedy = "train into a new folder"
            got = f"another {' and '.join(changed)}"
            raise InputError("the data set differs from the data set of the run", file=folder, got=got, remedy=remedy)
        was, is_now = run.record.data.modalities, record.data.modalities
        if run.record.data.parts and set(was) != set(is_now):
            remedy = f"choose the modalities of the run: modalities={','.join(was)}"
            expected, got = (" and ".join(names) for names in (was, is_now))
            raise InputError("modalities of the run to resume", file=folder, expected=expected, got=got, remedy=remedy)
        for path in folder.glob(".*.*"):  # temporary files of a process that was killed while it wrote
            path.unlink()
        if differences and not run.checkpoint.exists() and run.record.status == "finished":
            remedy = "train into a new folder"
            raise InputError("the run has no checkpoint to go on from", file=folder, remedy=remedy)
        if differences or run.record.status != "finished":
            machines = list(dict.fromkeys([*run.record.machines, *record.machines]))
            run.update(recipe=record.recipe, status="running", message="", machines=machines)
        return run

    def keep(self, *, model: Recommender, data: Dataset, temporary: TemporaryDirectory | None) -> None:
        """Keeps the trained model, its data set, and the temporary folder if there is one, as long as the run lives."""
        self._trained, self._data, self._temporary = model, data, temporary

    def __repr__(self) -> str:
        record = self.record
        best = "" if record.best is None else f", {record.recipe.settings.metric} {record.best:.4f} on validation"
        return f"Run({record.recipe.model} on {record.data.name}, {record.status}{best}; {self.folder})"

    def update(self, **changes: Any) -> None:
        """Changes fields of the record, also on disk."""
        self.record = self.record.model_copy(update=changes)
        _write_record(self.folder, self.record)

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint, whether or not it exists."""
        return self.folder / "checkpoint.safetensors"

    @property
    def history(self) -> History:
        """The history of the training so far."""
        record = self.record
        return History(
            record.recipe.settings.metric,
            read_epochs(self._history),
            record.best,
            record.best_epoch or 0,
            next((ending for ending in get_args(Ending) if ending == record.message), None),
            record.seconds,
            dict(record.chosen),
        )

    @property
    def _history(self) -> Path:
        return self.folder / "history.jsonl"

    def add_epoch(self, epoch: Epoch) -> None:
        """Adds an epoch to the history on disk."""
        append_epoch(self._history, epoch)

    def cut_history(self, epochs: list[Epoch]) -> None:
        """Replaces the history on disk, in one step."""
        write_epochs(self._history, epochs)

    def save_weights(self, weights: dict[str, Tensor]) -> None:
        """Replaces the best parameters."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        write_atomic(self._weights, save(tensors))

    @property
    def _weights(self) -> Path:
        return self.folder / "weights.safetensors"

    @property
    def is_whole(self) -> bool:
        """Whether nothing was deleted that `model` needs: a finished run has its weights."""
        return self.record.status != "finished" or self._weights.exists()

    def load_weights(self, model: Recommender) -> Recommender:
        """Loads the best parameters into a model that was built by the recipe of this run, and returns the model.

        Raises:
            InputError: the run has no weights yet, or the weights do not fit the model.
        """
        try:
            model.load_state_dict(load_file(self._weights))
        except (FileNotFoundError, SafetensorError, RuntimeError) as error:
            got, remedy = str(error).splitlines()[0], "finish the run with resume=True, or train again"
            raise InputError("no weights of this model", file=self._weights, got=got, remedy=remedy) from None
        return model

    def dataset(self, path: str | Path | None = None) -> Dataset:
        """Opens the data set of the run.

        Args:
            path: the folder of the data set, if it was moved.

        Raises:
            InputError: the data set is gone, or a part that the model read has changed.
        """
        if path is None and self._data is not None:
            return self._data
        folder = Path(path or self.record.data.path)
        if not folder.exists():
            remedy = "give its folder: dataset=..."
            raise InputError("the data set of this run is gone", file=folder, remedy=remedy)
        dataset = Dataset(folder)
        if changed := self.record.data.differences(dataset):
            raise InputError(
                "not the data set that the run was trained on",
                file=folder,
                got=f"another {' and '.join(changed)}",
                remedy="give the right folder: dataset=..., or train again",
            )
        return dataset

    def model(self, dataset: Dataset) -> Recommender:
        """Returns the trained model; the model of a run from another process is built again, on the CPU.

        Args:
            dataset: that of the run, at any path; on another split, the model may have learned the answers.

        Raises:
            InputError: another split; the run has no weights yet, or the weights do not fit the model.
        """
        trained_on, given = self.record.data.split_hash, dataset.manifest.split_hash
        if given != trained_on:
            raise InputError(
                "split of the data set, which is not that of the run",
                file=dataset.folder,
                expected=f"the split {trained_on[:12]} of {self.record.data.name}",
                got=f"the split {given[:12]} of {dataset.manifest.name}",
                remedy="give the data set of the run, or train on this one",
            )
        if self._trained is not None:
            return self._trained
        recipe, read = self.record.recipe, self.record.data.modalities
        options = recipe.options | ({"modalities": read} if read else {})  # the data set may have more by now
        inputs = dataset.inputs(recipe.settings.train_on)
        return self.load_weights(models.build(recipe.model, inputs, seed=recipe.seed, **options))

    def save_evaluation(self, evaluation: Evaluation) -> None:
        """Writes the metrics of a split with one kind of histories and candidates, and the metrics of every user.

        An earlier evaluation of the same split, histories and candidates is replaced.
        """
        path = self._evaluation(evaluation.split, evaluation.history, evaluation.candidates)
        table = io.BytesIO()
        evaluation.table().write_parquet(table)
        write_atomic(path.with_suffix(".parquet"), table.getvalue())
        write_json(path, evaluation.document())

    def evaluation(self, split: str = "test", history: str = "train", candidates: str = "all") -> Evaluation:
        """Reads what `save_evaluation` wrote.

        Raises:
            InputError: the run was not evaluated on this split with such histories and candidates.
        """
        check_history(history)
        check_candidates(candidates)
        path = self._evaluation(split, history, candidates)
        given = {"history": history, "candidates": candidates}
        changed = [f"{name}={value}" for name, value in given.items() if value not in ("train", "all")]
        how = f" with {' and '.join(changed)}" if changed else ""
        remedy = f"evaluate the run first{how}: medley evaluate, or medley.evaluate"
        document = read_json(path, remedy=remedy)
        try:
            table = path.with_suffix(".parquet").read_bytes()
            return Evaluation.of(document, pl.read_parquet(io.BytesIO(table)))
        except (OSError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
            raise InputError("not an evaluation", file=path, got=str(error), remedy=remedy) from None

    def _evaluation(self, split: str, history: str, candidates: str) -> Path:
        others = [value for value in (history, candidates) if value not in ("train", "all")]
        return self.folder / f"{'-'.join([split, *others])}.json"


def _refuse_an_earlier_end(run: Run, differences: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuses settings under which the training so far would have ended earlier: a run keeps what its recipe gives."""
    bounds = {name: pair for name, pair in differences.items() if name in EXTENDABLE}
    if "num_epochs" in bounds:
        bounds["num_epochs"] = run.record.num_epochs_done, bounds["num_epochs"][1]
    if "patience" in bounds:
        was, now = bounds["patience"]
        bounds["patience"] = was or math.inf, now or math.inf  # 0: without end
    for name, (least, now) in bounds.items():
        if now < least:
            expected = "0, as before" if least == math.inf else f"at least {least}, as before"
            remedy = "train into a new folder"
            raise InputError(f"{name} of the run to resume", file=run.folder, expected=expected, got=now, remedy=remedy)


def _complete(recipe: Recipe) -> Recipe:
    """Returns the recipe with all defaults, so that runs of earlier versions can be compared."""
    return Recipe.of(recipe.flat())


def _write_record(folder: Path, record: RunRecord) -> None:
    write_atomic(folder / "run.json", record.model_dump_json(indent=2, exclude_none=False) + "\n")
