"""What a report needs to know about the results of a study. `medley.experiments.results.Results` has all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from medley.evaluation.statistics import Spread


class StudyEntry(Protocol):
    """An entry of the declaration."""

    @property
    def model(self) -> str: ...  # name of the model
    @property
    def label(self) -> str: ...
    @property
    def options(self) -> Mapping[str, Any]: ...  # of a variant: what it changes
    @property
    def variant_of(self) -> str: ...  # label of another entry, or ""
    @property
    def group(self) -> str: ...  # heading, or ""
    @property
    def value(self) -> float | str | None: ...  # position on the axis of a curve


class StudyResult(Protocol):
    """An entry at its best, under one split, one kind of candidates and one kind of histories."""

    @property
    def entry(self) -> StudyEntry: ...
    @property
    def chosen(self) -> Mapping[str, Any]: ...
    @property
    def num_tried(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, Spread]: ...  # on test, over the seeds
    @property
    def cpu_to_best(self) -> Spread: ...
    @property
    def peak_gb(self) -> float: ...
    @property
    def num_parameters(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...  # of the protocol
    @property
    def split(self) -> str: ...
    @property
    def candidates(self) -> str: ...
    @property
    def history(self) -> str: ...  # train or fresh
    @property
    def users_of(self) -> str: ...  # train also with fresh histories, if the model cannot take them
    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def recipe(self) -> str: ...  # fingerprint of the recipe with the first seed
    @property
    def command(self) -> str: ...  # trains the run of the first seed alone
    @property
    def curves(self) -> Sequence[Sequence[float | None]]: ...  # validation metric by epoch, one curve per seed
    @property
    def user(self) -> np.ndarray: ...  # (q,) rows
    @property
    def per_user(self) -> Mapping[str, np.ndarray]: ...  # metric -> (S, q)


class StudyResults(Protocol):
    """The results of a study on one data set.

    `study` is the declaration: name, title, about, papers, tables, at, metric, figures. `data` has name, num_users,
    num_items, modalities, and for each of its `splits` num_interactions, split_hash and parts (name -> hash). `made_by`
    has command, versions and quick.
    """

    @property
    def study(self) -> Mapping[str, Any]: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def entries(self) -> Sequence[StudyResult]: ...
    @property
    def skipped(self) -> Mapping[str, str]: ...  # label -> why the entry does not apply to the data
    @property
    def made_by(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class PublishedScores:
    """Scores of one model in one publication, to stand beside scores that were measured here."""

    label: str  # of the model or variant, as the publication calls it
    metrics: Mapping[str, float]  # "recall@20" -> value
    source: str  # publication, table and data set
    selection: str  # how the settings and the epoch behind the scores were selected, or that this is not known


@dataclass(frozen=True)
class Condition:
    """A split and kinds of candidates and histories; only results of one condition can be compared user by user."""

    split: str
    candidates: str
    history: str = "train"

    def __str__(self) -> str:
        known = {"all": "all unseen items", "cold": "items without train interactions alone"}
        candidates = known.get(self.candidates, f"{self.candidates} candidates")
        histories = "" if self.history == "train" else f", {self.history} histories"
        return f"{self.split} split, {candidates}{histories}"


def conditions(results: StudyResults) -> list[Condition]:
    """Returns the conditions of a study in the order of its results."""
    return list(dict.fromkeys(Condition(one.split, one.candidates, one.history) for one in results.entries))


def under(results: StudyResults, condition: Condition) -> list[StudyResult]:
    """Returns the results under a condition."""
    return [one for one in results.entries if Condition(one.split, one.candidates, one.history) == condition]


def means(results: Sequence[StudyResult], metric: str) -> dict[str, np.ndarray]:
    """Returns label -> (q,) values of the users, averaged over the seeds, for results with this metric."""
    return {one.entry.label: one.per_user[metric].mean(axis=0) for one in results if metric in one.per_user}


def provenance(results: StudyResults, condition: Condition) -> str:
    """Returns where figures and tables of a condition come from: command, seeds, protocol, hashes of the data."""
    rows = under(results, condition)
    seeds = ", ".join(map(str, max((tuple(one.seeds) for one in rows), key=len, default=())))
    split = results.data.get("splits", {}).get(condition.split, {})
    parts = ", ".join(f"{name} {digest[:12]}" for name, digest in split.get("parts", {}).items())
    protocols = ", ".join(dict.fromkeys(one.fingerprint[:16] for one in rows))
    quick = " A quick run: its figures show that the study runs, not more." if results.made_by.get("quick") else ""
    return (
        f"{results.made_by.get('command', 'medley study')} · seeds {seeds} · {condition} · protocol {protocols} · data "
        f"{results.data.get('name', '')}: {parts or 'no hashes'}, split {str(split.get('split_hash', ''))[:12]}.{quick}"
    )
