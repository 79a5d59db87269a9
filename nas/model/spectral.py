"""The spectral start: embeddings from the singular vectors of the normalised training matrix."""

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from torch import Tensor

from nas.graph import Graph
from nas.randomness import stream


def singular_vectors(graph: Graph, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (users, items), (n_users, c) and (n_items, c) float32 on the CPU, c <= columns.

    They are the leading left and right singular vectors of D_u^-1/2 R D_i^-1/2, each scaled by the root of its
    singular value, the whole then scaled so that the mean row has length 1. Columns come by falling singular value,
    so the first d of them are the best start with d columns too. c is below `columns` only where the matrix has not
    that many.
    """
    pattern = graph.edges
    n = graph.n_users
    end = int(pattern.pointer[n])
    # The first n_users rows of the symmetric operator are the normalised user-item matrix, its columns shifted.
    matrix = csr_array(
        (
            graph.symmetric.forward.values()[:end].cpu().numpy(),
            pattern.column[:end].cpu().numpy() - n,
            pattern.pointer[: n + 1].cpu().numpy(),
        ),
        shape=(n, graph.n_items),
    )
    rank = min(columns, min(matrix.shape) - 1)
    begin = stream(seed, "svd").uniform(-1, 1, min(matrix.shape)).astype(np.float32)
    left, values, right = svds(matrix, k=rank, v0=begin, tol=1e-4)
    order = np.argsort(-values)
    root = np.sqrt(np.maximum(values[order], 0))
    users, items = left[:, order] * root, right[order].T * root
    lengths = np.concatenate([np.linalg.norm(users, axis=1), np.linalg.norm(items, axis=1)])
    scale = 1 / max(float(lengths.mean()), 1e-12)
    return (
        torch.from_numpy((users * scale).astype(np.float32)),
        torch.from_numpy((items * scale).astype(np.float32)),
    )
