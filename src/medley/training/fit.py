"""The only training loop. It knows no model by name: a model is parameters and a loss on a batch."""

import math
import time
from pathlib import Path
from typing import Any

import torch

from medley.data.dataset import Dataset
from medley.engine.threads import sharing_cores
from medley.errors import InputError, TrainingError
from medley.evaluation.evaluator import Evaluator
from medley.models import Recommender
from medley.nn.chosen import ChosenNumber, numbers_to_choose
from medley.nn.device import pick_device
from medley.runs import DataRecord, Epoch, History, Recipe, Run, RunRecord, TrainSettings
from medley.training.checkpoint import TrainingState
from medley.training.device import deterministic, machine
from medley.training.progress import Progress
from medley.training.recorder import Recorder, RunRecorder
from medley.training.sampling import TripletSampler, batches


def fit(
    model: Recommender,
    data: Dataset,
    settings: TrainSettings | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> History:
    """Trains a model with Adam until validation no longer improves, and leaves the best parameters in the model.

    The seed is that of `build`. The same model, data and settings give the same bits on a CPU,
    however often the run was killed and resumed. Ctrl-C stops early and keeps the best parameters so far.

    Args:
        model: made by `models.build`.
        data: train interactions to learn from, validation interactions to choose the epoch. Test is not read. With
            `train_on` in the settings, more splits to learn from, and no validation.
        settings: see `TrainSettings`.
        out: a folder for the run (see `medley.runs.run`); None keeps everything in memory.
        resume: go on with the run in `out`, also with another `num_epochs` or `patience`; a run that is not there yet
            is started.
        progress: called during the training; shows nothing by default.

    Raises:
        InputError: no interactions to learn from; `out` holds another run; the model was not made by `build`, or built
            from other interactions than those of `train_on`.
        TrainingError: the loss is not a finite number.
    """
    settings = settings or TrainSettings()
    device = pick_device(settings.device)
    if not hasattr(model, "spec"):
        got, remedy = type(model).__name__, "medley.build takes classes and import paths too"
        raise InputError("model to train", expected="a model made by medley.build", got=got, remedy=remedy)
    recorder = Recorder()
    if out is not None:
        run = Run.open_or_create(out, _record(model, data, settings, device), data, resume=resume)
        if run.record.status == "finished":
            run.load_weights(model)
            return run.history
        recorder = RunRecorder(run)
    loop = _Loop(model.to(device), data, settings, device, recorder, progress or Progress())
    with torch.random.fork_rng(), deterministic(settings.deterministic), sharing_cores():
        torch.manual_seed(model.spec.seed)
        try:
            return loop.run()
        except Exception as error:
            recorder.failed(loop.state, error)
            raise


class _Loop:
    """One training."""

    def __init__(
        self,
        model: Recommender,
        data: Dataset,
        settings: TrainSettings,
        device: torch.device,
        recorder: Recorder,
        progress: Progress,
    ):
        self.model, self.settings, self.device = model, settings, device
        self.recorder, self.progress = recorder, progress
        generator = torch.Generator(device).manual_seed(model.spec.seed)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trainable, lr=settings.lr, fused=True) if trainable else None
        train = data.union(settings.train_on)
        if model.num_interactions != len(train):
            expected, got = f"a model built from {len(train):,} ({settings.train_on})", f"{model.num_interactions:,}"
            remedy = f'build the model from data.inputs("{settings.train_on}"), or use medley.train'
            raise InputError("interactions of the model", expected=expected, got=got, remedy=remedy)
        self.sampler = TripletSampler(train, generator) if trainable else None
        judges = len(data.valid) and "valid" not in settings.train_on
        name, _, k = settings.metric.partition("@")
        self.data = data
        self.protocol: dict[str, Any] = {"at": (int(k),), "metrics": (name,), "candidates": settings.candidates}
        self.validation = Evaluator(data, split="valid", **self.protocol) if judges else None
        self.state = TrainingState(model, self.optimizer, generator, History(settings.metric))
        self.state.keep_best()
        if settings.average:
            self.state.start_average()

    def run(self) -> History:
        """Trains to the end, then restores the best parameters."""
        if self.sampler is None or self.optimizer is None:
            return self._without_training()
        self.recorder.restore(self.state)
        self.progress.start(self.settings.num_epochs, math.ceil(len(self.sampler) / self.settings.batch_size))
        try:
            self._epochs(self.sampler, self.optimizer)
            self.recorder.completed(self.state)
        except KeyboardInterrupt:
            self.state.history.ending = "interrupted"
        finally:
            self.progress.stop()
            self.model.load_state_dict(self.state.best)
            self.model.eval()
            self._choose_numbers()
            self.recorder.weights(self.state)
        self.recorder.close(self.state)
        return self.state.history

    def _without_training(self) -> History:
        """Records a model without parameters, which is complete when it is built."""
        history = self.state.history
        history.ending, history.best = "nothing to train", self._validate()
        self._choose_numbers()
        self.recorder.weights(self.state)
        self.recorder.close(self.state)
        return history

    def _epochs(self, sampler: TripletSampler, optimizer: torch.optim.Optimizer) -> None:
        history, settings = self.state.history, self.settings
        history.ending = "num_epochs"
        while len(history.epochs) < settings.num_epochs:
            waited = len(history.epochs) - history.best_epoch
            if settings.patience and self.validation and waited >= settings.patience:
                history.ending = "patience"
                return
            begin, begin_cpu = time.perf_counter(), time.process_time()
            loss = self._train_epoch(sampler, optimizer)
            trained = time.perf_counter()
            number = len(history.epochs) + 1
            with self.state.averaged():
                metric = self._validate()
                if metric is None or history.best is None or metric > history.best:
                    history.best, history.best_epoch = metric, number
                    self.state.keep_best()
            end = time.perf_counter()
            history.seconds += end - begin
            spent = end - begin, end - trained, time.process_time() - begin_cpu
            epoch = Epoch(number, loss, metric, history.best, history.best_epoch, *spent)
            history.epochs.append(epoch)
            self.progress.epoch(epoch)
            self.recorder.epoch(self.state)

    def _train_epoch(self, sampler: TripletSampler, optimizer: torch.optim.Optimizer) -> float:
        """Trains on all interactions once. Returns the mean loss."""
        self.model.train()
        with torch.no_grad():
            self.model.start_epoch()
        losses = []
        for batch in batches(sampler.epoch(), self.settings.batch_size):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                loss = self.model.loss(batch)
            loss.backward()
            optimizer.step()
            if self.settings.average:
                self.state.update_average(self.settings.average)
            losses.append(loss.detach())
            self.progress.batch()
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss is {mean} in epoch {len(self.state.history.epochs) + 1}: training has diverged. "
                f"Remedy: a smaller learning rate (lr is {self.settings.lr}), scaled features (feature_scale=standard) "
                "or more regularisation (reg). The best parameters so far are kept"
            )
        return mean

    def _choose_numbers(self) -> None:
        """Chooses the numbers of the score that are "auto" on validation, one after the other, and keeps them."""
        history, numbers = self.state.history, numbers_to_choose(self.model)
        if numbers and self.validation is not None:
            judge = Evaluator(self.data, split="valid", groups=True, **self.protocol)
            for name, number in numbers.items():
                history.chosen[name], history.best = self._chosen(number, judge)
            self.state.keep_best()

    def _chosen(self, number: ChosenNumber, judge: Evaluator) -> tuple[float, float]:
        """Returns the best value of a number, which is set, and the validation metric with it; the first of equals."""
        found = []
        for value in dict.fromkeys([float(number()), *number.among]):
            number.value.fill_(value)
            with torch.no_grad():
                metrics = judge(self.model.scorer()).metrics
            metric, cold = metrics[self.settings.metric], metrics.get(f"cold_recall@{judge.at[0]}", 0.0)
            found.append((metric + number.cold_value * cold, value, metric))
        _, value, metric = max(found, key=lambda one: one[0])
        number.value.fill_(value)
        return value, metric

    def _validate(self) -> float | None:
        if self.validation is None:
            return None
        self.model.eval()
        with torch.no_grad():
            return self.validation(self.model.scorer()).metrics[self.settings.metric]


def _record(model: Recommender, data: Dataset, settings: TrainSettings, device: torch.device) -> RunRecord:
    """Returns the record of a new run."""
    spec = model.spec
    return RunRecord(
        recipe=Recipe(model=spec.name, options=spec.options, settings=settings, seed=spec.seed),
        data=DataRecord.of(data, model),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        device=str(device),
        machines=[machine()],
    )
