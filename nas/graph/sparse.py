"""The product of a constant sparse matrix with dense columns: what every aggregator but attention is made of.

Shape suffixes: N nodes, E directed edges, D columns.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.graph.edge_loops import WIDTHS
from nas.graph.edgewise import csr
from nas.graph.kernels import pack_rows, sum_far_bands, sum_near_bands
from nas.graph.pattern import Pattern
from nas.graph.threads import in_threads, ranges_of


@dataclass(frozen=True, eq=False)
class Operator:
    """The matrix diag(rows) (A + loops I) diag(columns), A the 0/1 matrix of a symmetric pattern.

    Normalisations have this form, so no edge needs a value of its own: a product reads an index an edge, and the
    transpose is the same matrix with the two scales exchanged.

    Attributes:
        pattern: of A.
        rows: (N,) float32, or None for ones.
        columns: the same.
        loops: what a self-loop at every node counts; 0: there are none.
    """

    pattern: Pattern
    rows: Tensor | None = None
    columns: Tensor | None = None
    loops: float = 0.0

    @cached_property
    def transpose(self) -> "Operator":
        """The transposed matrix; it shares this one's memory."""
        return (
            self if self.rows is self.columns else Operator(self.pattern, self.columns, self.rows, self.loops)
        )

    @cached_property
    def _ones(self) -> Tensor:
        return torch.ones(self.pattern.n_nodes, device=self.pattern.pointer.device)

    @cached_property
    def _edges(self) -> Tensor:
        return csr(self.pattern, torch.ones(self.pattern.n_edges, device=self.pattern.pointer.device))

    def __matmul__(self, x: Tensor) -> Tensor:
        """(N, N) x (N, D) float32 or float64 -> (N, D), differentiable in x."""
        result: Tensor = _Multiply.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def with_loops(self, x: Tensor, loops: Tensor) -> Tensor:
        """Multiply with self-loops that count `loops`, (1,), and no scales: (A + loops I) x, differentiable in both.

        x (N, D) -> (N, D). Within the product, they cost no further pass over the states.
        """
        if self.rows is not None or self.columns is not None:
            raise ValueError("self-loops of another weight are for an operator without scales")
        result: Tensor = _MultiplyWithLoops.apply(x, loops, self)  # type: ignore[no-untyped-call]
        return result

    def _product(self, x: Tensor, loops: float) -> Tensor:
        rows, columns = (
            (self._ones if scale is None else scale).to(x.dtype) for scale in (self.rows, self.columns)
        )
        if x.device.type != "cpu":
            x = x * columns.unsqueeze(1)
            summed = self._edges.to(x.dtype) @ x
            return (summed + loops * x if loops else summed) * rows.unsqueeze(1)
        out = torch.empty(x.shape, dtype=x.dtype)
        tiles = self.pattern.tiles
        shares = tiles.shares if torch.get_num_threads() > 1 else [(0, len(tiles.bands) - 1)]
        edges = (tiles.bands, tiles.runs, tiles.row, tiles.pointer, tiles.source, tiles.place)
        ends = (loops, self.rows is not None, rows.numpy(), out.numpy())
        if x.stride(-1) != 1:
            x = x.contiguous()
        if tiles.far:
            in_threads(sum_far_bands, shares, *edges, x.numpy(), columns.numpy(), *ends)
        elif self.columns is None and x.shape[1] in WIDTHS and x.is_contiguous():
            # One panel as it is.
            in_threads(sum_near_bands, shares, *edges, x.view(-1).numpy(), *ends)
        else:
            with self.pattern.scratch(x) as panels:
                in_threads(pack_rows, ranges_of(np.arange(len(x) + 1)), x.numpy(), columns.numpy(), panels)
                in_threads(sum_near_bands, shares, *edges, panels, *ends)
        return out


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator) -> Tensor:
        ctx.operator = operator
        return operator._product(x.detach(), operator.loops)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        transpose = ctx.operator.transpose
        return transpose._product(grads[0], transpose.loops), None


class _MultiplyWithLoops(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, loops: Tensor, operator: Operator) -> Tensor:
        ctx.operator = operator
        ctx.save_for_backward(x, loops)
        return operator._product(x.detach(), loops.item())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, loops), grad = ctx.saved_tensors, grads[0]
        of_x, of_loops, _ = ctx.needs_input_grad
        # The pattern is symmetric, and so is the matrix.
        return (
            ctx.operator._product(grad, loops.item()) if of_x else None,
            torch.dot(grad.reshape(-1), x.reshape(-1)).reshape(loops.shape) if of_loops else None,
            None,
        )
