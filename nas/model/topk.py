"""The top k of rows of scores on the CPU: one compiled pass for a lower bound, one that picks what is above it.

A first bound makes the picking short whatever the order of the scores: the best of each of many lanes (item j is in
lane j mod L) are that many different items, so the k-th largest of them is at most the k-th largest score. What beats
the bound is then inserted into a sorted list of k, whose last score is the new bound.

Shape suffixes: B users of a block, I items, k, n history entries.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.graph.compiled import compiled

# Lanes stay in the first-level cache; the bound is loose where several of the best k share a lane.
_LANES = 512
# Items whose scores are compared with the bound at once, in vector registers and without a branch.
_CHUNK = 64

Scores = NDArray[np.float32] | NDArray[np.float64]


def top_unseen(
    scores: Scores,
    seen_begin: NDArray[np.int64],
    seen_end: NDArray[np.int64],
    seen_item: NDArray[np.int32],
    best: NDArray[np.int32],
) -> bool:
    """Write each row's k best unseen items into `best`, best first, equal scores by item index.

    A row with fewer than k scores above -inf ends in -1. The scores of seen items are overwritten with -inf. The
    interpreter's lock is released meanwhile.

    Args:
        scores: (B, I) float32 or float64, C-contiguous.
        seen_begin: (B,) int64, where each user's history begins in `seen_item`.
        seen_end: (B,) int64, where it ends.
        seen_item: (n,) int32, item indices below I.
        best: (B, k) int32, C-contiguous; k > 0, and may be larger than I.

    Returns:
        Whether all scores are numbers, those of seen items among them. If not, `best` means nothing.
    """
    assert len(scores) == len(seen_begin) == len(seen_end) == len(best), "one row of scores a user"
    assert best.shape[1] > 0, "k > 0 must hold, but got k=0"
    return bool(_top_unseen(scores, seen_begin, seen_end, seen_item, best))


@compiled
def _top_unseen(
    scores: Scores,
    seen_begin: NDArray[np.int64],
    seen_end: NDArray[np.int64],
    seen_item: NDArray[np.int32],
    best: NDArray[np.int32],
) -> bool:
    items, k = scores.shape[1], best.shape[1]
    values = np.empty(k, scores.dtype)
    lanes = np.empty(_LANES, scores.dtype)
    lowest = scores.dtype.type(-np.inf)
    numbers = True
    for row in range(len(scores)):
        line, chosen = scores[row], best[row]
        for place in range(seen_begin[row], seen_end[row]):
            item = seen_item[place]
            numbers &= line[item] == line[item]
            line[item] = lowest
        _fill_lanes(line, lanes)
        values[:] = lowest
        for lane in range(_LANES):
            numbers &= lanes[lane] == lanes[lane]
            if lanes[lane] > values[k - 1]:
                _insert(lanes[lane], lane, values, chosen)
        # Just below the k-th lane, for scores equal to it belong to the list until k are found.
        bound = np.nextafter(values[k - 1], lowest)
        values[:] = bound
        chosen[:] = -1
        for start in range(0, items, _CHUNK):
            stop = min(start + _CHUNK, items)
            above = False
            for item in range(start, stop):
                above |= line[item] > bound
            if above:
                for item in range(start, stop):
                    if line[item] > bound:
                        _insert(line[item], item, values, chosen)
                        bound = values[k - 1]
    return numbers


@compiled
def _fill_lanes(line: NDArray[Any], lanes: NDArray[Any]) -> None:
    """Write the largest score of each lane; NaN where the lane holds one."""
    rounds = len(line) // _LANES
    lanes[:] = -np.inf
    table = line[: rounds * _LANES].reshape(rounds, _LANES)
    # np.maximum keeps NaN, and LLVM makes vectors of it; of a comparison it makes masked stores, which are slow.
    for part in range(rounds):
        for lane in range(_LANES):
            lanes[lane] = np.maximum(lanes[lane], table[part, lane])
    for item in range(rounds * _LANES, len(line)):
        lane = item - rounds * _LANES
        lanes[lane] = np.maximum(lanes[lane], line[item])


@compiled
def _insert(score: float, index: int, values: NDArray[Any], indices: NDArray[np.int32]) -> None:
    """Put a score before those that it beats and behind those that it equals; the last one drops out."""
    place = len(values) - 1
    while place > 0 and values[place - 1] < score:
        values[place] = values[place - 1]
        indices[place] = indices[place - 1]
        place -= 1
    values[place] = score
    indices[place] = index
