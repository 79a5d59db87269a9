"""Scores by a user's history: what a closed-form branch is once it is fitted.

Shape suffixes: U users, I items, r rank, B users of a block.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from scipy.special import ndtri
from torch import Tensor

from nas.data.interactions import Interactions
from nas.model.timeline import ages_of
from nas.space.closed_form import ClosedForm, ItemBranch

# Above this share of entries a sparse matrix is larger than a dense one, and slower to multiply with.
_DENSE = 0.3
# Of a product whose largest entries are kept, the part that is held at once, in bytes at most.
_BLOCK_BYTES = 256 * 2**20


class Unformed(Protocol):
    """Scores by the users who share items with a history, where there is no matrix to multiply it with."""

    def scores(self, histories: csr_array) -> Tensor:
        """Return the scores (B, I) float32 of histories (B, I)."""

    @property
    def entries(self) -> int:
        """Numbers that it is made of."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the scores of all users, about or at most."""


@dataclass(frozen=True, eq=False)
class HistoryModel:
    """Scores h W + (h L) R of a history h (I,); or those of an `Unformed` in the place of h W.

    Attributes:
        histories: (U, I) float32, what each user had, and how much each item of it counts, but for its age.
        weights: W (I, I) float32, dense or sparse, or what scores without it.
        left: L (I, r) float32, or None where there is no low-rank part.
        right: R (r, I) float32, likewise.
        ages: (n,) int32, the steps from each entry of `histories` to the end of its user's time line, or None where age
            does not matter.
        recency: the age at which an item counts half.
    """

    histories: csr_array
    weights: Tensor | csr_array | Unformed
    left: Tensor | None = None
    right: Tensor | None = None
    ages: NDArray[np.int32] | None = None
    recency: float = 0.0

    @cached_property
    def fade(self) -> np.float32:
        """What a step of age adds to the divisor of an item."""
        return np.float32(1 / self.recency if self.recency else 0)

    @cached_property
    def _counted(self) -> csr_array:
        if self.ages is None:
            return self.histories
        values = self.histories.data / (1 + self.ages * self.fade)
        return csr_array(
            (values.astype(np.float32), self.histories.indices, self.histories.indptr), self.histories.shape
        )

    def __call__(self, users: Tensor) -> Tensor:
        """(B,) int64 -> (B, I) float32 on the CPU, fresh memory."""
        history = self._counted[users.cpu().numpy()]
        if isinstance(self.weights, Tensor):
            # A sparse matrix times a dense one: an entry of the history costs one row of the weights.
            scores = torch.from_numpy(np.ascontiguousarray(history @ self.weights.numpy()))
        elif isinstance(self.weights, csr_array):
            scores = torch.from_numpy((history @ self.weights).toarray())
        else:
            scores = self.weights.scores(history)
        if self.left is not None and self.right is not None:
            scores.addmm_(torch.from_numpy(history @ self.left.numpy()), self.right)
        return scores

    @cached_property
    def _lengths(self) -> NDArray[np.int64]:
        """(I,): numbers other than 0 in each row of W, where W is formed."""
        if isinstance(self.weights, Tensor):
            return self.weights.count_nonzero(dim=1).numpy()
        assert isinstance(self.weights, csr_array), "what is not formed has no rows"
        return np.diff(self.weights.indptr).astype(np.int64)

    @property
    def entries(self) -> int:
        """Numbers other than 0 in W, or of what it is made of."""
        if isinstance(self.weights, Tensor | csr_array):
            return int(self._lengths.sum())
        return self.weights.entries

    @property
    def macs(self) -> int:
        """Multiply-accumulates of h W for all histories: an item of a history costs its row of W."""
        if isinstance(self.weights, Tensor | csr_array):
            return int(self._lengths[self.histories.indices].sum())
        return self.weights.macs

    @cached_property
    def counted(self) -> bool:
        """Whether some items of a history count more than others, whatever their age."""
        return bool((self.histories.data != 1).any())


def histories_of(interactions: Interactions, rating: float = 0.0) -> csr_array:
    """Return (U, I) float32: how much each interaction counts as part of a history.

    1, or with ratings 1 + rating * z, where z is the normal score of the rating's rank, within -2 to 2; never below 0.1,
    so that nothing that was chosen counts for nothing. Of ratings, ranks alone matter: stars and numbers of plays, which
    have no standard deviation to speak of, are treated alike.
    """
    values = np.ones(len(interactions), dtype=np.float32)
    if rating and interactions.rating is not None:
        z = ndtri((_mean_ranks(interactions.rating) - 0.5) / len(interactions))
        values = np.maximum(1 + rating * np.clip(z, -2, 2), 0.1).astype(np.float32)
    shape = (interactions.n_users, interactions.n_items)
    return csr_array((values, interactions.item, interactions.offsets), shape=shape)


