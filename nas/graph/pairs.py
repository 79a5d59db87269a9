"""Operations on pairs of rows, without a row a pair in memory: fused on the CPU, in pieces elsewhere.

Shape suffixes: P pairs, D columns.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from nas.graph.compiled import compiled
from nas.graph.lanes import I64, Table, intrinsic_of
from nas.graph.threads import in_threads, ranges_of

# Columns a thread works on at least: a cache line.
_LEAST_COLUMNS = 16
# Pairs between a row's fetch into the cache and its use.
_AHEAD = 8


def dots(a: Tensor, a_row: Tensor, b: Tensor, b_row: Tensor) -> Tensor:
    """Return a[a_row[p]] . b[b_row[p]] for every pair: (n, D), (P,) int64, (m, D), (P,) int64 -> (P,)."""
    if a.device.type != "cpu":
        return (a.index_select(0, a_row) * b.index_select(0, b_row)).sum(1)
    out = a.new_zeros(len(a_row))
    in_threads(_dots, ranges_of(np.arange(len(a_row) + 1)), *(t.numpy() for t in (a, a_row, b, b_row, out)))
    return out


def add_weighted_rows(out: Tensor, out_row: Tensor, weight: Tensor, x: Tensor, x_row: Tensor) -> None:
    """Add weight[p] * x[x_row[p]] to out[out_row[p]] for every pair; rows may repeat.

    out (n, D), out_row (P,) int64, weight (P,), x (m, D), x_row (P,) int64. torch's `index_add_` takes about a
    microsecond a row on the CPU.
    """
    if out.device.type != "cpu":
        out.index_add_(0, out_row, x.index_select(0, x_row) * weight.unsqueeze(1))
        return
    # Each thread has columns of its own, so that no two write to one place.
    columns, threads = out.shape[1], torch.get_num_threads()
    parts = ranges_of(np.arange(columns + 1), max(1, min(threads, columns // _LEAST_COLUMNS)))
    in_threads(_add_weighted_rows, parts, *(t.numpy() for t in (out, out_row, weight, x, x_row)))


@intrinsic
def _fetch(_context, x, row, begin, end):
    """Ask for columns begin..end of a row, a cache line at a time."""

    def emit(builder: Any, x: Table, row: Any, begin: Any, end: Any) -> None:
        step = ir.Constant(I64, _LEAST_COLUMNS)
        with cgutils.for_range_slice(builder, begin, end, step, I64) as (column, _):
            x.prefetch(row, column, _LEAST_COLUMNS)

    return intrinsic_of(emit, (x, row, begin, end))


# Indices are unsigned: numba lets the others count from the end, and a loop that has to look for that is no vector.
@partial(compiled, reorder=True)
def _dots(a, a_row, b, b_row, out, begin, end):
    columns, final = np.uint64(a.shape[1]), np.uint64(len(b_row) - 1)
    for p in range(np.uint64(begin), np.uint64(end)):
        _fetch(b, b_row[min(p + np.uint64(_AHEAD), final)], 0, b.shape[1])
        i, j = np.uint64(a_row[p]), np.uint64(b_row[p])
        total = out[p] * 0
        for d in range(columns):
            total += a[i, d] * b[j, d]
        out[p] = total


@compiled
def _add_weighted_rows(out, out_row, weight, x, x_row, begin, end):
    first, last, final = np.uint64(begin), np.uint64(end), np.uint64(len(out_row) - 1)
    for p in range(np.uint64(len(out_row))):
        later = min(p + np.uint64(_AHEAD), final)
        _fetch(x, x_row[later], begin, end)
        _fetch(out, out_row[later], begin, end)
        i, j, w = np.uint64(out_row[p]), np.uint64(x_row[p]), weight[p]
        for d in range(first, last):
            out[i, d] += w * x[j, d]
