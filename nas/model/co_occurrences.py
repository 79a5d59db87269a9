"""How often two items were had by the same user, or have a feature in common: what most item-item weights are solved from.

Shape suffixes: U users, I items, n items of a block.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, vstack

from nas.data.interactions import Interactions
from nas.data.item_features import item_features
from nas.graph.compiled import compiled
from nas.graph.threads import in_threads, ranges_of
from nas.model.history import histories_of
from nas.model.timeline import moments_of
from nas.space.closed_form import ItemBranch

# Rows of a sparse result that are found at a time, each in a whole row of memory.
_BLOCK = 64
# Rows that are added to a dense matrix at a time.
_ROWS = 1024


def co_occurrences(interactions: Interactions, branch: ItemBranch, *, later: bool = False) -> torch.Tensor:
    """Return (I, I) float32: for two items, the users who had both, each counted by `user_norm` and `proximity`.

    With `later`, only where the column's item was had after the row's or at the same moment; as in data without times.
    To these are added the products of the `feature_rows`.
    """
    user_weight = user_weights(interactions, branch)
    if interactions.timestamp is None or not (branch.proximity or later):
        gram = _product(interactions, user_weight).toarray()
    else:
        gram = np.zeros((interactions.n_items, interactions.n_items), dtype=np.float32)
        moments, share = moments_of(interactions), _share(interactions, branch)
        _add_pairs(interactions.offsets, interactions.item, moments, share, user_weight, later, gram)
    if branch.features:
        rows = feature_rows(interactions, branch)
        by_item = csr_array(rows.T)
        for begin in range(0, len(gram), _ROWS):
            gram[begin : begin + _ROWS] += (by_item[begin : begin + _ROWS] @ rows).toarray()
    return torch.from_numpy(gram)


def feature_rows(interactions: Interactions, branch: ItemBranch) -> csr_array:
    """Return (F, I), to stand below the histories: of a feature, the root of `branch.features` / (items that have it).

    So two items are as close as that by each feature that they share: the fewer have it, the more it says. Features below
    interactions are the Collective EASE of Jeunen, Van Balen and Goethals (RecSys 2020).
    """
    features = item_features(interactions.items, interactions.n_items)
    had = np.asarray(features.sum(0), dtype=np.float32)
    return csr_array(diags_array(np.sqrt(branch.features / had)) @ features.T, dtype=np.float32)


def _product(interactions: Interactions, user_weight: NDArray[np.float32]) -> csr_array:
    matrix = histories_of(interactions)
    return csr_array(matrix.T @ (diags_array(user_weight) @ matrix), dtype=np.float32)


def user_weights(interactions: Interactions, branch: ItemBranch) -> NDArray[np.float32]:
    """Return (U,): how much each user's pairs of items count; 1 for one of typical length.

    That is the geometric mean over the users who have a history; where data is cut in time, many have none.
    """
    counts = np.diff(interactions.offsets)
    lengths = np.maximum(counts, 1)
    typical = np.exp(np.log(lengths).sum() / max(1, np.count_nonzero(counts)))
    return np.asarray((lengths / typical) ** -branch.user_norm, dtype=np.float32)


@compiled
def _add_pairs(
    offsets: NDArray[np.int64],
    items: NDArray[np.int32],
    moments: NDArray[np.int32],
    share: NDArray[np.float32],
    user_weight: NDArray[np.float32],
    later: bool,
    gram: NDArray[np.float32],
) -> None:
    for user in range(len(offsets) - 1):
        for a in range(offsets[user], offsets[user + 1]):
            for b in range(offsets[user], offsets[user + 1]):
                if moments[b] >= moments[a] or not later:
                    gram[items[a], items[b]] += user_weight[user] * share[abs(moments[a] - moments[b])]


def sparse_co_occurrences(interactions: Interactions, branch: ItemBranch) -> csr_array:
    """Return `co_occurrences` (I, I) as a sparse matrix, for catalogues whose dense one does not fit; indices increase."""
    found = _sparse_of_users(interactions, branch)
    if branch.features:
        rows = feature_rows(interactions, branch)
        found = csr_array(found + rows.T @ rows, dtype=np.float32)
    found.sort_indices()
    return found


def _sparse_of_users(interactions: Interactions, branch: ItemBranch) -> csr_array:
    weight = user_weights(interactions, branch)
    if interactions.timestamp is None or not branch.proximity:
        return _product(interactions, weight)
    users, entries, starts = _by_item(interactions)
    moments, share = moments_of(interactions), _share(interactions, branch)

    def add(begin: int, end: int) -> csr_array:
        rows = np.zeros((end - begin, interactions.n_items), dtype=np.float32)
        _add_rows(
            begin,
            starts,
            users,
            entries,
            interactions.offsets,
            interactions.item,
            moments,
            share,
            weight,
            rows,
        )
        return csr_array(rows)

    blocks = ranges_of(np.arange(interactions.n_items + 1), -(-interactions.n_items // _BLOCK))
    return csr_array(vstack(in_threads(add, blocks), format="csr"))


def _by_item(interactions: Interactions) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the user and the number of each interaction by item, and where each item begins, (I + 1,)."""
    order = np.argsort(interactions.item, kind="stable")
    counts = np.bincount(interactions.item, minlength=interactions.n_items)
    return interactions.user[order], order, np.concatenate([[0], np.cumsum(counts)])


def _share(interactions: Interactions, branch: ItemBranch) -> NDArray[np.float32]:
    """Return how much two items count by the steps between them."""
    steps = np.arange(int(moments_of(interactions).max(initial=0)) + 1)
    decay = steps / branch.proximity if branch.proximity else np.zeros(len(steps))
    return np.asarray(1 / np.sqrt(1 + decay), dtype=np.float32)


@compiled
def _add_rows(
    begin: int,
    starts: NDArray[np.int64],
    users: NDArray[np.int32],
    entries: NDArray[np.int64],
    offsets: NDArray[np.int64],
    items: NDArray[np.int32],
    moments: NDArray[np.int32],
    share: NDArray[np.float32],
    user_weight: NDArray[np.float32],
    rows: NDArray[np.float32],
) -> None:
    for n in range(len(rows)):
        for place in range(starts[begin + n], starts[begin + n + 1]):
            user, moment = users[place], moments[entries[place]]
            for other in range(offsets[user], offsets[user + 1]):
                rows[n, items[other]] += user_weight[user] * share[abs(moment - moments[other])]
