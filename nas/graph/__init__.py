"""The user-item graph, its normalisations, and the differentiable sparse operations over it."""

from nas.graph.bipartite import Graph
from nas.graph.pattern import Pattern
from nas.graph.sparse import Operator, edge_softmax, gatv2_logits, propagate_edges, spmm

__all__ = ["Graph", "Operator", "Pattern", "edge_softmax", "gatv2_logits", "propagate_edges", "spmm"]
