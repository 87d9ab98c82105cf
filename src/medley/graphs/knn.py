"""Items joined by the similarity of their features: the k nearest by cosine, exactly.

    s_ij = x_i . x_j / (|x_i| |x_j|)        row i keeps its k largest entries, equal ones by lower row

All n^2 / 2 pairs are screened, block by block, but few are computed in full. A bfloat16 product of two blocks gives
each similarity up to an error with a known bound; only pairs that may belong to the k best found so far are computed
from the float32 features, with float64 sums. The full similarities alone decide, so the graph does not depend on block
sizes, threads or the precision of the screen. A pair of blocks is screened once for the rows of both.

Shapes: I items, n items that have a direction (the modality is present and the vector is not zero), d raw dimension.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import scipy.sparse as sp
import torch

from medley.engine import threads
from medley.engine.kernels import compiled
from medley.engine.top_k import offer
from medley.errors import InputError
from medley.graphs.cache import load_or_build
from medley.types import Features

COLUMNS = 2048  # per block: enough for a fast product, few enough for its result to stay in cache
MAX_ROWS = 16_384  # per block: more rows gain nothing
STRIPE = 64  # columns that are screened together


def item_knn(
    features: Features, k: int, *, include_self: bool = True, memory_mb: int = 1024, cache: bool = True
) -> sp.csr_array:
    """Returns (I, I) float32: cosine similarity of each item and its k nearest, fewer if fewer items have features.

    Items that lack the modality have no edges, and neither have items whose vector is zero and has no direction. The
    graph is directed: j may be near to i without i being among the nearest of j.

    Lei et al., TOMM 2023 (LUDP), eq. 3-4; Zhang et al., MM 2021 (LATTICE); Zhou & Shen, MM 2023 (FREEDOM).

    Args:
        features: raw features of one modality.
        k: neighbours of each item.
        include_self: the item itself, with similarity 1, is the first of its k, as in the three papers.
        memory_mb: most memory of the blocks, besides the features and the graph, in MiB.
        cache: keep the graph on disk, see `medley.graphs.cache`.

    Raises:
        InputError: k is not positive, `memory_mb` too small, or a present item has features that are not finite.
    """
    check_neighbours(features, k)

    def build() -> sp.csr_array:
        vectors = UnitVectors.of(features)
        num_others = min(k - include_self, len(vectors.item) - 1)
        score, position = (
            _nearest(vectors, num_others, memory_mb) if num_others > 0 else no_neighbours(len(vectors.item))
        )
        return graph_of_neighbours(score, position, vectors, include_self=include_self)

    if not cache:
        return build()
    parameters = {"k": k, "include_self": include_self}
    return load_or_build(build, arrays=(features.values, features.present), parameters=parameters)


@dataclass(frozen=True, slots=True)
class UnitVectors:
    """The items that have a direction, by position 0..n-1; indexing computes their vectors."""

    values: np.ndarray  # (I, d) raw
    item: np.ndarray  # (n,) row of each position, ascending
    norm: np.ndarray  # (n,) float64

    @classmethod
    def of(cls, features: Features) -> "UnitVectors":
        """Reads all features once.

        Raises:
            InputError: the features of a present item are not finite.
        """
        item = np.flatnonzero(features.present)
        norm = np.concatenate([np.zeros(0), *(_norm(rows, features.values) for rows in _blocks_of(item))])
        if not np.isfinite(norm).all():
            row = int(item[~np.isfinite(norm)][0])
            raise InputError("features", row=row, expected="finite numbers", remedy="extract the features again")
        return cls(features.values, item[norm > 0], norm[norm > 0])

    def __getitem__(self, positions: slice | np.ndarray) -> np.ndarray:
        """Returns (rows, d) float32, rows of length 1."""
        block = _read(self.values, self.item[positions])
        return np.divide(block, self.norm[positions][:, None], out=block, casting="same_kind")


def check_neighbours(features: Features, k: int) -> None:
    """Refuses arguments for which no graph of k neighbours exists.

    Raises:
        InputError: k is not positive, or rows of the features are missing.
    """
    if k < 1:
        raise InputError("number of neighbours", expected="1 or more", got=k)
    if len(features.values) != len(features.present):
        expected = f"{len(features.present):,} (one per item)"
        raise InputError("rows of features", expected=expected, got=f"{len(features.values):,}")


def no_neighbours(num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns empty lists of neighbours: scores and positions, (n, 0)."""
    return np.empty((num_items, 0), dtype=np.float32), np.empty((num_items, 0), dtype=np.int32)


