"""NGCF (Wang et al., SIGIR 2019, eq. 7): x' = (L + I) x W1 + (L x * x) W2, L = D^-1/2 A D^-1/2.

The LeakyReLU around it is the architecture's activation.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.bipartite import Graph


def parameters(size: int, _heads: int) -> dict[str, Parameter]:
    """W1 and W2 (d, d)."""
    return {
        "weight_sum": Parameter((size, size), "identity", 0.5),
        "weight_product": Parameter((size, size), "noise"),
    }


def apply(x: Tensor, tensors: Mapping[str, Tensor], graph: Graph, _heads: int) -> Tensor:
    """(N, d) -> (N, d)."""
    neighbours = graph.symmetric @ x
    summed = (neighbours + x) @ tensors["weight_sum"]
    return torch.addmm(summed, neighbours * x, tensors["weight_product"])


NGCF = Aggregator(
    apply,
    parameters,
    macs=lambda size, _heads, nodes, edges: 2 * nodes * size * size + (edges + nodes) * size,
)
