"""Scores that are linear in a user's history: what a closed-form branch is once it is fitted.

Shape suffixes: U users, I items, r rank, B users of a block.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from torch import Tensor

from nas.data.interactions import Interactions

# Above this share of entries a sparse matrix is larger than a dense one, and slower to multiply with.
_DENSE = 0.3
# Of a product whose largest entries are kept, the part that is dense at once, in bytes.
_BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class HistoryModel:
    """Scores h W + (h L) R of a history h (I,).

    Attributes:
        histories: (U, I) float32, what each user had, and how much each item of it counts.
        weights: W (I, I) float32, dense or sparse.
        left: L (I, r) float32, or None where there is no low-rank part.
        right: R (r, I) float32, likewise.
    """

    histories: csr_array
    weights: Tensor | csr_array
    left: Tensor | None = None
    right: Tensor | None = None

    def __call__(self, users: Tensor) -> Tensor:
        """(B,) int64 -> (B, I) float32 on the CPU, fresh memory."""
        history = self.histories[users.cpu().numpy()]
        if isinstance(self.weights, Tensor):
            # A sparse matrix times a dense one: an entry of the history costs one row of the weights.
            scores = torch.from_numpy(np.ascontiguousarray(history @ self.weights.numpy()))
        else:
            scores = torch.from_numpy((history @ self.weights).toarray())
        if self.left is not None and self.right is not None:
            scores.addmm_(torch.from_numpy(history @ self.left.numpy()), self.right)
        return scores

    @property
    def entries(self) -> int:
        """Numbers other than 0 in W."""
        return int((self.weights != 0).sum()) if isinstance(self.weights, Tensor) else int(self.weights.nnz)


def histories_of(interactions: Interactions, rating: float = 0.0) -> csr_array:
    """Return (U, I) float32: how much each interaction counts as part of a history.

    1, or with ratings 1 + rating * z, where z is the rating less the mean over the standard deviation, within -2 to 2;
    never below 0.1, so that nothing that was chosen counts for nothing.
    """
    values = np.ones(len(interactions), dtype=np.float32)
    if rating and interactions.rating is not None:
        deviation = float(interactions.rating.std())
        z = (interactions.rating - interactions.rating.mean()) / (deviation or 1.0)
        values = np.maximum(1 + rating * np.clip(z, -2, 2), 0.1).astype(np.float32)
    shape = (interactions.n_users, interactions.n_items)
    return csr_array((values, interactions.item, interactions.offsets), shape=shape)


def largest_of_columns(weights: NDArray[np.float32], count: int) -> csr_array:
    """Return dense `weights` (I, J) with the `count` largest magnitudes of each column alone, as a sparse matrix."""
    if count < len(weights):
        # By rows of the transpose: down the columns of a matrix, selecting takes ten times as long.
        magnitude = np.abs(np.ascontiguousarray(weights.T))
        bound = np.partition(magnitude, -count, axis=1)[:, -count]
        weights = np.where(np.abs(weights) >= np.maximum(bound, np.finfo(np.float32).tiny), weights, 0)
    return csr_array(weights)


def largest_products(left: csr_array, right: csr_array, count: int) -> csr_array:
    """Return left (I, K) @ right (K, J) with the `count` largest magnitudes of each column alone; 0 keeps all.

    Only some columns are dense at once.
    """
    if not count or count >= left.shape[0]:
        return csr_array(left @ right)
    columns, width = csr_array(right.T), max(1, _BLOCK_BYTES // (4 * left.shape[0]))
    starts = range(0, right.shape[1], width)
    blocks = (csr_array(columns[begin : begin + width].T) for begin in starts)
    return csr_array(
        hstack([largest_of_columns((left @ one).toarray(), count) for one in blocks], format="csr")
    )


def compact(weights: Tensor | csr_array) -> Tensor | csr_array:
    """Return the same matrix in the smaller of its two forms."""
    if isinstance(weights, Tensor):
        return weights
    if weights.nnz > _DENSE * weights.shape[0] * weights.shape[1]:
        return torch.from_numpy(weights.toarray())
    return weights
