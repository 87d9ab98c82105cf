"""The results of a study, with the value of every user, in two files from which reports and statistics are computed
again without any training:

results.json       the study, the data, and one result per entry, split, kind of candidates and kind of histories
per_user.parquet   entry, split, candidates, history, seed, user (row), and one column per metric
"""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from medley.errors import InputError
from medley.evaluation.statistics import Spread
from medley.experiments.entries import Entry, Options
from medley.files import read_json, write_atomic, write_json

FORMAT = 1
KEYS = ("entry", "split", "candidates", "history")
REMEDY = "give a folder that medley study wrote, or run the study again: finished runs are kept"


@dataclass(frozen=True)
class Result:
    """An entry at its best: chosen settings, and their figures over the seeds."""

    entry: Entry
    chosen: Options
    num_tried: int
    valid: Spread
    metrics: dict[str, Spread]  # on test
    cpu_to_best: Spread  # CPU seconds of training to the best epoch, validation included; NaN where a GPU trained
    cpu_per_epoch: float  # likewise
    peak_gb: float
    best_epochs: tuple[int, ...]
    num_parameters: int
    fingerprint: str  # of the protocol
    measured: str  # day of the result, YYYY-MM-DD
    machine: str  # that trained; several are joined
    split: str = "given"  # how the log was divided: `given`, as the data set has it, or a name of medley.data.split
    candidates: str = "all"  # who competed on test
    history: str = "train"  # what users were made of on test: train or fresh, see `medley.evaluation.histories`
    users_of: str = (
        "train"  # train also with fresh histories, if the model has learned user vectors and cannot take them
    )
    seeds: tuple[int, ...] = ()
    recipe: str = ""  # fingerprint of the recipe with the first seed
    command: str = ""  # trains the run of the first seed alone
    runs: tuple[str, ...] = ()  # folders of the runs, one per seed, as seen from the folder of the runs
    curves: tuple[tuple[float | None, ...], ...] = ()  # the validation metric of every epoch, one curve per seed
    lists: dict[str, float] = field(default_factory=dict)  # coverage and number of different lists, first seed
    beyond: dict[str, Spread] = field(default_factory=dict)  # figures beyond accuracy, if the study asks for them
    references: dict[str, dict[str, float]] = field(default_factory=dict)  # the same of popular and of random lists
    num_unknown_users: int = 0  # measured users without any train interaction
    versions: dict[str, str] = field(default_factory=dict)  # library -> version that trained; several are joined
    user: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False, compare=False)  # (q,)
    per_user: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)  # metric -> (S, q)

    @property
    def label(self) -> str:
        """The label of the entry."""
        return self.entry.label

    def values(self, metric: str) -> np.ndarray:
        """Returns (q,), the value of every user, averaged over the seeds; NaN for users whom the metric leaves out.

        Raises:
            InputError: the metric was not measured.
        """
        if metric not in self.per_user:
            raise InputError(f"metric of {self.label}", expected=" or ".join(self.per_user), got=repr(metric))
        return self.per_user[metric].mean(axis=0)


