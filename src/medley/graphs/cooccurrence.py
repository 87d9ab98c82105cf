"""Items joined by common users, users joined by common items: C = R^T R or R R^T without its diagonal.

Popular nodes make C nearly dense, so C is never formed: each thread counts one row at a time and keeps the entries that
are asked for. Memory is the result plus three integers per node and thread. Time grows with the sum of the squared
degrees of the common neighbours.

Shapes: N nodes of the graph, n interactions, e edges of the graph.
"""

import numba
import numpy as np
import scipy.sparse as sp

from medley.engine import threads
from medley.engine.kernels import compiled
from medley.engine.top_k import offer
from medley.errors import InputError
from medley.graphs.cache import load_or_build
from medley.types import Interactions

NUM_PIECES = 256  # pieces of equal work
BYTES_PER_EDGE = 8  # int32 column, float32 count


def item_cointeraction(
    train: Interactions,
    *,
    threshold: int = 5,
    top_k: int | None = None,
    memory_mb: int = 4096,
    cache: bool = True,
) -> sp.csr_array:
    """Returns (I, I) float32: number of common users of two distinct items, where it is at least `threshold`.

    Wei et al., TMM 2022 (HUIGN), eq. 2, Sec. 4.1.1: items that at least 5 users have in common are joined, with
    weight 1: `binarise` the result.

    Args:
        train: the interactions.
        threshold: least number of common users, 1 or more.
        top_k: most neighbours of an item, equal counts by lower row; makes the graph directed. None: all.
        memory_mb: most memory of the graph, in MiB.
        cache: keep the graph on disk, see `medley.graphs.cache`.

    Raises:
        InputError: the graph would not fit into `memory_mb`, or an option is out of its range.
    """
    return _load_or_count(sp.csr_array(train.csr().T), threshold, top_k, memory_mb, cache)


def user_cooccurrence(train: Interactions, k: int, *, memory_mb: int = 4096, cache: bool = True) -> sp.csr_array:
    """Returns (U, U) float32: number of common items of each user and the k users with most common items.

    Wang et al., TMM 2021 (DualGNN), Sec. III-C: a user is not a neighbour of itself, users who share nothing are not
    joined (so a row may hold fewer than k), equal counts are taken by lower row. The weights of eq. 6 are
    `normalise_rows(binarise(...))`, those of eq. 7 `softmax_rows(...)`.

    Args:
        train: the interactions.
        k: most neighbours of a user, 1 or more.
        memory_mb: most memory of the graph, in MiB.
        cache: keep the graph on disk, see `medley.graphs.cache`.

    Raises:
        InputError: the graph would not fit into `memory_mb`, or k is not positive.
    """
    return _load_or_count(train.csr(), 1, k, memory_mb, cache)


def _load_or_count(matrix: sp.csr_array, threshold: int, k: int | None, memory_mb: int, cache: bool) -> sp.csr_array:
    if threshold < 1:
        raise InputError("threshold", expected="1 or more common neighbours", got=threshold)
    if k is not None and k < 1:
        raise InputError("number of neighbours", expected="1 or more", got=k)
    matrix.sort_indices()

    def build() -> sp.csr_array:
        return _count_common_columns(matrix, threshold, k, memory_mb)

    if not cache:
        return build()
    shape: tuple[int, ...] = matrix.shape  # type: ignore[assignment]
    parameters = {"shape": list(shape), "threshold": threshold, "k": k}
    return load_or_build(build, arrays=(matrix.indptr, matrix.indices), parameters=parameters)


