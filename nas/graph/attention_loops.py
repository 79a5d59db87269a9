"""What attention does for one node: loops over the edges of a row, `index[begin:end]`.

The columns of all heads lie interleaved, column j belongs to head j mod H, and a head's number is repeated in every lane
j with j mod H = h: one vector holds what belongs to LANES columns, however many heads there are.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from nas.graph.edge_loops import edges
from nas.graph.lanes import I64, LANES, Lanes, Sum, Table, intrinsic_of


class _Softmax:
    """A softmax over edges that come one by one, relative to the highest logit so far."""

    def __init__(self, row: Any, sums: list[Table]) -> None:
        """Weigh what is summed up in `row` of `sums`, which begin at 0 here."""
        self.builder, self.row, self.sums = sums[0].builder, row, sums
        self.zero = ir.Constant(I64, 0)
        self.highest = Sum(sums[0].constant(float("-inf")))
        self.summed = Sum(sums[0].constant(0.0))
        self._scale(sums[0].constant(0.0), fresh=True)

    def _scale(self, factor: Lanes, fresh: bool = False) -> None:
        for table in self.sums:
            with table.columns() as column:
                value = factor if fresh else table.load(self.row, column) * factor
                table.store(value, self.row, column)

    def weight(self, logit: Lanes, *others: Sum) -> Lanes:
        """Return exp(logit - highest), after what was summed up (`others` too) is made relative to the new highest."""
        b, before = self.builder, self.highest.get()
        rising = b.bitcast(logit > before, ir.IntType(LANES))
        with cgutils.if_unlikely(b, b.icmp_unsigned("!=", rising, ir.Constant(rising.type, 0))):
            top = logit.max(before)
            factor = (before - top).exp()
            for sum_ in (self.summed, *others):
                sum_.set(sum_.get() * factor)
            self._scale(factor)
            self.highest.set(top)
        weight = (logit - self.highest.get()).exp()
        self.summed.add(weight)
        return weight

    def finish(self, highest: Table, summed: Table) -> Lanes:
        """Divide the sums by the weights' sum, write down highest and summed; return the divisor's inverse."""
        inverse = self.summed.get().inverse()
        self._scale(inverse)
        highest.store(self.highest.get(), self.row, self.zero)
        summed.store(self.summed.get(), self.row, self.zero)
        return inverse


@intrinsic
def gat_row(
    _context, x, index, begin, end, row, source, target, slope, out, positive, share, highest, summed
):
    """GAT's attention for one node; see `kernels.gat_forward`."""

    def emit(
        builder, x, index, begin, end, row, source, target, slope, out, positive, share, highest, summed
    ):
        slopes, first = x.repeated(slope), ir.Constant(I64, 0)
        softmax, above = _Softmax(row, [out, positive]), Sum(x.constant(0.0))
        own = target.load(row, first)
        with edges(builder, index, begin, end) as (node, later):
            source.prefetch(later, first, LANES)
            joined = source.load(node, first) + own
            weight = softmax.weight(joined.max(joined * slopes), above)
            rising = weight.where(joined > 0.0, 0.0)
            above.add(rising)
            with x.columns() as column:
                x.prefetch(later, column, 1)
                gathered = x.load(node, column)
                out.add(gathered * weight, row, column)
                positive.add(gathered * rising, row, column)
        share.store(above.get() * softmax.finish(highest, summed), row, first)

    kinds = (x, index, begin, end, row, source, target, slope, out, positive, share, highest, summed)
    return intrinsic_of(emit, kinds)


@intrinsic
def gat_row_backward(
    _context, grad, index, begin, end, row, x, source, target, slope, total, mean, grad_x, grad_source
):
    """Gradients of GAT's attention for one source node; see `kernels.gat_backward`."""

    def emit(
        builder, grad, index, begin, end, row, x, source, target, slope, total, mean, grad_x, grad_source
    ):
        slopes, first = x.repeated(slope), ir.Constant(I64, 0)
        own, summed = source.load(row, first), Sum(x.constant(0.0))
        with x.columns() as column:
            grad_x.store(x.constant(0.0), row, column)
        with edges(builder, index, begin, end) as (node, later):
            joined = own + target.load(node, first)
            weight = (joined.max(joined * slopes) - total.load(node, first)).exp()
            # The gradient is linear in the dot products, so lanes and columns are added up at the end.
            dot = Sum(x.constant(0.0) - mean.load(node, first))
            with x.columns() as column:
                grad.prefetch(later, column, 1)
                gathered = grad.load(node, column)
                dot.add(gathered * x.load(row, column))
                grad_x.add(gathered * weight, row, column)
            summed.add(weight.where(joined > 0.0, weight * slopes) * dot.get())
        grad_source.store(summed.get(), row, first)

    kinds = (grad, index, begin, end, row, x, source, target, slope, total, mean, grad_x, grad_source)
    return intrinsic_of(emit, kinds)


