"""Batches for pairwise training: every epoch has each interaction once, with one fresh negative."""

from collections.abc import Iterator
from functools import cached_property

import numba
import numpy as np
import torch
from torch import Tensor

from medley.engine import threads
from medley.engine.kernels import compiled
from medley.errors import InputError
from medley.types import Interactions, Triplets

BITS = 16  # or more per interaction: at most 1 in 16 other pairs has its bit set and needs the exact search
LOOK_UP = 16  # operations of one look-up, about


class TripletSampler:
    """Draws whole epochs of (user, positive, negative) at once; a negative is never a train positive of the user.

    Negatives are uniform over the items that the user has not seen in train: a seen item is replaced by another draw
    until no seen item is left. Users who have seen all items have no negative and are left out.
    """

    def __init__(self, train: Interactions, generator: torch.Generator):
        """Args:
        train: the interactions.
        generator: the only source of randomness; epochs are on its device.

        Raises:
            InputError: no user has both a seen and an unseen item.
        """
        self.generator, self.device = generator, generator.device
        self.num_items = train.num_items
        user = torch.tensor(train.user, dtype=torch.int64, device=self.device)
        item = torch.tensor(train.item, dtype=torch.int64, device=self.device)
        matrix = train.csr()
        self._start, self._item = matrix.indptr.astype(np.int64), matrix.indices  # of each user, ascending
        can_lose = torch.bincount(user, minlength=train.num_users) < self.num_items  # (U,)
        self.user, self.item = user[can_lose[user]], item[can_lose[user]]
        if not len(self.user):
            raise InputError(
                "the train split", expected="users who have not seen all items", got=f"{len(train):,} interactions"
            )

    def __len__(self) -> int:
        """Triplets per epoch."""
        return len(self.user)

    def epoch(self) -> Triplets:
        """Returns all interactions in a new order, with new negatives: n triplets."""
        neg = self._negatives(self.user)  # before the shuffle: look-ups are faster user by user
        order = torch.randperm(len(self), generator=self.generator, device=self.device)
        return Triplets(self.user[order], self.item[order], neg[order])

    def _negatives(self, user: Tensor) -> Tensor:
        neg = self._uniform(len(user))
        wrong = torch.nonzero(self._is_seen(user, neg)).flatten()
        while len(wrong):
            neg[wrong] = self._uniform(len(wrong))
            wrong = wrong[self._is_seen(user[wrong], neg[wrong])]
        return neg

    def _uniform(self, count: int) -> Tensor:
        return torch.randint(self.num_items, (count,), generator=self.generator, device=self.device)

    @cached_property
    def _codes(self) -> Tensor:
        """(n,) one ascending number per interaction, on the device; not used on the CPU."""
        user = torch.repeat_interleave(torch.from_numpy(np.diff(self._start)))
        return (user * self.num_items + torch.from_numpy(self._item)).to(self.device)

    def _is_seen(self, user: Tensor, item: Tensor) -> Tensor:
        """Returns (n,) bool, whether users have seen items. Compiled on the CPU, as torch's search takes far longer."""
        if self.device.type != "cpu":
            code = user * self.num_items + item
            place = torch.searchsorted(self._codes, code).clamp_(max=len(self._codes) - 1)
            return self._codes[place] == code
        found = np.empty(len(user), dtype=np.bool_)
        arrays = self._start, self._item, self._bits, self.num_items, user.numpy(), item.numpy()
        threads.run(_look_up, threads.pieces_of(len(user)), len(user) * LOOK_UP, *arrays, found)
        return torch.from_numpy(found)

    @cached_property
    def _bits(self) -> np.ndarray:
        """Bits by hash of a pair, set for interactions: unlike the pairs, small enough for a cache."""
        bits = np.zeros(2 ** max(3, int(len(self._item) * BITS).bit_length() - 3), dtype=np.uint8)
        _set_bits(self._start, self._item, self.num_items, bits)
        return bits


@compiled
def _set_bits(start, seen, num_items, bits):  # pragma: no cover - compiled
    for user in range(len(start) - 1):
        for x in range(start[user], start[user + 1]):
            byte, mask = _place(user, seen[x], num_items, bits)
            bits[byte] |= mask


@numba.njit(inline="always")
def _place(user, item, num_items, bits):  # pragma: no cover - compiled
    """Byte and mask of the bit of a pair: a multiplicative hash (Knuth, TAOCP 3, 6.4); len(bits) is a power of 2."""
    code = np.uint64(user) * np.uint64(num_items) + np.uint64(item)
    place = (code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)  # the high bits are the mixed ones
    return np.int64((place >> np.uint64(3)) & np.uint64(len(bits) - 1)), np.uint8(1 << (place & np.uint64(7)))


@compiled
def _look_up(first, last, start, seen, bits, num_items, user, item, found):  # pragma: no cover - compiled
    """Sets found[x] to whether item[x] is among seen[start[user[x]]:start[user[x] + 1]], which is ascending."""
    for x in range(first, last):
        byte, mask = _place(user[x], item[x], num_items, bits)
        if not bits[byte] & mask:
            found[x] = False
            continue
        low, end = start[user[x]], start[user[x] + 1]
        high = end
        while low < high:
            middle = (low + high) // 2
            if seen[middle] < item[x]:
                low = middle + 1
            else:
                high = middle
        found[x] = low < end and seen[low] == item[x]


def batches(epoch: Triplets, batch_size: int) -> Iterator[Triplets]:
    """Yields an epoch in slices of at most `batch_size` triplets."""
    for begin in range(0, len(epoch.user), batch_size):
        end = begin + batch_size
        yield Triplets(epoch.user[begin:end], epoch.pos[begin:end], epoch.neg[begin:end])
