"""The only training loop. It knows no model by name: a model is parameters and a loss on a batch."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from medley.data.dataset import Dataset
from medley.errors import InputError, TrainingError
from medley.evaluation.evaluator import Evaluator
from medley.models import Recommender
from medley.runs import DataRecord, Run, RunRecord
from medley.training.checkpoint import load_checkpoint, save_checkpoint
from medley.training.memory import peak_gb
from medley.training.sampling import TripletSampler, batches
from medley.training.settings import TrainSettings

CHECKPOINT_SECONDS = 5.0  # at least so long between two checkpoints: writing them never rules the run time

Ending = Literal["patience", "num_epochs", "interrupted", "nothing to train"]


@dataclass(frozen=True)
class Epoch:
    """One line of the history."""

    epoch: int  # 1, 2, ...
    loss: float  # mean over the batches
    metric: float | None  # on validation; None where there is no validation split
    best: float | None
    best_epoch: int
    seconds: float  # of this epoch, validation included
    seconds_validation: float
    seconds_cpu: float = 0.0  # of all threads of the process: on one thread, what an idle machine would take


@dataclass
class History:
    """How training went. The model holds the best parameters when it is returned."""

    metric: str
    epochs: list[Epoch] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = 0
    ending: Ending = "num_epochs"
    seconds: float = 0.0  # of all epochs, those before a resume included


class Progress(Protocol):
    """Who watches the training."""

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Called once."""

    def batch(self) -> None:
        """Called after every step."""

    def epoch(self, epoch: Epoch) -> None:
        """Called after every epoch."""

    def stop(self) -> None:
        """Called once, whatever happened."""


class Silence:
    """Nobody watches."""

    def start(self, num_epochs: int, num_batches: int) -> None:
        """Nothing."""

    def batch(self) -> None:
        """Nothing."""

    def epoch(self, epoch: Epoch) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


