"""All that knows Optuna's storage: trials with their validation curves in one file, which several processes share."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from medley.errors import MissingExtraError
from medley.runs.history import Epoch

if TYPE_CHECKING:
    import optuna

NUM_UNPRUNED = 5  # complete trials before one may be pruned
WARMUP = 10  # epochs before a trial may be pruned: small learning rates start slowly
NUM_REFERENCES = 3  # complete trials that must have come to an epoch for a trial to be pruned there
NAME = "medley"  # of the study in the file


def load_optuna() -> Any:
    """Imports Optuna.

    Raises:
        MissingExtraError: the extra tune is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("Tuning", "tune") from None
    return optuna


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Holds Ctrl-C back until the block ends.

    In the middle of it, Optuna would take a lock for its own that another process holds or nobody does, and a pool of
    processes would wait for a task that it never starts.
    """
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield
        return
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))

    handler = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if held and callable(handler):
            handler(*held[0])


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Keeps Optuna's remarks for its own developers off the terminal while the block runs, and Ctrl-C until it ends."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with without_interrupts(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="optuna")
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(verbosity)


def storage_of(journal: Path) -> "optuna.storages.BaseStorage":
    """Opens the file, or makes it."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))


def pruner() -> "optuna.pruners.BasePruner":
    """Prunes a trial whose best value so far is below the median of the complete trials at the same epoch."""
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=NUM_UNPRUNED, n_warmup_steps=WARMUP, n_min_trials=NUM_REFERENCES)


def pruner_of(journal: Path, number: int) -> Callable[[Epoch], bool]:
    """Returns a function that reports an epoch of a trial, and says whether the trial is below the median."""
    optuna = load_optuna()
    with quiet(optuna):
        sampler = optuna.samplers.RandomSampler(seed=0)
        storage = storage_of(journal)
        study = optuna.load_study(study_name=NAME, storage=storage, sampler=sampler, pruner=pruner())
        trial = optuna.trial.Trial(study, id_of(storage, number))

    def prune(epoch: Epoch) -> bool:
        if epoch.best is None:
            return False
        with quiet(optuna):
            trial.report(epoch.best, step=epoch.epoch)  # a resumed training repeats some epochs: those are ignored
            return trial.should_prune()

    return prune


def id_of(storage: "optuna.storages.BaseStorage", number: int) -> int:
    """Returns the id of a trial in a storage."""
    return storage.get_trial_id_from_study_id_trial_number(storage.get_study_id_from_name(NAME), number)


def repair(journal: Path) -> None:
    """Removes what a killed process left: a last line that was cut short, and Optuna's lock."""
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)
