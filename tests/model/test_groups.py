from collections.abc import Callable

import numpy as np
import pytest
import torch

from nas.data import Interactions
from nas.model.evaluation import evaluate
from nas.model.groups import by_activity, by_popularity
from nas.model.ranking import dot_scorer


def test_quarters_of_users_cover_everybody(small: Interactions) -> None:
    users, rng = np.arange(40), np.random.default_rng(0)
    values = rng.random(40)
    found = by_activity(values, users, small)
    assert [row["users"] for row in found] == [10] * 4
    assert np.mean([row["mean"] for row in found]) == pytest.approx(values.mean())
    ends = [end for row in found for end in (row["from"], row["to"])]
    assert ends == sorted(ends)


def test_the_active_are_told_from_the_others(make_interactions: Callable[..., Interactions]) -> None:
    history = make_interactions([(user, item) for user in range(8) for item in range(user + 1)], 8, 8)
    values = (np.arange(8) >= 6).astype(float)
    assert [row["mean"] for row in by_activity(values, np.arange(8), history)] == [0, 0, 0, 1]
    few = by_activity(values[5:], np.arange(5, 8), history)
    assert [(row["users"], row["from"], row["mean"]) for row in few] == [(1, 6, 0), (1, 7, 1), (1, 8, 1)]


def test_thirds_of_items_by_hand(make_interactions: Callable[..., Interactions]) -> None:
    # Item 0 has three of nine interactions, items 1 and 2 two and one, items 3, 4 and 5 one each.
    history = make_interactions(
        [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2), (1, 3), (2, 4), (3, 5)], 4, 7
    )
    held_out = make_interactions([(3, 0), (2, 1), (3, 1), (2, 3), (0, 4)], 4, 7)
    ranked = np.array([[4, 3], [-1, -1], [1, 5], [0, 2]], dtype=np.int32)
    found = by_popularity(ranked, np.arange(4), held_out, history)
    assert [row["items"] for row in found] == [1, 2, 4]
    assert [row["interactions"] for row in found] == [1, 2, 2]
    assert [row["found"] for row in found] == [1.0, 0.5, 0.5]
    only = by_popularity(ranked[3:], np.array([3]), held_out, history)
    assert [row["found"] for row in only] == [1.0, 0.0, None]


def test_the_parts_make_the_whole(small: Interactions) -> None:
    rows = np.random.default_rng(0).random(len(small)) < 0.7
    history, held_out = small.select(rows), small.select(~rows)
    states = torch.randn(40, 4), torch.randn(30, 4)
    found = evaluate(dot_scorer(*states), history, held_out, (5,))
    parts = by_popularity(found.ranked, found.users, held_out, history)
    hits = sum(row["found"] * row["interactions"] for row in parts if row["interactions"])
    assert hits == pytest.approx(found.values["precision@5"].sum() * 5)
