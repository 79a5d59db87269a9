"""What propagation does for one node: loops over the edges of a row.

On ML-1M's graph (9,065 nodes, 1.6 million directed edges, 64 columns, 2 threads of an AMD EPYC) the sum of the
neighbours takes 2.1 ms this way, 8 to 10 ms in plain numba and 12 ms in torch's CSR.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from nas.graph.lanes import I64, Lanes, Sum, Table, intrinsic_of
from nas.graph.tiles import AHEAD

WIDTHS = (64, 32, 16, 8, 4, 2, 1)


@contextmanager
def edges(builder: Any, index: Any, begin: Any, end: Any) -> Iterator[tuple[Any, Any]]:
    """Loop over a row's edges, `index[begin:end]`: (the node at the other end, that of a later edge)."""
    final = builder.sub(cgutils.unpack_tuple(builder, index.shape, 1)[0], ir.Constant(I64, 1))

    def neighbour(edge: Any) -> Any:
        return builder.sext(builder.load(builder.gep(index.data, [edge])), I64)

    with cgutils.for_range(builder, end, start=begin, intp=I64) as edge:
        later = builder.add(edge.index, ir.Constant(I64, AHEAD))
        later = builder.select(builder.icmp_signed("<", later, final), later, final)
        yield neighbour(edge.index), neighbour(later)


@intrinsic
def add_near_runs(_context, panels, begin, end, row, pointer, source, place, out):
    """out[row] += sum of x[c], c = source + place[its edges], run by run from begin to end.

    x is in panels, as `pack_rows` makes them of a table of out's shape; the arrays of edges are those of `Tiles`.
    """

    def emit(b: Any, panels: Any, *others: Any) -> None:
        out, zero = others[-1], ir.Constant(I64, 0)
        nodes = b.sdiv(cgutils.unpack_tuple(b, panels.shape, 1)[0], out.n_columns)

        def reader(column: Any, width: int) -> tuple[_Read, None]:
            x = out.panel(panels.data, b.mul(nodes, column), width)
            return lambda node: x.load(node, zero, width), None

        _add_runs(b, reader, *others)

    return intrinsic_of(emit, (panels, begin, end, row, pointer, source, place, out))


@intrinsic
def add_far_runs(_context, x, columns, begin, end, row, pointer, source, place, out):
    """out[row] += sum of columns[c] * x[c], as `add_near_runs` does, to the bit, but of rows that lie where they are.

    What is out of reach takes its time: each row is asked for AHEAD edges before its turn, and scaled in the meantime.
    """

    def emit(b: Any, x: Table, columns: Any, *others: Any) -> None:
        def reader(column: Any, width: int) -> tuple[_Read, Callable[[Any], None]]:
            def scaled(node: Any) -> Lanes:
                factor = x.repeated(b.load(b.gep(columns.data, [node])), width)
                # A packed row is rounded before it is added.
                return (x.load(node, column, width) * factor).rounded()

            return scaled, lambda node: x.prefetch(node, column, width)

        _add_runs(b, reader, *others)

    return intrinsic_of(emit, (x, columns, begin, end, row, pointer, source, place, out))


_Read = Callable[[Any], Lanes]


def _add_runs(
    b: Any,
    reader: Callable[[Any, int], tuple[_Read, Callable[[Any], None] | None]],
    begin: Any,
    end: Any,
    row: Any,
    pointer: Any,
    source: Any,
    place: Any,
    out: Table,
) -> None:
    """Emit the loops; reader(column, width) says how to read these columns of a node, and how to ask for them."""
    one, done = ir.Constant(I64, 1), ir.Constant(I64, 0)

    def at(array: Any, position: Any) -> Any:
        return b.zext(b.load(b.gep(array.data, [position])), I64)

    for width in WIDTHS:
        size = ir.Constant(I64, width)
        blocks = b.sdiv(b.sub(out.n_columns, done), size)
        with cgutils.for_range(b, blocks, intp=I64) as block:
            column = b.add(done, b.mul(block.index, size))
            read, ask = reader(column, width)
            with cgutils.for_range(b, end, start=begin, intp=I64) as run:
                target, first = at(row, run.index), at(source, run.index)
                total = Sum(out.load(target, column, width))
                start, stop = at(pointer, run.index), at(pointer, b.add(run.index, one))
                with cgutils.for_range(b, stop, start=start, intp=I64) as edge:
                    if ask is not None:
                        ask(b.add(first, at(place, b.add(edge.index, ir.Constant(I64, AHEAD)))))
                    total.add(read(b.add(first, at(place, edge.index))))
                    body = b.block
                _keep_rolled(b.module, body)
                out.store(total.get(), target, column)
        done = b.add(done, b.mul(blocks, size))


def _keep_rolled(module: Any, body: Any) -> None:
    """Tell LLVM not to unroll the loop whose last block is `body`.

    Runs of edges are short and of all lengths: what is left over after an unrolled loop takes longer than it saves.
    """
    disable = module.add_metadata(["llvm.loop.unroll.disable"])
    loop = module.add_metadata([disable])
    loop.operands = (loop, disable)  # LLVM wants a loop's first operand to be itself
    body.terminator.set_metadata("llvm.loop", loop)
