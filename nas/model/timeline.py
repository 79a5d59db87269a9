"""Where an interaction lies in its user's time line.

Places, unlike seconds, mean the same in data of any time scale.
"""

import numpy as np
from numpy.typing import NDArray

from nas.data.interactions import Interactions


def moments_of(interactions: Interactions) -> NDArray[np.int32]:
    """Return (n,) int32: the place of each interaction in its user's time line; those of one moment share a place."""
    assert interactions.timestamp is not None
    order = np.lexsort((interactions.timestamp, interactions.user))
    user, time = interactions.user[order], interactions.timestamp[order]
    later = np.concatenate([[False], (user[1:] == user[:-1]) & (time[1:] > time[:-1])])
    total = np.cumsum(later)
    first = np.searchsorted(user, np.arange(interactions.n_users))
    place = np.empty(len(order), dtype=np.int32)
    place[order] = total - total[np.minimum(first, max(0, len(order) - 1))][user]
    return place


def ages_of(interactions: Interactions) -> NDArray[np.int32]:
    """Return (n,) int32: the steps from each interaction to the end of its user's time line, 0 for the latest."""
    moments = moments_of(interactions)
    latest = np.zeros(interactions.n_users, dtype=np.int32)
    np.maximum.at(latest, interactions.user, moments)
    return np.asarray(latest[interactions.user] - moments, dtype=np.int32)
