"""The user-item graph and the differentiable sparse operations on it."""

from nas.graph.attention import gat, gatv2
from nas.graph.bipartite import Graph
from nas.graph.pattern import Pattern
from nas.graph.sparse import Operator

__all__ = ["Graph", "Operator", "Pattern", "gat", "gatv2"]
