"""Who is served: quality by the users' activity, and by the popularity of what they were to be shown."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data.interactions import Interactions
from nas.model.metrics import Floats, hits

_USERS = 4
_ITEMS = 3


def by_activity(values: Floats, users: NDArray[np.int64], history: Interactions) -> list[dict[str, Any]]:
    """Return the mean of a metric over the users in quarters, least active first.

    Args:
        values: (n,) the metric of each user.
        users: (n,) who they are.
        history: the training interactions, whose number is a user's activity.

    Returns:
        {users, from, to (interactions of the quarter's least and most active), mean} for each quarter that is not empty.
    """
    activity = np.diff(history.offsets)[users]
    parts = np.array_split(np.argsort(activity, kind="stable"), _USERS)
    return [
        {
            "users": len(part),
            "from": int(activity[part].min()),
            "to": int(activity[part].max()),
            "mean": float(values[part].mean()),
        }
        for part in parts
        if len(part)
    ]


def by_popularity(
    ranked: NDArray[np.int32], users: NDArray[np.int64], held_out: Interactions, history: Interactions
) -> list[dict[str, Any]]:
    """Return the share of the held-out interactions that are in the lists, by thirds of the training interactions.

    The items are ordered by popularity and cut where a third and two thirds of the training interactions are reached:
    few popular ones, more in the middle, and the long tail.

    Args:
        ranked: (n, k) the users' lists.
        users: (n,) who they are.
        held_out: what is to be found.
        history: the training interactions.

    Returns:
        {items, interactions (held out), found (share)} for each third, most popular first; found is None without any.
    """
    popularity = np.bincount(history.item, minlength=history.n_items)
    order = np.argsort(-popularity, kind="stable")
    reached = np.cumsum(popularity[order])
    cuts = np.searchsorted(reached, reached[-1] * np.arange(1, _ITEMS) / _ITEMS, side="right")
    group = np.zeros(history.n_items, dtype=np.int64)
    for number, (begin, end) in enumerate(pairwise([0, *cuts.tolist(), history.n_items])):
        group[order[begin:end]] = number
    judged = np.zeros(held_out.n_users, dtype=np.bool_)
    judged[users] = True
    wanted = np.bincount(group[held_out.item[judged[held_out.user]]], minlength=_ITEMS)
    found = np.bincount(group[ranked[hits(ranked, users, held_out)]], minlength=_ITEMS)
    sizes = np.bincount(group, minlength=_ITEMS)
    return [
        {
            "items": int(size),
            "interactions": int(total),
            "found": float(share / total) if total else None,
        }
        for size, total, share in zip(sizes, wanted, found, strict=True)
    ]
