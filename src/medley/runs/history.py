"""The history of a training, epoch by epoch, in memory and as JSON lines."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from medley.errors import InputError
from medley.files import write_atomic

Ending = Literal["patience", "num_epochs", "interrupted", "nothing to train"]


@dataclass(frozen=True)
class Epoch:
    """One line of the history."""

    epoch: int  # 1, 2, ...
    loss: float  # mean over the batches
    metric: float | None  # on validation; None without a validation split
    best: float | None
    best_epoch: int
    seconds: float  # of this epoch, validation included
    seconds_validation: float
    seconds_cpu: float = 0.0  # of all threads of the process; with one thread, the time on an idle machine


@dataclass
class History:
    """The result of a training. The model holds the best parameters when `fit` returns a history."""

    metric: str
    epochs: list[Epoch] = field(default_factory=list)
    best: float | None = None
    best_epoch: int = 0
    ending: Ending | None = "num_epochs"  # None: the training runs, or ended with an error
    seconds: float = 0.0  # of all epochs, those before a resume included
    chosen: dict[str, float] = field(default_factory=dict)  # option that was "auto" -> the value that validation chose


def append_epoch(path: Path, epoch: Epoch) -> None:
    """Adds one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(epoch)) + "\n")


def read_epochs(path: Path) -> list[Epoch]:
    """Reads all lines; a last line that a crash cut short is left out.

    Raises:
        InputError: another line is not an epoch.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    epochs = []
    for number, line in enumerate(lines, start=1):
        try:
            epochs.append(Epoch(**json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines):
                break
            remedy = "restore the file, or train again"
            raise InputError("not an epoch", file=path, row=number, got=str(error), remedy=remedy) from None
    return epochs


def write_epochs(path: Path, epochs: Sequence[Epoch]) -> None:
    """Replaces all lines in one step."""
    write_atomic(path, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs))
