"""Train, valid and test: every pair in exactly one of them, all three on the same maps."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.data.config import SplitConfig
from nas.data.interactions import Interactions, LongArray
from nas.errors import UserError
from nas.randomness import stream

TRAIN, VALID, TEST = 0, 1, 2
Parts = NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Disjoint parts of one set of interactions; their `user_ids` and `item_ids` are the same objects.

    Attributes:
        train: what models learn from, and the only part in the graph.
        valid: what choices are made on.
        test: read once, at the end.
    """

    train: Interactions
    valid: Interactions
    test: Interactions


def split(interactions: Interactions, config: SplitConfig) -> Split:
    """Divide `interactions` by the strategy of `config`.

    Raises `UserError` when the strategy needs timestamps or parts that are not there, or a part stays empty.
    """
    strategy = config.strategy or ("random" if interactions.part is None else "fixed")
    parts = SPLITS[strategy](interactions, config)
    whole = replace(interactions, part=None)
    for part, name in ((TRAIN, "train"), (VALID, "valid"), (TEST, "test")):
        if not (parts == part).any():
            raise UserError(
                f"split.strategy: {strategy} leaves the {name} part of {len(interactions)} interactions empty; "
                + ADVICE[strategy]
            )
    return Split(*(whole.select(parts == part) for part in (TRAIN, VALID, TEST)))


def random(interactions: Interactions, config: SplitConfig) -> Parts:
    """Hold out random items of every user, who keeps at least one for training; return (n,) parts.

    A user with n interactions gives n * `valid` and n * `test` of them on average, rounded at random, so that
    the shares hold on sparse data too.
    """
    return _hold_out(interactions.user, interactions.n_users, config.seed, config.valid, config.test)


def temporal(interactions: Interactions, config: SplitConfig) -> Parts:
    """Cut all interactions at two moments: what is later than the second is test; return (n,) parts.

    Interactions at the very moment of a cut stay together on its earlier side.
    """
    time = _timestamps(interactions, "temporal")
    ordered = np.sort(time)

    def cut(share: float) -> np.int64:
        moment: np.int64 = ordered[max(round(len(ordered) * share) - 1, 0)]
        return moment

    late, later = time > cut(1 - config.valid - config.test), time > cut(1 - config.test)
    return late.astype(np.int8) + later.astype(np.int8)


def leave_last_out(interactions: Interactions, config: SplitConfig) -> Parts:  # noqa: ARG001
    """Give each user's last interaction to test and the one before to valid; return (n,) parts.

    Of interactions at the same time the one with the larger item index counts as later. Users with fewer than
    three interactions are all train.
    """
    time = _timestamps(interactions, "leave_last_out")
    user = interactions.user
    order = np.lexsort((interactions.item, time, user))
    size = np.bincount(user, minlength=interactions.n_users)
    from_end = (np.cumsum(size)[user] - 1)[order] - np.arange(len(user))
    enough = size[user[order]] >= 3
    parts = np.zeros(len(user), dtype=np.int8)
    parts[order[enough & (from_end == 0)]] = TEST
    parts[order[enough & (from_end == 1)]] = VALID
    return parts


def fixed(interactions: Interactions, config: SplitConfig) -> Parts:
    """Take the parts the data came with; return (n,) parts.

    Without a valid part, the random rule carves the share `valid` out of each user's training items.
    """
    if interactions.part is None:
        raise UserError("split.strategy: fixed needs data that comes split; give data.train and data.test")
    parts = interactions.part.copy()
    if not (parts == VALID).any():
        train = np.flatnonzero(parts == TRAIN)
        parts[train] = _hold_out(
            interactions.user[train], interactions.n_users, config.seed, config.valid, 0.0
        )
    return parts


SPLITS: dict[str, Callable[[Interactions, SplitConfig], Parts]] = {
    "random": random,
    "temporal": temporal,
    "leave_last_out": leave_last_out,
    "fixed": fixed,
}

ADVICE = {
    "random": "use more interactions, or larger split.valid and split.test",
    "temporal": "too many timestamps are equal: change split.valid and split.test, or use another strategy",
    "leave_last_out": "no user has three interactions: use another strategy",
    "fixed": "give files that share no pairs, or a larger split.valid",
}


def _timestamps(interactions: Interactions, strategy: str) -> LongArray:
    if interactions.timestamp is None:
        raise UserError(
            f"split.strategy: {strategy} needs timestamps, which the data lacks; set data.timestamp, or use random"
        )
    return interactions.timestamp


def _hold_out(user: NDArray[np.int32], n_users: int, seed: int, valid: float, test: float) -> Parts:
    """Return parts (n,) by the random rule for rows sorted by `user` (n,)."""
    rng = stream(seed, "split")
    size = np.bincount(user, minlength=n_users)
    rank = np.empty(len(user), dtype=np.int64)
    rank[np.lexsort((rng.random(len(user)), user))] = np.arange(len(user))
    rank -= (np.cumsum(size) - size)[user]
    # One uniform number rounds both shares, and a coin says which is served first: where only one item can be
    # held out, neither part gets it always.
    shift, test_first = rng.random(n_users), rng.random(n_users) < 0.5
    first = np.floor(size * np.where(test_first, test, valid) + shift)
    both = np.minimum(np.floor(size * (valid + test) + shift), size - 1)
    is_first, is_held = rank < np.minimum(first, both)[user], rank < both[user]
    names = np.where(test_first, TEST, VALID), np.where(test_first, VALID, TEST)
    return np.where(is_first, names[0][user], np.where(is_held, names[1][user], TRAIN)).astype(np.int8)
