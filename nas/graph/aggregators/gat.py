"""GAT (Velickovic et al., ICLR 2018, eq. 1-5) with self-loops; the heads are concatenated."""

from collections.abc import Mapping

from torch import Tensor

from nas.graph.aggregators.aggregator import Aggregator, Parameter
from nas.graph.attention import gat
from nas.graph.bipartite import Graph


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
    states = x @ tensors["weight"]
    by_head = states.view(len(x), heads, -1)
    source = (by_head * tensors["attention_source"].view(heads, -1)).sum(-1)
    target = (by_head * tensors["attention_target"].view(heads, -1)).sum(-1)
    return gat(graph.loops, states, source, target) + tensors["bias"]


GAT = Aggregator(
    apply,
    parameters,
    macs=lambda size, heads, nodes, edges: (
        nodes * size * (size + 2) + (edges + nodes) * size + 2 * (edges + nodes) * heads
    ),
    attention=True,
)
