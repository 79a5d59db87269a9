"""The item branch: item-item weights that are solved for.

Shape suffixes: U users, I items.
"""

import math

import numpy as np
import torch
from scipy.linalg.lapack import spotri
from scipy.sparse import csr_array, diags_array, vstack
from threadpoolctl import threadpool_limits

from nas.data.interactions import Interactions
from nas.model.co_occurrences import co_occurrences, feature_rows, sparse_co_occurrences, user_weights
from nas.model.history import (
    HistoryModel,
    compact,
    histories_of,
    largest_entries,
    largest_products,
    with_settings,
)
from nas.model.neighbourhood_regression import neighbourhood_regression
from nas.model.sparse_regression import sparse_regression
from nas.space.closed_form import ItemBranch

MOST_ITEMS = {"ease": 15_000, "next": 10_000}
"""Items of the largest catalogue: time grows with their number cubed (a fit of EASE takes minutes at this size, one of `next`
three times as long for as many)."""
# Of (I, I) float32, that live at once.
_MATRICES = {"ease": 3, "next": 4}
DENSE_SLIM = 10_000
"""Items up to which SLIM is solved on all others; beyond, on its candidates: the co-occurrences are sparse then."""
MOST_PAIRS = 400_000_000
"""Of items that one user had, up to which sparse co-occurrences are counted: a pair takes 12 bytes at most,
and as many again while rows are made of columns, so that all take up to 10 GB."""


def item_obstacle(kind: str, interactions: Interactions) -> str | None:
    """Say why weights of this kind cannot be found, where the data is too large for the items' co-occurrences."""
    if kind == "slim" and interactions.n_items > DENSE_SLIM:
        pairs = int((np.diff(interactions.offsets).astype(np.int64) ** 2).sum())
        if pairs <= MOST_PAIRS:
            return None
        return f"{pairs:,} pairs of items that one user had; SLIM is run up to {MOST_PAIRS:,}"
    items, most = interactions.n_items, MOST_ITEMS.get(kind, math.inf)
    if items <= most:
        return None
    gigabytes = _MATRICES[kind] * 4 * items**2 / 1e9
    return f"{items:,} items need {gigabytes:.3g} GB; {kind.upper()} is run up to {most:,} items"


def fit_items(branch: ItemBranch, interactions: Interactions) -> HistoryModel:
    """Find the weights of an item branch."""
    model = HistoryModel(histories_of(interactions), _item_weights(branch, interactions))
    return with_settings(model, branch, interactions)


def _item_weights(branch: ItemBranch, interactions: Interactions) -> torch.Tensor | csr_array:
    """Return W (I, I): a history times W are its scores."""
    branch = branch.canonical()
    if branch.kind == "cosine":
        return cosine_weights(interactions, branch.neighbours, branch.regularisation)
    if branch.kind == "slim":
        if interactions.n_items > DENSE_SLIM:
            gram = sparse_co_occurrences(interactions, branch)
            found = neighbourhood_regression(gram, branch.l1, branch.regularisation)
        else:
            found = sparse_regression(co_occurrences(interactions, branch), branch.l1, branch.regularisation)
        return compact(largest_entries(found, branch.neighbours))
    timed = branch.proximity > 0 and interactions.timestamp is not None
    if branch.kind == "next":
        weights = next_weights(
            co_occurrences(interactions, branch),
            co_occurrences(interactions, branch, later=True),
            branch.regularisation,
            branch.dropout,
        )
    elif not timed and 2 * (rows := _rows(interactions, branch)).shape[0] < interactions.n_items:
        weights = ease_weights_by_users(rows, branch.regularisation, branch.dropout)
    else:
        weights = ease_weights(co_occurrences(interactions, branch), branch.regularisation, branch.dropout)
    return compact(largest_entries(weights, branch.neighbours)) if branch.neighbours else weights


def _rows(interactions: Interactions, branch: ItemBranch) -> csr_array:
    """Return the matrix (R, I) whose product with itself are the co-occurrences, where time does not matter."""
    rows = csr_array(diags_array(np.sqrt(user_weights(interactions, branch))) @ histories_of(interactions))
    return csr_array(vstack([rows, feature_rows(interactions, branch)])) if branch.features else rows


