"""GCN (Kipf and Welling, ICLR 2017, eq. 2): x' = (D+I)^-1/2 (A+I) (D+I)^-1/2 x W + b."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.bipartite import Graph


def parameters(size: int, _heads: int) -> dict[str, Parameter]:
    """W (d, d) and b (d,)."""
    return {"weight": Parameter((size, size), "identity"), "bias": Parameter((size,), "zeros")}


def apply(x: Tensor, tensors: Mapping[str, Tensor], graph: Graph, _heads: int) -> Tensor:
    """(N, d) -> (N, d)."""
    return torch.addmm(tensors["bias"], graph.symmetric_with_loops @ x, tensors["weight"])


GCN = Aggregator(
    apply,
    parameters,
    macs=lambda size, _heads, nodes, edges: nodes * size * size + (edges + nodes) * size,
)
