"""Singular vectors of the normalised training matrix: a start for embeddings, and the spectral branch.

Shape suffixes: U users, I items, r rank.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph import Graph
from nas.model.history import HistoryModel, compact, histories_of, largest_products, with_settings
from nas.model.via_users import ViaUsers
from nas.randomness import stream
from nas.space.closed_form import SpectralBranch

FloatArray = NDArray[np.float32]

# Subspace iterations and extra columns: on ML-100K the 64 largest singular values then agree with ARPACK's to 2e-4 of
# the largest, the first 32 to 3e-6. ARPACK itself takes minutes on a graph of Gowalla's size.
_ITERATIONS = 12
_EXTRA = 32
# Singular values below this share of the largest are 0 but for rounding.
_REAL = 1e-5
# Beyond this many items the whole linear filter is not formed: an entry for every pair would take gigabytes.
_WHOLE = 4_000


def fit_spectral(branch: SpectralBranch, interactions: Interactions, graph: Graph, seed: int) -> HistoryModel:
    """Make the filters of a spectral branch; `graph` is made of the same interactions."""
    return with_settings(_filters(branch, interactions, graph, seed), branch, interactions)


def _filters(branch: SpectralBranch, interactions: Interactions, graph: Graph, seed: int) -> HistoryModel:
    histories = histories_of(interactions)
    of_user, of_item = (np.asarray(histories.sum(axis), dtype=np.float32) for axis in (1, 0))
    weights = _linear_filter(branch.neighbours, histories, interactions, of_user, of_item)
    if branch.low_pass == 0:
        return HistoryModel(histories, weights)
    _, values, right = truncated_svd(graph, branch.rank, seed)
    # Beyond the rank of the matrix vectors are arbitrary, and whoever is new would get scores by them.
    vectors = right[:, values >= _REAL * values[0]].cpu()
    left = vectors * torch.from_numpy(_root(of_item, -1))[:, None]
    back = vectors * torch.from_numpy(branch.low_pass * _root(of_item, 1))[:, None]
    return HistoryModel(histories, weights, left, back.t().contiguous())


def _linear_filter(
    neighbours: int,
    histories: csr_array,
    interactions: Interactions,
    of_user: FloatArray,
    of_item: FloatArray,
) -> Tensor | csr_array | ViaUsers:
    if not neighbours and interactions.n_items > _WHOLE:
        return ViaUsers(interactions, _root(of_item, -1), _root(of_user, -1) ** 2)
    normalised = csr_array(diags_array(_root(of_user, -1)) @ histories @ diags_array(_root(of_item, -1)))
    return compact(largest_products(csr_array(normalised.T), normalised, neighbours))


def _root(degree: FloatArray, sign: int) -> FloatArray:
    """Return degree ** (sign / 2), 0 for what has no interactions."""
    with np.errstate(divide="ignore"):
        return np.where(degree > 0, degree ** np.float32(0.5 * sign), np.float32(0))


def singular_vectors(graph: Graph, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (users, items), (n_users, c) and (n_items, c) float32 on the graph's device, c <= columns.

    They are the leading left and right singular vectors of D_u^-1/2 R D_i^-1/2, each scaled by the root of its
    singular value, the whole then scaled so that the mean row has length 1. Columns come by falling singular value,
    so the first d of them are the best start with d columns too. c is below `columns` only where the matrix has not
    that many.
    """
    left, values, right = truncated_svd(graph, columns, seed)
    root = values.clamp(min=0).sqrt()
    users, items = left * root, right * root
    scale = 1 / torch.cat([users, items]).norm(dim=1).mean().clamp(min=1e-12)
    return users * scale, items * scale


def truncated_svd(graph: Graph, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return (U, r), (r,), (I, r): leading singular vectors and values of D_u^-1/2 R D_i^-1/2, largest first.

    By randomised subspace iteration (Halko, Martinsson and Tropp, 2011, algorithm 4.4).
    """
    n_users, n_items = graph.n_users, graph.n_items
    columns = min(rank + _EXTRA, n_users, n_items)

    def to_users(items: Tensor) -> Tensor:
        return (graph.symmetric @ torch.cat([items.new_zeros(n_users, columns), items]))[:n_users]

    def to_items(users: Tensor) -> Tensor:
        return (graph.symmetric @ torch.cat([users, users.new_zeros(n_items, columns)]))[n_users:]

    noise = stream(seed, "svd").normal(size=(n_items, columns)).astype(np.float32)
    basis = torch.linalg.qr(torch.from_numpy(noise).to(graph.device)).Q
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr(to_items(torch.linalg.qr(to_users(basis)).Q)).Q
    left, values, right = torch.linalg.svd(to_users(basis), full_matrices=False)
    return left[:, :rank], values[:rank], (basis @ right.t())[:, :rank]
