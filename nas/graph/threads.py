"""Work cut into ranges, one a thread.

A kernel works on a range of rows and releases the interpreter's lock. Ranges are cut by work, not by rows, and what a
row holds does not depend on the cut, so results are the same for any number of threads.

The threads are those of torch's own OpenMP runtime where that is GNU's (torch for Linux on x86): its threads spin for a
while after each operation of torch, and threads of ours would have to push them off their cores. Products and matrix
multiplications in turn, as in a GCN layer, take 1.5 times as long that way (measured on two cores).
"""

import ctypes
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

T = TypeVar("T")

# GOMP_parallel(function, data, threads, flags): function(data) is called once on each thread of a team.
_Body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def _openmp() -> Any:
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return ctypes.CDLL(str(libraries[0])).GOMP_parallel if libraries else None


_team: Any = _openmp()
_pool: ThreadPoolExecutor | None = None


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
    """Call kernel(*arguments, begin, end) for every range at once; return the results in order."""
    if len(ranges) < 2:
        return [kernel(*arguments, *part) for part in ranges]
    if _team is not None:
        return _in_team(kernel, ranges, arguments)
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="nas")
    waiting = [_pool.submit(kernel, *arguments, *part) for part in ranges[:-1]]
    last = kernel(*arguments, *ranges[-1])
    return [*(future.result() for future in waiting), last]


def _in_team(
    kernel: Callable[..., Any], ranges: Sequence[tuple[int, int]], arguments: tuple[Any, ...]
) -> list[Any]:
    results: list[Any] = [None] * len(ranges)
    faults: list[BaseException] = []
    numbers = itertools.count()

    def take_ranges(_: int | None) -> None:
        # A team may be smaller than asked for, as within another team's work: whoever is free takes the next range.
        try:
            while (n := next(numbers)) < len(ranges):
                results[n] = kernel(*arguments, *ranges[n])
        except BaseException as fault:  # an exception cannot pass through C; Ctrl-C is one
            faults.append(fault)

    # Always as many threads as torch asks for: a team of another size would end and start threads.
    _team(_Body(take_ranges), None, torch.get_num_threads(), 0)
    if faults:
        raise faults[0]
    return results


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


def _forget_threads() -> None:
    global _pool, _team
    _pool = _team = None


# Threads do not survive a fork: a child that used its parent's would wait for ever. It gets a pool of its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
