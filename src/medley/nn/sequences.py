"""Histories of users in the order of time, for models that predict the next item from the items before it.

A state is what an encoder makes of the first k items of a window. Encoders are causal: state k reads items 1..k alone,
so one pass over a window gives all its states, and the padding behind a window reaches none of them.

Shapes: U users, I items, n interactions, d = dim; B queries; W windows of at most L items, N negatives.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medley.errors import InputError
from medley.types import Interactions, Triplets

MAX_TOKENS = 2**15  # items of one piece, so that what an encoder makes of them stays in the cache


class Windows(NamedTuple):
    """Windows of about one length, and the states that are asked for."""

    item: Tensor  # (W, L) int64, padded at the end
    place: Tensor  # (r,) int64, places of the states among all W * L
    query: Tensor  # (r,) int64, the query of each state


class Bags(NamedTuple):
    """The latest items of B queries, one query after another; e pairs."""

    item: Tensor  # (e,) int64
    age: Tensor  # (e,) int64, 0 for the latest item of a query
    start: Tensor  # (B,) int64, the first pair of each query
    size: Tensor  # (B,) int64


class Histories(nn.Module):
    """The interactions of all users, in the order of time; those of one moment keep the order of the log.

    Queries without any item in their window are in none of the returned `Windows`.
    """

    start: Tensor  # (U + 1,) int64
    item: Tensor  # (n,) int64
    code: Tensor  # (n,) int64, user * I + item, ascending
    earlier: Tensor  # (n,) int64, how many strictly earlier interactions the user of this code has

    def __init__(self, interactions: Interactions, max_length: int):
        """Sorts the interactions.

        Args:
            interactions: pairs with times.
            max_length: most items of a window; earlier items are left out.

        Raises:
            InputError: no times.
        """
        super().__init__()
        if interactions.time is None:
            remedy = "import the data with a time column, or choose a model that needs no order"
            raise InputError("a model of sequences", expected="interactions with times", got="none", remedy=remedy)
        self.max_length = max_length
        self.num_users, self.num_items = interactions.num_users, interactions.num_items
        user, size = interactions.user.astype(np.int64), interactions.items_per_user()
        order = np.lexsort((interactions.time, user))
        code = user * interactions.num_items + interactions.item
        sort = np.argsort(code)
        earlier = (size[user] - 1 - interactions.ages() - _at_the_same_time(interactions, order))[sort]
        start = np.append(0, np.cumsum(size))
        arrays = {"start": start, "item": interactions.item[order], "code": code[sort], "earlier": earlier}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)

    def of(self, history: Interactions) -> "Histories":
        """Returns other histories with the same `max_length`, on the same device."""
        return Histories(history, self.max_length).to(self.start.device)

    def ages(self) -> Tensor:
        """Returns (n,) int64, by user, then item: the number of other interactions of the user that are not earlier.

        If no two of a user have one moment, these are the ages of `bags` without the limit of `max_length`.
        """
        user = self.code // self.num_items
        return self.start[user + 1] - self.start[user] - 1 - self.earlier

    def before(self, user: Tensor, item: Tensor) -> list[Windows]:
        """Returns what users had seen strictly before items that they have interacted with.

        Windows that begin with the same item are one window: a batch holds each short history once.

        Args:
            user: (B,).
            item: (B,).
        """
        pair = torch.searchsorted(self.code, user * self.num_items + item)
        return self._windows(user, self.earlier[pair])

    def latest(self, user: Tensor) -> list[Windows]:
        """Returns the latest items of users (B,), which may be on another device."""
        user = user.to(self.start.device)
        return self._windows(user, self.start[user + 1] - self.start[user])

    def bags_before(self, user: Tensor, item: Tensor) -> Bags:
        """Returns the latest of the items that users had seen strictly before items they have interacted with.

        Args:
            user: (B,).
            item: (B,).
        """
        pair = torch.searchsorted(self.code, user * self.num_items + item)
        return self._bags(user, self.earlier[pair])

    def bags(self, user: Tensor) -> Bags:
        """Returns the latest items of users (B,), which may be on another device."""
        user = user.to(self.start.device)
        return self._bags(user, self.start[user + 1] - self.start[user])

    def _bags(self, user: Tensor, size: Tensor) -> Bags:
        """Returns the last items among the first `size` (B,) of each user (B,)."""
        length = size.clamp(max=self.max_length)
        start = length.cumsum(0) - length
        row = torch.repeat_interleave(length)
        place = torch.arange(len(row), device=row.device) - start[row]
        item = self.item[(self.start[user] + size - length)[row] + place]
        return Bags(item, length[row] - 1 - place, start, length)

    def _windows(self, user: Tensor, size: Tensor) -> list[Windows]:
        """Returns the last items among the first `size` (B,) of each user (B,), grouped by length."""
        query = torch.nonzero(size).flatten()
        user, size = user[query], size[query]
        length = size.clamp(max=self.max_length)
        first, window = (self.start[user] + size - length).unique(return_inverse=True)  # (W,), (B,)
        longest = length.new_zeros(len(first)).scatter_reduce_(0, window, length, "amax")  # (W,)
        by_length = longest.argsort()
        first, longest, rank = first[by_length], longest[by_length], by_length.argsort()[window]
        by_rank = rank.argsort()
        query, length, rank = query[by_rank], length[by_rank], rank[by_rank]
        cuts = _cuts(longest.cpu().numpy())
        cuts_of_queries = torch.searchsorted(rank, torch.tensor(cuts, device=rank.device)).tolist()
        found = []
        for piece, (begin, end) in enumerate(pairwise(cuts)):
            here = slice(*cuts_of_queries[piece : piece + 2])
            place = torch.arange(int(longest[end - 1]), device=first.device)  # (L,)
            pair = (first[begin:end, None] + place).clamp_(max=len(self.item) - 1)
            item = self.item[pair].masked_fill_(place >= longest[begin:end, None], 0)
            found.append(Windows(item, (rank[here] - begin) * len(place) + length[here] - 1, query[here]))
        return found


def _at_the_same_time(interactions: Interactions, order: np.ndarray) -> np.ndarray:
    """Returns (n,), how many other interactions the user has at the very moment of each."""
    user, time = interactions.user[order], np.asarray(interactions.time)[order]
    moment = np.cumsum(np.append(False, (user[1:] != user[:-1]) | (time[1:] != time[:-1])))
    others = np.empty(len(order), dtype=np.int64)
    others[order] = np.bincount(moment)[moment] - 1 if len(order) else 0
    return others


def _cuts(length: np.ndarray) -> list[int]:
    """Cuts windows of ascending length into pieces without much padding, of at most MAX_TOKENS items: bounds."""
    if not len(length):
        return [0]
    doubled = np.flatnonzero(np.diff(np.ceil(np.log2(length)))) + 1  # lengths 1, 2, 3-4, 5-8, ...
    bounds = [0, *doubled.tolist(), len(length)]
    cuts = [0]
    for begin, end in pairwise(bounds):
        step = max(1, MAX_TOKENS // int(length[end - 1]))
        cuts += [*range(begin + step, end, step), end]
    return cuts


def states(
    windows: Sequence[Windows],
    items: Tensor,
    encode: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    num_queries: int,
) -> Tensor:
    """Returns the state of each query, (B, d).

    Args:
        windows: what the queries have seen.
        items: item vectors (I, d).
        encode: a causal encoder, vectors (W, L, d) and places (r,) among the W * L states -> these states (r, d).
        start: (d,) the state before the first item.
        num_queries: B.
    """
    empty = start.expand(num_queries, -1)
    if not windows:
        return empty
    x = F.embedding(torch.cat([each.item.flatten() for each in windows]), items)  # once: its gradient is a whole table
    parts = x.split([each.item.numel() for each in windows])
    found = [encode(part.view(*each.item.shape, -1), each.place) for each, part in zip(windows, parts, strict=True)]
    vectors = torch.cat(found)
    return empty.to(vectors.dtype).index_copy(0, torch.cat([each.query for each in windows]), vectors)


def dropout(x: Tensor, rate: float) -> Tensor:
    """Sets numbers to 0 with probability `rate`, and scales the others so that the mean stays; draws nothing at rate 0.

    One draw of 64 bits decides on four numbers: six times as fast as torch on a CPU. The rate is a multiple of 2^-16.
    """
    if not rate:
        return x
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    dropped = min(round(rate * 2**16), 2**16 - 1)
    kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
    return x * (kept.to(x.dtype) / (1 - dropped / 2**16))


def scores_of_batch(state: Tensor, items: Tensor, batch: Triplets, num_negatives: int) -> tuple[Tensor, Tensor]:
    """Returns the scores of the positives (B, 1), and of N negatives (B, N), which all rows share.

    The negatives are the first of the batch, which are uniform over the items; catalogues of at most `num_negatives`
    items are read as a whole. A negative that is the positive of a row has the score -inf in this row.

    Args:
        state: (B, d).
        items: item vectors (I, d).
        batch: B triplets.
        num_negatives: N at most.
    """
    if len(items) <= num_negatives:
        negative, vectors = torch.arange(len(items), device=batch.pos.device), items
    else:
        negative = batch.neg[:num_negatives]
        vectors = F.embedding(negative, items)
    positive = (state * F.embedding(batch.pos, items)).sum(dim=1, keepdim=True)
    return positive, (state @ vectors.T).masked_fill(batch.pos[:, None] == negative, -torch.inf)


def sampled_softmax(
    state: Tensor, items: Tensor, batch: Triplets, num_negatives: int, *, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Returns -s_pos + ln(exp s_pos + sum_j exp s_j), over the negatives j of `scores_of_batch`.

    Uniform negatives need no correction for popularity. The softmax is exact where the catalogue is read as a whole.

    It is the mean over the batch, or (B,) with `reduction` = "none". Other arguments as in `scores_of_batch`.
    """
    score = torch.cat(scores_of_batch(state, items, batch, num_negatives), dim=1)
    return F.cross_entropy(score, torch.zeros_like(batch.pos), reduction=reduction)
