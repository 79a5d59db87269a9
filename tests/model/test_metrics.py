"""Metrics against PyG's, and the full ranking behind them."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas.data import Interactions
from nas.model import ranking
from nas.model.evaluation import evaluate, sample_users
from nas.model.metrics import METRICS, evaluated_users
from nas.model.ranking import DivergedError, Scorer, dot_scorer, top_items

ORACLES = {
    "recall": "LinkPredRecall",
    "ndcg": "LinkPredNDCG",
    "precision": "LinkPredPrecision",
    "hit_rate": "LinkPredHitRatio",
    "mrr": "LinkPredMRR",
    "f1": "LinkPredF1",
    "map": "LinkPredMAP",
    "coverage": "LinkPredCoverage",
}


@st.composite
def rankings(draw: st.DrawFn) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Scores with many ties, the seen pairs and the held-out pairs of some users and items."""
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    scores = rng.integers(-levels, levels, (n_users, n_items)).astype(np.float32)
    part = rng.choice(3, (n_users, n_items), p=draw(st.sampled_from([(0.6, 0.2, 0.2), (0.1, 0.7, 0.2)])))
    return scores, part == 1, part == 2


def pairs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    return [(int(u), int(i)) for u, i in np.argwhere(mask)]


def scorer_of(scores: NDArray[np.float32]) -> Scorer:
    return lambda users: torch.from_numpy(scores)[users].clone()


def sorted_whole(
    scores: NDArray[np.float32], seen: NDArray[np.bool_], users: NDArray[np.int64], k: int
) -> NDArray[np.int32]:
    """Every user's list by a stable sort of all items that it has not seen."""
    ranked = np.full((len(users), k), -1, dtype=np.int32)
    for row, user in enumerate(users):
        order = [int(i) for i in np.argsort(-scores[user], kind="stable") if not seen[user, i]][:k]
        ranked[row, : len(order)] = order
    return ranked


@given(case=rankings(), k=st.integers(1, 15), rows=st.integers(1, 4), seed=st.integers(0, 9))
@settings(max_examples=150)
def test_top_items_is_a_stable_sort_of_what_was_not_seen(
    case: tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]],
    k: int,
    rows: int,
    seed: int,
    make_interactions: Callable[..., Interactions],
) -> None:
    scores, seen, _ = case
    users = np.random.default_rng(seed).permutation(len(scores))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_BYTES", rows * 4 * scores.shape[1])
        found = top_items(scorer_of(scores), users, make_interactions(pairs(seen), *scores.shape), k)
    np.testing.assert_array_equal(found, sorted_whole(scores, seen, users, k))


def test_ties_across_the_last_place_go_to_the_lower_index(
    make_interactions: Callable[..., Interactions],
) -> None:
    scores = np.zeros((3, 5000), dtype=np.float32)
    scores[1, 4000:] = 1.0
    scores[2, 17] = -1.0
    nothing_seen = make_interactions([(0, 0), (0, 2)], 3, 5000)
    found = top_items(scorer_of(scores), np.arange(3), nothing_seen, 4)
    assert found.tolist() == [[1, 3, 4, 5], [4000, 4001, 4002, 4003], [0, 1, 2, 3]]


def test_scores_that_are_not_numbers_raise(make_interactions: Callable[..., Interactions]) -> None:
    scores = np.zeros((2, 4), dtype=np.float32)
    scores[1, 3] = np.nan
    # Even where the item is masked: a model with one NaN is a model that diverged.
    with pytest.raises(DivergedError, match="diverged"):
        top_items(scorer_of(scores), np.arange(2), make_interactions([(1, 3)], 2, 4), 2)


def test_dot_scores_are_dot_products_without_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    users, items = (torch.randn(n, 3, generator=generator).requires_grad_() for n in (4, 5))
    found = dot_scorer(users, items)(torch.tensor([2, 0]))
    torch.testing.assert_close(found, (users[[2, 0]] @ items.t()).detach())
    assert not found.requires_grad


@given(case=rankings(), ks=st.sets(st.integers(1, 15), min_size=1, max_size=3))
@settings(max_examples=100)
def test_metrics_are_pygs(
    case: tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]],
    ks: set[int],
    pyg: ModuleType,
    make_interactions: Callable[..., Interactions],
) -> None:
    scores, seen, held_out = case
    # Users without a history are not judged; PyG itself leaves out those without held-out items.
    known = np.flatnonzero(seen.any(1))
    assume(held_out[known].any())
    found = evaluate(
        scorer_of(scores),
        make_interactions(pairs(seen), *scores.shape),
        make_interactions(pairs(held_out), *scores.shape),
        tuple(ks),
    )
    n_items = scores.shape[1]
    judged = [user for user in known if held_out[user].any()]
    assert found.users.tolist() == judged
    for k in ks:
        ranked = sorted_whole(scores, seen, known, k)
        # PyG knows no empty place: an item beyond the catalogue is a miss.
        lists = torch.from_numpy(np.where(ranked < 0, n_items, ranked)).long()
        labels = torch.from_numpy(np.argwhere(held_out[known])).t()
        for name in METRICS:
            metric = getattr(pyg.metrics, ORACLES[name])(k)
            metric.update(lists, labels)
            assert found.means[f"{name}@{k}"] == pytest.approx(float(metric.compute()), abs=1e-6)
        shown = {item for user in judged for item in ranked[known.tolist().index(user)] if item >= 0}
        assert found.means[f"coverage@{k}"] == pytest.approx(len(shown) / n_items)


def test_every_metric_has_an_oracle() -> None:
    assert set(METRICS) == set(ORACLES) - {"coverage"}


def test_a_value_belongs_to_its_user(make_interactions: Callable[..., Interactions]) -> None:
    scores = np.array([[3, 2, 1], [1, 2, 3], [3, 2, 1]], dtype=np.float32)
    found = evaluate(
        scorer_of(scores),
        make_interactions([(0, 2), (1, 2), (2, 2)], 3, 3),
        make_interactions([(0, 1), (2, 0), (1, 1)], 3, 3),
        (1, 2),
    )
    assert found.values["recall@1"].tolist() == [0, 1, 1]
    assert found.values["mrr@2"].tolist() == [0.5, 1, 1]
    assert found.values["ndcg@2"] == pytest.approx([1 / np.log2(3), 1, 1])


def test_judged_users_are_those_with_a_history_and_something_held_out(
    make_interactions: Callable[..., Interactions],
) -> None:
    history = make_interactions([(0, 0), (1, 0), (3, 1)], 5, 4)
    held_out = make_interactions([(1, 1), (2, 0), (3, 2), (3, 3)], 5, 4)
    assert evaluated_users(held_out, history).tolist() == [1, 3]


def test_sampled_users_are_judged_users_drawn_once(small: Interactions) -> None:
    everyone = evaluated_users(small, small)
    assert sample_users(small, small, 40, seed=0).tolist() == everyone.tolist()
    drawn = sample_users(small, small, 10, seed=0)
    assert len(set(drawn.tolist())) == 10
    assert set(drawn.tolist()) < set(everyone.tolist())
    assert drawn.tolist() == sorted(drawn.tolist()) == sample_users(small, small, 10, seed=0).tolist()
    assert drawn.tolist() != sample_users(small, small, 10, seed=1).tolist()
