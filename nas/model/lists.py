"""What is said of all lists together, beyond their accuracy; an addition is a function and its line in `LISTS`.

Shape suffixes: n lists, k places (-1: none left), U users, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.data.interactions import Interactions
from nas.graph.compiled import compiled
from nas.graph.threads import in_threads, ranges_of

Ranked = NDArray[np.int32]

# Items up to which the cosines of all pairs are held: 100 MB. To find them takes as long as the diversity of a few
# rankings by their users; a run judges hundreds, which then take a hundredth of the time.
_FEW_ITEMS = 5_000


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items, as the training interactions show them.

    Attributes:
        offsets: (I + 1,) int64; item i was had by `users[offsets[i] : offsets[i + 1]]`.
        users: (n,) int32.
        n_users: U.
    """

    offsets: NDArray[np.int64]
    users: NDArray[np.int32]
    n_users: int

    @property
    def popularity(self) -> NDArray[np.int64]:
        """(I,) int64: interactions of each item."""
        return np.diff(self.offsets)

    @property
    def n_items(self) -> int:
        """I."""
        return len(self.offsets) - 1

    @cached_property
    def cosines(self) -> NDArray[np.float32]:
        """(I, I): of the users of two items; 0 where nobody had one of them."""
        ones = np.ones(len(self.users), dtype=np.float32)
        by_item = csr_array((ones, self.users, self.offsets), shape=(self.n_items, self.n_users))
        found: NDArray[np.float32] = (by_item @ by_item.T).toarray()
        popularity = np.maximum(self.popularity, 1).astype(np.float64)
        for row, own in zip(found, popularity, strict=True):
            row /= np.sqrt(own * popularity)
        return found


@lru_cache(maxsize=4)
def catalogue_of(history: Interactions) -> Catalogue:
    """Return the items of training interactions."""
    counts = np.bincount(history.item, minlength=history.n_items)
    users = history.user[np.argsort(history.item, kind="stable")]
    return Catalogue(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), users, history.n_users)


def coverage(ranked: Ranked, catalogue: Catalogue) -> float:
    """Share of the catalogue that is in anybody's list."""
    return float((_shown(ranked, catalogue.n_items) > 0).mean())


def gini(ranked: Ranked, catalogue: Catalogue) -> float:
    """Gini coefficient of how often each item is shown: 0 where all are alike, near 1 where a few get everything."""
    shown = np.sort(_shown(ranked, catalogue.n_items))
    total, place = shown.sum(), np.arange(1, len(shown) + 1)
    return float(((2 * place - len(shown) - 1) * shown).sum() / (len(shown) * total)) if total else 0.0


def novelty(ranked: Ranked, catalogue: Catalogue) -> float:
    """Mean self-information of the shown items in bits, -log2 of the share of the history's interactions.

    An item without interactions counts as if it had one (Zhou et al., PNAS 2010).
    """
    popularity = catalogue.popularity
    information = -np.log2(np.maximum(popularity, 1) / max(1, popularity.sum()))
    kept = ranked[ranked >= 0]
    return float(information[kept].mean()) if len(kept) else 0.0


def diversity(ranked: Ranked, catalogue: Catalogue) -> float:
    """Intra-list diversity: 1 - the mean cosine of the users of two items of a list, mean over the lists.

    (Ziegler et al., WWW 2005, with the items' users in the place of topics.) Lists of fewer than two items are left out.
    """
    long = (ranked >= 0).sum(1) >= 2
    if not long.any():
        return 0.0
    found, ranked = np.zeros(len(ranked)), np.ascontiguousarray(ranked)
    parts = ranges_of(np.arange(len(ranked) + 1))
    if catalogue.n_items <= _FEW_ITEMS:
        in_threads(_similarity_by_pairs, parts, ranked, catalogue.cosines, found)
    else:
        sizes = catalogue.offsets, catalogue.users, catalogue.n_users
        in_threads(_similarity, parts, ranked, *sizes, found)
    return float(1 - found[long].mean())


@compiled
def _similarity_by_pairs(
    ranked: Ranked, cosines: NDArray[np.float32], found: NDArray[np.float64], begin: int, end: int
) -> None:
    for n in range(begin, end):
        pairs, total = 0, 0.0
        for place in range(ranked.shape[1]):
            for other in range(place):
                if ranked[n, place] >= 0 and ranked[n, other] >= 0:
                    pairs += 1
                    total += cosines[ranked[n, place], ranked[n, other]]
        if pairs:
            found[n] = total / pairs


@compiled
def _similarity(
    ranked: Ranked,
    offsets: NDArray[np.int64],
    users: NDArray[np.int32],
    n_users: int,
    found: NDArray[np.float64],
    begin: int,
    end: int,
) -> None:
    # The cosines of all pairs of a list are in the square of the sum of its items' unit vectors over the users.
    total = np.zeros(n_users, dtype=np.float64)
    for n in range(begin, end):
        items, with_users, square = 0, 0, 0.0
        for item in ranked[n]:
            if item < 0:
                continue
            items += 1
            first, last = offsets[item], offsets[item + 1]
            if last > first:
                with_users += 1
                share = 1 / np.sqrt(last - first)
                for place in range(first, last):
                    user = users[place]
                    square += share * (2 * total[user] + share)
                    total[user] += share
        if items >= 2:
            found[n] = (square - with_users) / (items * (items - 1))
        for item in ranked[n]:
            if item >= 0:
                total[users[offsets[item] : offsets[item + 1]]] = 0.0


def _shown(ranked: Ranked, n_items: int) -> NDArray[np.int64]:
    # A place beyond the catalogue holds -1.
    return np.bincount(ranked.ravel() + 1, minlength=n_items + 1)[1:].astype(np.int64)


LISTS: dict[str, Callable[[Ranked, Catalogue], float]] = {
    "coverage": coverage,
    "gini": gini,
    "novelty": novelty,
    "diversity": diversity,
}
"""Of all lists together, (n, k) items, and of the catalogue."""
