"""Non-negative elastic nets of each item on the items closest to it, for catalogues of any size.

SLIM with feature selection (fsSLIM; Ning and Karypis, ICDM 2011, section 4.3): a column is solved among its candidates
alone, whose co-occurrences fit a small dense matrix. Shape suffixes: I items, C candidates of a column, n columns of a
block.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.graph.compiled import compiled
from nas.graph.threads import in_threads, ranges_of
from nas.model.sparse_regression import TOLERANCE, roots, solve_column

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Columns = NDArray[np.int32]

# C. On Gowalla, split at random, 30, 50, 100 and 200 candidates have a validation NDCG@20 of .138, .139, .141
# and .141, in 2, 5, 17 and 31 s.
CANDIDATES = 100
# Columns at a time, see `sparse_regression`.
_BLOCK = 64


def neighbourhood_regression(gram: csr_array, l1: float, l2: float) -> csr_array:
    """Return W (I, I) float32: `sparse_regression` with the candidates of a column alone.

    Candidates are the `CANDIDATES` items by which, taken alone, the column's objective would fall furthest.
    The result does not depend on the number of threads.

    Args:
        gram: X'X (I, I) float32, its indices increasing.
        l1: at least 0, in co-occurrences.
        l2: above 0, in co-occurrences.
    """
    items, diagonal = gram.shape[0], gram.diagonal().astype(np.float32)
    indptr, indices = gram.indptr.astype(np.int64), gram.indices.astype(np.int32, copy=False)
    settings = np.float32(l1), np.float32(l2), np.float32(TOLERANCE)

    def solve(begin: int, end: int) -> tuple[Ints, Columns, Floats]:
        counts = np.zeros(end - begin, dtype=np.int64)
        others = np.zeros((end - begin, CANDIDATES), dtype=np.int32)
        weights = np.zeros((end - begin, CANDIDATES), dtype=np.float32)
        _solve(indptr, indices, gram.data, diagonal, *settings, begin, counts, others, weights)
        kept = np.arange(CANDIDATES) < counts[:, None]
        return counts, others[kept], weights[kept]

    blocks = in_threads(solve, ranges_of(np.arange(items + 1), -(-items // _BLOCK)))
    counts = np.concatenate([block[0] for block in blocks])
    others = np.concatenate([block[1] for block in blocks])
    weights = np.concatenate([block[2] for block in blocks])
    starts = np.concatenate([[0], np.cumsum(counts)])
    return csr_array(csr_array((weights, others, starts), shape=(items, items)).T)


@compiled
def _solve(
    indptr: Ints,
    indices: Columns,
    data: Floats,
    diagonal: Floats,
    l1: np.float32,
    l2: np.float32,
    tolerance: np.float32,
    begin: int,
    counts: Ints,
    others: Columns,
    weights: Floats,
) -> None:
    """Write how many weights columns begin, begin + 1, ... have (n,), of which items and which (n, C)."""
    for n in range(len(counts)):
        own = begin + n
        chosen = _candidates(indptr, indices, data, diagonal, l1, l2, own, others.shape[1])
        # The column itself is the last.
        among = _among(indptr, indices, data, diagonal, np.append(chosen, np.int32(own)))
        found = np.zeros(len(among), dtype=np.float32)
        solve_column(among, roots(among, l2), len(chosen), l1, l2, tolerance, found)
        for place in np.flatnonzero(found):
            others[n, counts[n]], weights[n, counts[n]] = chosen[place], found[place]
            counts[n] += 1


@compiled
def _candidates(
    indptr: Ints,
    indices: Columns,
    data: Floats,
    diagonal: Floats,
    l1: np.float32,
    l2: np.float32,
    own: int,
    most: int,
) -> Columns:
    """Return the items (C,) that promise most for a column, increasing; of equal ones the first."""
    row = slice(indptr[own], indptr[own + 1])
    items, gain = indices[row], data[row] - l1
    for place in range(len(items)):
        # The objective falls by half the square of this.
        gain[place] /= np.sqrt(diagonal[items[place]] + l2)
        if items[place] == own:
            gain[place] = 0
    promising = np.flatnonzero(gain > 0)
    if len(promising) > most:
        order = np.argsort(-gain[promising], kind="mergesort")
        promising = np.sort(promising[order[:most]])
    return items[promising]


@compiled
def _among(indptr: Ints, indices: Columns, data: Floats, diagonal: Floats, items: Columns) -> Floats:
    """Return the co-occurrences (C + 1, C + 1) of some items."""
    found = np.zeros((len(items), len(items)), dtype=np.float32)
    for a in range(len(items)):
        found[a, a] = diagonal[items[a]]
        for b in range(a):
            # Looked up in the shorter of the two rows.
            row, other = items[a], items[b]
            if indptr[row + 1] - indptr[row] > indptr[other + 1] - indptr[other]:
                row, other = other, row
            begin, end = indptr[row], indptr[row + 1]
            place = begin + np.searchsorted(indices[begin:end], other)
            if place < end and indices[place] == other:
                found[a, b] = found[b, a] = data[place]
    return found
