"""Non-negative elastic nets of each item on all others, from their co-occurrences alone.

A column is solved on its active items by coordinate descent (Friedman, Hastie and Tibshirani, JSS 2010), until no item
beside them would gain by a weight. Shape suffixes: I items, A active items of a column, n columns of a block.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from nas.graph.compiled import compiled
from nas.graph.threads import in_threads, ranges_of

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

TOLERANCE = 1e-4
"""By how much a gradient may miss its optimum, as a share of the column's largest possible one, x_j'x_j."""
# Columns at a time: few, for that of a popular item takes many times as long as that of a rare one, and a thread that is
# through takes the next block.
_BLOCK = 16
# Items become active that would gain at least this share of what the best of them would.
_SHARE = 0.5
# On the way, active items are solved to this share of the largest gradient beside them.
_LOOSE = 0.1
# The objective falls in every round and sweep; a column takes about ten rounds of ten sweeps. Both are bounded since
# rounding could keep a gradient above a very small tolerance.
_MOST_ROUNDS = 100
_MOST_SWEEPS = 1000


def sparse_regression(gram: torch.Tensor, l1: float, l2: float) -> csr_array:
    """Return W (I, I) float32, column j of which minimises |x_j - X w|^2 / 2 + l1 |w|_1 + l2 |w|^2 / 2, w >= 0, w_j = 0.

    The result does not depend on the number of threads.

    Args:
        gram: X'X (I, I) float32.
        l1: at least 0, in co-occurrences: an item that shares no more than `l1` users with j gets no weight.
        l2: above 0, in co-occurrences.
    """
    matrix = gram.contiguous().numpy()

    def solve(begin: int, end: int) -> csr_array:
        rows = np.zeros((end - begin, len(matrix)), dtype=np.float32)
        _solve(matrix, np.float32(l1), np.float32(l2), np.float32(TOLERANCE), begin, rows)
        return csr_array(rows)

    blocks = ranges_of(np.arange(len(matrix) + 1), -(-len(matrix) // _BLOCK))
    return csr_array(vstack(in_threads(solve, blocks), format="csr").T)


@compiled
def _solve(
    gram: Floats, l1: np.float32, l2: np.float32, tolerance: np.float32, begin: int, rows: Floats
) -> None:
    """Write the weights of columns begin, begin + 1, ... into `rows` (n, I), which is zero."""
    root = roots(gram, l2)
    for n in range(len(rows)):
        solve_column(gram, root, begin + n, l1, l2, tolerance, rows[n])


@compiled
def roots(gram: Floats, l2: np.float32) -> Floats:
    """Return 1 / sqrt(x_i'x_i + l2) (I,) of each item."""
    root = np.empty(len(gram), dtype=np.float32)
    for item in range(len(gram)):
        root[item] = 1 / np.sqrt(gram[item, item] + l2)
    return root


@compiled
def solve_column(
    gram: Floats,
    root: Floats,
    own: int,
    l1: np.float32,
    l2: np.float32,
    tolerance: np.float32,
    weights: Floats,
) -> None:
    """Write the weights of column `own` into `weights` (I,), which is zero; `root` are the `roots`."""
    slack, reached = tolerance * gram[own, own], np.float32(np.inf)
    for _ in range(_MOST_ROUNDS):
        # Anew each time, so that rounding does not add up.
        gradient = gram[own].copy()
        for other in np.flatnonzero(weights):
            _add(gradient, -weights[other], gram[other])
        fault, active = _entering(gradient - l1, weights, root, own)
        if fault <= slack and reached <= slack:
            break
        reached = max(slack, np.float32(_LOOSE) * fault)
        weights[active] = _descend(gram, active, gradient[active], weights[active], l1, l2, reached)


@compiled
def _entering(excess: Floats, weights: Floats, root: Floats, own: int) -> tuple[np.float32, Ints]:
    """Return the largest excess (I,) of a gradient without a weight, and the (A,) items that are to be active."""
    fault, best = np.float32(0), np.float32(0)
    for item in range(len(excess)):
        # The objective falls by half the square of excess * root, where that is positive.
        if excess[item] > 0 and weights[item] == 0 and item != own:
            fault = max(fault, excess[item])
            best = max(best, excess[item] * root[item])
    active = weights > 0
    if best > 0:
        for item in range(len(excess)):
            active[item] |= item != own and excess[item] * root[item] >= np.float32(_SHARE) * best
    return fault, np.flatnonzero(active)


@compiled
def _descend(
    gram: Floats,
    active: Ints,
    gradient: Floats,
    weights: Floats,
    l1: np.float32,
    l2: np.float32,
    goal: np.float32,
) -> Floats:
    """Return better weights (A,) of the active items, from their gradients (A,) at `weights` (A,); both are overwritten."""
    among = np.empty((len(active), len(active)), dtype=np.float32)
    for a in range(len(active)):
        row = gram[active[a]]
        for b in range(len(active)):
            among[a, b] = row[active[b]]
    for _ in range(_MOST_SWEEPS):
        largest = np.float32(0)
        for a in range(len(active)):
            scale = among[a, a] + l2
            better = max(np.float32(0), (gradient[a] + among[a, a] * weights[a] - l1) / scale)
            step = better - weights[a]
            if step != 0:
                weights[a] = better
                _add(gradient, -step, among[a])
                largest = max(largest, abs(step) * scale)
        if largest <= goal / 2:
            break
    return weights


@compiled
def _add(total: Floats, factor: np.float32, row: Floats) -> None:
    for place in range(len(total)):
        total[place] += factor * row[place]
