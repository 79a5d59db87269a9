"""The spectral start: embeddings from the singular vectors of the normalised training matrix."""

import numpy as np
import torch
from torch import Tensor

from nas.graph import Graph
from nas.randomness import stream

# Subspace iterations and extra columns: on ML-100K the 64 largest singular values then agree with ARPACK's to 2e-4 of
# the largest, the first 32 to 3e-6. ARPACK itself takes minutes on a graph of Gowalla's size.
_ITERATIONS = 12
_EXTRA = 32


def singular_vectors(graph: Graph, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (users, items), (n_users, c) and (n_items, c) float32 on the graph's device, c <= columns.

    They are the leading left and right singular vectors of D_u^-1/2 R D_i^-1/2, each scaled by the root of its
    singular value, the whole then scaled so that the mean row has length 1. Columns come by falling singular value,
    so the first d of them are the best start with d columns too. c is below `columns` only where the matrix has not
    that many. By randomised subspace iteration (Halko, Martinsson and Tropp, 2011, algorithm 4.4).
    """
    n_users, n_items = graph.n_users, graph.n_items
    rank = min(columns + _EXTRA, n_users, n_items)

    def to_users(items: Tensor) -> Tensor:
        return (graph.symmetric @ torch.cat([items.new_zeros(n_users, rank), items]))[:n_users]

    def to_items(users: Tensor) -> Tensor:
        return (graph.symmetric @ torch.cat([users, users.new_zeros(n_items, rank)]))[n_users:]

    noise = stream(seed, "svd").normal(size=(n_items, rank)).astype(np.float32)
    basis = torch.linalg.qr(torch.from_numpy(noise).to(graph.device)).Q
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(to_items(torch.linalg.qr(to_users(basis)).Q)).Q
    left, values, right = torch.linalg.svd(to_users(basis), full_matrices=False)
    root = values.clamp(min=0).sqrt()[:columns]
    users = left[:, :columns] * root
    items = (basis @ right.t())[:, :columns] * root
    scale = 1 / torch.cat([users, items]).norm(dim=1).mean().clamp(min=1e-12)
    return users * scale, items * scale
