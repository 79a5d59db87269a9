"""How numba kernels are compiled, and run on all threads.

A kernel works on a range of rows and releases the interpreter's lock; each thread takes one range. Ranges are cut by
work, not by rows, and what a row holds does not depend on the cut, so results are the same for any number of threads.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from numpy.typing import NDArray

T = TypeVar("T")

_pool: ThreadPoolExecutor | None = None


def compiled(function: Callable[..., Any], *, reorder: bool = False) -> Callable[..., Any]:
    """Compile a kernel when it is first called, and keep the machine code beside the source for the next process.

    `reorder` allows sums to be taken in another order, without which a loop that sums numbers cannot be vectorised.
    """

    def compile_it(cache: bool) -> Callable[..., Any]:
        fast = {"contract", "nsz"} | ({"reassoc"} if reorder else set())
        kernel: Callable[..., Any] = numba.njit(
            function, cache=cache, nogil=True, error_model="numpy", fastmath=fast
        )
        return kernel

    try:
        return compile_it(cache=True)
    except RuntimeError:
        # Neither the installation nor the home directory can be written: each process compiles for itself.
        return compile_it(cache=False)


def ranges_of(pointer: NDArray[np.integer[Any]], parts: int | None = None) -> list[tuple[int, int]]:
    """Cut the rows of a CSR `pointer` (N + 1,) into ranges of about equal work, one a thread.

    A row costs its entries and one more, so that empty rows are shared out too.
    """
    parts = parts or torch.get_num_threads()
    rows = len(pointer) - 1
    work = pointer + np.arange(rows + 1)
    cuts = np.searchsorted(work, work[-1] * np.arange(parts + 1) / parts)
    return [(int(a), int(b)) for a, b in pairwise(cuts) if a < b]


def in_threads(kernel: Callable[..., Any], ranges: Sequence[tuple[int, int]], *arguments: Any) -> list[Any]:
    """Call kernel(*arguments, begin, end) for every range at once, the last on this thread; return the results."""
    global _pool
    if not ranges:
        return []
    if len(ranges) > 1 and _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="nas")
    waiting = [_pool.submit(kernel, *arguments, *part) for part in ranges[:-1]] if _pool else []
    last = kernel(*arguments, *ranges[-1])
    return [*(future.result() for future in waiting), last]


def on_cores(work: Callable[[int, int], T], pieces: int) -> list[T]:
    """Call work(begin, end) for ranges of 0..pieces, each on a core of its own; return the results in order.

    torch's operations within `work` use one thread. Where they are small, that is faster than many threads on each:
    waking a thread up takes 0.1 ms and more.
    """
    parts, threads = ranges_of(np.arange(pieces + 1)), torch.get_num_threads()
    if len(parts) == 1:
        return [work(*parts[0])]

    def alone(begin: int, end: int) -> T:
        torch.set_num_threads(1)
        return work(begin, end)

    try:
        return in_threads(alone, parts)
    finally:
        torch.set_num_threads(threads)


def _forget_pool() -> None:
    global _pool
    _pool = None


# Threads do not survive a fork: a child that used its parent's pool would wait for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
