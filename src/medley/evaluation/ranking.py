"""Ranks of held-out items among candidates.

The rank of a held-out item is counted, without sorting: 1 + the candidates that score higher + the candidates that
score the same and have a lower place in `tie_places`. The items that a user has seen are not candidates; the other
held-out items of the user are.

Shapes: U users, I items, q queries (users with held-out items), n held-out items, B rows of a block.
"""

from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from numba import njit
from torch import Tensor

from medley.engine import threads
from medley.engine.kernels import compiled
from medley.evaluation.ties import tie_places
from medley.scoring.blocks import item_mask, refuse_nan, score_blocks
from medley.types import Interactions, Ranking, Scorer

Offsets = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # start, item, seen_start, seen_item of a block

TILE = 4096  # scores that stay in the first-level cache while every held-out item of a row is compared


class Queries(NamedTuple):
    """Users with held-out items, these items, and the items that the users have seen. Serves any number of rankings."""

    user: np.ndarray  # (q,) int64, ascending
    start: np.ndarray  # (q + 1,) int64; the held-out items of query x are item[start[x]:start[x + 1]], ascending
    item: np.ndarray  # (n,) int64
    seen_start: np.ndarray  # (q + 1,) int64, as start, for seen_item
    seen_item: np.ndarray  # int64
    num_items: int

    @classmethod
    def of(cls, held_out: Interactions, seen: sp.csr_array) -> "Queries":
        """Groups held-out items, disjoint from `seen` (U, I), by user; users without such items are not queries."""
        user = np.unique(held_out.user).astype(np.int64)
        hidden, seen = sp.csr_array(held_out.csr()[user]), sp.csr_array(sp.csr_array(seen)[user])
        seen.sum_duplicates()
        seen.eliminate_zeros()
        assert seen.multiply(hidden).nnz == 0, "held-out items must not be among the seen ones"
        arrays = (hidden.indptr, hidden.indices, seen.indptr, seen.indices)
        return cls(user, *(array.astype(np.int64) for array in arrays), num_items=held_out.num_items)

    @property
    def query(self) -> np.ndarray:
        """(n,) the query of each held-out item."""
        return np.repeat(np.arange(len(self.user)), np.diff(self.start))

    def per_pair(self) -> "Queries":
        """Returns a query for each held-out item, to group ranks alone: seen and other held-out items are left out."""
        seen_start = np.zeros(len(self.item) + 1, dtype=np.int64)
        return Queries(
            self.user[self.query], np.arange(len(self.item) + 1), self.item, seen_start, self.item[:0], self.num_items
        )

    def within(self, items: np.ndarray) -> "Queries":
        """Returns the same queries in a catalogue of these items (c,), ascending: all that are held out, and others."""
        kept = np.isin(self.seen_item, items)
        seen_start = np.concatenate([[0], np.cumsum(kept)])[self.seen_start]
        item, seen_item = (np.searchsorted(items, each) for each in (self.item, self.seen_item[kept]))
        return Queries(self.user, self.start, item, seen_start, seen_item, len(items))

    def ranking(self, rank: np.ndarray, among: np.ndarray | None = None) -> Ranking:
        """Sorts the ranks (n,) of the held-out items by query; `among` (n,) bool keeps some of the items."""
        query = self.query
        if among is not None:
            query, rank = query[among], rank[among]
        kept, size = np.unique(query, return_counts=True)
        return Ranking(self.user[kept], np.concatenate([[0], np.cumsum(size)]), rank[np.lexsort((rank, query))])

    def block(self, rows: slice) -> Offsets:
        """Returns the arrays of some queries, for kernels; the starts still count from the first of all queries."""
        bounds = slice(rows.start, rows.stop + 1)
        return self.start[bounds], self.item, self.seen_start[bounds], self.seen_item


def full_ranks(score: Scorer, queries: Queries, *, among: np.ndarray | None = None, memory_mb: int = 64) -> np.ndarray:
    """Returns (n,), the rank of each held-out item among all unseen items, in the order of `queries.item`.

    Args:
        score: the scorer of a model; final vectors are faster than a function.
        queries: the held-out items.
        among: (c,) the items that compete, ascending, with all that are held out; None: all items.
        memory_mb: bound on a block of scores (at least one row), in MiB.

    Raises:
        InputError: the scores hold NaN or have another shape than (B, I).
    """
    ranks, place = np.empty(len(queries.item), dtype=np.int64), tie_places(queries.num_items)
    found, place = (queries, place) if among is None else (queries.within(among), place[among])
    for rows, scores in score_blocks(score, queries.user, queries.num_items, memory_mb, among):
        count = COUNT_ON.get(scores.device.type, _count_with_torch)
        refuse_nan(count(scores, found.block(rows), place, ranks))
    return ranks


