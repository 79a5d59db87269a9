"""The nearest items of each item by cosine, without the whole similarity matrix in memory."""

from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from nas.data.interactions import Interactions
from nas.model.history import histories_of
from nas.model.ranking import stable_top

# Similarities of a block of items to all others, in bytes.
_BLOCK_BYTES = 256 * 2**20


@lru_cache(maxsize=1)
def neighbours(interactions: Interactions, most: int, shrink: float) -> tuple[csr_array, csr_array]:
    """Return (I, I) similarities and places: row i holds the `most` items most like i, the nearest at place 0.

    sim(i, j) = common users / (sqrt(users of i * users of j) + shrink); i itself and items without a common user are
    left out. The last answer is kept: a grid asks for the same neighbours with different cuts.
    """
    matrix = histories_of(interactions)
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