def _count_common_columns(matrix: sp.csr_array, threshold: int, k: int | None, memory_mb: int) -> sp.csr_array:
    """Returns the graph (R, R) of rows joined by common columns."""
    num_nodes = len(matrix.indptr) - 1
    transposed = sp.csr_array(matrix.T)
    sides = (matrix.indptr, matrix.indices, transposed.indptr, transposed.indices)
    cost = (
        np.add.reduceat(  # of a row: the sum of the degrees of its columns
            np.append(np.diff(transposed.indptr)[matrix.indices], 0), np.minimum(matrix.indptr[:-1], matrix.nnz)
        )
        * (np.diff(matrix.indptr) > 0)
    )
    work = np.concatenate([[0], np.cumsum(cost, dtype=np.int64)])
    piece = threads.equal_pieces(work, NUM_PIECES)

    most = num_nodes if k is None else k
    degree = np.zeros(num_nodes, dtype=np.int64)
    threads.run(_measure_degrees, piece, int(work[-1]), *sides, threshold, most, degree)
    start = np.concatenate([[0], np.cumsum(degree)])
    needed_mb = start[-1] * BYTES_PER_EDGE / 2**20
    if needed_mb > memory_mb:
        raise InputError(
            f"a graph of {start[-1]:,} edges",
            expected=f"at most {memory_mb:,} MiB",
            got=f"{needed_mb:,.0f} MiB",
            remedy="raise threshold, set top_k, or allow more with memory_mb",
        )
    index = np.empty(start[-1], dtype=np.int32)
    count = np.empty(start[-1], dtype=np.float32)
    threads.run(_fill_rows, piece, int(work[-1]), *sides, threshold, start, index, count)
    return sp.csr_array((count, index, start), shape=(num_nodes, num_nodes))


@numba.njit(inline="always")
def _tally_row(row, start, index, start_t, index_t, threshold, count, reached, kept):  # pragma: no cover - compiled
    """Counts one row of C in `count`. Returns the lengths of two lists: nodes `reached`, and nodes `kept` of these."""
    num_reached = num_kept = 0
    for edge in range(start[row], start[row + 1]):
        column = index[edge]
        for back in range(start_t[column], start_t[column + 1]):
            other = index_t[back]
            if count[other] == 0:
                reached[num_reached] = other
                num_reached += 1
            count[other] += 1
    for place in range(num_reached):
        other = reached[place]
        if count[other] >= threshold and other != row:
            kept[num_kept] = other
            num_kept += 1
    return num_reached, num_kept


@compiled
def _measure_degrees(
    first, last, start, index, start_t, index_t, threshold, most, degree
):  # pragma: no cover - compiled
    """Writes the number of edges of each row to `degree`."""
    count, reached, kept = _allocate_counters(len(start) - 1)
    for row in range(first, last):
        num_reached, num_kept = _tally_row(row, start, index, start_t, index_t, threshold, count, reached, kept)
        degree[row] = min(num_kept, most)
        count[reached[:num_reached]] = 0


@compiled
def _fill_rows(
    first, last, start, index, start_t, index_t, threshold, out, out_index, out_count
):  # pragma: no cover - compiled
    """Writes row i of the graph to out[i]:out[i + 1], columns ascending: as many of the best edges as fit."""
    count, reached, kept = _allocate_counters(len(start) - 1)
    for row in range(first, last):
        num_reached, num_kept = _tally_row(row, start, index, start_t, index_t, threshold, count, reached, kept)
        space = out[row + 1] - out[row]
        index_of_row, count_of_row = out_index[out[row] : out[row + 1]], out_count[out[row] : out[row + 1]]
        if num_kept > space:
            count_of_row[:] = 0
            for place in range(num_kept):
                offer(count_of_row, index_of_row, count[kept[place]], kept[place])
            kept[:space] = index_of_row
        index_of_row[:] = np.sort(kept[:space])
        for place in range(space):
            count_of_row[place] = count[index_of_row[place]]
        count[reached[:num_reached]] = 0


@numba.njit(inline="always")
def _allocate_counters(num_nodes):  # pragma: no cover - compiled
    """Returns a counter for each node, at 0, and two lists of nodes."""
    lists = np.empty((2, num_nodes), dtype=np.int32)
    return np.zeros(num_nodes, dtype=np.int32), lists[0], lists[1]
