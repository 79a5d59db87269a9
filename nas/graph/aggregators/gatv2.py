"""GATv2 (Brody et al., ICLR 2022, eq. 7) with self-loops; the heads are concatenated."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.attention import gatv2
from nas.graph.bipartite import Graph


def parameters(size: int, _heads: int) -> dict[str, Parameter]:
    """Source and target weights (d, d) with biases (d,), an attention vector (d,) and an output bias (d,)."""
    return {
        "weight_source": Parameter((size, size), "identity"),
        "bias_source": Parameter((size,), "zeros"),
        "weight_target": Parameter((size, size), "identity"),
        "bias_target": Parameter((size,), "zeros"),
        "attention": Parameter((size,), "noise"),
        "bias": Parameter((size,), "zeros"),
    }


def apply(x: Tensor, tensors: Mapping[str, Tensor], graph: Graph, heads: int) -> Tensor:
    """(N, d) -> (N, d)."""
    source = torch.addmm(tensors["bias_source"], x, tensors["weight_source"])
    target = torch.addmm(tensors["bias_target"], x, tensors["weight_target"])
    attention = tensors["attention"].view(heads, -1)
    return gatv2(graph.loops, source, target, attention) + tensors["bias"]


GATV2 = Aggregator(
    apply,
    parameters,
    macs=lambda size, heads, nodes, edges: (
        2 * nodes * size * size + 2 * (edges + nodes) * size + (edges + nodes) * heads
    ),
    attention=True,
)