def pick_device(wanted: str) -> torch.device:
    """The device of a setting; `auto` is a GPU where there is one.

    Raises:
        InputError: no such device here.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=wanted)
        return torch.device(wanted)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        raise InputError("device", got=f"{wanted!r} ({problem})", remedy="use --device auto or cpu") from None


def fit(
    model: Recommender,
    data: Dataset,
    settings: TrainSettings | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> History:
    """Trains a model with Adam until validation no longer improves, and leaves the best parameters in it.

    The same model, data and settings give the same bits on a CPU, however often the run was killed and resumed.
    Ctrl-C ends the training as if it were over: the best parameters so far are kept.

    Args:
        model: made by `models.build`.
        data: train interactions to learn from, validation interactions to choose the epoch. Test is not looked at.
        settings: see `TrainSettings`.
        out: a folder for the run (see `medley.runs`); None keeps everything in memory.
        resume: go on with the run in `out`; a run that is not there yet is started.
        progress: who watches.

    Raises:
        InputError: nothing to learn from; `out` holds another run.
        TrainingError: the loss is no longer a number.
    """
    settings = settings or TrainSettings()
    device = pick_device(settings.device)
    run = None if out is None else _open_run(Path(out), model, data, settings, device, resume)
    if run and run.record.status == "finished":
        model.load_state_dict(run.model(data).state_dict())
        return _history_of(run, settings)
    model.to(device)
    loop = _Loop(model, data, settings, device, run, progress or Silence())
    with torch.random.fork_rng(), _deterministic(settings.deterministic), _recorded(run):
        torch.manual_seed(settings.seed)
        return loop.run_all()


class _Loop:
    """The state of one training."""

    def __init__(
        self,
        model: Recommender,
        data: Dataset,
        settings: TrainSettings,
        device: torch.device,
        run: Run | None,
        progress: Progress,
    ):
        self.model, self.settings, self.device, self.run, self.progress = model, settings, device, run, progress
        self.trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.generator = torch.Generator(device).manual_seed(settings.seed)
        name, _, k = settings.metric.partition("@")
        self.evaluator = Evaluator(data, split="valid", at=(int(k),), metrics=(name,)) if len(data.valid) else None
        if self.trainable:
            self.sampler = TripletSampler(data.train, self.generator)
            self.optimizer = torch.optim.Adam(self.trainable, lr=settings.lr, fused=True)
        self.history = History(settings.metric)
        self.best = self._parameters()
        self.last_checkpoint = time.monotonic()

    def run_all(self) -> History:
        """Epochs until the end, then the best parameters."""
        if not self.trainable:
            self.history.ending = "nothing to train"
            if self.run:
                self.run.save_weights({})
            self.history.best = self._validate()
            self._close()
            return self.history
        self._resume()
        self.progress.start(self.settings.num_epochs, math.ceil(len(self.sampler) / self.settings.batch_size))
        try:
            self._epochs()
        except KeyboardInterrupt:
            self.history.ending = "interrupted"
        finally:
            self.progress.stop()
            self.model.load_state_dict(self.best)
            self.model.eval()
            if self.run:
                self.run.save_weights(self.best)
        self._close()
        return self.history

    def _epochs(self) -> None:
        history, settings = self.history, self.settings
        while len(history.epochs) < settings.num_epochs:
            if settings.patience and self.evaluator and len(history.epochs) - history.best_epoch >= settings.patience:
                history.ending = "patience"
                return
            begin, begin_cpu = time.perf_counter(), time.process_time()
            loss = self._train_epoch()
            trained = time.perf_counter()
            metric = self._validate()
            number = len(history.epochs) + 1
            if metric is None or history.best is None or metric > history.best:
                history.best, history.best_epoch = metric, number
                self.best = self._parameters()
            end = time.perf_counter()
            history.seconds += end - begin
            spent = end - begin, end - trained, time.process_time() - begin_cpu
            epoch = Epoch(number, loss, metric, history.best, history.best_epoch, *spent)
            history.epochs.append(epoch)
            self.progress.epoch(epoch)
            self._record(epoch)

    def _train_epoch(self) -> float:
        """One pass over the interactions; the mean loss."""
        self.model.train()
        with torch.no_grad():
            self.model.start_epoch()
        losses = []
        for batch in batches(self.sampler.epoch(), self.settings.batch_size):
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                loss = self.model.loss(batch)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
            self.progress.batch()
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} in epoch {len(self.history.epochs) + 1}: training has diverged. "
                f"Remedy: a smaller learning rate (lr is {self.settings.lr}), scaled features (feature_scale=standard) "
                "or more regularisation (reg). The best parameters of the epochs before are kept"
            )
        return mean

    def _validate(self) -> float | None:
        if self.evaluator is None:
            return None
        self.model.eval()
        with torch.no_grad():
            return self.evaluator(self.model.scorer()).metrics[self.settings.metric]

    def _parameters(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _record(self, epoch: Epoch) -> None:
        """To disk: one JSON line every epoch, a checkpoint every few seconds."""
        if self.run is None:
            return
        with self.run.history.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(epoch)) + "\n")
        if time.monotonic() - self.last_checkpoint >= CHECKPOINT_SECONDS:
            self._checkpoint(self.run)

    def _checkpoint(self, run: Run) -> None:
        progress = asdict(self.history) | {"epochs": [asdict(epoch) for epoch in self.history.epochs]}
        save_checkpoint(
            run.checkpoint,
            model=self.model,
            best=self.best,
            optimizer=self.optimizer,
            generator=self.generator,
            progress=progress,
        )
        run.save_weights(self.best)
        self.last_checkpoint = time.monotonic()

    def _resume(self) -> None:
        """Back to the last checkpoint, if there is one; the history on disk is cut to match."""
        if self.run is None or not self.run.checkpoint.exists():
            lines: list[str] = []
        else:
            self.best, progress = load_checkpoint(
                self.run.checkpoint, model=self.model, optimizer=self.optimizer, generator=self.generator
            )
            epochs = [Epoch(**epoch) for epoch in progress.pop("epochs")]
            self.history = History(**progress, epochs=epochs)
            lines = [json.dumps(asdict(epoch)) for epoch in epochs]
        if self.run is not None:
            self.run.history.write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def _close(self) -> None:
        """The end of the run folder; an interrupted run keeps its checkpoint and can be resumed."""
        if self.run is None:
            return
        history = self.history
        self.run.update(
            status="interrupted" if history.ending == "interrupted" else "finished",
            message=history.ending,
            num_epochs_done=len(history.epochs),
            best_epoch=history.best_epoch,
            best=history.best,
            seconds=round(history.seconds, 3),
            peak_gb=round(max(self.run.record.peak_gb, peak_gb()), 3),
        )
        if history.ending != "interrupted":
            self.run.checkpoint.unlink(missing_ok=True)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """torch's deterministic algorithms while a model is trained; the caller's choice comes back afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _recorded(run: Run | None) -> Iterator[None]:
    """Writes into the record of the run why it failed."""
    try:
        yield
    except Exception as error:
        if run:
            run.update(status="failed", message=str(error))
        raise


def _open_run(
    folder: Path, model: Recommender, data: Dataset, settings: TrainSettings, device: torch.device, resume: bool
) -> Run:
    """A new run folder, or with `resume` the one that is there, if it is the same run."""
    manifest = data.manifest
    record = RunRecord(
        model=model.spec.name,
        options=model.spec.options,
        seed=model.spec.seed,
        settings=settings.model_dump(),
        data=DataRecord(
            path=str(data.folder.resolve()),
            name=manifest.name,
            content_hash=manifest.content_hash,
            split_hash=manifest.split_hash,
        ),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=str(device),
    )
    if not (resume and (folder / "run.json").exists()):
        return Run.create(folder, record)
    run = Run(folder)
    for what in ("model", "options", "settings", *([] if run.record.seed is None else ["seed"])):
        there, wanted = run.record.model_dump()[what], record.model_dump()[what]
        if there != wanted:
            raise InputError(
                f"{what} of the run to resume",
                file=folder,
                expected=there,
                got=wanted,
                remedy="resume with the same command",
            )
    if run.record.data.content_hash != manifest.content_hash:
        raise InputError("the data set differs from the one of the run", file=folder, remedy="train into a new folder")
    run.clear_leftovers()
    if run.record.status != "finished":
        run.update(status="running", message="")
    return run


def _history_of(run: Run, settings: TrainSettings) -> History:
    """The history of a finished run, read back."""
    lines = run.history.read_text(encoding="utf-8").splitlines() if run.history.exists() else []
    record = run.record
    return History(
        settings.metric,
        [Epoch(**json.loads(line)) for line in lines],
        record.best,
        record.best_epoch or 0,
        record.message,  # pyrefly: ignore[bad-argument-type]
        record.seconds,
    )
