"""ItemKNN: cosine similarity of items with shrinkage, the nearest kept (Sarwar et al., WWW 2001)."""

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from nas.baselines.baseline import Baseline, Settings, history_scorer, matrix_of
from nas.data.interactions import Interactions
from nas.model.ranking import Scorer, stable_top

# Similarities of a block of items to all others, in bytes.
_BLOCK_BYTES = 256 * 2**20
_NEAREST = (20, 50, 100, 200, 400)
_SHRINK = (0.0, 20.0)


@lru_cache(maxsize=1)
def neighbours(interactions: Interactions, most: int, shrink: float) -> tuple[csr_array, csr_array]:
    """Return (I, I) similarities and places: row i holds the `most` items most like i, the nearest at place 0.

    sim(i, j) = common users / (sqrt(users of i * users of j) + shrink); i itself and items without a common user are
    left out. The last answer is kept: a grid asks for the same neighbours with different cuts.
    """
    matrix = matrix_of(interactions)
    by_item = csr_array(matrix.T)
    n_items = matrix.shape[1]
    norms = np.sqrt(np.diff(by_item.indptr)).astype(np.float32)
    rows = max(1, _BLOCK_BYTES // (4 * n_items))
    similarities, places = [], []
    for begin in range(0, n_items, rows):
        block = (by_item[begin : begin + rows] @ matrix).toarray()
        own = np.arange(len(block))
        block /= np.maximum(np.outer(norms[begin + own], norms) + np.float32(shrink), np.float32(1e-12))
        block[own, begin + own] = 0
        nearest, _ = stable_top(torch.from_numpy(block), min(most, n_items))
        values = np.take_along_axis(block, nearest.astype(np.int64), 1)
        row, place = np.nonzero(values > 0)
        index = (row, nearest[row, place])
        similarities.append(csr_array((values[row, place], index), shape=block.shape))
        places.append(csr_array((place.astype(np.float32), index), shape=block.shape))
    return csr_array(vstack(similarities, format="csr")), csr_array(vstack(places, format="csr"))


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Find every item's neighbours; a user's score of i sums the similarities of the history's items that i is near to."""
    similarity, place = neighbours(interactions, _NEAREST[-1], settings["shrink"])
    kept = place.data < settings["nearest"]
    row = np.repeat(np.arange(interactions.n_items), np.diff(similarity.indptr))[kept]
    index = (similarity.indices[kept], row)
    return history_scorer(interactions, csr_array((similarity.data[kept], index), shape=similarity.shape))


ITEMKNN = Baseline(fit, grid=tuple({"nearest": k, "shrink": s} for s in _SHRINK for k in _NEAREST))
