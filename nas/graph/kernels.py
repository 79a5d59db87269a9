"""The CPU kernels of propagation, each on a range of rows, or bands of rows, of a symmetric pattern.

Shape suffixes: N nodes, D columns (all heads together), L lanes.
"""

from nas.graph.attention_loops import (
    gat_row,
    gat_row_backward,
    gatv2_row,
    gatv2_row_backward_source,
    gatv2_row_backward_target,
)
from nas.graph.compiled import compiled
from nas.graph.edge_loops import WIDTHS, add_far_runs, add_near_runs


@compiled
def pack_rows(x, columns, panels, begin, end):
    """Write columns[r] * x[r] of some rows r into panels, as `add_near_runs` reads them.

    A panel holds as many of x's columns as fit vectors (64, 32, ... of those that are left), row by row, so that rows
    are as near to each other as can be, whatever x is a part of. x (N, D), columns (N,), panels (N * D,).
    """
    nodes, first = len(x), 0
    for width in WIDTHS:
        while x.shape[1] - first >= width:
            panel = panels[nodes * first : nodes * (first + width)].reshape(nodes, width)
            for r in range(begin, end):
                for d in range(width):
                    panel[r, d] = columns[r] * x[r, first + d]
            first += width


@compiled
def sum_near_bands(bands, runs, row, pointer, source, place, panels, loops, scaled, rows, out, begin, end):
    """out[r] = loops * x[r] + sum of x[c] over r's neighbours c, times rows[r] if `scaled`; of some bands of tiles.

    panels (N * D,) hold x as `pack_rows` writes it; out (N, D), rows (N,); the first six are those of `Tiles`.
    """
    for band in range(begin, end):
        out[bands[band] : bands[band + 1]] = 0
        if loops:
            _unpack_rows(panels, out.dtype.type(loops), out, bands[band], bands[band + 1])
        add_near_runs(panels, runs[band], runs[band + 1], row, pointer, source, place, out)
        if scaled:
            _scale_rows(rows, out, bands[band], bands[band + 1])


@compiled
def sum_far_bands(bands, runs, row, pointer, source, place, x, columns, loops, scaled, rows, out, begin, end):
    """The same of columns[c] * x[c], x (N, D) and columns (N,), read where they are."""
    for band in range(begin, end):
        out[bands[band] : bands[band + 1]] = 0
        if loops:
            for r in range(bands[band], bands[band + 1]):
                for d in range(out.shape[1]):
                    out[r, d] = out.dtype.type(loops) * (columns[r] * x[r, d])
        add_far_runs(x, columns, runs[band], runs[band + 1], row, pointer, source, place, out)
        if scaled:
            _scale_rows(rows, out, bands[band], bands[band + 1])


@compiled
def _unpack_rows(panels, scale, out, begin, end):
    nodes, first = len(out), 0
    for width in WIDTHS:
        while out.shape[1] - first >= width:
            panel = panels[nodes * first : nodes * (first + width)].reshape(nodes, width)
            for r in range(begin, end):
                for d in range(width):
                    out[r, first + d] = scale * panel[r, d]
            first += width


@compiled
def _scale_rows(rows, out, begin, end):
    for r in range(begin, end):
        for d in range(out.shape[1]):
            out[r, d] *= rows[r]


@compiled
def gat_forward(pointer, index, x, source, target, slope, out, positive, share, highest, summed, begin, end):
    """GAT's attention and its weighted sum.

    out[r] = sum of a[e] * x[c], a = softmax over r's edges of LeakyReLU(source[c] + target[r]); x, out (N, D), source,
    target (N, L). `positive` (N, D) is that part of out, and `share` (N, L) that part of the weights, whose logit is
    positive. The softmax's denominator is exp(highest) * summed, (N, L) each.
    """
    for r in range(begin, end):
        gat_row(
            x,
            index,
            pointer[r],
            pointer[r + 1],
            r,
            source,
            target,
            slope,
            out,
            positive,
            share,
            highest,
            summed,
        )


@compiled
def gat_backward(
    pointer, index, grad, x, source, target, slope, total, mean, grad_x, grad_source, begin, end
):
    """Gradients of `gat_forward`'s x and source, from that of out, `grad` (N, D).

    Row c collects from the rows r that it was summed into. total (N, L) is the logarithm of the softmax's denominator,
    mean (N, L) is grad . out of each head, in one of its lanes only; grad_source (N, L) is to be summed over lanes.
    """
    for c in range(begin, end):
        gat_row_backward(
            grad,
            index,
            pointer[c],
            pointer[c + 1],
            c,
            x,
            source,
            target,
            slope,
            total,
            mean,
            grad_x,
            grad_source,
        )


@compiled
def gatv2_forward(pointer, index, x, target, attention, slope, heads, out, highest, summed, begin, end):
    """GATv2's attention and its weighted sum: logits attention . LeakyReLU(x[c] + target[r]), attention (1, D)."""
    for r in range(begin, end):
        gatv2_row(
            x, index, pointer[r], pointer[r + 1], r, target, attention, slope, heads, out, highest, summed
        )


@compiled
def gatv2_backward_target(
    pointer, index, x, target, grad, attention, slope, heads, total, mean, slopes, active, begin, end
):
    """Sums over r's edges for the gradients of target and attention.

    With g the gradient of an edge's logit: slopes[r] (N, D) = sum of g * LeakyReLU'(x[c] + target[r]), and active[r]
    (N, D) = sum of g * LeakyReLU(x[c] + target[r]).
    """
    for r in range(begin, end):
        gatv2_row_backward_target(
            x,
            index,
            pointer[r],
            pointer[r + 1],
            r,
            target,
            grad,
            attention,
            slope,
            heads,
            total,
            mean,
            slopes,
            active,
        )


@compiled
def gatv2_backward_source(
    pointer, index, x, target, grad, attention, slope, heads, total, mean, grad_x, begin, end
):
    """The gradient of x: row c collects from the rows r that it was summed into, and was scored by."""
    for c in range(begin, end):
        gatv2_row_backward_source(
            x,
            index,
            pointer[c],
            pointer[c + 1],
            c,
            target,
            grad,
            attention,
            slope,
            heads,
            total,
            mean,
            grad_x,
        )
