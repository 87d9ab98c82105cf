"""Evaluates models under one protocol: a split, its masks and its candidates. A fingerprint identifies the protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
import scipy.sparse as sp

from medley.data.dataset import Dataset
from medley.engine.threads import sharing_cores
from medley.errors import InputError
from medley.evaluation import metrics as definitions
from medley.evaluation.histories import check_history, fresh_history
from medley.evaluation.metrics import METRICS, check_metrics, metrics_at
from medley.evaluation.ranking import Queries, full_ranks, sampled_ranks
from medley.evaluation.ties import TIES, tie_places
from medley.evaluation.user_groups import PartScores, by_activity, by_dominant_part
from medley.files import sha256_of_json
from medley.scoring.top_k import top_k
from medley.types import Interactions, Scorer

MASKED = {"valid": ("train",), "test": ("train", "valid")}
"""Evaluated split -> the earlier splits, whose interactions are not candidates."""

NUM_PROBES = 100  # users, to see whether scores depend on the user at all
CANDIDATES = re.compile(r"all|cold|sampled-([1-9]\d*)(-per-user)?")
KINDS_OF_CANDIDATES = "all, cold, sampled-1000 or sampled-1000-per-user"


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating one model on one split. The means are over queries: users, or pairs if
    `candidates` gives each pair its own list."""

    split: str
    metrics: dict[str, float]  # "recall@20" -> mean
    per_user: dict[str, np.ndarray]  # "recall@20" -> (q,); NaN where a user has no item of a group, or is in none
    user: np.ndarray  # (q,) int64 rows of the users, ascending
    num_users: int  # with held-out items
    num_users_without: int  # without held-out items: not in the means
    num_held_out: int  # held-out interactions
    num_cold: int  # held-out interactions with items that never occur in train
    protocol: dict[str, Any]  # all that must be equal for two evaluations to be comparable
    num_unknown_users: int = 0  # users with held-out items and without any interaction in their history
    lists: dict[str, float] = field(default_factory=dict)  # see `Evaluator.lists`; empty where it was not asked for
    beyond: dict[str, float] = field(default_factory=dict)  # "novelty@20" -> figure of `medley.evaluation.beyond`
    references: dict[str, dict[str, float]] = field(default_factory=dict)  # popular, random -> the same figures
    flags: list[str] = field(default_factory=list)  # of the data set, see `medley.auditing`; not in the protocol

    @property
    def candidates(self) -> str:
        """The kind of candidates: "all", "sampled-1000", ..."""
        return self.protocol["candidates"]

    @property
    def history(self) -> str:
        """What users were made of: "train" or "fresh", see `medley.evaluation.histories`."""
        return self.protocol.get("history", "train")

    @property
    def fingerprint(self) -> str:
        """Hash of the protocol."""
        return sha256_of_json(self.protocol)

    def document(self) -> dict[str, Any]:
        """Returns all fields except the values of single users, JSON-able."""
        return {
            "split": self.split,
            "metrics": self.metrics,
            "num_users": self.num_users,
            "num_users_without": self.num_users_without,
            "num_held_out": self.num_held_out,
            "num_cold": self.num_cold,
            "num_unknown_users": self.num_unknown_users,
            "lists": self.lists,
            "beyond": self.beyond,
            "references": self.references,
            "flags": self.flags,
            "candidates": self.candidates,
            "fingerprint": self.fingerprint,
            "protocol": self.protocol,
        }

    def table(self) -> pl.DataFrame:
        """Returns the values of single users: a column `user` (rows) and one column per metric."""
        return pl.DataFrame({"user": self.user, **self.per_user})

    @classmethod
    def of(cls, document: dict[str, Any], table: pl.DataFrame) -> "Evaluation":
        """Makes an evaluation from its `document` and `table`.

        Raises:
            KeyError, TypeError: the document or the table is something else.
        """
        fields = {name: value for name, value in document.items() if name not in ("candidates", "fingerprint")}
        per_user = {name: table[name].to_numpy() for name in table.columns if name != "user"}
        return cls(**fields, per_user=per_user, user=table["user"].to_numpy())


