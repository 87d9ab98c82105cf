"""Vectors that travel along the edges of a graph."""

from collections.abc import Sequence
from typing import Any, NamedTuple

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
    """Rows of users and of items, each once, in any order."""

    user: Tensor  # (a,) int64
    item: Tensor  # (b,) int64


def distinct_rows(batch: Triplets) -> tuple[Rows, Triplets]:
    """The rows that the loss of a batch reads, each once, ascending, and the batch in places among them."""
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
    """x[rows], (N, d) and (a,) distinct rows -> (a, d). Its gradient is written, not added up: no row comes twice."""
    return _Taken.apply(x, rows)


def take_rows(x: Embeddings, rows: Rows | None) -> Embeddings:
    """`take` of users and of items; None: all."""
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
    """Layers 0..K of linear propagation: users <- graph @ items, items <- graph.T @ users, both from the layer before.

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
    """sum_k weights[k] * (layer k of `propagate`), as one step: no layer is kept, neither here nor for the gradient.

    With A = [[0, graph], [back, 0]] it is w_0 x + A (w_1 x + A (w_2 x + ...)), one product per layer. The gradient is
    the same with the transpose of A.

    Args:
        graph: (U, I), users from items.
        layer: layer 0, user (U, d) and item (I, d).
        weights: K + 1 of them; all 1 / (K + 1) for the mean.
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
    """Some rows of `propagate_combined`, (a, d) and (b, d), and the same rows of layer 0, which L2 penalties read.

    Of the last layer these rows alone are computed; the gradient, which comes from them alone, begins with their
    edges. No row may come twice. None: all rows.
    """
    if rows is None:
        return propagate_combined(graph, layer, weights, back=back), layer
    user, item, user_0, item_0 = _CombinedRows.apply(*_checked(graph, layer, weights, back), rows)
    return Embeddings(user, item), Embeddings(user_0, item_0)


def _checked(
    graph: SparseMatrix, layer: Embeddings, weights: Sequence[float], back: SparseMatrix | Transposed | None
) -> tuple[Tensor, Tensor, "_Way", "_Way", tuple[float, ...]]:
    """Layer 0, A, its transpose, and the weights."""
    if not weights:
        raise InputError("weights of the layers", expected="one per layer, layer 0 included", got="none")
    back = graph.T if back is None else back
    if (len(layer.user), len(layer.item)) != graph.shape:
        raise InputError("users and items to propagate", expected=graph.shape, got=(len(layer.user), len(layer.item)))
    if back.shape != graph.shape[::-1]:
        raise InputError("shape of the way back", expected=graph.shape[::-1], got=back.shape)
    there = _Way(graph.rows.arrays, back.rows.arrays)
    transposed = _Way(back.columns.arrays, graph.columns.arrays)
    return widened(layer.user), widened(layer.item), there, transposed, tuple(weights)


_Pair = tuple[Tensor, Tensor]  # users (U, d), items (I, d)


class _Way(NamedTuple):
    """A = [[0, to_users], [to_items, 0]]"""

    to_users: Compressed
    to_items: Compressed


class _Combined(torch.autograd.Function):
    """Linear in the embeddings, so nothing is saved for the gradient, which is the same sum on the way back."""

    @staticmethod
    def forward(
        ctx: Any, user: Tensor, item: Tensor, there: _Way, transposed: _Way, weights: tuple[float, ...]
    ) -> _Pair:
        ctx.transposed, ctx.weights = transposed, weights
        return _horner(there, (user, item), weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        return *_horner(ctx.transposed, (grad_outputs[0], grad_outputs[1]), ctx.weights), None, None, None


class _CombinedRows(torch.autograd.Function):
    """The same for some rows, and these rows of layer 0."""

    @staticmethod
    def forward(
        ctx: Any, user: Tensor, item: Tensor, there: _Way, transposed: _Way, weights: tuple[float, ...], rows: Rows
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        ctx.there, ctx.transposed, ctx.weights, ctx.rows = there, transposed, weights, rows
        ctx.sizes = len(user), len(item)
        layer_0 = select(user, rows.user), select(item, rows.item)
        return *_horner(there, (user, item), weights, rows=rows, at_rows=layer_0), *layer_0

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyrefly: ignore[bad-override]
        """The gradient enters at the rows; the first product leaves out the edges from all others."""
        grad, grad_0 = grad_outputs[:2], grad_outputs[2:]
        x = [empty_like(part, size, part.shape[1]).zero_() for part, size in zip(grad, ctx.sizes, strict=True)]
        x = add_at(x[0], ctx.rows.user, grad[0]), add_at(x[1], ctx.rows.item, grad[1])
        first = _Way(
            from_columns(ctx.transposed.to_users, ctx.there.to_items, ctx.rows.item),
            from_columns(ctx.transposed.to_items, ctx.there.to_users, ctx.rows.user),
        )
        user, item = _horner(ctx.transposed, x, ctx.weights, first=first)
        return add_at(user, ctx.rows.user, grad_0[0]), add_at(item, ctx.rows.item, grad_0[1]), None, None, None, None


def _horner(
    way: _Way,
    x: _Pair,
    weights: tuple[float, ...],
    *,
    rows: Rows | None = None,
    at_rows: _Pair | None = None,
    first: _Way | None = None,
) -> _Pair:
    """w_0 x + A (w_1 x + A (w_2 x + ... A (w_K x))).

    Args:
        way: A.
        x: the vectors, (U, d) and (I, d).
        weights: w_0 .. w_K.
        rows: of the result these rows alone.
        at_rows: x at these rows.
        first: A for the first product, if it is to differ.
    """
    *others, scale = weights  # w_K waits as a factor of the first product
    y = x if others or at_rows is None else at_rows
    for k, weight in reversed(list(enumerate(others))):
        a, b = way if first is None else first
        chosen, base = (None, None), x
        if k == 0 and rows is not None and at_rows is not None:
            chosen, base = rows, at_rows
        y = (
            multiply(a, y[1], scale=scale, plus=Addend(weight, base[0]), rows=chosen[0]),
            multiply(b, y[0], scale=scale, plus=Addend(weight, base[1]), rows=chosen[1]),
        )
        scale, first = 1.0, None
    return y if others else (scale * y[0], scale * y[1])
