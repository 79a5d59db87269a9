"""What is said of all lists together, beyond their accuracy; an addition is a function and its line in `LISTS`.

Shape suffixes: n lists, k places (-1: none left), U users, I items, P of which the most popular.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.data.interactions import Interactions
from nas.graph.compiled import compiled
from nas.graph.threads import in_threads, ranges_of

Ranked = NDArray[np.int32]

# The most popular items, of which the cosines of all pairs are held: 100 MB. To find them takes as long as
# the diversity of a few rankings by their users; a run judges hundreds, which then take a hundredth of the
# time. Lists that hold other items too are gone through by users.
_FEW_ITEMS = 5_000
# Where fewer of the lists hold none but these, their cosines are not worth the memory.
_MOSTLY = 0.5
# Rows of cosines that are found at a time.
_BLOCK = 64


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
    def places(self) -> NDArray[np.int32]:
        """(I + 1,): the row of each item in `cosines`; -1 where it is not popular enough, and of item -1."""
        popular = np.sort(np.argsort(-self.popularity, kind="stable")[:_FEW_ITEMS])
        found = np.full(self.n_items + 1, -1, dtype=np.int32)
        found[popular] = np.arange(len(popular))
        return found

    @cached_property
    def cosines(self) -> NDArray[np.float32]:
        """(P, P): of the users of two of the P most popular items; 0 where nobody had one of them."""
        popular = np.flatnonzero(self.places >= 0)
        ones = np.ones(len(self.users), dtype=np.float32)
        by_item = csr_array((ones, self.users, self.offsets), shape=(self.n_items, self.n_users))[popular]
        by_user = csr_array(by_item.T)
        found = np.empty((len(popular), len(popular)), dtype=np.float32)

        def fill(begin: int, end: int) -> None:
            found[begin:end] = (by_item[begin:end] @ by_user).toarray()

        in_threads(fill, ranges_of(by_item.indptr, -(-len(popular) // _BLOCK)))
        popularity = np.maximum(self.popularity[popular], 1).astype(np.float64)
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
    places = catalogue.places[ranked]
    popular = ((places >= 0) == (ranked >= 0)).all(1)
    popular &= popular.mean() >= _MOSTLY
    found = np.zeros(len(ranked))
    if popular.any():
        found[popular] = _by_list(_similarity_by_pairs, places[popular], catalogue.cosines)
    sizes = catalogue.offsets, catalogue.users, catalogue.n_users
    found[~popular] = _by_list(_similarity, ranked[~popular], *sizes)
    return float(1 - found[long].mean())


def _by_list(kernel: Callable[..., None], ranked: Ranked, *arguments: Any) -> NDArray[np.float64]:
    """Return what a kernel finds for each list (n,), its rows in threads."""
    found = np.zeros(len(ranked))
    ranges = ranges_of(np.arange(len(ranked) + 1))
    in_threads(kernel, ranges, np.ascontiguousarray(ranked), *arguments, found)
    return found


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
