"""What lists that know no taste get on the test split: one list for everybody, or one that knows the order of rows.

All are judged by Recall@20 like a model: train and validation pairs are not listed, and equal scores are ordered by
`tie_places`. A number of a list is chosen on validation, where train pairs are not listed. If the split tells nothing,
no list beats popularity but by chance: the error of a difference is that of its mean over the users.

Shapes: q users with held-out items, I items, K = 20.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numba import njit

from medley.auditing.finding import Finding, exceeds
from medley.auditing.pairs import Pairs
from medley.auditing.splits import Timed
from medley.data.dataset import Dataset
from medley.evaluation.ranking import Queries
from medley.evaluation.ties import tie_places

K = 20
SLOPES = (-8.0, -6.0, -4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
HALVINGS = 9  # half-lives: the whole span of train, a half, a quarter, ...
SAME_START = 0.9  # of the users: k-cores and dropped rows may take the first place of some
LARGE = 0.2  # of the recall of popularity, gained by a list
TOO_SMALL = 0.002  # recall that is not worth a flag
WHY_ORDER = (
    "Whoever knows the order of rows finds held-out items without knowing anybody's taste; the split measures that."
)
WHY_TIME = (
    "A list that ignores taste beats popularity: a model must beat this list, not popularity, before taste is shown."
)
REMEDY_ORDER = "split again, or shuffle the items before numbering them; publish this list beside every model"
REMEDY_TIME = "publish this list beside every model, and give models the time of an interaction"


class Judge(NamedTuple):
    """Users of one split with their held-out items, and the popularity of items in train."""

    queries: Queries
    popularity: np.ndarray  # (I,)

    @classmethod
    def of(cls, data: Dataset, split: str) -> "Judge":
        """Prepares the judgement of lists on a split."""
        earlier = ("train",) if split == "valid" else ("train", "valid")
        pairs = Pairs.of(data, history=earlier, held=())
        shape = (pairs.num_users, pairs.num_items)
        seen = sp.csr_array((np.ones(len(pairs.train_user), np.float32), (pairs.train_user, pairs.train_item)), shape)
        return cls(Queries.of(data.interactions(split), seen), data.train.users_per_item())

    def recall(self, score: np.ndarray, after: np.ndarray | None = None) -> np.ndarray:
        """Returns (q,), Recall@20 of the unseen items with the highest scores (I,), the same for all users.

        Args:
            score: of the items.
            after: (q,) only items with a larger row are listed; None: all items.
        """
        queries = self.queries
        order = np.lexsort((tie_places(queries.num_items), -score))
        after = np.full(len(queries.user), -1, dtype=np.int64) if after is None else after
        hits = np.zeros(len(queries.user), dtype=np.int64)
        excluded, held = np.zeros(queries.num_items, dtype=np.bool_), np.zeros(queries.num_items, dtype=np.bool_)
        _count_hits(
            order, queries.start, queries.item, queries.seen_start, queries.seen_item, after, excluded, held, hits
        )
        return hits / np.diff(queries.start)


def list_findings(data: Dataset) -> list[Finding]:
    """Returns a finding per list; those with a number to choose only if there is a validation split."""
    if not len(data.test) or not len(data.train):
        return []
    test = Judge.of(data, "test")
    popular = test.recall(test.popularity)
    found = [_popularity(test, popular), _later_rows(data, test, popular)]
    if len(data.valid):
        valid = Judge.of(data, "valid")
        found += [_by_row(valid, test, popular), *_recent(data, valid, test, popular), _fixed(data, test, popular)]
    return found


def _popularity(test: Judge, popular: np.ndarray) -> Finding:
    unseen = test.queries.num_items - np.diff(test.queries.seen_start)
    by_chance = float(np.minimum(1, K / unseen).mean())
    return Finding(
        "list-popularity",
        float(popular.mean()),
        by_chance,
        None,
        False,
        f"the most popular unseen items: test Recall@{K} {popular.mean():.4f}, random items {by_chance:.4f}",
        "It is the least that a model must beat.",
        "publish this list beside every model",
    )


def _later_rows(data: Dataset, test: Judge, popular: np.ndarray) -> Finding:
    last = Pairs.of(data).last[test.queries.user]
    recall = test.recall(test.popularity, last)
    what = "the most popular items with a larger row than all train items of the user"
    return _compared("list-later-rows", what, recall, popular, WHY_ORDER, REMEDY_ORDER, {})


def _by_row(valid: Judge, test: Judge, popular: np.ndarray) -> Finding:
    row = np.arange(test.queries.num_items) / test.queries.num_items

    def score(slope: float) -> np.ndarray:
        return test.popularity * np.exp(slope * row)

    slope, of_valid = _chosen(valid, score, SLOPES)
    what = f"popularity x exp({slope:g} row / I), its number chosen on validation, for everybody"
    details = {"slope": slope, "validation": of_valid}
    return _compared(
        "list-popularity-by-row", what, test.recall(score(slope)), popular, WHY_ORDER, REMEDY_ORDER, details
    )


def _recent(data: Dataset, valid: Judge, test: Judge, popular: np.ndarray) -> list[Finding]:
    """Weighs a train pair by .5^(age / half-life); the age is in places of the user where timestamps are places."""
    timed = Timed.of(data)
    if timed is None:
        return []
    are_places = _are_places(timed.user, timed.time)
    user, item, time = (column[timed.is_train] for column in (timed.user, timed.item, timed.time))
    newest = np.full(data.manifest.num_users, -np.inf)
    np.maximum.at(newest, user, time)
    age = (newest[user] if are_places else time.max()) - time
    span = age.max()
    if span <= 0:
        return []

    def score(half_life: float) -> np.ndarray:
        return np.bincount(item, weights=0.5 ** (age / half_life), minlength=test.queries.num_items)

    share, of_valid = _chosen(valid, lambda share: score(share * span), [0.5**n for n in range(HALVINGS)])
    unit = "items of the user" if are_places else "of the span of train"
    shown = f"{share * span:.2g} {unit}" if are_places else f"{share:.3g} {unit}"
    what = f"popularity in which a pair counts .5^(age / half-life), half-life {shown} by validation, for everybody"
    details = {"half_life_share_of_span": share, "validation": of_valid, "age_in_places": str(are_places).lower()}
    recall = test.recall(score(share * span))
    return [_compared("list-recent-popularity", what, recall, popular, WHY_TIME, REMEDY_TIME, details)]


def _are_places(user: np.ndarray, time: np.ndarray) -> bool:
    """Whether timestamps are places in the list of a user: then nearly every user begins at the same one."""
    order = np.lexsort((time, user))
    first = time[order][np.unique(user[order], return_index=True)[1]]
    return bool((first == np.median(first)).mean() >= SAME_START)


def _fixed(data: Dataset, test: Judge, popular: np.ndarray) -> Finding:
    count = data.valid.users_per_item()
    score = count + test.popularity / (test.popularity.max() + 1)
    what = f"the {K} items that are held out most on validation, for everybody"
    best = np.lexsort((tie_places(len(score)), -score))[:K]
    details = {"rows": " ".join(str(row) for row in best)}
    return _compared("list-fixed", what, test.recall(score), popular, WHY_TIME, REMEDY_TIME, details)


def _chosen(valid: Judge, score: Callable[[float], np.ndarray], numbers: Sequence[float]) -> tuple[float, float]:
    """Returns the number whose list has the best recall on validation, and this recall."""
    recalls = [float(valid.recall(score(number)).mean()) for number in numbers]
    best = int(np.argmax(recalls))
    return numbers[best], recalls[best]


def _compared(
    name: str,
    what: str,
    recall: np.ndarray,
    popular: np.ndarray,
    why: str,
    remedy: str,
    details: Mapping[str, float | int | str],
) -> Finding:
    gain = recall - popular
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    size = max(TOO_SMALL, LARGE * float(popular.mean()))
    is_flag = len(gain) > 1 and exceeds(float(gain.mean()), 0, error, size=size)
    says = f"{what}: test Recall@{K} {recall.mean():.4f}, popularity {popular.mean():.4f}"
    return Finding(name, float(recall.mean()), float(popular.mean()), error, is_flag, says, why, remedy, details)


@njit(cache=True, nogil=True)
def _count_hits(order, start, item, seen_start, seen_item, after, excluded, held, hits):  # pragma: no cover (compiled)
    for row in range(len(hits)):
        of_user, of_split = seen_item[seen_start[row] : seen_start[row + 1]], item[start[row] : start[row + 1]]
        excluded[of_user] = True
        held[of_split] = True
        listed = 0
        for candidate in order:
            if listed == K:
                break
            if candidate > after[row] and not excluded[candidate]:
                hits[row] += held[candidate]
                listed += 1
        excluded[of_user] = False
        held[of_split] = False
