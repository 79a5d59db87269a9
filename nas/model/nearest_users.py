"""Scores by what the users most like someone have had.

Shape suffixes: U users, I items, B users of a block.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from nas.data.interactions import Interactions
from nas.graph.compiled import compiled
from nas.model.history import HistoryModel, histories_of, with_settings
from nas.model.via_users import both_ways, scored
from nas.space.closed_form import UserBranch

Floats = NDArray[np.float32]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]

# Likenesses are sums of the same numbers for many users: those that differ by less are equal but for rounding.
_ALIKE = 1 - 1e-5


def fit_users(branch: UserBranch, interactions: Interactions) -> HistoryModel:
    """Return the scores of a user branch."""
    model = HistoryModel(histories_of(interactions), NearestUsers(branch, interactions))
    return with_settings(model, branch, interactions)


class NearestUsers:
    """From the items of a history to the users most like it, and on to what these have had.

    With a_i = popularity of i ** -rarity, the likeness of user v to a history h is the sum of h_i a_i over the items i that
    v has had, over the root of the sum of a_i over all that v has had: a cosine, but for the length of h, which changes no
    ranking. The `neighbours` largest count, those equal to the last one too, each (likeness / largest) ** power.

    Whoever has had nothing that is not in h says nothing new, and is nobody's neighbour: a trained user is not the own one.
    """

    def __init__(self, branch: UserBranch, interactions: Interactions) -> None:
        """Count the items and the users of `interactions`."""
        self.neighbours, self.power = branch.neighbours, branch.power
        self._ways = both_ways(interactions)
        popularity = np.diff(self._ways[0])
        self.item_shares = (np.maximum(popularity, 1) ** -branch.rarity).astype(np.float32)
        square = np.bincount(interactions.user, self.item_shares[interactions.item], interactions.n_users)
        self.user_shares = np.divide(1, np.sqrt(square), where=square > 0, out=np.zeros_like(square))
        self.user_shares = self.user_shares.astype(np.float32)

    def scores(self, histories: csr_array) -> Tensor:
        """Return the scores (B, I) float32 of histories (B, I), of all items."""
        shares = self.item_shares, self.user_shares
        return scored(_from_neighbours, histories, *self._ways, *shares, self.neighbours, float(self.power))

    @property
    def entries(self) -> int:
        """Numbers that it is made of, those of neighbours and power among them."""
        return len(self.item_shares) + len(self.user_shares) + 2

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the scores of all users, about: as if all neighbours had mean histories.

        Who they are, and how many tie with the last, takes as long to find as the scores. On MovieLens near
        users have had more than most, and what follows after they are found is .6 to .7 of what is done.
        """
        item_offsets, _, _, items = self._ways
        reached = int(np.diff(item_offsets)[items].sum())
        return reached + min(self.neighbours, len(self.user_shares)) * len(items)


@compiled
def _from_neighbours(
    begins: Longs,
    history: Ints,
    counts: Floats,
    item_offsets: Longs,
    users: Ints,
    user_offsets: Longs,
    items: Ints,
    item_shares: Floats,
    user_shares: Floats,
    neighbours: int,
    power: float,
    out: Floats,
    begin: int,
    end: int,
) -> None:
    likeness = np.zeros(len(user_shares), dtype=np.float64)
    shared = np.zeros(len(user_shares), dtype=np.int64)
    reached = np.empty(len(user_shares), dtype=np.int64)
    for row in range(begin, end):
        n_reached = 0
        for place in range(begins[row], begins[row + 1]):
            item = history[place]
            weight = np.float64(counts[place]) * np.float64(item_shares[item])
            for at in range(item_offsets[item], item_offsets[item + 1]):
                user = users[at]
                if shared[user] == 0:
                    reached[n_reached] = user
                    n_reached += 1
                shared[user] += 1
                likeness[user] += weight
        found, kept = np.empty(n_reached, dtype=np.float64), 0
        for n in range(n_reached):
            user = reached[n]
            new = shared[user] < user_offsets[user + 1] - user_offsets[user]
            value = likeness[user] * user_shares[user]
            likeness[user], shared[user] = 0.0, 0
            if new and value > 0:
                reached[kept], found[kept] = user, value
                kept += 1
        if kept == 0:
            continue
        found = found[:kept]
        largest, least = found.max(), 0.0
        if kept > neighbours:
            least = _ALIKE * np.partition(found, kept - neighbours)[kept - neighbours]
        for n in range(kept):
            if found[n] >= least:
                user, weight = reached[n], (found[n] / largest) ** power
                for at in range(user_offsets[user], user_offsets[user + 1]):
                    out[row, items[at]] += weight
