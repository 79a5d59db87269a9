from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.baselines import BASELINES, TRAINED, Baseline, Settings, ials
from nas.data import Interactions, ItemTable, PlantedConfig, Split, SplitConfig, planted, split
from nas.model import history
from nas.model.evaluation import evaluate
from nas.space import SearchSpace
from nas.space.recipe import Recipe

Dense = NDArray[np.float64]


def matrix_of(interactions: Interactions) -> Dense:
    matrix = np.zeros((interactions.n_users, interactions.n_items))
    matrix[interactions.user, interactions.item] = 1.0
    return matrix


def scores(name: str, interactions: Interactions, settings: Settings, users: list[int]) -> Dense:
    return BASELINES[name].fit(interactions, settings)(torch.tensor(users)).double().numpy()


@pytest.fixture(scope="module")
def blocks() -> Split:
    return split(planted(PlantedConfig(kind="blocks")), SplitConfig(strategy="random"))


def ndcg(parts: Split, name: str) -> float:
    scorers = (BASELINES[name].fit(parts.train, settings) for settings in extremes(BASELINES[name]))
    return max(evaluate(scorer, parts.train, parts.valid, (10,)).means["ndcg@10"] for scorer in scorers)


def extremes(baseline: Baseline) -> list[dict[str, float]]:
    """The first settings, and with each in turn at either end of its range."""
    start = dict(baseline.start)
    ends = [{**start, name: end} for name, r in baseline.ranges.items() for end in (r[0], r[-1])]
    return [start, *ends]


# --- every baseline ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASELINES)
def test_a_scorer_returns_fresh_finite_scores_of_the_users_it_is_asked_for(
    name: str, tiny: Interactions
) -> None:
    baseline = BASELINES[name]
    assert baseline.start.keys() == baseline.ranges.keys()
    for settings in extremes(baseline):
        scorer = baseline.fit(tiny, settings)
        everyone = scorer(torch.arange(tiny.n_users))
        assert everyone.shape == (tiny.n_users, tiny.n_items)
        assert everyone.dtype == torch.float32
        assert bool(torch.isfinite(everyone).all())
        kept = everyone.clone()
        everyone.fill_(-torch.inf)
        torch.testing.assert_close(scorer(torch.tensor([5, 0])), kept[[5, 0]])


@pytest.mark.parametrize("name", BASELINES)
def test_fitting_twice_gives_the_same_scores(name: str, small: Interactions) -> None:
    settings = BASELINES[name].start
    one, other = (scores(name, small, settings, [0, 3]) for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "popularity"])
def test_a_baseline_finds_planted_blocks(name: str, blocks: Split) -> None:
    # Measured with two seeds: popularity .03 to .04, the others at least .19.
    assert ndcg(blocks, name) > 0.15 > 3 * ndcg(blocks, "popularity")


@pytest.mark.parametrize("name", ["ease", "slim"])
def test_small_catalogues_are_no_obstacle(name: str, tiny: Interactions) -> None:
    assert BASELINES[name].obstacle(tiny) is None


# --- each against its formula --------------------------------------------------------------------------------------


def test_popularity_counts_users(tiny: Interactions) -> None:
    found = scores("popularity", tiny, {}, [2, 4])
    assert np.array_equal(found, np.tile(matrix_of(tiny).sum(0), (2, 1)))


@pytest.mark.parametrize("regularisation", [1.0, 50.0])
def test_ease_is_the_closed_form(regularisation: float, small: Interactions) -> None:
    matrix = matrix_of(small)
    inverse = np.linalg.inv(matrix.T @ matrix + regularisation * np.eye(small.n_items))
    weights = np.eye(small.n_items) - inverse / np.diag(inverse)
    assert np.abs(np.diag(weights)).max() < 1e-9
    found = scores("ease", small, {"regularisation": regularisation}, list(range(small.n_users)))
    np.testing.assert_allclose(found, matrix @ weights, rtol=1e-4, atol=1e-5)