def graph_of_neighbours(
    score: np.ndarray, position: np.ndarray, vectors: UnitVectors, *, include_self: bool
) -> sp.csr_array:
    """Turns lists of neighbours into a graph (I, I).

    Args:
        score: (n, k), similarities.
        position: (n, k), positions in `vectors`; -1: no neighbour.
        vectors: the items that have a direction.
        include_self: adds every item to its own neighbours, with similarity 1.
    """
    n, num_items = len(vectors.item), len(vectors.values)
    if include_self:
        score = np.column_stack([np.ones(n, dtype=np.float32), score])
        position = np.column_stack([np.arange(n, dtype=np.int32), position])
    found = position >= 0
    row = np.repeat(vectors.item, found.sum(axis=1))
    graph = sp.csr_array((score[found], (row, vectors.item[position[found]])), shape=(num_items, num_items))
    graph.sort_indices()
    return graph


def _blocks_of(item: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(item), COLUMNS):
        yield item[first : first + COLUMNS]


def _norm(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.linalg.norm(_read(values, rows).astype(np.float64), axis=1)


def _read(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns (rows, d) float32, a copy; adjacent rows are read at once."""
    adjacent = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
    return np.array(values[rows[0] : rows[-1] + 1] if adjacent else values[rows], dtype=np.float32)


def _nearest(vectors: UnitVectors, k: int, memory_mb: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores (n, k) float32 and positions (n, k) int32 of the k nearest others of each position, best first."""
    n, dim = len(vectors.item), vectors.values.shape[1]
    num_rows, num_columns = _block_shape(n, dim, memory_mb)
    score = np.full((n, k), -np.inf, dtype=np.float32)
    position = np.full((n, k), n, dtype=np.int32)
    for first in range(0, n, num_rows):
        rows = _Block.of(vectors, first, num_rows)
        last = first + len(rows.exact)
        for begin in range(first, n, num_columns):
            columns = _Block.of(vectors, begin, num_columns)
            screen, error = rows.screen(columns)
            sides = (screen, error, rows.exact, columns.exact, first, begin)
            _offer_pairs(_columns_to_rows, len(screen), *sides, score[first:last], position[first:last])
            if (
                begin >= last
            ):  # else these columns are among the rows of this block, where each pair is screened already
                end = begin + len(columns.exact)
                stripes = -(-screen.shape[1] // STRIPE)
                _offer_pairs(_rows_to_columns, stripes, *sides, score[begin:end], position[begin:end])
    return score, position


def _offer_pairs(loop: Callable[..., None], size: int, screen: np.ndarray, *arguments: object) -> None:
    threads.run(loop, threads.pieces_of(size), screen.size, screen, *arguments)


def _block_shape(n: int, dim: int, memory_mb: int) -> tuple[int, int]:
    """Returns the numbers of rows and of columns of a block; the rows are a multiple of the columns.

    A row or a column takes at most 10 bytes per dimension (raw, float32 and bfloat16), an entry of their product 6.
    """
    budget = memory_mb * 2**20
    columns = min(COLUMNS, n)
    while columns > STRIPE and columns * (20 * dim + 6 * columns) > budget:
        columns //= 2
    times = (budget - 10 * columns * dim) // (columns * (10 * dim + 6 * columns))
    if times < 1:
        needed = columns * (20 * dim + 6 * columns) / 2**20
        raise InputError("memory_mb", expected=f"{int(needed) + 1} or more for {dim:,} dimensions", got=memory_mb)
    return columns * int(min(times, max(1, MAX_ROWS // columns))), columns


class _Block(NamedTuple):
    exact: np.ndarray  # (rows, d) float32
    rounded: torch.Tensor  # (rows, d) bfloat16
    error: float  # the largest distance of a rounded vector from the exact one

    @classmethod
    def of(cls, vectors: UnitVectors, first: int, size: int) -> "_Block":
        exact = vectors[first : first + size]
        rounded = torch.from_numpy(exact).bfloat16()
        bits = rounded.view(torch.int16).numpy().astype(np.int32)  # a float32 has the bits of its bfloat16, shifted
        bits <<= 16
        off = bits.view(np.float32)
        off -= exact
        return cls(exact, rounded, float(np.sqrt(np.einsum("ij,ij->i", off, off).max())))

    def screen(self, columns: "_Block") -> tuple[np.ndarray, float]:
        """Returns similarities as the bits of bfloat16, (rows, columns) int16, and the bound of their error.

        The bound covers the rounding of both sides (Cauchy-Schwarz), of the float32 sum and of its result (2^-8).
        """
        a, b = self.error, columns.error
        error = a + b + a * b + self.exact.shape[1] * 2.0**-23 + 2.0**-8
        if _HAS_FAST_BFLOAT16:
            product = self.rounded @ columns.rounded.T
        else:
            product = (torch.from_numpy(self.exact) @ torch.from_numpy(columns.exact).T).bfloat16()
        return product.view(torch.int16).numpy(), 1.01 * error


_HAS_FAST_BFLOAT16: bool = torch.cpu._is_avx512_bf16_supported()


@numba.njit(inline="always")
def _bar(worst, error):  # pragma: no cover - compiled
    """Returns the least bits of the bfloat16 screen of a pair whose similarity may be `worst` or more.

    As int16, positive bfloat16 numbers are in order and negative ones are below; a bar that is not positive admits all
    pairs.
    """
    bits = np.float32(worst - error).view(np.int32) >> 16  # rounds down
    return np.int16(bits) if bits > 0 else np.int16(-32768)


@numba.njit(inline="always")
def _similarity(x, y):  # pragma: no cover - compiled
    total = 0.0
    for column in range(len(x)):
        total += np.float64(x[column]) * np.float64(y[column])
    return np.float32(total)


# Nearly all stripes hold no pair to compute. The loops that test a stripe compile to a few vector instructions: a
# maximum, or an `or` of bytes.


@compiled
def _columns_to_rows(
    first_row, last_row, screen, error, rows, columns, first, begin, score, position
):  # pragma: no cover
    for row in range(first_row, last_row):
        bar = _bar(score[row, -1], error)
        for left in range(0, screen.shape[1], STRIPE):
            stripe = screen[row, left : left + STRIPE]
            highest = np.int16(-32768)
            for place in range(len(stripe)):
                highest = max(highest, stripe[place])
            if highest < bar:
                continue
            for place in range(len(stripe)):
                column = left + place
                if stripe[place] >= bar and first + row != begin + column:
                    offer(score[row], position[row], _similarity(rows[row], columns[column]), begin + column)
                    bar = _bar(score[row, -1], error)


@compiled
def _rows_to_columns(
    first_part, last_part, screen, error, rows, columns, first, begin, score, position
):  # pragma: no cover
    num_columns = screen.shape[1]
    for part in range(first_part, last_part):
        left = part * STRIPE
        bar = np.empty(min(STRIPE, num_columns - left), dtype=np.int16)
        for place in range(len(bar)):
            bar[place] = _bar(score[left + place, -1], error)
        for row in range(len(screen)):
            stripe = screen[row, left : left + STRIPE]
            passes = np.uint8(0)
            for place in range(len(bar)):
                passes |= np.uint8(stripe[place] >= bar[place])
            if passes == 0:
                continue
            for place in range(len(bar)):
                if stripe[place] >= bar[place]:
                    node = left + place
                    offer(score[node], position[node], _similarity(rows[row], columns[node]), first + row)
                    bar[place] = _bar(score[node, -1], error)