@dataclass(frozen=True)
class Results:
    """All that a study has found on one data set.

    Attributes:
        study: the declaration, JSON-able, with its `name`.
        data: name, counts, modalities and hashes of the data set, and of each split that was made from its log.
        entries: the results, in the order of the declaration, for each split, kind of candidates and of histories.
        skipped: label -> why the entry does not apply to the data.
        made_by: command, versions, number of seeds, whether quick.
    """

    study: dict[str, Any]
    data: dict[str, Any]
    entries: list[Result]
    skipped: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)

    def conditions(self) -> list[tuple[str, ...]]:
        """Returns split, candidates and, unless it is train, history: arguments of `of`.

        Only results of one condition can be compared user by user.
        """
        return list(dict.fromkeys(_condition(result) for result in self.entries))

    def of(self, split: str, candidates: str = "all", history: str = "train") -> list[Result]:
        """Returns the results of one condition."""
        wanted = (split, candidates, history)
        return [one for one in self.entries if (one.split, one.candidates, one.history) == wanted]

    def save(self, folder: str | Path) -> None:
        """Writes results.json and per_user.parquet; the old files stay until the new ones are whole."""
        folder = Path(folder)
        tables = [_table(result) for result in self.entries]
        table = io.BytesIO()
        (pl.concat(tables, how="diagonal") if tables else pl.DataFrame()).write_parquet(table)
        write_atomic(folder / "per_user.parquet", table.getvalue())
        document = {
            "format": FORMAT,
            "study": self.study,
            "data": self.data,
            "made_by": self.made_by,
            "skipped": self.skipped,
            "entries": [document_of(result) for result in self.entries],
        }
        write_json(folder / "results.json", document)

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """Reads what `save` wrote.

        Raises:
            InputError: not the folder of a study's results.
        """
        path = Path(folder) / "results.json"
        document = read_json(path, remedy=REMEDY)
        if document.get("format") != FORMAT:
            raise InputError(
                "format of the results", file=path, expected=FORMAT, got=document.get("format"), remedy=REMEDY
            )
        try:
            table = pl.read_parquet(path.with_name("per_user.parquet"))
            if "history" not in table.columns:  # written before there were histories
                table = table.with_columns(pl.lit("train").alias("history"))
            rows = {} if table.is_empty() else table.partition_by(*KEYS, as_dict=True, maintain_order=True)
            entries = [result_of(one, rows) for one in document["entries"]]
            kept = {name: document[name] for name in ("study", "data", "skipped", "made_by")}
        except (OSError, KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
            raise InputError("not results of a study", file=path, got=repr(error), remedy=REMEDY) from None
        return cls(entries=entries, **kept)


def document_of(result: Result) -> dict[str, Any]:
    """Returns a result without the values of single users, JSON-able."""
    document = {one.name: getattr(result, one.name) for one in fields(result) if one.name not in ("user", "per_user")}
    document["entry"] = asdict(result.entry)
    document["cpu_per_epoch"] = _number(result.cpu_per_epoch)
    for kind in ("metrics", "beyond"):
        document[kind] = {name: _numbers(value) for name, value in getattr(result, kind).items()}
    return document | {name: _numbers(getattr(result, name)) for name in ("valid", "cpu_to_best")}


def result_of(document: Mapping[str, Any], rows: Mapping[tuple[Any, ...], pl.DataFrame] | None = None) -> Result:
    """Makes a result from its document, and from the rows of its users if they were kept.

    Raises:
        KeyError, TypeError, ValueError: the document is something else.
    """
    given = dict(document)
    given["entry"] = Entry(**given["entry"])
    for kind in ("metrics", "beyond"):
        given[kind] = {name: _spread(numbers) for name, numbers in given.get(kind, {}).items()}
    given |= {name: _spread(given[name]) for name in ("valid", "cpu_to_best")}
    given["cpu_per_epoch"] = _or_nan(given["cpu_per_epoch"])
    for name in ("best_epochs", "seeds", "runs"):
        given[name] = tuple(given.get(name, ()))
    given["curves"] = tuple(map(tuple, given.get("curves", ())))
    result = Result(**given)
    table = (rows or {}).get((result.label, result.split, result.candidates, result.history))
    if table is None:
        return result
    per_seed = table.partition_by("seed", maintain_order=True)
    metrics = [name for name in table.columns if name in result.metrics]
    per_user = {name: np.stack([part[name].to_numpy() for part in per_seed]) for name in metrics}
    return Result(**given | {"user": per_seed[0]["user"].to_numpy(), "per_user": per_user})


def _table(result: Result) -> pl.DataFrame:
    parts = []
    for place, seed in enumerate(result.seeds):
        keys = dict(zip(KEYS, (result.label, result.split, result.candidates, result.history), strict=True))
        columns = {name: values[place] for name, values in result.per_user.items()}
        part = pl.DataFrame({"user": result.user, **columns})
        parts.append(
            part.select(
                *(pl.lit(value).alias(name) for name, value in keys.items()), pl.lit(seed).alias("seed"), pl.all()
            )
        )
    return pl.concat(parts)


def _condition(result: Result) -> tuple[str, ...]:
    condition = (result.split, result.candidates)
    return condition if result.history == "train" else (*condition, result.history)


def _numbers(spread: Spread) -> dict[str, Any]:
    return {name: _number(value) for name, value in spread._asdict().items()}


def _number(value: float) -> float | None:
    return None if isinstance(value, float) and math.isnan(value) else value


def _spread(numbers: Mapping[str, Any]) -> Spread:
    return Spread(_or_nan(numbers["mean"]), _or_nan(numbers["std"]), numbers["num_values"])


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