def ease_weights(gram: torch.Tensor, regularisation: float, dropout: float = 0.0) -> torch.Tensor:
    """Return B (I, I) with a zero diagonal: B = I - P / diag(P), P the inverse of the regularised Gram matrix.

    To the diagonal is added the regularisation (Steck, WWW 2019, eq. 8) and p / (1 - p) of the diagonal itself, the
    expected effect of dropout p (Steck, NeurIPS 2020, eq. 8).

    Args:
        gram: (I, I) float32, overwritten.
        regularisation: above 0.
        dropout: p, below 1.
    """
    _regularise(gram, regularisation, dropout)
    return _without_self(_inverse(gram))


def next_weights(
    gram: torch.Tensor, after: torch.Tensor, regularisation: float, dropout: float = 0.0
) -> torch.Tensor:
    """Return B (I, I) with a zero diagonal: B = (gram + L)^-1 after, L the diagonal that `ease_weights` adds.

    Args:
        gram: (I, I) float32, overwritten.
        after: (I, I) float32; row i holds how often each item was had after i. Overwritten.
        regularisation: above 0.
        dropout: below 1.
    """
    _regularise(gram, regularisation, dropout)
    weights = torch.cholesky_solve(after.fill_diagonal_(0), torch.linalg.cholesky(gram))
    return weights.fill_diagonal_(0).contiguous()


def _regularise(gram: torch.Tensor, regularisation: float, dropout: float) -> None:
    diagonal = gram.diagonal()
    diagonal.add_(regularisation + dropout / (1 - dropout) * diagonal)


def ease_weights_by_users(matrix: csr_array, regularisation: float, dropout: float = 0.0) -> torch.Tensor:
    """Return the `ease_weights` of X'X for X = `matrix` (U, I), faster where users are few.

    With Z = X L^-1/2, L the diagonal that is added: (X'X + L)^-1 = L^-1/2 (I - Z' (I + Z Z')^-1 Z) L^-1/2 (Woodbury), and
    what is inverted is U x U.
    """
    squares = np.asarray(matrix.multiply(matrix).sum(0), dtype=np.float32)
    root = torch.from_numpy(1 / np.sqrt(regularisation + dropout / (1 - dropout) * squares)).float()
    z = torch.from_numpy(matrix.toarray()) * root
    factor = torch.linalg.cholesky(z @ z.t() + torch.eye(len(z)))
    y = torch.linalg.solve_triangular(factor, z, upper=False)
    inverse = (y.t() @ y).neg_()
    inverse.diagonal().add_(1)
    return _without_self(inverse.mul_(root).mul_(root[:, None]))


def _without_self(inverse: torch.Tensor) -> torch.Tensor:
    """Return I - P / diag(P) for P = `inverse`, which is overwritten."""
    weights = inverse.div_(-inverse.diagonal().clone())
    weights.fill_diagonal_(0.0)
    return weights


def _inverse(matrix: torch.Tensor) -> torch.Tensor:
    """Return the inverse of a symmetric positive definite float32 matrix."""
    factor = torch.linalg.cholesky(matrix).numpy()
    # For 4,000 rows LAPACK's routine takes 1 s on one thread. On two it took up to 13 s, since OpenBLAS's threads and
    # torch's push each other off the cores; torch.cholesky_inverse took up to 26 s.
    with threadpool_limits(1, "blas"):
        # A lower triangle by rows is an upper one by columns, as LAPACK sees it.
        half, failed = spotri(factor.T, lower=0, overwrite_c=1)
    assert not failed
    lower = torch.from_numpy(half.T)
    return lower.tril() + lower.tril(-1).t()


def cosine_weights(interactions: Interactions, nearest: int, shrink: float) -> csr_array:
    """Return (I, I): column i holds the similarities of item i with its `nearest` items.

    sim(i, j) = common users / (sqrt(users of i * users of j) + shrink); i itself and items without a common user are
    left out.
    """
    histories = histories_of(interactions)
    root = np.sqrt(np.asarray(histories.sum(0), dtype=np.float32))

    def divide(block: csr_array, first: int) -> None:
        row = np.repeat(np.arange(first, first + block.shape[0]), np.diff(block.indptr))
        block.data /= root[row] * root[block.indices] + np.float32(shrink)
        block.data[row == block.indices] = 0

    return largest_products(csr_array(histories.T), histories, nearest, divide)
