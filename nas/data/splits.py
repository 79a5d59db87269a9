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
    _timestamps(interactions, "leave_last_out")
    size, from_end = _from_end(interactions, np.arange(len(interactions)))
    enough = size[interactions.user] >= 3
    parts = np.zeros(len(interactions), dtype=np.int8)
    parts[enough & (from_end == 0)] = TEST
    parts[enough & (from_end == 1)] = VALID
    return parts


def latest(interactions: Interactions, config: SplitConfig) -> Parts:
    """Hold out each user's latest interactions, the very last ones for the test; return (n,) parts.

    Shares are as in `random`. Of interactions at the same time the one with the larger item index counts as later.
    """
    _timestamps(interactions, "latest")
    return _latest(interactions, np.arange(len(interactions)), config.seed, config.valid, config.test)


def fixed(interactions: Interactions, config: SplitConfig) -> Parts:
    """Take the parts the data came with; return (n,) parts.

    Without a valid part, the share `valid` is carved out of each user's training items: the latest ones where the test
    part is what its users had next, and random ones otherwise. Choices are then made on what the test asks for.
    """
    if interactions.part is None:
        raise UserError("split.strategy: fixed needs data that comes split; give data.train and data.test")
    parts = interactions.part.copy()
    if not (parts == VALID).any():
        train = np.flatnonzero(parts == TRAIN)
        if comes_next(*(interactions.select(parts == part) for part in (TRAIN, TEST))):
            parts[train] = _latest(interactions, train, config.seed, config.valid, 0.0)
        else:
            user = interactions.user[train]
            parts[train] = _hold_out(user, interactions.n_users, config.seed, config.valid, 0.0)
    return parts


SPLITS: dict[str, Callable[[Interactions, SplitConfig], Parts]] = {
    "random": random,
    "temporal": temporal,
    "latest": latest,
    "leave_last_out": leave_last_out,
    "fixed": fixed,
}

ADVICE = {
    "random": "use more interactions, or larger split.valid and split.test",
    "temporal": "too many timestamps are equal: change split.valid and split.test, or use another strategy",
    "latest": "use more interactions, or larger split.valid and split.test",
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


def _latest(interactions: Interactions, rows: LongArray, seed: int, valid: float, test: float) -> Parts:
    """Return parts of some rows, (len(rows),): of each user the latest, the last of them for the test."""
    user, (size, from_end) = interactions.user[rows], _from_end(interactions, rows)
    # One uniform number rounds both shares, so that they hold on sparse data too.
    shift = stream(seed, "split").random(interactions.n_users)
    both = np.minimum(np.floor(size * (valid + test) + shift), np.maximum(size - 1, 0))
    last = np.minimum(np.floor(size * test + shift), both)
    parts = np.where(from_end < last[user], TEST, np.where(from_end < both[user], VALID, TRAIN))
    return parts.astype(np.int8)


def _from_end(interactions: Interactions, rows: LongArray) -> tuple[LongArray, LongArray]:
    """Return how many of the rows each user has, (U,), and how many of them are later than each, (len(rows),)."""
    assert interactions.timestamp is not None
    user, item, time = interactions.user[rows], interactions.item[rows], interactions.timestamp[rows]
    size = np.bincount(user, minlength=interactions.n_users)
    order = np.lexsort((item, time, user))
    from_end = np.empty(len(rows), dtype=np.int64)
    from_end[order] = (np.cumsum(size)[user] - 1)[order] - np.arange(len(rows))
    return size, from_end


# Of the users with both parts: nothing in the earlier is later than anything in the later for so many, and all of the later
# is later than all of the earlier for so many, for times may be coarse: where the latest of MovieLens 100K are held out,
# 100 and 47 %, for it has several ratings a second; where random ones are, .2 and 0 %.
_NEVER_BEFORE, _AFTER = 0.95, 0.25


def comes_next(earlier: Interactions, later: Interactions) -> bool:
    """Say whether a part follows another in the time lines of nearly all users; not without timestamps."""
    if earlier.timestamp is None or later.timestamp is None:
        return False
    highest, lowest = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    end, begin = np.full(earlier.n_users, lowest), np.full(earlier.n_users, highest)
    np.maximum.at(end, earlier.user, earlier.timestamp)
    np.minimum.at(begin, later.user, later.timestamp)
    judged = (end > lowest) & (begin < highest)
    never_before, after = (begin >= end)[judged], (begin > end)[judged]
    return bool(judged.any() and never_before.mean() >= _NEVER_BEFORE and after.mean() >= _AFTER)
