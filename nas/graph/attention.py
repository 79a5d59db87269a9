"""Attention over the edges of a pattern: fused on the CPU, made of `edgewise` operations elsewhere.

The fused kernels never write down a number an edge: the backward pass computes the weights anew from one logarithm a
node and head. Memory is that of the nodes' states. For GAT that needs one more idea: the gradient of `target` is a sum
over the edges whose logit is positive, of which the forward pass keeps the sum of the gathered states.

Shape suffixes: N nodes, H heads, D columns (all heads together), L lanes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.graph import kernels
from nas.graph.edgewise import edge_softmax, gatv2_logits, propagate_edges
from nas.graph.lanes import LANES
from nas.graph.pattern import Pattern
from nas.graph.threads import in_threads


def _run(kernel: Any, pattern: Pattern, *arguments: Tensor | float) -> None:
    arrays = [a.numpy() if isinstance(a, Tensor) else a for a in arguments]
    in_threads(kernel, pattern.ranges, pattern.pointer.numpy(), pattern.column.numpy(), *arrays)


def _fused(x: Tensor, heads: int) -> bool:
    return x.device.type == "cpu" and LANES % heads == 0


def _interleaved(x: Tensor, heads: int) -> Tensor:
    """Turn columns that lie head by head, (n, D), into interleaved ones, with columns of 0 up to a multiple of L."""
    mixed = x.view(len(x), heads, -1).transpose(1, 2).reshape(len(x), -1)
    return F.pad(mixed, (0, -mixed.shape[1] % LANES)).contiguous()


def _by_head(x: Tensor, heads: int, size: int) -> Tensor:
    """Turn them back into (n, size)."""
    return x[:, :size].reshape(len(x), -1, heads).transpose(1, 2).reshape(len(x), size)


def _repeated(x: Tensor) -> Tensor:
    """Repeat (N, H) over the lanes: (N, L)."""
    return x.repeat(1, LANES // x.shape[1])


def _dots(a: Tensor, b: Tensor, heads: int) -> Tensor:
    """Return the dot products of interleaved (N, D) and (N, D), head by head: (N, H)."""
    return (a * b).view(len(a), -1, heads).sum(1)


class _GAT(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, source: Tensor, target: Tensor, pattern: Pattern, slope: float
    ) -> Tensor:
        heads, size = source.shape[1], x.shape[1]
        mixed, sources, targets = _interleaved(x, heads), _repeated(source), _repeated(target)
        out, positive = torch.empty_like(mixed), torch.empty_like(mixed)
        share, highest, summed = (torch.empty_like(sources) for _ in range(3))
        _run(
            kernels.gat_forward,
            pattern,
            *(mixed, sources, targets, slope, out, positive, share, highest, summed),
        )
        ctx.pattern, ctx.slope, ctx.heads, ctx.size = pattern, slope, heads, size
        ctx.save_for_backward(mixed, sources, targets, out, positive, share, highest + summed.log())
        return _by_head(out, heads, size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, source, target, out, positive, share, total = ctx.saved_tensors
        heads = ctx.heads
        grad = _interleaved(grads[0].contiguous(), heads)
        mean = _dots(grad, out, heads)
        grad_x, grad_source = torch.empty_like(x), torch.empty_like(source)
        once = F.pad(mean, (0, LANES - heads))
        _run(
            kernels.gat_backward,
            ctx.pattern,
            *(grad, x, source, target, ctx.slope, total, once, grad_x, grad_source),
        )
        # The logits' gradients of a row sum to 0, so those of negative logits are minus those of positive ones.
        grad_target = (1 - ctx.slope) * (_dots(grad, positive, heads) - mean * share[:, :heads])
        summed = grad_source.view(len(x), -1, heads).sum(1)
        return _by_head(grad_x, heads, ctx.size), summed, grad_target, None, None


def gat(pattern: Pattern, x: Tensor, source: Tensor, target: Tensor, slope: float = 0.2) -> Tensor:
    """Sum the neighbours of each node with GAT's attention (Velickovic et al., 2018, eq. 3 and 4).

    out[r, h] = sum over r's edges of softmax(LeakyReLU(source[c, h] + target[r, h])) * x[c, h], the softmax over the
    edges, stable for any finite logits. x (N, D), its columns head by head; source and target (N, H) -> (N, D),
    differentiable in all three; 0 <= slope < 1. Rows without edges are 0.
    """
    if _fused(x, source.shape[1]):
        result: Tensor = _GAT.apply(x, source, target, pattern, slope)  # type: ignore[no-untyped-call]
        return result
    logits = F.leaky_relu(source.index_select(0, pattern.column) + target.index_select(0, pattern.row), slope)
    states = x.view(len(x), source.shape[1], -1)
    return propagate_edges(pattern, edge_softmax(pattern, logits), states).reshape(x.shape)


class _GATv2(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, target: Tensor, attention: Tensor, pattern: Pattern, slope: float
    ) -> Tensor:
        heads, size = len(attention), x.shape[1]
        mixed, targets = _interleaved(x, heads), _interleaved(target, heads)
        vector = _interleaved(attention.reshape(1, -1), heads)
        out = torch.empty_like(mixed)
        highest, summed = x.new_empty(len(x), LANES), x.new_empty(len(x), LANES)
        _run(
            kernels.gatv2_forward,
            pattern,
            *(mixed, targets, vector, slope, heads, out, highest, summed),
        )
        ctx.pattern, ctx.slope, ctx.heads, ctx.size = pattern, slope, heads, size
        ctx.save_for_backward(mixed, targets, vector, out, highest + summed.log())
        return _by_head(out, heads, size)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, target, attention, out, total = ctx.saved_tensors
        heads, size = ctx.heads, ctx.size
        grad = _interleaved(grads[0].contiguous(), heads)
        mean = _repeated(_dots(grad, out, heads))
        slopes, active, grad_x = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
        common = (x, target, grad, attention, ctx.slope, heads, total, mean)
        _run(kernels.gatv2_backward_target, ctx.pattern, *common, slopes, active)
        _run(kernels.gatv2_backward_source, ctx.pattern, *common, grad_x)
        return (
            _by_head(grad_x, heads, size),
            _by_head(slopes * attention, heads, size),
            _by_head(active.sum(0, keepdim=True), heads, size).view(heads, -1),
            None,
            None,
        )


def gatv2(pattern: Pattern, x: Tensor, target: Tensor, attention: Tensor, slope: float = 0.2) -> Tensor:
    """Sum the neighbours of each node with GATv2's attention (Brody et al., 2022, eq. 7).

    The same with the logits attention[h] . LeakyReLU(x[c] + target[r])[h]; x and target (N, D), attention (H, D / H)
    -> (N, D), differentiable in all three.
    """
    if _fused(x, len(attention)):
        result: Tensor = _GATv2.apply(x, target, attention, pattern, slope)  # type: ignore[no-untyped-call]
        return result
    logits = gatv2_logits(pattern, x, target, attention, slope)
    states = x.view(len(x), len(attention), -1)
    return propagate_edges(pattern, edge_softmax(pattern, logits), states).reshape(x.shape)
