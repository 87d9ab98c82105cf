"""Trackers write what `Progress` sees into a local TensorBoard or MLflow store, epoch by epoch.

A tracker is a `Progress`: the training loop knows nothing else. Nothing leaves the machine: TensorBoard gets files in
the run folder, MLflow a database file beside the run folder, and MLflow's own usage reports are switched off.
"""

import logging
import os
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from medley.errors import InputError, MedleyWarning, MissingExtraError
from medley.files import sha256_of_json
from medley.runs.history import Epoch, History
from medley.runs.recipe import Recipe
from medley.training.progress import Progress

TENSORBOARD = "tensorboard"  # folder of the event files in the run folder
DATABASE, ARTIFACTS = (
    "mlflow.db",
    "mlflow-artifacts",
)  # beside the run folder: the runs of one folder are compared there
LONGEST = 500  # characters of a value in MLflow


class Several(Progress):
    """Passes every call on to several progresses; `stop` reaches all of them, whatever one of them raises."""

    def __init__(self, members: Sequence[Progress]):
        self.members = tuple(members)

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Starts all."""
        for member in self.members:
            member.start(num_epochs, num_batches)

    def batch(self) -> None:
        """Passes on."""
        for member in self.members:
            member.batch()

    def epoch(self, epoch: Epoch) -> None:
        """Passes on."""
        for member in self.members:
            member.epoch(epoch)

    def stop(self) -> None:
        """Stops all."""
        with ExitStack() as stack:
            for member in reversed(self.members):
                stack.callback(member.stop)


class Tracker(Progress):
    """A progress that keeps what it sees; a subclass writes into one kind of store.

    A store is opened at the first call of `epoch` or `close`, so that a training that is refused leaves no trace.
    """

    def __init__(self, folder: str | Path, recipe: Recipe, about: Mapping[str, str], *, resume: bool = False):
        """Args:
        folder: the run folder.
        recipe: what is trained.
        about: facts about the data, name -> text; `data` is the name of the data set.
        resume: go on with what an earlier tracker wrote about this run folder.
        """
        self.folder, self.recipe, self.about, self.resume = Path(folder).resolve(), recipe, dict(about), resume

    def figures(self, epoch: Epoch) -> dict[str, float]:
        """Returns name -> figure of one epoch."""
        metric = self.recipe.settings.metric
        figures = {"loss": epoch.loss, f"valid/{metric}": epoch.metric, f"best/{metric}": epoch.best}
        figures |= {"seconds/epoch": epoch.seconds, "seconds/validation": epoch.seconds_validation}
        figures |= {"seconds/cpu": epoch.seconds_cpu}
        return {name: float(value) for name, value in figures.items() if value is not None}

    @abstractmethod
    def close(self, status: str, history: History | None) -> None:
        """Called once, after the training: `finished`, `interrupted` or `failed`, and the history if there is one."""


class TensorBoard(Tracker):
    """Writes event files into the folder `tensorboard` of the run folder; `tensorboard --logdir runs` shows all runs.

    Epochs that a resumed training repeats replace the epochs of the training that was killed.
    """

    def __init__(self, folder: str | Path, recipe: Recipe, about: Mapping[str, str], *, resume: bool = False):
        """Raises:
        MissingExtraError: TensorBoard is not installed.
        """
        super().__init__(folder, recipe, about, resume=resume)
        try:
            from torch.utils import tensorboard
        except ImportError:
            raise MissingExtraError("The tracker tensorboard", "track") from None
        self._room = tensorboard
        self._writer: Any = None

    def epoch(self, epoch: Epoch) -> None:
        """Writes the figures of an epoch; they are in the file when the call returns."""
        writer = self._writer_at(epoch.epoch)
        for name, value in self.figures(epoch).items():
            writer.add_scalar(name, value, epoch.epoch)
        writer.flush()

    def close(self, status: str, history: History | None) -> None:
        """Writes the recipe, the facts and the best metric, which the tab HPARAMS compares between runs."""
        writer = self._writer_at(len(history.epochs) + 1 if history else None)
        flat = self.recipe.flat()
        facts = {**flat, **self.about, "status": status}
        writer.add_text("recipe", "\n".join(f"    {name}: {value}" for name, value in facts.items()))
        plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in flat.items()}
        best = {f"best/{history.metric}": history.best} if history and history.best is not None else {}
        for record in self._room.summary.hparams(plain, best):
            writer.file_writer.add_summary(record)
        for name, value in best.items() if history and not history.epochs else ():  # a model without parameters
            writer.add_scalar(name, value, 0)
        writer.close()

    def _writer_at(self, step: int | None) -> Any:
        """Returns the writer; a new writer tells readers to forget what was written from `step` on."""
        if self._writer is None:
            self._writer = self._room.SummaryWriter(str(self.folder / TENSORBOARD), purge_step=step)
        return self._writer


class MLflow(Tracker):
    """Writes a run into the file `mlflow.db` beside the run folder.

    `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db` shows all runs in the folder `runs`. The experiment has the
    name of the data set, the run that of the run folder. A resumed training goes on in the same run of MLflow.
    """

    def __init__(self, folder: str | Path, recipe: Recipe, about: Mapping[str, str], *, resume: bool = False):
        """Raises:
        MissingExtraError: MLflow, or what writes its database, is not installed.
        """
        super().__init__(folder, recipe, about, resume=resume)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import, which reads it
        try:
            import alembic  # noqa: F401 (the database, which mlflow-skinny does not bring)
            import mlflow
            import sqlalchemy  # noqa: F401
        except ImportError:
            raise MissingExtraError("The tracker mlflow", "track") from None
        self._mlflow, self._run, self._last = mlflow, "", 0
        self._client: Any = None
        self.database = self.folder.parent / DATABASE
        elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
        if elsewhere:
            message = f"the tracker mlflow writes local files alone: {self.database}, not {elsewhere}"
            warnings.warn(f"{message} (MLFLOW_TRACKING_URI)", MedleyWarning, stacklevel=2)

    def epoch(self, epoch: Epoch) -> None:
        """Writes the figures of an epoch; an epoch that is there already is left as it is."""
        client, now = self._opened(), round(time.time() * 1000)
        if epoch.epoch > self._last:
            figures = {name.replace("@", " at "): value for name, value in self.figures(epoch).items()}
            metrics = [self._mlflow.entities.Metric(*pair, now, epoch.epoch) for pair in figures.items()]
            client.log_batch(self._run, metrics=metrics)
            self._last = epoch.epoch

    def close(self, status: str, history: History | None) -> None:
        """Writes how the run ended."""
        client = self._opened()
        if history is not None and history.best is not None:
            client.set_tag(self._run, "best", f"{history.metric} {history.best:.6f} in epoch {history.best_epoch}")
        client.set_terminated(self._run, status={"interrupted": "KILLED"}.get(status, status.upper()))

    def _opened(self) -> Any:
        """Returns the client, after it has found or made the run."""
        if self._client is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _quiet():  # it reports every table of a new database
                self._client = self._mlflow.MlflowClient(tracking_uri=f"sqlite:///{self.database}")
                self._run, self._last = self._find_or_make(self._client)
        return self._client

    def _find_or_make(self, client: Any) -> tuple[str, int]:
        """Returns the id of the run, and its last epoch."""
        name = self.about.get("data", "medley")
        known = client.get_experiment_by_name(name)
        artifacts = (self.folder.parent / ARTIFACTS).as_uri()  # nothing is written there; the default is a folder here
        experiment = known.experiment_id if known else client.create_experiment(name, artifact_location=artifacts)
        tags = {"medley.run": sha256_of_json(str(self.folder))}
        chosen = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        for found in client.search_runs([experiment], chosen, max_results=1) if self.resume else ():
            number = found.info.run_id
            client.update_run(number, status="RUNNING")
            return number, max((each.step for each in client.get_metric_history(number, "loss")), default=0)
        made = client.create_run(experiment, run_name=self.folder.name, tags=tags).info.run_id
        values = {**self.recipe.flat(), "recipe": self.recipe.fingerprint, "folder": self.folder, **self.about}
        parameters = [self._mlflow.entities.Param(key, str(value)[:LONGEST]) for key, value in values.items()]
        client.log_batch(made, params=parameters)
        return made, 0


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


class Trackers(Several):
    """The trackers of one training. A context: at its end each tracker is told how the training ended."""

    def __init__(self, members: Sequence[Tracker]):
        super().__init__(members)
        self.trackers, self.is_started = tuple(members), False
        self.history: History | None = None  # set by the caller when the training has returned

    @classmethod
    def of(
        cls, names: str | Sequence[str], folder: Path, recipe: Recipe, about: Mapping[str, str], *, resume: bool = False
    ) -> Self:
        """Makes trackers by name; other arguments as in `Tracker`.

        Raises:
            InputError: an unknown name.
            MissingExtraError: the package of a tracker is not installed.
        """
        names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
        for name in names:
            if name not in TRACKERS:
                raise InputError("tracker", expected=" or ".join(TRACKERS), got=repr(name))
        return cls([TRACKERS[name](folder, recipe, about, resume=resume) for name in names])

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Starts all."""
        self.is_started = True
        super().start(num_epochs, num_batches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None and not self.is_started:
            return  # the training was refused
        interrupted = self.history is not None and self.history.ending == "interrupted"
        status = "failed" if kind is not None else "interrupted" if interrupted else "finished"
        for tracker in self.trackers:
            tracker.close(status, self.history)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences what MLflow and its database say about their own tables."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "mlflow.store.db.utils", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