def test_ease_declines_a_catalogue_that_memory_cannot_hold(
    make_interactions: Callable[..., Interactions],
) -> None:
    large = make_interactions([(0, 0)], 1, 100_000)
    assert BASELINES["ease"].obstacle(large) == "100,000 items need 120 GB; EASE is run up to 15,000 items"
    assert BASELINES["ease"].obstacle(make_interactions([(0, 0)], 1, 15_000)) is None


@pytest.mark.parametrize("l1", [1.0, 3.0])
def test_slim_weighs_histories_and_measures_l2_in_popularity(l1: float, small: Interactions) -> None:
    matrix = matrix_of(small)
    gram, popularity = matrix.T @ matrix, matrix.sum(0)
    # The popularity of an interaction's item, on average over the interactions.
    l2 = 0.3 * float(popularity[small.item].mean())
    weights = np.zeros_like(gram)
    for _ in range(300):  # coordinate descent on all columns at once, row after row
        for k in range(small.n_items):
            pull = gram[k] - gram[k] @ weights + gram[k, k] * weights[k]
            weights[k] = np.maximum(0, (pull - l1) / (gram[k, k] + l2))
            weights[k, k] = 0
    found = scores("slim", small, {"l1": l1, "l2": 0.3}, list(range(small.n_users)))
    assert weights.any()
    np.testing.assert_allclose(found, matrix @ weights, rtol=1e-3, atol=1e-3)


def test_slim_declines_co_occurrences_that_memory_cannot_hold(
    make_interactions: Callable[..., Interactions],
) -> None:
    obstacle = BASELINES["slim"].obstacle
    assert obstacle(make_interactions([(0, 0)], 1, 100_000)) is None
    heavy = make_interactions([(user, item) for user in range(2) for item in range(15_000)], 2, 100_000)
    assert obstacle(heavy) == "450,000,000 pairs of items that one user had; SLIM is run up to 400,000,000"
    # All of a small catalogue is dense, whoever had it.
    assert obstacle(make_interactions([(user, 0) for user in range(3)], 3, 10_000)) is None


def knn_formula(matrix: Dense, nearest: int, shrink: float) -> Dense:
    """Scores of every user: row i of the similarities keeps item i's nearest, and what ties with the last of them."""
    common, degree = matrix.T @ matrix, matrix.sum(0)
    similarity = common / np.maximum(np.sqrt(np.outer(degree, degree)) + shrink, 1e-12)
    np.fill_diagonal(similarity, 0)
    # Float32 like the code, or near ties would be broken otherwise.
    similarity = similarity.astype(np.float32).astype(np.float64)
    kept = np.zeros_like(similarity)
    for item, row in enumerate(similarity):
        bound = -np.sort(-row)[min(nearest, len(row)) - 1]
        kept[item] = np.where(row >= bound, row, 0)
    return matrix @ kept.T


@pytest.mark.parametrize("rows", [4, 2048])
@pytest.mark.parametrize("shrink", [0.0, 10.0])
@pytest.mark.parametrize("nearest", [1, 3, 400])
def test_itemknn_is_the_dense_formula(
    nearest: int, shrink: float, rows: int, small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_BLOCK_BYTES", 8 * small.n_items * rows)
    settings: dict[str, Any] = {"nearest": nearest, "shrink": shrink}
    found = scores("itemknn", small, settings, list(range(small.n_users)))
    np.testing.assert_allclose(found, knn_formula(matrix_of(small), nearest, shrink), rtol=1e-5, atol=1e-6)


def test_userknn_asks_the_users_with_most_in_common(small: Interactions) -> None:
    matrix = matrix_of(small)
    due = np.zeros_like(matrix)
    for user, row in enumerate(matrix):
        likeness = matrix @ row / np.sqrt(np.maximum(matrix.sum(1), 1))
        likeness[(matrix <= row).all(1)] = 0
        least = np.sort(likeness)[-3]
        due[user] = np.where(likeness >= least * (1 - 1e-9), likeness / likeness.max(), 0) @ matrix
    settings: dict[str, Any] = {"neighbours": 3, "power": 1.0, "rarity": 0.0}
    found = scores("userknn", small, settings, list(range(small.n_users)))
    np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-6)


