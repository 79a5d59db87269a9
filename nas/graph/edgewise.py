"""Differentiable operations on learned edge values, in torch's own operations and so on any device.

They are what attention is made of where there is no fused kernel (CUDA), and what the fused kernels are tested against.
Nothing here holds edges x columns in memory: products are CSR times dense, the gradient of learned values is a
sampled dense-dense product, and GATv2's scores, which need a vector an edge, are made and unmade in chunks.

Shape suffixes: N nodes, E directed edges, H heads, D columns a head.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from nas.graph.pattern import Pattern

# Edges whose (edge, column) block stays in cache: on 2 cores this is 3 times as fast as one block of all edges.
_EDGES_PER_CHUNK = 8192


def csr(pattern: Pattern, values: Tensor) -> Tensor:
    """Return the (N, N) torch CSR matrix with `values` (E,) on `pattern`."""
    with warnings.catch_warnings():
        # torch calls its CSR layout a beta once a process; the operations used here are tested against dense ones.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            pattern.pointer,
            pattern.column,
            values,
            (pattern.n_nodes, pattern.n_nodes),
            check_invariants=False,
        )


class _PropagateEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, x: Tensor, pattern: Pattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(values, x)
        heads = [csr(pattern, values[:, h].contiguous()) @ x[:, h].contiguous() for h in range(x.shape[1])]
        return torch.stack(heads, dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        pattern, grad = ctx.pattern, grads[0]
        values, x = ctx.saved_tensors
        grad_values, grad_x = torch.empty_like(values), torch.empty_like(x)
        for h in range(x.shape[1]):
            head, g = values[:, h].contiguous(), grad[:, h].contiguous()
            grad_x[:, h] = csr(pattern, head[pattern.reverse]) @ g
            sampled = torch.sparse.sampled_addmm(csr(pattern, head), g, x[:, h].contiguous().t(), beta=0.0)
            grad_values[:, h] = sampled.values()
        return grad_values, grad_x, None


def propagate_edges(pattern: Pattern, values: Tensor, x: Tensor) -> Tensor:
    """Sum the neighbours of each node, weighted by learned edge values, head by head.

    out[r, h] = sum over edges e of row r of values[e, h] * x[column[e], h]; values (E, H), x (N, H, D) ->
    (N, H, D), differentiable in both.
    """
    result: Tensor = _PropagateEdges.apply(values, x, pattern)  # type: ignore[no-untyped-call]
    return result


class _EdgeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, pattern: Pattern) -> Tensor:
        offsets = pattern.pointer.long()
        highest = torch.segment_reduce(logits, "max", offsets=offsets, axis=0)
        weights = (logits - highest.index_select(0, pattern.row)).exp_()
        total = torch.segment_reduce(weights, "sum", offsets=offsets, axis=0)
        weights /= total.index_select(0, pattern.row)
        ctx.pattern = pattern
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        weighted = weights * grads[0]
        mean = torch.segment_reduce(weighted, "sum", offsets=ctx.pattern.pointer.long(), axis=0)
        return weighted - weights * mean.index_select(0, ctx.pattern.row), None


def edge_softmax(pattern: Pattern, logits: Tensor) -> Tensor:
    """Softmax of `logits` (E, H) over the edges of each row, stable for any finite logits; (E, H)."""
    result: Tensor = _EdgeSoftmax.apply(logits.contiguous(), pattern)  # type: ignore[no-untyped-call]
    return result


class _GATv2Logits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, source: Tensor, target: Tensor, attention: Tensor, pattern: Pattern, slope: float
    ) -> Tensor:
        ctx.pattern, ctx.slope = pattern, slope
        ctx.save_for_backward(source, target, attention)
        n_heads, size = attention.shape
        logits = source.new_empty(pattern.n_edges, n_heads)
        for start in range(0, pattern.n_edges, _EDGES_PER_CHUNK):
            edges = slice(start, start + _EDGES_PER_CHUNK)
            joined = source.index_select(0, pattern.column[edges]).add_(
                target.index_select(0, pattern.row[edges])
            )
            active = torch.nn.functional.leaky_relu_(joined, slope).view(-1, n_heads, size)
            logits[edges] = active.mul_(attention).sum(-1)
        return logits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        pattern, slope = ctx.pattern, ctx.slope
        source, target, attention = ctx.saved_tensors
        n_heads, size = attention.shape
        grad_source, grad_target = torch.zeros_like(source), torch.zeros_like(target)
        grad_attention = torch.zeros_like(attention)
        for start in range(0, pattern.n_edges, _EDGES_PER_CHUNK):
            edges = slice(start, start + _EDGES_PER_CHUNK)
            column, row = pattern.column[edges], pattern.row[edges]
            grad = grads[0][edges].unsqueeze(-1)
            joined = source.index_select(0, column).add_(target.index_select(0, row))
            slopes = torch.where(joined > 0, 1.0, slope).to(joined.dtype)
            active = (joined * slopes).view(-1, n_heads, size)
            grad_attention += (active * grad).sum(0)
            grad_joined = ((grad * attention).view(-1, n_heads * size)).mul_(slopes)
            grad_source.index_add_(0, column, grad_joined)
            grad_target.index_add_(0, row, grad_joined)
        return grad_source, grad_target, grad_attention, None, None


def gatv2_logits(
    pattern: Pattern, source: Tensor, target: Tensor, attention: Tensor, slope: float = 0.2
) -> Tensor:
    """Score each edge as GATv2 does (Brody et al., 2022, eq. 7).

    logits[e, h] = attention[h] . LeakyReLU(source[column[e]] + target[row[e]])[h]; source and target (N, H * D),
    attention (H, D) -> (E, H), differentiable in all three.
    """
    result: Tensor = _GATv2Logits.apply(  # type: ignore[no-untyped-call]
        source.contiguous(), target.contiguous(), attention, pattern, slope
    )
    return result