def _mean_ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rank of each value (n,), from 1; what ties has the mean of its ranks.

    As scipy.stats.rankdata, whose import takes half a second of every command.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def with_settings(model: HistoryModel, branch: ClosedForm, interactions: Interactions) -> HistoryModel:
    """Return the model of `branch`, given that of `branch.fitted()`: what of its settings needs no fit."""
    if not isinstance(branch, ItemBranch):
        return counted_by(model, interactions, recency=branch.recency)
    model = counted_by(model, interactions, rating=branch.rating, recency=branch.recency)
    if not branch.debias:
        return model
    popularity = np.bincount(interactions.item, minlength=interactions.n_items)
    shares = ((1 + popularity) ** -branch.debias).astype(np.float32)
    return replace(model, weights=_of_columns(model.weights, shares))


def _of_columns(weights: Tensor | csr_array | Unformed, shares: NDArray[np.float32]) -> Tensor | csr_array:
    """Return weights (I, I), each column times its share (I,)."""
    if isinstance(weights, Tensor):
        return weights * torch.from_numpy(shares)
    assert isinstance(weights, csr_array), "item-item weights are formed"
    return csr_array((weights.data * shares[weights.indices], weights.indices, weights.indptr), weights.shape)


def counted_by(
    model: HistoryModel, interactions: Interactions, *, rating: float = 0.0, recency: float = 0.0
) -> HistoryModel:
    """Return a fitted model for histories that count by rating and age; without timestamps age does not matter."""
    ages = ages_of(interactions) if recency and interactions.timestamp is not None else None
    return replace(
        model,
        histories=histories_of(interactions, rating),
        ages=ages,
        recency=0.0 if ages is None else recency,
    )


def largest_entries(weights: Tensor | csr_array, count: int) -> csr_array:
    """Return `weights` (I, J) with its `count` * J largest magnitudes alone; equal to the last, more; 0: all.

    Not the largest of each column: what many others speak for has many weights, and some items hardly any. Packages and
    what they need (4,731 items, EASE, validation NDCG@20): .5333 with all weights, .5332 with 300 an item so chosen,
    .5242 with 300 of each column.
    """
    values = weights.data if isinstance(weights, csr_array) else weights.numpy()
    most = count * weights.shape[1]
    if 0 < most < values.size:
        magnitude = np.abs(values).ravel()
        magnitude.partition(values.size - most)
        bound = magnitude[values.size - most]
        values = np.where(np.abs(values) < bound, np.float32(0), values)
    if not isinstance(weights, csr_array):
        return csr_array(values)
    kept = csr_array((values, weights.indices, weights.indptr), weights.shape, copy=True)
    kept.eliminate_zeros()
    return kept


def largest_products(
    left: csr_array,
    right: csr_array,
    count: int,
    adjust: Callable[[csr_array, int], None] = lambda _block, _first: None,
) -> csr_array:
    """Return left (I, K) @ right (K, J), or with `count` above 0 the largest magnitudes of each column alone.

    Never is more than a block of columns of the whole product in memory, unless all of it is kept. `adjust` may change
    the entries of a block: it gets some columns of the product as rows, and the number of the first.
    """
    by_column, inner = csr_array(right.T), csr_array(left.T)
    width = max(1, _BLOCK_BYTES // (8 * left.shape[0]))
    starts = range(0, by_column.shape[0], width)
    blocks = []
    for first in starts:
        block = csr_array(by_column[first : first + width] @ inner)
        adjust(block, first)
        blocks.append(_largest_of_rows(block, count) if count else block)
    return csr_array(vstack(blocks, format="csr").T)


def _largest_of_rows(matrix: csr_array, count: int) -> csr_array:
    kept = matrix.data != 0
    magnitude = np.abs(matrix.data)
    for row in np.flatnonzero(np.diff(matrix.indptr) > count):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        kept[part] &= magnitude[part] >= np.partition(magnitude[part], -count)[-count]
    counts = np.add.reduceat(np.append(kept, False), matrix.indptr[:-1], dtype=np.int64)
    counts[np.diff(matrix.indptr) == 0] = 0
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_array((matrix.data[kept], matrix.indices[kept], indptr), shape=matrix.shape)


def compact(weights: Tensor | csr_array) -> Tensor | csr_array:
    """Return the same matrix in the smaller of its two forms."""
    if isinstance(weights, Tensor):
        return weights
    if weights.nnz > _DENSE * weights.shape[0] * weights.shape[1]:
        return torch.from_numpy(weights.toarray())
    return weights
