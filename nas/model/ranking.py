"""Full ranking: the top k of the whole catalogue for each user, by blocks, seen items masked.

Shape suffixes: B users of a block, I items, k.
"""

import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph.threads import on_cores
from nas.model.topk import top_unseen

Scorer = Callable[[Tensor], Tensor]
"""(B,) int64 user indices -> (B, I) float scores that the caller may overwrite, valid until this thread's next call.

Several threads call a scorer at once.
"""

# Measured with 41,000 items of 64 columns on two cores: 64, 128 or 256 users a block, or 2,048 items a tile, were slower,
# and one product of all items on both threads took 1.5 to 2 times as long as tiles, a thread each.
_BLOCK_USERS = 192
_TILE_ITEMS = 1024
# Scores of a block in bytes, at most: a bound on each thread's memory for large catalogues.
_BLOCK_BYTES = 32 * 2**20


class DivergedError(RuntimeError):
    """A model's scores are not numbers."""


def dot_scorer(users: Tensor, items: Tensor) -> Scorer:
    """Return the scorer of final states users (U, D) and items (I, D)."""
    users, items = users.detach(), items.detach()
    n_items = len(items)
    width = _TILE_ITEMS if items.device.type == "cpu" else max(1, n_items)
    tiles = [tile.t() for tile in torch.split(items, width)]
    # By thread. Not a threading.local: torch's threads lose theirs after each piece of work, and CPython 3.11 then ends
    # in a fault of memory where it holds a tensor over an array, whose release takes the interpreter's lock again.
    held: dict[int, Tensor] = {}

    def score(block: Tensor) -> Tensor:
        states, thread = users.index_select(0, block.to(users.device)), threading.get_ident()
        if thread not in held or len(held[thread]) < len(states):
            held[thread] = _empty((len(states), n_items), items)
        scores = held[thread][: len(states)]
        for tile, part in zip(tiles, torch.split(scores, width, dim=1), strict=True):
            torch.mm(states, tile, out=part)
        return scores

    return score


def _empty(shape: tuple[int, int], like: Tensor) -> Tensor:
    if like.device.type != "cpu":
        return like.new_empty(shape)
    # NumPy asks for huge pages, which torch does not: the rows of a tile lie on as many pages as there are users.
    raw = np.empty((shape[0], shape[1] * like.element_size()), dtype=np.uint8)
    return torch.from_numpy(raw).view(like.dtype)


def top_items(scorer: Scorer, users: NDArray[np.int64], seen: Interactions, k: int) -> NDArray[np.int32]:
    """Return each user's k best items, best first; (len(users), k) int32.

    Items of `seen` are left out. Equal scores are ordered by item index, so the list does not depend on blocks,
    threads or devices. Where fewer than k items remain, the row ends in -1.

    Each thread scores and ranks blocks of its own, on one core.

    Raises:
        DivergedError: a score is NaN.
    """
    # Kernels are compiled anew for arrays that are strided or read-only.
    users, item = np.require(users, np.int64, ["C", "W"]), np.require(seen.item, np.int32, ["C", "W"])
    offsets = seen.offsets
    seen_begin, seen_end = offsets[users], offsets[users + 1]
    ranked = np.full((len(users), k), -1, dtype=np.int32)
    rows = min(_BLOCK_USERS, max(1, _BLOCK_BYTES // (4 * max(1, seen.n_items))))
    starts = range(0, len(users), rows)

    def rank(begin: int, end: int) -> bool:
        for start in starts[begin:end]:
            block = slice(start, start + rows)
            scores = scorer(torch.from_numpy(users[block])).detach()
            assert scores.shape == (len(users[block]), seen.n_items), f"scores of shape {tuple(scores.shape)}"
            if not _rank_block(scores, seen_begin[block], seen_end[block], item, ranked[block]):
                return False
        return True

    numbers = all(on_cores(rank, len(starts)))
    if not numbers:
        raise DivergedError("the scores are not numbers: training diverged")
    return ranked


def _rank_block(
    scores: Tensor,
    seen_begin: NDArray[np.int64],
    seen_end: NDArray[np.int64],
    seen_item: NDArray[np.int32],
    best: NDArray[np.int32],
) -> bool:
    """Do as `top_unseen` does, for scores of any device, layout and floating type."""
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        return top_unseen(scores.contiguous().numpy(), seen_begin, seen_end, seen_item, best)
    if bool(torch.isnan(scores).any()):
        return False
    counts = seen_end - seen_begin
    row = np.repeat(np.arange(len(best)), counts)
    place = np.arange(counts.sum()) + np.repeat(seen_end - np.cumsum(counts), counts)
    where = (torch.from_numpy(index).to(scores.device) for index in (row, seen_item[place].astype(np.int64)))
    scores = scores.contiguous()
    scores[tuple(where)] = -torch.inf
    found, left = stable_top(scores, min(best.shape[1], scores.shape[1]))
    best[:, : found.shape[1]] = np.where(left, found, -1)
    return True


def stable_top(scores: Tensor, k: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return (B, k) indices of the largest scores, ties by index, and whether each score is above -inf."""
    more = min(k + 1, scores.shape[1])
    values, indices = (t.cpu().numpy() for t in torch.topk(scores, more, dim=1))
    order = np.lexsort((indices, -values), axis=1)
    values = np.take_along_axis(values, order, 1)
    indices = np.take_along_axis(indices, order, 1).astype(np.int32)
    if more > k:
        # A tie across the k-th place: topk took any of the equal ones, so sort those rows whole.
        tied = np.flatnonzero((values[:, k - 1] == values[:, k]) & (values[:, k] > -np.inf))
        if len(tied):
            rows = scores[torch.from_numpy(tied).to(scores.device)]
            whole = torch.sort(rows, dim=1, descending=True, stable=True).indices[:, :more]
            indices[tied] = whole.cpu().numpy().astype(np.int32)
    return indices[:, :k], values[:, :k] > -np.inf
