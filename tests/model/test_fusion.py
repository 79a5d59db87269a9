import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.model.fusion import Held, fused, standardised, standardised_scorer, standardised_states
from nas.model.ranking import dot_scorer


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 99), st.floats(0.01, 100))
def test_standardised_states_score_with_deviation_one_and_keep_every_ranking(seed: int, scale: float) -> None:
    users, items = draw(5, 3, seed=seed) * scale, draw(40, 3, seed=seed + 1) + 2
    scores = standardised_states(users, items) @ items.t()
    torch.testing.assert_close(scores.std(1, correction=0), torch.ones(5), rtol=1e-4, atol=1e-4)
    before = users @ items.t()
    torch.testing.assert_close(scores, standardised(before.clone()), rtol=1e-3, atol=1e-3)


def test_users_whose_scores_are_all_alike_get_zeros() -> None:
    alike = torch.tensor([[3.0, 3.0, 3.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    found = standardised(alike.clone())
    assert found[:2].abs().max() == 0
    assert found[2].std(correction=0) == pytest.approx(1)
    assert standardised_states(torch.tensor([[2.0], [0.0]]), torch.ones(4, 1)).abs().max() == 0


def test_held_scores_are_those_of_the_users_that_are_asked_for() -> None:
    scores = draw(9, 6)
    held = Held(lambda users: scores[users].clone(), np.array([1, 4, 8]), 9)
    found = held(torch.tensor([8, 1]))
    torch.testing.assert_close(found, standardised(scores[[8, 1]].clone()))
    found.fill_(0)  # the caller's to overwrite
    assert held(torch.tensor([8])).abs().sum() > 0


def test_held_scores_are_not_those_of_the_last_block_that_a_scorer_wrote() -> None:
    users, items = draw(1600, 4), draw(6, 4, seed=1)
    held = Held(dot_scorer(users, items), np.arange(1600), 1600)
    found = held(torch.tensor([0, 1599]))
    torch.testing.assert_close(found, standardised(users[[0, 1599]] @ items.t()), rtol=1e-4, atol=1e-4)


def test_held_scores_are_found_in_blocks_of_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.model.fusion._BLOCK_BYTES", 4 * 6 * 100)
    scores, sizes = draw(1600, 6), []

    def scorer(users: torch.Tensor) -> torch.Tensor:
        sizes.append(len(users))
        return scores[users]

    held = Held(scorer, np.arange(1600), 1600)
    assert max(sizes) == 100
    torch.testing.assert_close(held(torch.arange(1600)), standardised(scores.clone()))


@pytest.mark.parametrize("learned", [True, False])
def test_a_fusion_is_the_weighted_sum_of_standardised_scores(learned: bool) -> None:
    users, items, one, two = draw(7, 4), draw(30, 4, seed=1), draw(7, 30, seed=2), draw(7, 30, seed=3)
    others = [
        (0.5, standardised_scorer(lambda block: one[block].clone())),
        (2.0, standardised_scorer(lambda block: two[block].clone())),
    ]
    scorer = fused((users, items) if learned else None, 3.0, others)
    expected = 0.5 * standardised(one.clone()) + 2 * standardised(two.clone())
    if learned:
        expected += 3 * standardised(users @ items.t())
    for block in (torch.arange(7), torch.tensor([6, 0])):
        torch.testing.assert_close(scorer(block), expected[block], rtol=1e-4, atol=1e-4)


def test_a_graph_branch_alone_keeps_its_scores() -> None:
    users, items = draw(3, 4), draw(8, 4, seed=1)
    torch.testing.assert_close(fused((users, items), 1.0, [])(torch.arange(3)), users @ items.t())
