"""What items have in common by what is known of them: their genres, the words of their titles, and other features."""

import re
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from nas.data.interactions import ItemTable

# Pairs of items that share a feature, summed over features; beyond this the commonest are left out.
MOST_PAIRS = 50_000_000
_WORD = re.compile(r"\w+")


@lru_cache(maxsize=4)
def item_features(items: ItemTable, n_items: int) -> csr_array:
    """Return (I, F) float32, 1 where an item has a feature: a genre, a word of its title or one of its `features`.

    What one item alone has is left out, for it has nothing to say of others, and so are the commonest features,
    where all together would be shared by more than `MOST_PAIRS` pairs of items.
    """
    columns: dict[str, int] = {}
    names = [[columns.setdefault(name, len(columns)) for name in _names(items, n)] for n in range(n_items)]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in names], dtype=np.int64)])
    flat = np.fromiter((column for one in names for column in one), dtype=np.int64, count=int(indptr[-1]))
    found = csr_array((np.ones(len(flat), dtype=np.float32), flat, indptr), shape=(n_items, len(columns)))
    had = np.bincount(flat, minlength=len(columns)).astype(np.int64)
    # The rarest first: they say most.
    order = np.argsort(had, kind="stable")
    order = order[np.cumsum(np.where(had[order] > 1, had[order] ** 2, 0)) <= MOST_PAIRS]
    return csr_array(found[:, np.sort(order[had[order] > 1])])


def _names(items: ItemTable, n: int) -> dict[str, None]:
    """Return the features of an item, each once."""
    found = (
        dict.fromkeys(f"word: {word}" for word in _WORD.findall(items.title[n].casefold()))
        if items.title
        else {}
    )
    found |= dict.fromkeys(f"genre: {genre}" for genre in items.genres[n]) if items.genres else {}
    found |= dict.fromkeys(f"feature: {feature}" for feature in items.features[n]) if items.features else {}
    return found
