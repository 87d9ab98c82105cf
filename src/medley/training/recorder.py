"""Records a training in a run folder, or nowhere."""

import time

from medley.runs import Run
from medley.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from medley.training.device import peak_gb

CHECKPOINT_SECONDS = 5.0  # least time between two checkpoints: their writing must not dominate the run time


class Recorder:
    """Writes nothing: for a training in memory."""

    def restore(self, state: TrainingState) -> None:
        """Called before the first epoch: restores the state that an earlier process has written."""

    def epoch(self, state: TrainingState) -> None:
        """Called after every epoch."""

    def completed(self, state: TrainingState) -> None:
        """Called after the last epoch, unless it was interrupted: the model still holds the last parameters."""

    def weights(self, state: TrainingState) -> None:
        """Called once after the last epoch, whatever ended the training: the model holds the best parameters."""

    def close(self, state: TrainingState) -> None:
        """Called when the training has ended without an error."""

    def failed(self, state: TrainingState, error: Exception) -> None:
        """Called when the training has ended with an error."""


class RunRecorder(Recorder):
    """Writes into a run folder: a line per epoch, a checkpoint every few seconds, weights and record at the end."""

    def __init__(self, run: Run):
        self.run = run
        self.last_checkpoint = time.monotonic()

    def restore(self, state: TrainingState) -> None:
        """Restores the last checkpoint, if there is one, and cuts the history on disk to match."""
        if state.optimizer is None:
            return
        if self.run.checkpoint.exists():
            load_checkpoint(self.run.checkpoint, state)
        self.run.cut_history(state.history.epochs)

    def epoch(self, state: TrainingState) -> None:
        """Writes a line of the history, and every few seconds a checkpoint and the best weights."""
        self.run.add_epoch(state.history.epochs[-1])
        if time.monotonic() - self.last_checkpoint >= CHECKPOINT_SECONDS:
            save_checkpoint(self.run.checkpoint, state)
            self.run.save_weights(state.best)
            self.last_checkpoint = time.monotonic()

    def completed(self, state: TrainingState) -> None:
        """A last checkpoint, so that a finished run can be resumed with more epochs or more patience."""
        save_checkpoint(self.run.checkpoint, state)

    def weights(self, state: TrainingState) -> None:
        """Writes the best weights."""
        self.run.save_weights(state.best)

    def close(self, state: TrainingState) -> None:
        """The record."""
        history = state.history
        self.run.update(
            status="interrupted" if history.ending == "interrupted" else "finished",
            message=history.ending,
            num_epochs_done=len(history.epochs),
            best_epoch=history.best_epoch,
            best=history.best,
            chosen=history.chosen,
            seconds=round(history.seconds, 3),
            peak_gb=round(max(self.run.record.peak_gb, peak_gb()), 3),
        )

    def failed(self, state: TrainingState, error: Exception) -> None:
        """Why the training failed, and how far it came."""
        history = state.history
        done = {"num_epochs_done": len(history.epochs), "best_epoch": history.best_epoch, "best": history.best}
        self.run.update(status="failed", message=str(error), **done)
