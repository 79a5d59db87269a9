from dataclasses import replace

import numpy as np
import pytest

from nas.data import Interactions


@pytest.fixture
def interactions() -> Interactions:
    return Interactions(
        user=np.array([0, 0, 1, 2], dtype=np.int32),
        item=np.array([0, 2, 1, 0], dtype=np.int32),
        user_ids=("a", "b", "c"),
        item_ids=("x", "y", "z"),
        rating=np.array([1, 2, 3, 4], dtype=np.float32),
        timestamp=np.array([10, 20, 30, 40], dtype=np.int64),
    )


def test_select_takes_the_same_rows_of_every_column(interactions: Interactions) -> None:
    chosen = interactions.select(np.array([False, True, False, True]))
    assert chosen.user.tolist() == [0, 2]
    assert chosen.item.tolist() == [2, 0]
    assert chosen.rating is not None
    assert chosen.rating.tolist() == [2, 4]
    assert chosen.timestamp is not None
    assert chosen.timestamp.tolist() == [20, 40]
    assert chosen.user_ids is interactions.user_ids
    assert chosen.n_items == 3


def test_union_undoes_a_selection(interactions: Interactions) -> None:
    mask = np.array([False, True, True, False])
    whole = interactions.select(mask).union(interactions.select(~mask))
    assert whole.fingerprint() == interactions.fingerprint()


def test_union_drops_a_column_that_one_side_lacks(interactions: Interactions) -> None:
    mask = np.array([True, True, False, False])
    whole = interactions.select(mask).union(replace(interactions.select(~mask), rating=None))
    assert whole.rating is None
    assert whole.timestamp is not None


@pytest.mark.parametrize(
    "change",
    [
        {"user_ids": ("a", "b", "d")},
        {"item_ids": ("xy", "", "z")},
        {"item": np.array([0, 1, 1, 0], dtype=np.int32)},
        {"rating": None},
        {"timestamp": np.array([10, 20, 30, 41], dtype=np.int64)},
        {"part": np.zeros(4, dtype=np.int8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_fingerprint_sees_every_change(interactions: Interactions, change: dict[str, object]) -> None:
    assert replace(interactions, **change).fingerprint() != interactions.fingerprint()
