"""Linear propagation of vectors along the edges of a graph of users and items: layers 0..K and their weighted sum."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medley.engine import kernels
from medley.engine.memory import empty_like
from medley.errors import InputError
from medley.nn.sparse import (
    Addend,
    Compressed,
    SparseMatrix,
    Transposed,
    add_at,
    from_columns,
    is_compiled,
    multiply,
    select,
    widened,
)
from medley.types import Embeddings, Triplets


class Rows(NamedTuple):
    """Distinct rows of users and of items, in any order."""

    user: Tensor  # (a,) int64
    item: Tensor  # (b,) int64


def distinct_rows(batch: Triplets) -> tuple[Rows, Triplets]:
    """Returns the distinct rows that a batch reads, ascending, and the batch re-indexed into these rows."""
    users, user = _distinct(batch.user)
    items, item = _distinct(torch.cat([batch.pos, batch.neg]))
    return Rows(users, items), Triplets(user, *item.split([len(batch.pos), len(batch.neg)]))


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    if not is_compiled(rows) or not len(rows):
        return rows.unique(return_inverse=True)
    given = rows.numpy()
    place, found = np.zeros(given.max() + 1, dtype=np.int64), np.empty(len(given) + 1, dtype=np.int64)
    count = kernels.distinct(given, place, found)  # sorting takes several times longer
    return torch.from_numpy(found[:count]), torch.from_numpy(place[given])


def take(x: Tensor, rows: Tensor) -> Tensor:
    """Returns x[rows], (N, d) and (a,) distinct rows -> (a, d); gradients are written, not added."""
    return _Taken.apply(x, rows)


def take_rows(x: Embeddings, rows: Rows | None) -> Embeddings:
    """Takes rows of users and of items; `rows` = None: all."""
    return x if rows is None else Embeddings(take(x.user, rows.user), take(x.item, rows.item))


class _Taken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = x.shape
        return select(x, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None]:  # pyrefly: ignore[bad-override]
        (rows,) = ctx.saved_tensors
        return empty_like(grad_outputs[0], *ctx.size).zero_().index_copy_(0, rows, grad_outputs[0]), None


def propagate(graph: SparseMatrix, layer: Embeddings, num_layers: int) -> list[Embeddings]:
    """Returns layers 0..K of linear propagation: users <- graph @ items, items <- graph.T @ users of the layer before.

    Args:
        graph: (U, I), with the weights of the normalisation.
        layer: layer 0, user (U, d) and item (I, d).
        num_layers: K.
    """
    layers = [layer]
    for _ in range(num_layers):
        layer = Embeddings(graph @ layer.item, graph.T @ layer.user)
        layers.append(layer)
    return layers


def propagate_combined(
    graph: SparseMatrix,
    layer: Embeddings,
    weights: Sequence[float],
    *,
    back: SparseMatrix | Transposed | None = None,
) -> Embeddings:
    """Returns sum_k weights[k] * (layer k of `propagate`) in one step that keeps no layer, not even for the gradient.

    With A = [[0, graph], [back, 0]] it is w_0 x + A (w_1 x + A (w_2 x + ...)), one product per layer. The gradient is
    the same with the transpose of A.

    Args:
        graph: (U, I), users from items.
        layer: layer 0, user (U, d) and item (I, d).
        weights: K + 1 numbers; all 1 / (K + 1) for the mean.
        back: (I, U), items from users; None: graph.T.
    """
    return Embeddings(*_Combined.apply(*_checked(graph, layer, weights, back)))


def propagate_rows(
    graph: SparseMatrix,
    layer: Embeddings,
    weights: Sequence[float],
    rows: Rows | None,
    *,
    back: SparseMatrix | Transposed | None = None,
) -> tuple[Embeddings, Embeddings]:
    """Returns some rows of `propagate_combined`, (a, d) and (b, d), and the same rows of layer 0, for L2 penalties.

    The last layer is computed for these rows alone, and the first product of the gradient reads the edges of these rows
    alone.

    Args:
        graph: (U, I), users from items.
        layer: layer 0.
        weights: one number per layer.
        rows: distinct users and items; None: all.
        back: (I, U), items from users; None: graph.T.
    """
    if rows is None:
        return propagate_combined(graph, layer, weights, back=back), layer
    user, item, user_0, item_0 = _CombinedRows.apply(*_checked(graph, layer, weights, back), rows)
    return Embeddings(user, item), Embeddings(user_0, item_0)


def lightgcn(
    graph: SparseMatrix,
    layer: Embeddings,
    num_layers: int,
    rows: Rows | None = None,
    *,
    combine: Literal["mean", "sum"] = "mean",
) -> tuple[Embeddings, Embeddings]:
    """Returns the mean or the sum of layers 0..K, and layer 0 (LightGCN, He et al., SIGIR 2020, eq. 3, 4).

    Args:
        graph: (U, I), as `medley.graphs.symmetric` returns it.
        layer: layer 0, the trained vectors of users (U, d) and items (I, d).
        num_layers: K; 0 returns layer 0.
        rows: distinct users and items, the rows of both results; None: all.
        combine: mean or sum of the layers.
    """
    weight = 1 / (num_layers + 1) if combine == "mean" else 1.0
    return propagate_rows(graph, layer, [weight] * (num_layers + 1), rows)


def _checked(
    graph: SparseMatrix, layer: Embeddings, weights: Sequence[float], back: SparseMatrix | Transposed | None
) -> tuple[Tensor, Tensor, "_Adjacency", "_Adjacency", tuple[float, ...]]:
    """Checks sizes. Returns layer 0 of users and of items, A, its transpose, and the weights."""
    if not weights:
        raise InputError("weights of the layers", expected="one per layer, layer 0 included", got="none")
    back = graph.T if back is None else back
    if (len(layer.user), len(layer.item)) != graph.shape:
        raise InputError("users and items to propagate", expected=graph.shape, got=(len(layer.user), len(layer.item)))
    if back.shape != graph.shape[::-1]:
        raise InputError("shape of items from users", expected=graph.shape[::-1], got=back.shape)
    adjacency = _Adjacency(graph.by_row.arrays, back.by_row.arrays)
    transposed = _Adjacency(back.by_column.arrays, graph.by_column.arrays)
    return widened(layer.user), widened(layer.item), adjacency, transposed, tuple(weights)


_Pair = tuple[Tensor, Tensor]  # users (U, d), items (I, d)


class _Adjacency(NamedTuple):
    """A = [[0, to_users], [to_items, 0]]"""

    to_users: Compressed
    to_items: Compressed


class _Combined(torch.autograd.Function):
    """Linear in the embeddings, so nothing is saved: the gradient is the same sum with the transpose of A."""

    @staticmethod
    def forward(
        ctx: Any, user: Tensor, item: Tensor, adjacency: _Adjacency, transposed: _Adjacency, weights: tuple[float, ...]
    ) -> _Pair:
        ctx.transposed, ctx.weights = transposed, weights
        return _horner(adjacency, (user, item), weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        return *_horner(ctx.transposed, (grad_outputs[0], grad_outputs[1]), ctx.weights), None, None, None


class _CombinedRows(torch.autograd.Function):
    """As `_Combined`, for some rows, and these rows of layer 0."""

    @staticmethod
    def forward(
        ctx: Any,
        user: Tensor,
        item: Tensor,
        adjacency: _Adjacency,
        transposed: _Adjacency,
        weights: tuple[float, ...],
        rows: Rows,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.adjacency, ctx.transposed, ctx.weights, ctx.rows = adjacency, transposed, weights, rows
        ctx.sizes = len(user), len(item)
        layer_0 = select(user, rows.user), select(item, rows.item)
        return *_horner(adjacency, (user, item), weights, rows=rows, at_rows=layer_0), *layer_0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        """The gradient is 0 outside the rows, so the first product leaves out the edges from all other nodes."""
        grad, grad_0 = grad_outputs[:2], grad_outputs[2:]
        x = [empty_like(part, size, part.shape[1]).zero_() for part, size in zip(grad, ctx.sizes, strict=True)]
        x = add_at(x[0], ctx.rows.user, grad[0]), add_at(x[1], ctx.rows.item, grad[1])
        first = _Adjacency(
            from_columns(ctx.transposed.to_users, ctx.adjacency.to_items, ctx.rows.item),
            from_columns(ctx.transposed.to_items, ctx.adjacency.to_users, ctx.rows.user),
        )
        user, item = _horner(ctx.transposed, x, ctx.weights, first=first)
        return add_at(user, ctx.rows.user, grad_0[0]), add_at(item, ctx.rows.item, grad_0[1]), None, None, None, None


def _horner(
    adjacency: _Adjacency,
    x: _Pair,
    weights: tuple[float, ...],
    *,
    rows: Rows | None = None,
    at_rows: _Pair | None = None,
    first: _Adjacency | None = None,
) -> _Pair:
    """w_0 x + A (w_1 x + A (w_2 x + ... A (w_K x))).

    Args:
        adjacency: A.
        x: the vectors, (U, d) and (I, d).
        weights: w_0 .. w_K.
        rows: the rows of the result that are computed; None: all.
        at_rows: x at these rows.
        first: replaces A in the first product; None: A.
    """
    *others, scale = weights  # w_K is a factor of the first product
    y = x if others or at_rows is None else at_rows
    for k, weight in reversed(list(enumerate(others))):
        to_users, to_items = adjacency if first is None else first
        chosen, base = (None, None), x
        if k == 0 and rows is not None and at_rows is not None:
            chosen, base = rows, at_rows
        y = (
            multiply(to_users, y[1], scale=scale, plus=Addend(weight, base[0]), rows=chosen[0]),
            multiply(to_items, y[0], scale=scale, plus=Addend(weight, base[1]), rows=chosen[1]),
        )
        scale, first = 1.0, None
    return y if others else (scale * y[0], scale * y[1])
