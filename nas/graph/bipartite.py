"""The user-item graph that networks propagate over: users first, then items, each edge in both directions.

Shape suffixes: N nodes (users, then items), E directed edges.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse

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
    """

    n_users: int
    n_items: int
    edges: Pattern

    @classmethod
    def from_interactions(cls, interactions: Interactions, device: torch.device | str = "cpu") -> "Graph":
        """Connect each user with the items of its rows. Give it training rows only: what it holds is learned."""
        n_users, n_items = interactions.n_users, interactions.n_items
        # The rows are sorted by user, then item, so they are a CSR matrix already.
        ones = np.ones(len(interactions), dtype=np.int8)
        half = sparse.csr_array((ones, interactions.item, interactions.offsets), shape=(n_users, n_items))
        of_items = sparse.csr_array(half.T)
        pointer = np.concatenate([half.indptr, len(interactions) + of_items.indptr[1:].astype(np.int64)])
        column = np.concatenate([half.indices + np.int32(n_users), of_items.indices.astype(np.int32)])
        pattern = Pattern(
            torch.from_numpy(pointer.astype(np.int32)), torch.from_numpy(column.astype(np.int32, copy=False))
        )
        return cls(n_users, n_items, pattern.to(device))

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
    def loops(self) -> Pattern:
        """The edges and a self-loop at every node."""
        return self.edges.with_loops()

    @cached_property
    def symmetric(self) -> Operator:
        """D^-1/2 A D^-1/2, LightGCN's (He et al., 2020, eq. 8); rows of isolated nodes are 0."""
        root = self.edges.degree.clamp(min=1).rsqrt()
        return Operator(self.edges, rows=root, columns=root)

    @cached_property
    def mean(self) -> Operator:
        """D^-1 A: the mean of the neighbours; rows of isolated nodes are 0."""
        return Operator(self.edges, rows=1 / self.edges.degree.clamp(min=1))

    @cached_property
    def sum(self) -> Operator:
        """A."""
        return Operator(self.edges)

    @cached_property
    def symmetric_with_loops(self) -> Operator:
        """(D + I)^-1/2 (A + I) (D + I)^-1/2, GCN's (Kipf and Welling, 2017, eq. 2)."""
        root = (self.edges.degree + 1).rsqrt()
        return Operator(self.edges, rows=root, columns=root, loops=1.0)