def sampled_ranks(
    score: Scorer,
    queries: Queries,
    *,
    generator: np.random.Generator,
    num_candidates: int = 1000,
    per: Literal["pair", "user"] = "pair",
    memory_mb: int = 64,
) -> np.ndarray:
    """Returns (n,), the rank of each held-out item among sampled items, in the order of `queries.item` (MMGCN).

    The sampled items are neither seen nor held out for the user. Each list of candidates is drawn uniformly without
    replacement; for a user with fewer than `num_candidates` such items, all of them are candidates.

    Args:
        score: the scorer of a model.
        queries: the held-out items.
        generator: draws the candidates; the same state gives the same candidates, whatever the model.
        num_candidates: sampled items per list.
        per: "pair" gives each held-out item its own list; "user" puts all held-out items of a user into one list,
            where the held-out items also compete with each other.
        memory_mb: bound on a block of scores (at least one row), in MiB.

    Raises:
        InputError: the scores hold NaN or have another shape than (B, I).
    """
    ranks = np.empty(len(queries.item), dtype=np.int64)
    order, excluded = np.arange(queries.num_items), np.zeros(queries.num_items, dtype=np.bool_)
    place = tie_places(queries.num_items)
    for rows, scores in score_blocks(score, queries.user, queries.num_items, memory_mb):
        refuse_nan(int(scores.isnan().sum()))
        block, offsets = scores.cpu().numpy(), queries.block(rows)
        _rank_sampled(block, *offsets, num_candidates, per == "user", generator, order, excluded, place, ranks)
    return ranks


def _count_with_numba(scores: Tensor, offsets: Offsets, place: np.ndarray, ranks: np.ndarray) -> int:
    nans = np.zeros(len(scores), dtype=np.int64)
    threads.run(_count, threads.pieces_of(len(scores)), scores.numel(), scores.numpy(), *offsets, place, ranks, nans)
    return int(nans.sum())


@njit(cache=True, nogil=True, inline="always")
def _beats(scores, place, one, other):  # pragma: no cover (compiled)
    return scores[one] > scores[other] or (scores[one] == scores[other] and place[one] < place[other])


@compiled
def _count(
    first_row, last_row, scores, start, item, seen_start, seen_item, place, ranks, nans
):  # pragma: no cover (compiled)
    """Writes the ranks of the rows' held-out items, and how many scores of each row are NaN.

    Better items are counted among all items, then the seen items are subtracted: the scores are not changed. Places are
    compared only in tiles where another item has the same score.
    """
    num_items = scores.shape[1]
    for row in range(first_row, last_row):
        ranks[start[row] : start[row + 1]] = 1
        for low in range(0, num_items, TILE):
            tile, places = scores[row, low : low + TILE], place[low : low + TILE]
            bad = np.int32(0)
            for j in range(len(tile)):
                bad += tile[j] != tile[j]
            nans[row] += bad
            for pair in range(start[row], start[row + 1]):
                level, better, equal = scores[row, item[pair]], np.int32(0), np.int32(0)
                for j in range(len(tile)):
                    better += tile[j] > level
                    equal += tile[j] == level
                if equal > (low <= item[pair] < low + TILE):
                    own = place[item[pair]]
                    for j in range(len(tile)):
                        better += (tile[j] == level) & (places[j] < own)
                ranks[pair] += better
        for pair in range(start[row], start[row + 1]):
            for s in range(seen_start[row], seen_start[row + 1]):
                ranks[pair] -= _beats(scores[row], place, seen_item[s], item[pair])


def _count_with_torch(scores: Tensor, offsets: Offsets, place: np.ndarray, ranks: np.ndarray) -> int:
    """As `_count`, on the device of the scores. Compares as many held-out items at a time as the block has rows."""
    start, item, seen_start, seen_item = offsets
    num_rows, num_items = scores.shape
    device = scores.device
    unseen = ~item_mask(seen_start, seen_item, num_items, device)
    place_of = torch.from_numpy(place.copy()).to(device)
    row_of = torch.from_numpy(np.repeat(np.arange(num_rows), np.diff(start))).to(device)
    item_of = torch.from_numpy(item[start[0] : start[-1]]).to(device)
    for first in range(0, len(row_of), num_rows):
        row, held = row_of[first : first + num_rows], item_of[first : first + num_rows, None]
        others, level = scores[row], scores[row].gather(1, held)
        better = (others > level) | ((others == level) & (place_of < place_of[held]))
        found = 1 + (better & unseen[row]).sum(dim=1)
        ranks[start[0] + first : start[0] + first + len(row)] = found.cpu().numpy()
    return int(scores.isnan().sum())


COUNT_ON = {"cpu": _count_with_numba}  # other devices count with torch


@njit(cache=True, nogil=True)
def _rank_sampled(
    scores, start, item, seen_start, seen_item, num_candidates, pooled, generator, order, excluded, place, ranks
):  # pragma: no cover (compiled)
    """Writes the ranks among sampled items.

    Candidates are the first allowed items of a random permutation, of which only the needed front is shuffled
    (Fisher-Yates). The shuffle may start from any permutation, so `order` (I,) is never reset.
    """
    num_items = len(order)
    for row in range(scores.shape[0]):
        held = item[start[row] : start[row + 1]]
        seen = seen_item[seen_start[row] : seen_start[row + 1]]
        excluded[held] = True
        excluded[seen] = True
        pair = start[row]
        while pair < start[row + 1]:
            last = start[row + 1] if pooled else pair + 1
            ranks[pair:last] = 1
            front = drawn = 0
            while drawn < num_candidates and front < num_items:
                other = generator.integers(front, num_items)
                order[front], order[other] = order[other], order[front]
                candidate = order[front]
                front += 1
                if not excluded[candidate]:
                    drawn += 1
                    for p in range(pair, last):
                        ranks[p] += _beats(scores[row], place, candidate, item[p])
            for p in range(pair, last):
                for other in item[pair:last]:
                    ranks[p] += _beats(scores[row], place, other, item[p])
            pair = last
        excluded[held] = False
        excluded[seen] = False
