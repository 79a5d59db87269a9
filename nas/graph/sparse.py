"""The product of a constant sparse matrix with dense columns: what every aggregator but attention is made of.

Shape suffixes: N nodes, E directed edges, D columns.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from nas.graph.edgewise import csr
from nas.graph.kernels import sum_bands
from nas.graph.pattern import Pattern
from nas.graph.threads import in_threads


@dataclass(frozen=True, eq=False)
class Operator:
    """The matrix diag(rows) (A + loops I) diag(columns), A the 0/1 matrix of a symmetric pattern.

    Normalisations have this form, so no edge needs a value of its own: a product reads an index an edge, and the
    transpose is the same matrix with the two scales exchanged.

    Attributes:
        pattern: of A.
        rows: (N,) float32, or None for ones.
        columns: the same.
        loops: whether a self-loop is added at every node.
    """

    pattern: Pattern
    rows: Tensor | None = None
    columns: Tensor | None = None
    loops: bool = False

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

    def _product(self, x: Tensor) -> Tensor:
        rows, columns = (
            (self._ones if scale is None else scale).to(x.dtype) for scale in (self.rows, self.columns)
        )
        if x.device.type != "cpu":
            x = x * columns.unsqueeze(1)
            summed = self._edges.to(x.dtype) @ x
            return (summed + x if self.loops else summed) * rows.unsqueeze(1)
        if x.stride(-1) != 1:
            x = x.contiguous()
        out = torch.empty(x.shape, dtype=x.dtype)
        tiles = self.pattern.tiles
        edges = (tiles.bands, tiles.runs, tiles.row, tiles.pointer, tiles.column)
        arrays = (x.numpy(), self.loops, rows.numpy(), columns.numpy(), out.numpy())
        shares = tiles.shares if torch.get_num_threads() > 1 else [(0, len(tiles.bands) - 1)]
        in_threads(sum_bands, shares, *edges, *arrays)
        return out


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Operator) -> Tensor:
        ctx.operator = operator
        return operator._product(x.detach())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.operator.transpose._product(grads[0]), None
