"""Full ranking: the top k of the whole catalogue for each user, by blocks, seen items masked.

Shape suffixes: B users of a block, I items, k.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.interactions import Interactions

Scorer = Callable[[Tensor], Tensor]
"""(B,) int64 user indices -> (B, I) float scores, a fresh tensor that the caller may overwrite."""

# Scores of a block in bytes: large enough for an efficient product, small against memory.
_BLOCK_BYTES = 64 * 2**20


class DivergedError(RuntimeError):
    """A model's scores are not numbers."""


def dot_scorer(users: Tensor, items: Tensor) -> Scorer:
    """Return the scorer of final states users (U, D) and items (I, D)."""
    transposed = items.detach().t()
    return lambda block: users.detach().index_select(0, block.to(users.device)) @ transposed


def top_items(scorer: Scorer, users: NDArray[np.int64], seen: Interactions, k: int) -> NDArray[np.int32]:
    """Return each user's k best items, best first; (len(users), k) int32.

    Items of `seen` are left out. Equal scores are ordered by item index, so the list does not depend on blocks,
    threads or devices. Where fewer than k items remain, the row ends in -1.

    Raises:
        DivergedError: a score is NaN.
    """
    n_items = seen.n_items
    ranked = np.full((len(users), k), -1, dtype=np.int32)
    rows = max(1, _BLOCK_BYTES // (4 * n_items))
    offsets = seen.offsets
    for begin in range(0, len(users), rows):
        block = users[begin : begin + rows]
        scores = scorer(torch.from_numpy(block))
        if bool(torch.isnan(scores).any()):
            raise DivergedError("the scores are not numbers: training diverged")
        mask_row, mask_item = _seen_of(block, offsets, seen.item)
        where = (torch.from_numpy(mask_row).to(scores.device), torch.from_numpy(mask_item).to(scores.device))
        scores[where] = -torch.inf
        best, left = stable_top(scores, min(k, n_items))
        ranked[begin : begin + rows, : best.shape[1]] = np.where(left, best, -1)
    return ranked


def _seen_of(
    users: NDArray[np.int64], offsets: NDArray[np.int64], items: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    counts = offsets[users + 1] - offsets[users]
    row = np.repeat(np.arange(len(users)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, items[np.repeat(offsets[users], counts) + within].astype(np.int64)


def stable_top(scores: Tensor, k: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return (B, k) indices of the largest scores, ties by index, and whether each score is above -inf."""
    more = min(k + 1, scores.shape[1])
    values, indices = (t.cpu().numpy() for t in torch.topk(scores, more, dim=1))
    order = np.lexsort((indices, -values), axis=1)
    values = np.take_along_axis(values, order, 1)
    indices = np.take_along_axis(indices, order, 1).astype(np.int32)
    if more > k:
        # A tie across the k-th place: topk took any of the equal ones, so sort those rows whole.
        tied = np.flatnonzero((values[:, k - 1] == values[:, k]) & np.isfinite(values[:, k]))
        if len(tied):
            rows = scores[torch.from_numpy(tied).to(scores.device)]
            whole = torch.sort(rows, dim=1, descending=True, stable=True).indices[:, :more]
            indices[tied] = whole.cpu().numpy().astype(np.int32)
    return indices[:, :k], values[:, :k] > -np.inf
