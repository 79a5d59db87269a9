"""Item-item weights that are never formed: from the items of a history to those who had them, and on to their items.

W = A X' B X A with diagonal A (I,) and B (U,), X (U, I) the interactions. On Gowalla W has half a billion entries, X a
million.

Shape suffixes: U users, I items, B users of a block.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph.compiled import compiled
from nas.graph.threads import in_threads, ranges_of
from nas.model.lists import catalogue_of

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]


class ViaUsers:
    """The weights A X' B X A."""

    def __init__(self, interactions: Interactions, item_shares: Floats, user_shares: Floats) -> None:
        """Hold what W is made of.

        Args:
            interactions: X.
            item_shares: (I,) float32, the diagonal of A.
            user_shares: (U,) float32, the diagonal of B.
        """
        self.item_shares, self.user_shares = item_shares, user_shares
        self._ways = both_ways(interactions)

    def scores(self, histories: csr_array) -> Tensor:
        """Return histories (B, I) @ W as (B, I) float32."""
        return scored(_to_users_and_on, histories, *self._ways, self.item_shares, self.user_shares)

    @property
    def entries(self) -> int:
        """Numbers that it is made of."""
        return len(self.item_shares) + len(self.user_shares)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of X @ W, at most."""
        item_offsets, _, user_offsets, items = self._ways
        per_user = np.diff(user_offsets)
        owners = np.repeat(np.arange(len(per_user)), per_user)
        # Of each item, those who had it and the items that they had.
        had = np.diff(item_offsets)
        reached = np.bincount(items, per_user[owners], minlength=len(had))
        of_user = np.bincount(owners, reached[items], minlength=len(per_user))
        return int(had[items].sum() + np.minimum(of_user, len(items)).sum())


def both_ways(interactions: Interactions) -> tuple[Longs, Ints, Longs, Ints]:
    """Return who had each item, and what each user had.

    Where each item begins among the users, (I + 1,), and these, (n,); where each user begins among the items,
    (U + 1,), and these, (n,).
    """
    by_item, items = catalogue_of(interactions), np.require(interactions.item, np.int32, ["C", "W"])
    return by_item.offsets, by_item.users, interactions.offsets, items


def scored(kernel: Callable[..., None], histories: csr_array, *arguments: Any) -> Tensor:
    """Return the scores (B, I) float32 that a kernel finds for histories (B, I), each thread for its rows."""
    out = np.zeros(histories.shape, dtype=np.float32)
    begins, items = histories.indptr.astype(np.int64), histories.indices.astype(np.int32)
    counts = histories.data.astype(np.float32)
    in_threads(kernel, ranges_of(begins), begins, items, counts, *arguments, out)
    return torch.from_numpy(out)


@compiled
def _to_users_and_on(
    begins: Longs,
    history: Ints,
    counts: Floats,
    item_offsets: Longs,
    users: Ints,
    user_offsets: Longs,
    items: Ints,
    item_shares: Floats,
    user_shares: Floats,
    out: Floats,
    begin: int,
    end: int,
) -> None:
    reached = np.zeros(len(user_shares), dtype=np.float32)
    for row in range(begin, end):
        for place in range(begins[row], begins[row + 1]):
            item = history[place]
            weight = counts[place] * item_shares[item]
            for at in range(item_offsets[item], item_offsets[item + 1]):
                reached[users[at]] += weight
        for user in range(len(reached)):
            weight = reached[user] * user_shares[user]
            reached[user] = 0
            if weight != 0:
                for at in range(user_offsets[user], user_offsets[user + 1]):
                    out[row, items[at]] += weight
        for item in range(len(item_shares)):
            out[row, item] *= item_shares[item]
