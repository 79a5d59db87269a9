"""The user-item graph that networks propagate over: users first, then items, each edge in both directions.

Shape suffixes: N nodes (users, then items), E directed edges.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph.pattern import Pattern
from nas.graph.sparse import Operator


@dataclass(frozen=True, eq=False)
class Graph:
    """A bipartite graph of training interactions and the constant operators on it, each made when first used.

    Attributes:
        n_users: number of users; node u is user u.
        n_items: number of items; node n_users + i is item i.
        edges: the pattern of user-item edges, both directions.
        loops: the same with a self-loop at every node.
    """

    n_users: int
    n_items: int
    edges: Pattern
    loops: Pattern

    @classmethod
    def from_interactions(cls, interactions: Interactions, device: torch.device | str = "cpu") -> "Graph":
        """Connect each user with the items of its rows. Give it training rows only: what it holds is learned."""
        user, item = interactions.user.astype(np.int64), interactions.item.astype(np.int64)
        n_users, n_items = interactions.n_users, interactions.n_items
        ones = np.ones(len(user), dtype=np.float32)
        shape = (n_users + n_items, n_users + n_items)
        half = sparse.csr_array((ones, (user, item + n_users)), shape=shape)
        both = sparse.csr_array(half + half.T)
        looped = sparse.csr_array(both + sparse.eye_array(shape[0], format="csr", dtype=np.float32))
        return cls(
            n_users,
            n_items,
            Pattern.from_scipy(both).to(device),
            Pattern.from_scipy(looped).to(device),
        )

    @property
    def n_nodes(self) -> int:
        """N = n_users + n_items."""
        return self.n_users + self.n_items

    @property
    def n_edges(self) -> int:
        """E = twice the number of interactions."""
        return self.edges.n_edges

    @property
    def device(self) -> torch.device:
        """Where the graph lies."""
        return self.edges.column.device

    @cached_property
    def mean_neighbour_degree(self) -> float:
        """Mean degree of the node at the end of an edge, sum d^2 / sum d; 0 without edges."""
        degree = self.edges.degree.double()
        return float(degree.square().sum() / degree.sum().clamp(min=1))

    @cached_property
    def symmetric(self) -> Operator:
        """D^-1/2 A D^-1/2, LightGCN's (He et al., 2020, eq. 8); rows of isolated nodes are 0."""
        return Operator(self.edges, _symmetric_values(self.edges))

    @cached_property
    def mean(self) -> Operator:
        """D^-1 A: the mean of the neighbours; rows of isolated nodes are 0."""
        return Operator(self.edges, 1.0 / self.edges.degree[self.edges.row.long()])

    @cached_property
    def sum(self) -> Operator:
        """A."""
        return Operator(self.edges, torch.ones(self.n_edges, device=self.device))

    @cached_property
    def symmetric_with_loops(self) -> Operator:
        """(D + I)^-1/2 (A + I) (D + I)^-1/2, GCN's (Kipf and Welling, 2017, eq. 2)."""
        return Operator(self.loops, _symmetric_values(self.loops))


def _symmetric_values(pattern: Pattern) -> Tensor:  # (E,)
    # Every edge has two ends, so no degree that is read here is 0.
    root = pattern.degree.rsqrt()
    return root[pattern.row.long()] * root[pattern.column.long()]
