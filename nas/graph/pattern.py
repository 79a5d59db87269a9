"""The sparsity pattern of a symmetric graph, as CSR with int32 indices.

Shape suffixes: N nodes, E directed edges.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Who is connected to whom: edge e goes from node `column[e]` to node `row[e]`; rows are contiguous.

    The pattern is symmetric, so the transpose of a matrix on it is a permutation of its values.

    Attributes:
        pointer: (N + 1,) int32, where each row starts.
        column: (E,) int32, the source of each edge, increasing within a row.
        row: (E,) int32, the target of each edge, increasing.
        reverse: (E,) int64, the position of the opposite edge: `values[reverse]` are the transpose's values.
    """

    pointer: Tensor
    column: Tensor
    row: Tensor
    reverse: Tensor

    @classmethod
    def from_scipy(cls, adjacency: "sparse.csr_array") -> "Pattern":
        """Take the pattern of a symmetric (N, N) matrix; its values do not matter."""
        matrix = sparse.csr_array(
            (np.arange(1, adjacency.nnz + 1, dtype=np.float64), adjacency.indices, adjacency.indptr),
            shape=adjacency.shape,
        )
        matrix.sort_indices()
        # The k-th stored value of the transpose is the edge that lies opposite to the k-th of the matrix.
        order, opposite = matrix.data.copy(), sparse.csr_array(matrix.T)
        opposite.sort_indices()
        position = np.empty(matrix.nnz + 1, dtype=np.int64)
        position[order.astype(np.int64)] = np.arange(matrix.nnz)
        return cls(
            pointer=torch.from_numpy(matrix.indptr.astype(np.int32)),
            column=torch.from_numpy(matrix.indices.astype(np.int32)),
            row=torch.from_numpy(
                np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
            ),
            reverse=torch.from_numpy(position[opposite.data.astype(np.int64)]),
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

    def to(self, device: torch.device | str) -> "Pattern":
        """Return the pattern on another device."""
        return Pattern(*(t.to(device) for t in (self.pointer, self.column, self.row, self.reverse)))
