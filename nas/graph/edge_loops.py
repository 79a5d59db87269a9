"""What propagation does for one node: loops over the edges of a row.

On ML-1M's graph (9,065 nodes, 1.6 million directed edges, 64 columns, 2 threads of an AMD EPYC) the sum of the
neighbours takes 4 ms this way, 8 to 10 ms in plain numba and 12 ms in torch's CSR.

A row's edges are `index[begin:end]`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from nas.graph.lanes import I64, Sum, Table, intrinsic_of

_WIDTHS = (64, 32, 16, 8, 4, 2, 1)
# Edges between a row's fetch into the cache and its use: on Gowalla's graph 9 ms instead of 15 a sum.
_AHEAD = 16


@contextmanager
def edges(builder: Any, index: Any, begin: Any, end: Any) -> Iterator[tuple[Any, Any]]:
    """Loop over edges: (the node at the other end, the node at the other end of a later edge)."""
    final = builder.sub(cgutils.unpack_tuple(builder, index.shape, 1)[0], ir.Constant(I64, 1))

    def neighbour(edge: Any) -> Any:
        return builder.sext(builder.load(builder.gep(index.data, [edge])), I64)

    with cgutils.for_range(builder, end, start=begin, intp=I64) as edge:
        later = builder.add(edge.index, ir.Constant(I64, _AHEAD))
        later = builder.select(builder.icmp_signed("<", later, final), later, final)
        yield neighbour(edge.index), neighbour(later)


@intrinsic
def add_rows(_context, x, index, begin, end, row, scale, out):
    """out[row] += sum of scale[c] * x[c], c = index[begin:end]; any number of columns."""

    def emit(
        builder: Any, x: Table, index: Any, begin: Any, end: Any, row: Any, scale: Any, out: Table
    ) -> None:
        done = ir.Constant(I64, 0)
        for width in _WIDTHS:
            size = ir.Constant(I64, width)
            blocks = builder.sdiv(builder.sub(x.n_columns, done), size)
            with cgutils.for_range(builder, blocks, intp=I64) as block:
                column = builder.add(done, builder.mul(block.index, size))
                total = Sum(out.load(row, column, width))
                with edges(builder, index, begin, end) as (node, later):
                    x.prefetch(later, column, width)
                    factor = builder.load(builder.gep(scale.data, [node]))
                    total.add(x.load(node, column, width) * x.repeated(factor, width))
                out.store(total.get(), row, column)
            done = builder.add(done, builder.mul(blocks, size))

    return intrinsic_of(emit, (x, index, begin, end, row, scale, out))
