"""Nearest users against a dense formula, and by what it must not depend on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.data import Interactions
from nas.model.evaluation import costs
from nas.model.history import histories_of
from nas.model.nearest_users import NearestUsers, fit_users
from nas.space import Architecture
from nas.space.closed_form import UserBranch

pytestmark = pytest.mark.usefixtures("threads")

Floats = NDArray[np.float64]
Make = Callable[..., Interactions]


def by_formula(had: Floats, history: Floats, branch: UserBranch) -> Floats:
    """The scores of one history, one neighbour after the other."""
    share = np.maximum(had.sum(0), 1) ** -branch.rarity
    found = {}
    for user, row in enumerate(had):
        if ((row > 0) & (history == 0)).any() and (row * history).any():
            found[user] = float((row * history * share).sum() / np.sqrt((row * share).sum()))
    scores = np.zeros(had.shape[1])
    if not found:
        return scores
    least = sorted(found.values())[-min(len(found), branch.neighbours)]
    # Who is just not as near as the last one, by less than rounding can tell: no test of anything.
    assume(not any(1e-7 < 1 - likeness / least < 1e-4 for likeness in found.values()))
    for user, likeness in found.items():
        if likeness > least * (1 - 1e-6):
            scores += had[user] * (likeness / max(found.values())) ** branch.power
    return scores


@given(
    seed=st.integers(0, 2**32 - 1),
    neighbours=st.integers(1, 15),
    power=st.sampled_from([0.5, 1, 3, 4.5]),
    rarity=st.sampled_from([0, 0.5, 1]),
)
@settings(max_examples=40)
def test_scores_are_those_of_the_formula(
    make_interactions: Make, seed: int, neighbours: int, power: float, rarity: float
) -> None:
    rng = np.random.default_rng(seed)
    pairs = [(int(u), int(i)) for u, i in np.argwhere(rng.random((13, 9)) < 0.3)]
    interactions = make_interactions(pairs, 14, 10)
    branch = UserBranch(neighbours=neighbours, power=power, rarity=rarity)
    histories = rng.random((6, 10), np.float32) * (rng.random((6, 10)) < 0.4)
    had = histories_of(interactions).toarray().astype(np.float64)
    due = np.stack([by_formula(had, row.astype(np.float64), branch) for row in histories])
    found = NearestUsers(branch, interactions).scores(csr_array(histories))
    torch.testing.assert_close(found.double(), torch.from_numpy(due), rtol=1e-4, atol=1e-6)


def test_nobody_and_nothing_score_nothing(tiny: Interactions) -> None:
    scores = NearestUsers(UserBranch(), tiny).scores(csr_array((3, 11), dtype=np.float32))
    assert scores.shape == (3, 11)
    assert scores.abs().max() == 0


def test_who_has_had_nothing_else_is_no_neighbour(make_interactions: Make) -> None:
    # User 0 is asked for; 1 has had the same, 2 less, 3 one thing more.
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 0), (3, 1), (3, 2)]
    model = fit_users(UserBranch(neighbours=1), make_interactions(pairs, 4, 3))
    assert model(torch.tensor([0])).tolist() == [[1, 1, 1]]
    assert model(torch.tensor([3])).tolist() == [[0, 0, 0]]


def test_those_as_near_as_the_last_count_too(make_interactions: Make) -> None:
    # Users 1 to 3 share item 0 with user 0 and are alike but for what else they have had.
    pairs = [(0, 0), *[(user, item) for user in (1, 2, 3) for item in (0, user)]]
    model = fit_users(UserBranch(neighbours=2, rarity=0), make_interactions(pairs, 4, 4))
    assert model(torch.tensor([0])).tolist() == [[3, 1, 1, 1]]


def test_rare_items_say_more_and_power_widens_the_gap(make_interactions: Make) -> None:
    # User 0 shares the popular item 0 with user 1, the rare item 1 with user 2.
    pairs = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 0), (4, 0), (5, 0)]
    interactions = make_interactions(pairs, 6, 4)

    def scores(**settings: float) -> list[float]:
        found: list[float] = fit_users(UserBranch.model_validate(settings), interactions)(torch.tensor([0]))[
            0, 2:
        ].tolist()
        return found

    assert scores(rarity=0) == [1, 1]
    once, thrice = scores(rarity=1, power=1), scores(rarity=1, power=3)
    assert once[1] == thrice[1] == 1
    assert 0 < thrice[0] < once[0] < 1
    assert thrice[0] == pytest.approx(once[0] ** 3)


def test_the_order_of_users_makes_no_difference(small: Interactions, make_interactions: Make) -> None:
    order = np.random.default_rng(0).permutation(small.n_users)
    pairs = [(int(order[u]), int(i)) for u, i in zip(small.user, small.item, strict=True)]
    other = make_interactions(sorted(pairs), small.n_users, small.n_items)
    users = torch.arange(small.n_users)
    branch = UserBranch(neighbours=5)
    first, second = fit_users(branch, small)(users), fit_users(branch, other)(torch.from_numpy(order))
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("neighbours", [1, 5, 10])
@pytest.mark.parametrize("rarity", [0.0, 1.0])
def test_its_costs_are_about_what_is_done(neighbours: int, rarity: float, small: Interactions) -> None:
    branch = UserBranch(neighbours=neighbours, rarity=rarity)
    model = fit_users(branch, small)
    found = costs(Architecture(user=branch), 40, 30, len(small), {"user": model})
    had = histories_of(small).toarray()
    to_users = int((had @ had.T).sum())
    # To so small a power every neighbour counts 1, and a score is the number of additions that made it.
    model.weights.power = 1e-12
    additions = float(model(torch.arange(40)).sum())
    assert 0.7 * additions < found["refresh_macs"] - to_users < 1.3 * additions


def test_its_costs_count_what_is_kept(small: Interactions) -> None:
    branch = UserBranch(neighbours=3)
    found = costs(Architecture(user=branch), 40, 30, len(small), {"user": fit_users(branch, small)})
    assert found["parameters"] == 30 + 40 + 2
    assert found["artefact_bytes"] == 4 * (2 * 41 + len(small) + 30 + 30 + 40 + 2)
