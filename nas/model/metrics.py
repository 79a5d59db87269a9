"""Ranking metrics of one list a user; an addition is a function and its line in `METRICS`.

The values agree with PyG's `LinkPred*` metrics.
Shape suffixes: n users, k places.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.data.interactions import Interactions
from nas.graph.compiled import compiled

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def evaluated_users(held_out: Interactions, history: Interactions) -> NDArray[np.int64]:
    """Return the users that are judged: those with something held out and something to go by."""
    judged = (np.diff(held_out.offsets) > 0) & (np.diff(history.offsets) > 0)
    return np.flatnonzero(judged).astype(np.int64)


def hits(ranked: NDArray[np.int32], users: NDArray[np.int64], held_out: Interactions) -> Bools:
    """Return (n, k): whether the item at each place is among the user's held-out items; -1 is a miss."""
    found = np.zeros(ranked.shape, dtype=np.bool_)
    offsets = held_out.offsets
    _mark_hits(np.ascontiguousarray(ranked), offsets[users], offsets[users + 1], held_out.item, found)
    return found


@compiled
def _mark_hits(
    ranked: NDArray[np.int32],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    items: NDArray[np.int32],
    found: Bools,
) -> None:
    for n in range(len(ranked)):
        # A user's items are in order.
        held = items[begin[n] : end[n]]
        for place in range(ranked.shape[1]):
            at = np.searchsorted(held, ranked[n, place])
            found[n, place] = at < len(held) and held[at] == ranked[n, place]


def recall(hit: Bools, relevant: NDArray[np.int64]) -> Floats:
    """Share of the user's held-out items that are in the list; (n, k), (n,) -> (n,)."""
    return np.asarray(hit.sum(1) / relevant)


def precision(hit: Bools, _relevant: NDArray[np.int64]) -> Floats:
    """Share of the list's k places that hold a held-out item."""
    return np.asarray(hit.mean(1))


def hit_rate(hit: Bools, _relevant: NDArray[np.int64]) -> Floats:
    """1 where the list has any held-out item."""
    return np.asarray(hit.any(1), dtype=np.float64)


def reciprocal_rank(hit: Bools, _relevant: NDArray[np.int64]) -> Floats:
    """1 / place of the first held-out item, 0 without one."""
    return np.where(hit.any(1), 1.0 / (hit.argmax(1) + 1.0), 0.0)


def ndcg(hit: Bools, relevant: NDArray[np.int64]) -> Floats:
    """Discounted gain of the hits over that of the best possible list (Jarvelin and Kekalainen, 2002)."""
    discount = 1.0 / np.log2(np.arange(2, hit.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, hit.shape[1])]
    return np.asarray((hit * discount).sum(1) / best)


def f1(hit: Bools, relevant: NDArray[np.int64]) -> Floats:
    """Harmonic mean of precision and recall; 2 hits / (k + held-out items)."""
    return np.asarray(2 * hit.sum(1) / (hit.shape[1] + relevant))


def average_precision(hit: Bools, relevant: NDArray[np.int64]) -> Floats:
    """Mean, over the held-out items that fit into the list, of the precision at the place of each hit."""
    precision_at = np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)
    return np.asarray((hit * precision_at).sum(1) / np.minimum(relevant, hit.shape[1]))


METRICS: dict[str, Callable[[Bools, NDArray[np.int64]], Floats]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": reciprocal_rank,
    "f1": f1,
    "map": average_precision,
}


def per_user(
    ranked: NDArray[np.int32], users: NDArray[np.int64], held_out: Interactions, ks: tuple[int, ...]
) -> dict[str, Floats]:
    """Return every metric at every k as `{"ndcg@20": (n,)}`; `ranked` needs at least max(ks) places."""
    relevant = np.diff(held_out.offsets)[users]
    found = hits(ranked, users, held_out)
    return {f"{name}@{k}": metric(found[:, :k], relevant) for name, metric in METRICS.items() for k in ks}