def _leaky(joined: Lanes, slopes: Lanes) -> tuple[Lanes, Lanes]:
    """Return LeakyReLU and its derivative."""
    slope = joined.like(1.0).where(joined > 0.0, slopes)
    return joined * slope, slope


@intrinsic
def gatv2_row(_context, x, index, begin, end, row, target, attention, slope, heads, out, highest, summed):
    """GATv2's attention for one node; see `kernels.gatv2_forward`."""

    def emit(builder, x, index, begin, end, row, target, attention, slope, heads, out, highest, summed):
        slopes, zero = x.repeated(slope), ir.Constant(I64, 0)
        softmax = _Softmax(row, [out])
        with edges(builder, index, begin, end) as (node, later):
            logit = Sum(x.constant(0.0))
            with x.columns() as column:
                x.prefetch(later, column, 1)
                joined = x.load(node, column) + target.load(row, column)
                logit.add(attention.load(zero, column) * joined.max(joined * slopes))
            weight = softmax.weight(logit.get().fold(heads))
            with x.columns() as column:
                out.add(x.load(node, column) * weight, row, column)
        softmax.finish(highest, summed)

    kinds = (x, index, begin, end, row, target, attention, slope, heads, out, highest, summed)
    return intrinsic_of(emit, kinds)


@intrinsic
def gatv2_row_backward_target(
    _context,
    x,
    index,
    begin,
    end,
    row,
    target,
    grad,
    attention,
    slope,
    heads,
    total,
    mean,
    slope_sum,
    active_sum,
):
    """Sums over one target node's edges; see `kernels.gatv2_backward_target`."""

    def emit(
        builder,
        x,
        index,
        begin,
        end,
        row,
        target,
        grad,
        attention,
        slope,
        heads,
        total,
        mean,
        slope_sum,
        active_sum,
    ):
        slopes, zero = x.repeated(slope), ir.Constant(I64, 0)
        with x.columns() as column:
            slope_sum.store(x.constant(0.0), row, column)
            active_sum.store(x.constant(0.0), row, column)
        with edges(builder, index, begin, end) as (node, later):
            logit, dot = Sum(x.constant(0.0)), Sum(x.constant(0.0))
            with x.columns() as column:
                x.prefetch(later, column, 1)
                gathered = x.load(node, column)
                joined = gathered + target.load(row, column)
                logit.add(attention.load(zero, column) * joined.max(joined * slopes))
                dot.add(gathered * grad.load(row, column))
            weight = (logit.get().fold(heads) - total.load(row, zero)).exp()
            change = weight * (dot.get().fold(heads) - mean.load(row, zero))
            with x.columns() as column:
                active, slope_here = _leaky(x.load(node, column) + target.load(row, column), slopes)
                slope_sum.add(change * slope_here, row, column)
                active_sum.add(change * active, row, column)

    kinds = (
        x,
        index,
        begin,
        end,
        row,
        target,
        grad,
        attention,
        slope,
        heads,
        total,
        mean,
        slope_sum,
        active_sum,
    )
    return intrinsic_of(emit, kinds)


@intrinsic
def gatv2_row_backward_source(
    _context, x, index, begin, end, row, target, grad, attention, slope, heads, total, mean, grad_x
):
    """The gradient of one source node's state; see `kernels.gatv2_backward_source`."""

    def emit(builder, x, index, begin, end, row, target, grad, attention, slope, heads, total, mean, grad_x):
        slopes, zero = x.repeated(slope), ir.Constant(I64, 0)
        with x.columns() as column:
            grad_x.store(x.constant(0.0), row, column)
        with edges(builder, index, begin, end) as (node, later):
            logit, dot = Sum(x.constant(0.0)), Sum(x.constant(0.0))
            with x.columns() as column:
                target.prefetch(later, column, 1)
                grad.prefetch(later, column, 1)
                own = x.load(row, column)
                joined = own + target.load(node, column)
                logit.add(attention.load(zero, column) * joined.max(joined * slopes))
                dot.add(own * grad.load(node, column))
            weight = (logit.get().fold(heads) - total.load(node, zero)).exp()
            change = weight * (dot.get().fold(heads) - mean.load(node, zero))
            with x.columns() as column:
                _active, slope_here = _leaky(x.load(row, column) + target.load(node, column), slopes)
                through_logit = change * attention.load(zero, column) * slope_here
                grad_x.add(weight * grad.load(node, column) + through_logit, row, column)

    kinds = (x, index, begin, end, row, target, grad, attention, slope, heads, total, mean, grad_x)
    return intrinsic_of(emit, kinds)
