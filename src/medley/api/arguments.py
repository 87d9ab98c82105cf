"""Opens what callers of the interface pass: data sets, runs and models."""

import warnings
from pathlib import Path
from typing import Any

from medley.data.dataset import Dataset
from medley.errors import InputError, MedleyWarning
from medley.models import Recommender
from medley.runs import Run


def model_and_data(run: Run | Recommender, data: Dataset | None, *, stacklevel: int = 3) -> tuple[Recommender, Dataset]:
    """Opens a model and its data set; warns of a run whose training failed.

    Args:
        run: a run, or a model.
        data: the data set; None is the data set of the run.
        stacklevel: of the warning, which names the line of the caller's caller by default.

    Raises:
        InputError: neither a run nor a model, or a model without data.
    """
    opened = data_of(run, data, stacklevel=stacklevel + 1)
    return run.model(opened) if isinstance(run, Run) else run, opened


def data_of(run: Run | Recommender, data: Dataset | None, *, stacklevel: int = 3) -> Dataset:
    """Opens the data set of a run or a model; arguments, warning and errors as of `model_and_data`."""
    if isinstance(run, Run):
        if run.record.status == "failed":
            message = f"the training of this run failed, the weights are of epoch {run.record.best_epoch or 0}: "
            warnings.warn(message + run.record.message, MedleyWarning, stacklevel=stacklevel)
        return run.dataset() if data is None else dataset_of(data)
    if not isinstance(run, Recommender):
        raise InputError("what to evaluate or ask", expected="a run or a model", got=type(run).__name__)
    if data is None:
        raise InputError("a model without data", expected="a data set with the model, or a run", got=type(run).__name__)
    return dataset_of(data)


def dataset_of(data: Any) -> Dataset:
    """Returns a data set, opened if it is a folder.

    Raises:
        InputError: not a data set, or not the folder of one.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return Dataset(data)
    remedy = "medley.load opens a folder, medley.Dataset.from_frames takes tables and arrays"
    raise InputError("data", expected="a Dataset", got=type(data).__name__, remedy=remedy)
