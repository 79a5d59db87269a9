"""GraphSAGE with the mean aggregator (Hamilton et al., NeurIPS 2017): x' = mean(neighbours) W + x W_self + b."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.bipartite import Graph


def parameters(size: int, _heads: int) -> dict[str, Parameter]:
    """W and W_self (d, d), b (d,)."""
    return {
        "weight": Parameter((size, size), "identity", 0.5),
        "weight_self": Parameter((size, size), "identity", 0.5),
        "bias": Parameter((size,), "zeros"),
    }


def apply(x: Tensor, tensors: Mapping[str, Tensor], graph: Graph, _heads: int) -> Tensor:
    """(N, d) -> (N, d)."""
    own = torch.addmm(tensors["bias"], x, tensors["weight_self"])
    return torch.addmm(own, graph.mean @ x, tensors["weight"])


SAGE = Aggregator(
    apply,
    parameters,
    macs=lambda size, _heads, nodes, edges: 2 * nodes * size * size + edges * size,
)
