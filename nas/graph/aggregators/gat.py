"""GAT (Velickovic et al., ICLR 2018, eq. 1-5) with self-loops; the heads are concatenated."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.bipartite import Graph
from nas.graph.sparse import edge_softmax, propagate_edges

_SLOPE = 0.2


def parameters(size: int, _heads: int) -> dict[str, Parameter]:
    """W (d, d), b (d,) and two attention vectors (d,): head h owns its share of the columns."""
    return {
        "weight": Parameter((size, size), "identity"),
        "attention_source": Parameter((size,), "noise"),
        "attention_target": Parameter((size,), "noise"),
        "bias": Parameter((size,), "zeros"),
    }


def apply(x: Tensor, tensors: Mapping[str, Tensor], graph: Graph, heads: int) -> Tensor:
    """(N, d) -> (N, d)."""
    pattern = graph.loops
    states = (x @ tensors["weight"]).view(len(x), heads, -1)
    source = (states * tensors["attention_source"].view(heads, -1)).sum(-1)
    target = (states * tensors["attention_target"].view(heads, -1)).sum(-1)
    logits = F.leaky_relu(
        source.index_select(0, pattern.column) + target.index_select(0, pattern.row), _SLOPE
    )
    out = propagate_edges(pattern, edge_softmax(pattern, logits), states)
    return out.reshape(len(x), -1) + tensors["bias"]


GAT = Aggregator(
    apply,
    parameters,
    macs=lambda size, heads, nodes, edges: (
        nodes * size * (size + 2) + (edges + nodes) * size + 2 * (edges + nodes) * heads
    ),
    attention=True,
)
