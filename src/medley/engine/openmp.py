"""Compiled loops on the threads that torch has already.

Torch's operators run on the threads of its OpenMP library, which wait for the next operator while spinning. A second
pool beside them fights for the same cores; so a loop is handed to the same threads, by the call that a C compiler makes
of `#pragma omp parallel`: GOMP_parallel(task, job, number of threads, flags). That call is compiled here, once per loop
and type, and takes some microseconds (docs/decisions/0001-sparse-kernels.md).

How long these threads spin can be changed at run time too (docs/decisions/0004-busy-machines.md).
"""

import ctypes
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from medley.engine.kernels import compiled

_SYMBOL = "medley_gomp_parallel"


def _find() -> ctypes.CDLL | None:
    """The OpenMP library of torch's operators, made known to the compiler; None if it lacks GNU's interface (macOS).

    The process as a whole is asked first: in a conda environment, or with LD_PRELOAD, torch's operators run on a
    library outside of torch's folder, LLVM's or Intel's for example.
    """
    bundled = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    for path in [None] * (os.name == "posix") + [str(path) for path in bundled]:
        try:
            library = ctypes.CDLL(path)
            call = library.GOMP_parallel
        except (OSError, AttributeError):
            continue
        binding.add_symbol(_SYMBOL, ctypes.cast(call, ctypes.c_void_p).value)
        return library
    return None


_LIBRARY = _find()
AVAILABLE = _LIBRARY is not None
IS_GNU = AVAILABLE and not hasattr(_LIBRARY, "kmp_set_blocktime")


@contextmanager
def short_waits() -> Iterator[None]:
    """Makes GNU's OpenMP spin 100 times instead of GOMP_SPINCOUNT, at any moment of the process and from any thread.

    While a process has more OpenMP threads than cores, the library shortens its waits. So a thread of our own starts a
    team that is one larger than the number of cores, has no work, and sleeps; it ends with its thread.
    """
    assert _LIBRARY is not None
    started, ended = threading.Event(), threading.Event()
    size, nothing = _LIBRARY.omp_get_num_procs() + 1, ctypes.CDLL(None).free  # free(NULL) does nothing

    def hold() -> None:
        _LIBRARY.GOMP_parallel(nothing, None, size, 0)
        started.set()
        ended.wait()

    holder = threading.Thread(target=hold, name="medley-short-waits", daemon=True)
    holder.start()
    started.wait()
    try:
        yield
    finally:
        ended.set()
        holder.join()


@contextmanager
def no_block_time() -> Iterator[None]:
    """Makes LLVM's or Intel's OpenMP put threads to sleep at once after the regions of the calling thread."""
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if not hasattr(library, "kmp_set_blocktime"):
        yield
        return
    before = library.kmp_get_blocktime()
    library.kmp_set_blocktime(0)
    try:
        yield
    finally:
        library.kmp_set_blocktime(before)


@cache
def on_torch_threads(loop: Callable[..., None]) -> Callable[..., None]:
    """A function (piece, number of threads, *arguments) that calls loop(first, last, *arguments) for every piece.

    A thread that has done one takes the next. `loop` is made by `kernels.compiled`; where it raises, so does the
    function, but a RuntimeError.
    """
    python: FunctionType = loop.py_func  # type: ignore[attr-defined]
    code = _template.__code__.replace(co_filename=python.__code__.co_filename)  # numba caches a function by its file
    launch = FunctionType(code, {"_each_piece": _each_piece, "loop": loop})
    launch.__qualname__ = f"{python.__name__}_on_torch_threads_{_hash_of_this_file():08x}"
    launch.__module__ = python.__module__
    return compiled(launch)


@cache
def _hash_of_this_file() -> int:
    """Of this file: what numba has kept of an earlier one must not be used."""
    return zlib.crc32(Path(__file__).read_bytes())


def _template(piece, num_threads, *arguments):  # pragma: no cover - compiled
    _each_piece(loop, piece, num_threads, arguments)  # noqa: F821  # pyrefly: ignore


@intrinsic
def _each_piece(typing: Any, loop: Any, piece: Any, num_threads: Any, arguments: Any) -> Any:
    """The task of a thread: while there are pieces, it takes the next number from a common counter."""
    word, wide, pointer = ir.IntType(32), ir.IntType(64), ir.IntType(8).as_pointer()
    signature = (types.int64, types.int64, *arguments.types)
    loop.dispatcher.compile(signature)
    callee = loop.dispatcher.overloads[signature]

    def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
        _, piece_value, threads, packed = values
        context.active_code_library.add_linking_library(callee.library)
        bounds = context.make_array(piece)(context, builder, piece_value)
        num_pieces = builder.sub(cgutils.unpack_tuple(builder, bounds.shape)[0], wide(1))
        fields = (wide(0), wide(0), num_pieces, bounds.data, packed)
        job = cgutils.alloca_once(builder, ir.LiteralStructType([field.type for field in fields]))
        for place, field in enumerate(fields):
            builder.store(field, cgutils.gep_inbounds(builder, job, 0, place))

        task_type = ir.FunctionType(ir.VoidType(), [pointer])
        task = ir.Function(builder.module, task_type, builder.module.get_unique_name("task"))
        task.linkage = "internal"
        here = ir.IRBuilder(task.append_basic_block("begin"))
        given = here.bitcast(task.args[0], job.type)
        counter, failed = (cgutils.gep_inbounds(here, given, 0, place) for place in (0, 1))
        last, row, parts = (here.load(cgutils.gep_inbounds(here, given, 0, place)) for place in (2, 3, 4))
        take, work, end = (task.append_basic_block(name) for name in ("take", "work", "end"))
        here.branch(take)
        here.position_at_end(take)
        number = here.atomic_rmw("add", counter, wide(1), "monotonic")
        here.cbranch(here.icmp_signed("<", number, last), work, end)
        here.position_at_end(work)
        rows = [here.load(here.gep(row, [place])) for place in (number, here.add(number, wide(1)))]
        rows = [context.cast(here, bound, piece.dtype, types.int64) for bound in rows]
        rest = cgutils.unpack_tuple(here, parts)
        status, _ = context.call_internal_no_propagate(here, callee.fndesc, callee.signature, [*rows, *rest])
        with cgutils.if_unlikely(here, status.is_error):
            here.store(wide(1), failed)
        here.branch(take)
        here.position_at_end(end)
        here.ret_void()

        call_type = ir.FunctionType(ir.VoidType(), [task_type.as_pointer(), pointer, word, word])
        call = cgutils.get_or_insert_function(builder.module, call_type, _SYMBOL)
        threads = context.cast(builder, threads, num_threads, types.int32)
        builder.call(call, [task, builder.bitcast(job, pointer), threads, word(0)])
        is_bad = cgutils.is_not_null(builder, builder.load(cgutils.gep_inbounds(builder, job, 0, 1)))
        with cgutils.if_unlikely(builder, is_bad):
            context.call_conv.return_user_exc(builder, RuntimeError, ("a compiled loop failed on one of its threads",))
        return context.get_dummy_value()

    return types.void(loop, piece, num_threads, arguments), generate
