"""Compiled loops over the edges of a graph, for the CPU. Nothing here knows torch; `sparse` and `edges` call it.

A direction of a graph is compressed by rows: the edges of row r are start[r] .. start[r + 1] - 1 and edge e comes from
node index[e]. A loop does the rows begin .. end - 1, each in the order of its edges, so the results are the same bits
however the rows are shared out among threads.

Shapes: R rows, C columns, n edges, d columns of the dense side; start (R + 1,), index (n,).
"""

import math
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

PREFETCH = 16  # edges ahead: 8 to 32 are alike, none is up to a third slower where x is larger than the cache
FASTMATH = {"reassoc", "contract", "nsz"}  # sums may be vectorised; infinities and NaN keep their meaning


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`numba.njit`, kept on disk: beside the source, else in the user's cache, else (nowhere to write) not at all."""
    try:
        return numba.njit(nogil=True, fastmath=FASTMATH, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True, fastmath=FASTMATH)(function)


def _sum_of_width(width: int) -> Callable[..., Any]:
    """A numba function that adds up `width` columns of one output row in registers.

    out[row] = scale * (sum over edges first .. last - 1 of value[edge] * x[index[edge]]) + keep * base[row]

    LLVM cannot prove that `out` and `x` lie apart, so in a plain loop every edge loads and stores the output row, which
    costs a factor 2 to 4. Here the sum is one LLVM vector; `base` is not read when `keep` is 0.
    """

    @intrinsic
    def sum_rows(typing, out, row, column, scale, value, index, first, last, x, keep, base):
        def generate(context, builder, signature, args):
            kinds = dict(zip(names, signature.args, strict=True))
            given = dict(zip(names, args, strict=True))
            arrays = {k: context.make_array(kinds[k])(context, builder, given[k]) for k in names if k in tables}
            here, begin, end, left = (
                context.cast(builder, given[k], kinds[k], types.intp) for k in ("row", "first", "last", "column")
            )
            number = kinds["x"].dtype
            scalar, size = context.get_value_type(number), number.bitwidth // 8
            vector, word, byte = ir.VectorType(scalar, width), ir.IntType(64), ir.IntType(8).as_pointer()
            flag = ir.IntType(32)
            num_columns = cgutils.unpack_tuple(builder, arrays["x"].shape)[1]
            final = builder.sub(cgutils.unpack_tuple(builder, arrays["index"].shape)[0], word(1))
            touch = builder.module.declare_intrinsic(
                "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
            )

            def place(table, r):
                return builder.gep(arrays[table].data, [builder.add(builder.mul(r, num_columns), left)])

            def source(edge):
                return place("x", builder.sext(builder.load(builder.gep(arrays["index"].data, [edge])), word))

            def load(pointer):
                return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=size)

            def spread(single):
                undefined = ir.Constant(vector, ir.Undefined)
                lanes = ir.Constant(ir.VectorType(flag, width), [0] * width)
                return builder.shuffle_vector(builder.insert_element(undefined, single, flag(0)), undefined, lanes)

            def multiply_add(a, b, c):
                return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

            total = cgutils.alloca_once(builder, vector)
            builder.store(ir.Constant(vector, [0.0] * width), total)
            with cgutils.for_range_slice(builder, begin, end, word(1), inc=True) as (edge, _):
                ahead = builder.add(edge, word(PREFETCH))
                ahead = builder.select(builder.icmp_signed("<", ahead, final), ahead, final)
                soon = builder.bitcast(source(ahead), byte)
                for line in range(0, width * size, 64):
                    builder.call(touch, [builder.gep(soon, [word(line)]), flag(0), flag(3), flag(1)])
                single = builder.load(builder.gep(arrays["value"].data, [edge]))
                single = context.cast(builder, single, kinds["value"].dtype, number)
                builder.store(multiply_add(load(source(edge)), spread(single), builder.load(total)), total)
            scaled = builder.fmul(
                builder.load(total), spread(context.cast(builder, given["scale"], kinds["scale"], number))
            )
            builder.store(scaled, total)
            kept = context.cast(builder, given["keep"], kinds["keep"], number)
            with builder.if_then(builder.fcmp_unordered("!=", kept, ir.Constant(scalar, 0.0))):
                builder.store(multiply_add(load(place("base", here)), spread(kept), builder.load(total)), total)
            builder.store(builder.load(total), builder.bitcast(place("out", here), vector.as_pointer()), align=size)
            return context.get_dummy_value()

        tables = ("out", "value", "index", "x", "base")
        names = ("out", "row", "column", "scale", "value", "index", "first", "last", "x", "keep", "base")
        return types.void(out, row, column, scale, value, index, first, last, x, keep, base), generate

    return sum_rows


_sum_128, _sum_64, _sum_16, _sum_1 = (_sum_of_width(width) for width in (128, 64, 16, 1))