class Evaluator:
    """Evaluates any number of models, or one after every epoch, under the same protocol.

    evaluator = Evaluator(data, split="valid", at=(20,), metrics=("recall",))
    evaluator(model.scorer()).metrics["recall@20"]
    """

    def __init__(
        self,
        data: Dataset,
        *,
        split: str = "test",
        history: str = "train",
        at: Sequence[int] = (10, 20),
        metrics: Sequence[str] = tuple(METRICS),
        candidates: str = "all",
        seed: int = 0,
        groups: bool = False,
        memory_mb: int = 64,
    ):
        """Groups the held-out and the masked interactions, which do not depend on the model.

        Args:
            data: interactions earlier than `split` are masked: train at validation, train and validation at test.
            split: valid or test.
            history: what users are made of: "train", or at test "fresh", train and validation interactions, for the
                scorer `model.scorer_of(evaluator.history)` of a model that makes users of their items.
            at: cut-offs K.
            metrics: names out of METRICS.
            candidates: "all" unseen items; "cold", those without train interactions alone, where held-out items that
                are not cold do not count; "sampled-N" ranks each held-out item among N sampled ones (MMGCN: 1000);
                "sampled-N-per-user" all held-out items of a user in one list with N sampled ones.
            seed: of the sampled candidates, which are the same at every call.
            groups: also recall among the cold held-out items (never in train) and among the warm items, as
                "cold_recall@20" and "warm_recall@20": means over the users who have such items. And recall of groups
                of users: "sparse_users_recall@20", "medium_users_..." and "dense_users_..." for thirds by activity,
                "mostly_visual_users_recall@20" for users by dominant part of the score, if a call has parts.
            memory_mb: bound on a block of scores.

        Raises:
            InputError: an unknown split, history, metric or kind of candidates, a K below 1, an empty split, or fresh
                histories where the split is not by time; no cold item among those held out, with candidates=cold.
        """
        if split not in MASKED:
            raise InputError("split to evaluate", expected=" or ".join(MASKED), got=repr(split))
        check_metrics(metrics, at)
        check_history(history)
        held_out, masked = data.interactions(split), [data.interactions(name) for name in MASKED[split]]
        if not len(held_out):
            remedy = "import the data with another split"
            raise InputError(f"split {split}", expected="interactions", got="none", remedy=remedy)
        self.split, self.at, self.metrics, self.seed, self.memory_mb = split, tuple(at), tuple(metrics), seed, memory_mb
        self.num_candidates, self.per = check_candidates(candidates)
        self.among: np.ndarray | None = None  # the items that compete; None: all
        if candidates == "cold":
            held_out, self.among = cold_pairs(data, split)
            if not len(held_out):
                remedy = "import the data with split=cold-item, or rank all candidates"
                raise InputError(f"cold items in split {split}", expected="at least one", got="none", remedy=remedy)
        self.history = fresh_history(data, split) if history == "fresh" else None  # None: what the model learned from
        self.masked = _union(masked)
        self.queries = Queries.of(held_out, self.masked.csr())
        self.measured = self.queries.per_pair() if self.per == "pair" else self.queries
        self.cold = data.train.users_per_item()[self.queries.item] == 0  # (n,)
        groups_of_pairs = {"cold": self.cold, "warm": ~self.cold} if groups and self.among is None else {}
        self.groups = {name: among for name, among in groups_of_pairs.items() if among.any()}
        activity = data.train.items_per_user()[self.queries.user]
        self.by_user, self.activity = groups, by_activity(activity) if groups else {}
        known = data.train if self.history is None else self.history
        self.num_unknown_users = int((known.items_per_user()[self.queries.user] == 0).sum())
        self.num_users_without = held_out.num_users - len(self.queries.user)
        self.protocol = {
            "split_hash": data.manifest.split_hash,
            "split": split,
            "num_items": held_out.num_items,
            "masked": list(MASKED[split]),
            "candidates": candidates,
            "seed": None if self.num_candidates is None else seed,
            "ties": TIES,
            "metrics": definitions.VARIANT,
        }
        if self.history is not None:  # else the protocol is that of versions without histories
            self.protocol["history"] = history

    def __call__(self, score: Scorer, parts: PartScores | None = None) -> Evaluation:
        """Scores, ranks and measures.

        Args:
            score: the scorer of a model.
            parts: parts of the score, for groups of users by dominant part; only used with `groups`.

        Raises:
            InputError: the scores hold NaN or have the wrong shape.
        """
        with sharing_cores():
            rank = self._ranks(score)
        ranking = self.measured.ranking(rank)
        per_user = metrics_at(ranking, self.metrics, self.at)
        for name, among in self.groups.items():
            queries = np.unique(self.measured.query[among])
            for metric, values in metrics_at(self.measured.ranking(rank, among), ["recall"], self.at).items():
                per_user[f"{name}_{metric}"] = np.full(len(self.measured.user), np.nan)
                per_user[f"{name}_{metric}"][queries] = values
        if self.by_user:
            per_user |= self._of_users(metrics_at(ranking, ["recall"], self.at), parts)
        return Evaluation(
            split=self.split,
            metrics={name: float(np.nanmean(values)) for name, values in per_user.items()},
            per_user=per_user,
            user=self.measured.user,
            num_users=len(self.queries.user),
            num_users_without=self.num_users_without,
            num_held_out=len(rank),
            num_cold=int(self.cold.sum()),
            num_unknown_users=self.num_unknown_users,
            protocol=self.protocol,
        )

    def top_lists(self, score: Scorer) -> np.ndarray:
        """Returns (q, K), the best unseen items of the measured users, `self.queries.user`, for the largest K.

        All unseen items compete. Best first, padded with -1 for a user with fewer unseen items.
        """
        place = tie_places(self.queries.num_items)
        with sharing_cores():
            return top_k(
                score, self.queries.user, self.masked.csr(), max(self.at), place=place, memory_mb=self.memory_mb
            )[0]

    def lists(self, items: np.ndarray) -> dict[str, float]:
        """Measures how much lists of `top_lists` differ from each other.

        Returns:
            "coverage@K" for every K: share of all items that are in the K best of some user.
            "distinct_lists": number of different lists at the largest K.
        """
        found, first = np.unique(items.T, return_index=True)  # by place in the lists, then by user
        place = first[found >= 0] // len(items)  # the best place of each item that is in some list
        shown = {f"coverage@{k}": float((place < k).sum() / self.queries.num_items) for k in self.at}
        return {**shown, "distinct_lists": len(np.unique(items, axis=0))}

    def is_same_for_all(self, score: Scorer) -> bool:
        """Whether scores do not depend on the user: the same best items for NUM_PROBES users, seen items included."""
        nothing = sp.csr_array((self.masked.num_users, self.masked.num_items), dtype=np.float32)
        users = self.queries.user[:: max(1, len(self.queries.user) // NUM_PROBES)]
        items, _ = top_k(score, users, nothing, max(self.at), memory_mb=self.memory_mb)
        return len(users) > 1 and bool((items == items[0]).all())

    def _of_users(self, recall: dict[str, np.ndarray], parts: PartScores | None) -> dict[str, np.ndarray]:
        """Returns the recall of each group of users, NaN for the others."""
        groups = self.activity
        if parts is not None:
            dominant = by_dominant_part(parts, self.queries, memory_mb=self.memory_mb)
            groups = groups | {f"mostly_{name}": members for name, members in dominant.items()}
        row = np.searchsorted(self.queries.user, self.measured.user)
        chosen = {name: members[row] for name, members in groups.items()}
        return {
            f"{name}_users_{metric}": np.where(members, values, np.nan)
            for name, members in chosen.items()
            for metric, values in recall.items()
        }

    def _ranks(self, score: Scorer) -> np.ndarray:
        if self.num_candidates is None:
            return full_ranks(score, self.queries, among=self.among, memory_mb=self.memory_mb)
        return sampled_ranks(
            score,
            self.queries,
            generator=np.random.default_rng(self.seed),
            num_candidates=self.num_candidates,
            per=self.per,
            memory_mb=self.memory_mb,
        )


def cold_pairs(data: Dataset, split: str) -> tuple[Interactions, np.ndarray]:
    """Returns the held-out interactions with items that never occur in train, and these items (c,)."""
    held_out, is_cold = data.interactions(split), data.train.users_per_item() == 0
    return held_out.only(is_cold[held_out.item]), np.flatnonzero(is_cold)


def evaluate(score: Scorer, data: Dataset, **options: Any) -> Evaluation:
    """Evaluates one model once; `options` are those of `Evaluator`: split, at, metrics, candidates, seed, groups."""
    return Evaluator(data, **options)(score)


def same_protocol(evaluations: Mapping[str, Evaluation]) -> None:
    """Refuses evaluations under different protocols, given by name.

    Raises:
        InputError: two protocols differ; the message names the first such pair and the keys.
    """
    (first, one), *others = evaluations.items()
    for name, other in others:
        keys = [key for key in one.protocol | other.protocol if one.protocol.get(key) != other.protocol.get(key)]
        if keys:
            expected, got = (", ".join(f"{key}={found.protocol.get(key)}" for key in keys) for found in (one, other))
            remedy = "evaluate all of them on one data set with the same options"
            raise InputError(f"{first} and {name} cannot be compared", expected=expected, got=got, remedy=remedy)


def check_candidates(candidates: str) -> tuple[int | None, Literal["pair", "user"]]:
    """Returns the number of sampled candidates per list (None: all items), and whether a pair or a user has a list.

    Raises:
        InputError: an unknown kind of candidates.
    """
    match = CANDIDATES.fullmatch(candidates) if isinstance(candidates, str) else None
    if match is None:
        raise InputError("candidates", expected=KINDS_OF_CANDIDATES, got=repr(candidates))
    if match[1] is None:
        return None, "user"
    return int(match[1]), "user" if match[2] else "pair"


def _union(parts: Sequence[Interactions]) -> Interactions:
    user, item = (np.concatenate(columns) for columns in zip(*((part.user, part.item) for part in parts), strict=True))
    return Interactions(user, item, parts[0].num_users, parts[0].num_items)
