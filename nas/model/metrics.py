"""Ranking metrics of one list a user; an addition is a function and its line in `METRICS`.

The values agree with PyG's `LinkPred*` metrics.
Shape suffixes: n users, k places.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nas.data.interactions import Interactions

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def evaluated_users(held_out: Interactions, history: Interactions) -> NDArray[np.int64]:
    """Return the users that are judged: those with something held out and something to go by."""
    judged = (np.diff(held_out.offsets) > 0) & (np.diff(history.offsets) > 0)
    return np.flatnonzero(judged).astype(np.int64)


def hits(ranked: NDArray[np.int32], users: NDArray[np.int64], held_out: Interactions) -> Bools:
    """Return (n, k): whether the item at each place is among the user's held-out items; -1 is a miss."""
    key = held_out.user.astype(np.int64) * held_out.n_items + held_out.item
    wanted = users[:, None] * held_out.n_items + ranked
    at = np.searchsorted(key, wanted)
    found: Bools = (at < len(key)) & (key[np.minimum(at, len(key) - 1)] == wanted) & (ranked >= 0)
    return found


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


METRICS: dict[str, Callable[[Bools, NDArray[np.int64]], Floats]] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "hit_rate": hit_rate,
    "mrr": reciprocal_rank,
}


def per_user(
    ranked: NDArray[np.int32], users: NDArray[np.int64], held_out: Interactions, ks: tuple[int, ...]
) -> dict[str, Floats]:
    """Return every metric at every k as `{"ndcg@20": (n,)}`; `ranked` needs at least max(ks) places."""
    relevant = np.diff(held_out.offsets)[users]
    found = hits(ranked, users, held_out)
    return {f"{name}@{k}": metric(found[:, :k], relevant) for name, metric in METRICS.items() for k in ks}


def coverage(ranked: NDArray[np.int32], n_items: int, k: int) -> float:
    """Share of the catalogue that is in anybody's top k."""
    shown = np.unique(ranked[:, :k])
    return float((shown >= 0).sum() / n_items)
