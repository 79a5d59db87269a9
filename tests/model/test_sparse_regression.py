import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.data import Interactions
from nas.model import sparse_regression as module
from nas.model.co_occurrences import co_occurrences
from nas.model.sparse_regression import sparse_regression
from nas.space.closed_form import ItemBranch

Dense = NDArray[np.float64]


def gram_of(seed: int, users: int, items: int, share: float) -> Dense:
    """Co-occurrences of items of uneven popularity, some of them correlated; nobody had the last one."""
    rng = np.random.default_rng(seed)
    likes = rng.random((users, 3)) @ rng.random((3, items)) * rng.random(items)
    matrix = (rng.random((users, items)) < share * likes).astype(np.float64)
    matrix[:, -1] = 0
    return matrix.T @ matrix


def solved(gram: Dense, l1: float, l2: float) -> Dense:
    return sparse_regression(torch.from_numpy(gram).float(), l1, l2).toarray().astype(np.float64)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solved until rounding is all that is left."""
    monkeypatch.setattr(module, "TOLERANCE", 1e-5)


@pytest.mark.parametrize("l2", [3.0, 100.0])
@pytest.mark.parametrize("l1", [0.0, 1.0, 10.0])
def test_weights_meet_the_conditions_of_the_optimum(l1: float, l2: float) -> None:
    # Karush, Kuhn and Tucker: the problem is strictly convex, so that nothing but its solution meets them.
    gram = gram_of(0, 300, 70, 0.6)
    weights = solved(gram, l1, l2)
    pull = gram - gram @ weights - l2 * weights - l1
    missed = 1e-4 * np.diag(gram)
    others = ~np.eye(70, dtype=bool)
    assert (weights >= 0).all()
    assert (np.diag(weights) == 0).all()
    assert (weights[:, -1] == 0).all()
    assert (pull <= missed)[others].all()
    assert (np.abs(pull) <= missed)[weights > 0].all()
    # Both sides of the conditions have to be met by something.
    assert 0.01 < (weights > 0).mean() < 0.9


def test_of_two_items_the_weight_is_a_shifted_ratio() -> None:
    gram = np.array([[20.0, 8.0], [8.0, 10.0]])
    np.testing.assert_allclose(solved(gram, 2.0, 5.0), [[0, 6 / 25], [6 / 15, 0]], rtol=1e-5)
    assert not solved(gram, 8.0, 5.0).any()


def test_an_item_that_a_single_other_one_explains_gets_its_weight_alone() -> None:
    rng = np.random.default_rng(3)
    matrix = (rng.random((2_000, 12)) < 0.2).astype(np.float64)
    matrix[:, 7] = matrix[:, 4] * (rng.random(2_000) < 0.9)
    weights = solved(matrix.T @ matrix, 20.0, 1.0)
    # Item 4 shares more users with items that are more popular than 7, but none of them says more of it.
    assert np.flatnonzero(weights[:, 7]).tolist() == [4]
    assert weights[4, 7] > 0.8


def test_columns_do_not_depend_on_blocks_threads_or_the_order_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gram = torch.from_numpy(gram_of(1, 200, 50, 0.5)).float()
    first = sparse_regression(gram, 1.0, 10.0).toarray()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        monkeypatch.setattr(module, "_BLOCK", 7)
        assert np.array_equal(sparse_regression(gram.t().contiguous().t(), 1.0, 10.0).toarray(), first)
    finally:
        torch.set_num_threads(threads)


def test_co_occurrences_are_not_copied(small: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    gram, read = co_occurrences(small, ItemBranch(kind="slim")), set()
    solve = module._solve
    monkeypatch.setattr(
        module, "_solve", lambda matrix, *rest: (read.add(matrix.ctypes.data), solve(matrix, *rest))
    )
    sparse_regression(gram, 1.0, 10.0)
    assert read == {gram.data_ptr()}
