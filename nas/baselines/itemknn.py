"""ItemKNN: cosine similarity of items with shrinkage, the nearest kept (Sarwar et al., WWW 2001)."""

import numpy as np
from scipy.sparse import csr_array, vstack

from nas.baselines.baseline import Baseline, Settings, history_scorer, matrix_of
from nas.data.interactions import Interactions
from nas.model.ranking import Scorer

_ROWS = 2048


def neighbours(interactions: Interactions, nearest: int, shrink: float) -> csr_array:
    """Return (I, I) similarities: row i holds the `nearest` items most like i, without i itself.

    sim(i, j) = common users / (sqrt(users of i * users of j) + shrink).
    """
    matrix = matrix_of(interactions)
    by_item = csr_array(matrix.T)
    norms = np.sqrt(np.diff(by_item.indptr)).astype(np.float32)
    blocks = []
    for begin in range(0, matrix.shape[1], _ROWS):
        common = csr_array(by_item[begin : begin + _ROWS] @ matrix)
        row = np.repeat(np.arange(common.shape[0]), np.diff(common.indptr))
        values = common.data / (norms[begin + row] * norms[common.indices] + shrink)
        values[common.indices == begin + row] = 0
        # Best first within a row, ties by item; then the first `nearest` of each row.
        order = np.lexsort((common.indices, -values, row))
        place = np.arange(len(order)) - np.repeat(common.indptr[:-1], np.diff(common.indptr))
        keep = order[(place < nearest) & (values[order] > 0)]
        shape = common.shape
        blocks.append(csr_array((values[keep], (row[keep], common.indices[keep])), shape=shape))
    return csr_array(vstack(blocks, format="csr").astype(np.float32))


def fit(interactions: Interactions, settings: Settings) -> Scorer:
    """Find every item's neighbours; a user's score of i sums the similarities of the history's items that i is near to."""
    near = neighbours(interactions, int(settings["nearest"]), settings["shrink"])
    return history_scorer(interactions, csr_array(near.T))


ITEMKNN = Baseline(
    fit, grid=tuple({"nearest": k, "shrink": s} for k in (20, 50, 100, 200, 400) for s in (0.0, 10.0, 50.0))
)