def test_gfcf_is_its_formula(small: Interactions) -> None:
    matrix = matrix_of(small)
    users, items = matrix.sum(1), matrix.sum(0)
    normalised = matrix / np.sqrt(np.maximum(np.outer(users, items), 1))
    # Up to the full rank, or the singular vectors kept would depend on how they are found.
    rank = np.linalg.matrix_rank(normalised)
    right = np.linalg.svd(normalised)[2][:rank]
    root = np.sqrt(items)
    inverse = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    low = (matrix * inverse) @ right.T @ right * root
    found = scores("gfcf", small, {"rank": int(rank), "low_pass": 0.3}, list(range(small.n_users)))
    np.testing.assert_allclose(found, matrix @ normalised.T @ normalised + 0.3 * low, rtol=1e-3, atol=1e-4)


def test_rp3beta_is_its_formula(small: Interactions) -> None:
    matrix = matrix_of(small)
    users, items = (np.maximum(matrix.sum(axis), 1) for axis in (1, 0))
    walk = (matrix.T / items[:, None]) ** 0.6 @ (matrix / users[:, None]) ** 0.6 / items**0.4
    kept = np.where(walk >= -np.sort(-walk, axis=0)[2], walk, 0)
    settings = {"nearest": 3, "alpha": 0.6, "beta": 0.4}
    found = scores("rp3beta", small, settings, list(range(small.n_users)))
    np.testing.assert_allclose(found, matrix @ kept, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("confidence", [0.5, 2.0])
def test_ials_solves_the_normal_equations_of_its_items(
    confidence: float, small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ials, "dot_scorer", lambda users, items: (users.double(), items.double()))
    settings = {"factors": 8, "confidence": confidence, "regularisation": 3.0}
    users, items = (factors.numpy() for factors in BASELINES["ials"].fit(small, settings))
    # Items are solved for last, each by users of whom those who had it weigh 1 + confidence, all others 1.
    for had, item in zip(matrix_of(small).T, items, strict=True):
        weighed = users.T * (1 + confidence * had)
        due = np.linalg.solve(weighed @ users + 3.0 * np.eye(8), weighed @ had)
        np.testing.assert_allclose(item, due, atol=1e-3)


PRESETS = {
    "mf-bpr": ("mf", []),
    "ngcf": ("ngcf", ["ngcf"] * 3),
    "gat": ("gat", ["gat"] * 2),
    "graphsage": ("graphsage", ["sage"] * 2),
}


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_baseline_is_one_preset(name: str) -> None:
    architecture, (preset, layers) = TRAINED[name].architecture(), PRESETS[name]
    assert architecture == SearchSpace.load(f"presets/{preset}").decode({})
    assert [layer.aggregator for layer in architecture.learned.layers] == layers
    assert list(architecture.branches) == ["graph"]
    assert not TRAINED[name].recipe.keys() - Recipe.model_fields.keys()


@pytest.mark.parametrize("space", ["full", "linear"])
def test_a_baseline_that_is_a_branch_has_the_range_of_the_branch(space: str) -> None:
    branches = SearchSpace.load(space).branches
    for key in ("neighbours", "power", "rarity"):
        due = {float(value) for value in getattr(branches.user, key).choices}
        assert set(BASELINES["userknn"].ranges[key]) >= due
    regularisation = BASELINES["ease"].ranges["regularisation"]
    reached = [float(value) for value in branches.item.regularisation.choices]
    assert min(regularisation) <= min(reached)
    assert max(regularisation) >= max(reached)


@pytest.mark.parametrize(
    ("items", "expected"), [(4_000, False), (4_001, True), (10_000, True), (10_001, False)]
)
def test_slim_leaves_out_what_takes_minutes(items: int, expected: bool, tiny: Interactions) -> None:
    many = replace(tiny, item_ids=tuple(map(str, range(items))), items=ItemTable())
    assert BASELINES["slim"].too_long(many, {"l1": 0.3, "l2": 1.0}) == expected
    assert not BASELINES["slim"].too_long(many, {"l1": 1.0, "l2": 1.0})
