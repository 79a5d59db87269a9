"""GIN (Xu et al., ICLR 2019, eq. 4.1): x' = MLP(c ((1 + eps) x + sum of the neighbours)).

The constant c = 1 / (1 + mean degree of a neighbour), about 1 / the largest eigenvalue of A + I, is no change of the
model: it equals a first MLP weight of c W. It keeps the states of a graph with hundreds of neighbours a node in a range
where the shared learning rate works.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.bipartite import Graph


def parameters(size: int, _heads: int) -> dict[str, Parameter]:
    """Two linear layers, weights (d, d) and biases (d,), and eps (1,)."""
    return {
        "eps": Parameter((1,), "zeros"),
        "weight_in": Parameter((size, size), "identity"),
        "bias_in": Parameter((size,), "zeros"),
        "weight_out": Parameter((size, size), "identity"),
        "bias_out": Parameter((size,), "zeros"),
    }


def apply(x: Tensor, tensors: Mapping[str, Tensor], graph: Graph, _heads: int) -> Tensor:
    """(N, d) -> (N, d)."""
    gathered = graph.sum.with_loops(x, 1 + tensors["eps"])
    weight = tensors["weight_in"] / (1 + graph.mean_neighbour_degree)
    hidden = torch.addmm(tensors["bias_in"], gathered, weight).relu_()
    return torch.addmm(tensors["bias_out"], hidden, tensors["weight_out"])


GIN = Aggregator(
    apply,
    parameters,
    macs=lambda size, _heads, nodes, edges: 2 * nodes * size * size + (edges + nodes) * size,
)