@compiled
def product(begin, end, start, index, value, x, scale, keep, base, wanted, out):  # pragma: no cover - compiled
    """out (R, d) = scale * A x + keep * base. Row k of `out` is row wanted[k] of A; empty: row k."""
    d = x.shape[1]
    for row in range(begin, end):
        of_matrix = wanted[row] if len(wanted) > 0 else row
        first, last, c = start[of_matrix], start[of_matrix + 1], 0
        while c + 128 <= d:
            _sum_128(out, row, c, scale, value, index, first, last, x, keep, base)
            c += 128
        if c + 64 <= d:
            _sum_64(out, row, c, scale, value, index, first, last, x, keep, base)
            c += 64
        while c + 16 <= d:
            _sum_16(out, row, c, scale, value, index, first, last, x, keep, base)
            c += 16
        while c < d:
            _sum_1(out, row, c, scale, value, index, first, last, x, keep, base)
            c += 1


@compiled
def distinct(rows, place, found):  # pragma: no cover - compiled
    """How many different `rows` (n,) there are; found[k], ascending, is row k of them and place[row] is k.

    place (N,), at first 0, has room for the largest row, found (n + 1,) for all.
    """
    for row in rows:
        if row < 0:
            raise IndexError("a row of the batch is negative")
        place[row] = 1
    count = 0
    for row in range(len(place)):  # without a branch, that no processor could foresee
        is_there = place[row]
        place[row] = count
        found[count] = row
        count += is_there
    return count


@compiled
def scatter_rows(begin, end, num_parts, rows, x, out):  # pragma: no cover - compiled
    """out[rows] += x, out (N, d), x (a, d); rows that come twice are added twice, and belong to one part of N."""
    for part in range(begin, end):
        first, last = part * len(out) // num_parts, (part + 1) * len(out) // num_parts
        for place in range(len(rows)):
            row = rows[place]
            if first <= row < last:
                for c in range(x.shape[1]):
                    out[row, c] += x[place, c]


@compiled
def count_into(kept, start, index, count):  # pragma: no cover - compiled
    """count (R,), at first 0: edges that go from the `kept` (a,) rows of the transpose to each row."""
    for source in kept:
        for edge in range(start[source], start[source + 1]):
            count[index[edge]] += 1


@compiled
def copy_into(kept, start, index, value, place, new_index, new_value):  # pragma: no cover - compiled
    """Those edges, compressed by rows; place (R,) is where the next edge of each row goes."""
    for source in kept:
        for edge in range(start[source], start[source + 1]):
            row = index[edge]
            new_index[place[row]] = source
            new_value[place[row]] = value[edge]
            place[row] += 1


@compiled
def dot(begin, end, start, index, x, y, out):  # pragma: no cover - compiled
    """out (n,): x[row] . y[source] of every edge; x (R, d), y (C, d)."""
    for row in range(begin, end):
        for edge in range(start[row], start[row + 1]):
            source = index[edge]
            total = x.dtype.type(0)
            for c in range(x.shape[1]):
                total += x[row, c] * y[source, c]
            out[edge] = total


@compiled
def softmax(begin, end, start, index, score, out):  # pragma: no cover - compiled
    """out (n,): softmax of `score` over the edges of each row."""
    for row in range(begin, end):
        first, last = start[row], start[row + 1]
        if first == last:
            continue
        top = score[first]
        for edge in range(first + 1, last):
            top = max(top, score[edge])
        total = score.dtype.type(0)
        for edge in range(first, last):
            out[edge] = math.exp(score[edge] - top)
            total += out[edge]
        for edge in range(first, last):
            out[edge] /= total


@compiled
def softmax_gradient(begin, end, start, index, share, grad, out):  # pragma: no cover - compiled
    """out (n,) = share * (grad - sum over the row of share * grad), share being the result of `softmax`."""
    for row in range(begin, end):
        total = share.dtype.type(0)
        for edge in range(start[row], start[row + 1]):
            total += share[edge] * grad[edge]
        for edge in range(start[row], start[row + 1]):
            out[edge] = share[edge] * (grad[edge] - total)


@compiled
def largest(begin, end, start, index, x, out, winner):  # pragma: no cover - compiled
    """out (R, d): the largest x of the sources, 0 without any; winner (R, d) int32: whose it was, -1 without any."""
    for row in range(begin, end):
        first, last = start[row], start[row + 1]
        if first == last:
            out[row] = 0
            winner[row] = -1
            continue
        out[row] = x[index[first]]
        winner[row] = index[first]
        for edge in range(first + 1, last):
            source = index[edge]
            for c in range(x.shape[1]):
                larger = x[source, c] > out[row, c]
                out[row, c] = x[source, c] if larger else out[row, c]
                winner[row, c] = source if larger else winner[row, c]


@compiled
def largest_gradient(begin, end, start, index, winner, grad, out):  # pragma: no cover - compiled
    """out (C, d): the gradient of `largest` to x. start, index, piece are of the transpose: a row here is a source."""
    for source in range(begin, end):
        out[source] = 0
        for edge in range(start[source], start[source + 1]):
            row = index[edge]
            for c in range(grad.shape[1]):
                out[source, c] += grad[row, c] if winner[row, c] == source else grad.dtype.type(0)
