"""The sparsity pattern of a symmetric graph, as CSR with int32 indices.

Shape suffixes: N nodes, E directed edges.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from nas.graph.threads import ranges_of
from nas.graph.tiles import Tiles


@dataclass(frozen=True, eq=False)
class Pattern:
    """Who is connected to whom: edge e goes from node `column[e]` to the node whose row holds it.

    The pattern is symmetric, so the transpose of a matrix on it is a permutation of its values.

    Attributes:
        pointer: (N + 1,) int32, where each row starts.
        column: (E,) int32, the source of each edge, increasing within a row.
    """

    pointer: Tensor
    column: Tensor
    _ranges: dict[int, list[tuple[int, int]]] = field(default_factory=dict, repr=False)
    _scratch: list[Tensor] = field(default_factory=list, repr=False)

    @classmethod
    def from_scipy(cls, adjacency: "sparse.csr_array") -> "Pattern":
        """Take the pattern of a symmetric (N, N) matrix; its values do not matter."""
        matrix = sparse.csr_array(adjacency)
        if not matrix.has_sorted_indices:
            matrix = matrix.sorted_indices()
        return cls(
            pointer=torch.from_numpy(matrix.indptr.astype(np.int32)),
            column=torch.from_numpy(matrix.indices.astype(np.int32)),
        )

    @property
    def n_nodes(self) -> int:
        """N."""
        return len(self.pointer) - 1

    @property
    def n_edges(self) -> int:
        """E, each direction counted."""
        return len(self.column)

    @property
    def degree(self) -> Tensor:
        """(N,) float32, the number of edges that end in each node."""
        return torch.diff(self.pointer).to(torch.float32)

    @cached_property
    def row(self) -> Tensor:
        """(E,) int32, the target of each edge, increasing."""
        nodes = torch.arange(self.n_nodes, dtype=torch.int32, device=self.pointer.device)
        return torch.repeat_interleave(nodes, torch.diff(self.pointer), output_size=self.n_edges)

    @cached_property
    def reverse(self) -> Tensor:
        """(E,) int64, the position of the opposite edge: `values[reverse]` are the transpose's values."""
        # Sorted by source, then target, the edges are the transpose's rows.
        return torch.argsort(self.column, stable=True)

    @cached_property
    def tiles(self) -> Tiles:
        """The edges in the order in which a product on the CPU reads them."""
        return Tiles.of(self.pointer.numpy(), self.column.numpy())

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Rows for each of torch's threads, by equal numbers of edges."""
        threads = torch.get_num_threads()
        if threads not in self._ranges:
            self._ranges[threads] = ranges_of(self.pointer.numpy(), threads)
        return self._ranges[threads]

    @contextmanager
    def scratch(self, like: Tensor) -> Iterator[NDArray[np.floating[Any]]]:
        """Lend memory for as many numbers as `like` has, of its type, in one dimension; it is kept for the next product.

        On a virtual machine, to touch 2.3 MB for the first time took 1.5 ms, where a product of that size takes 2.1.
        """
        size = like.numel() * like.element_size()
        # Whoever else multiplies at the same time finds none, and leaves one more.
        kept = self._scratch.pop() if self._scratch else torch.empty(0, dtype=torch.uint8)
        if len(kept) < size:
            kept = torch.empty(size, dtype=torch.uint8)
        yield kept[:size].view(like.dtype).numpy()
        self._scratch.append(kept)

    def with_loops(self) -> "Pattern":
        """Return the pattern with a self-loop at every node."""
        ones = np.ones(self.n_edges, dtype=np.int8)
        shape = (self.n_nodes, self.n_nodes)
        matrix = sparse.csr_array((ones, self.column.cpu().numpy(), self.pointer.cpu().numpy()), shape=shape)
        looped = matrix + sparse.eye_array(self.n_nodes, format="csr", dtype=np.int8)
        return Pattern.from_scipy(sparse.csr_array(looped)).to(self.pointer.device)

    def to(self, device: torch.device | str) -> "Pattern":
        """Return the pattern on another device."""
        return Pattern(self.pointer.to(device), self.column.to(device))
