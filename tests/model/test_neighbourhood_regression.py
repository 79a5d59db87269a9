import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.model import neighbourhood_regression as module
from nas.model.neighbourhood_regression import neighbourhood_regression
from nas.model.sparse_regression import sparse_regression

Dense = NDArray[np.float32]


def gram_of(seed: int, users: int = 300, items: int = 60) -> Dense:
    """Co-occurrences of items of uneven popularity; nobody had the last one."""
    rng = np.random.default_rng(seed)
    likes = rng.random((users, 3)) @ rng.random((3, items)) * rng.random(items)
    matrix = (rng.random((users, items)) < 0.5 * likes).astype(np.float32)
    matrix[:, -1] = 0
    return matrix.T @ matrix


def solved(gram: Dense, l1: float, l2: float, most: int) -> Dense:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CANDIDATES", most)
        found: Dense = neighbourhood_regression(csr_array(gram), l1, l2).toarray()
    return found


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Solved until rounding is all that is left."""
    for name in ("neighbourhood_regression", "sparse_regression"):
        monkeypatch.setattr(f"nas.model.{name}.TOLERANCE", 1e-6)


@pytest.mark.parametrize("l2", [3.0, 50.0])
@pytest.mark.parametrize("l1", [0.0, 0.3, 5.0])
def test_with_all_items_as_candidates_it_is_slim(l1: float, l2: float) -> None:
    gram = gram_of(0)
    expected = sparse_regression(torch.from_numpy(gram), l1, l2).toarray()
    assert 0.01 < (expected > 0).mean() < 0.9
    np.testing.assert_allclose(solved(gram, l1, l2, len(gram)), expected, atol=2e-4)


@pytest.mark.parametrize("most", [1, 4, 15])
def test_each_column_is_the_optimum_among_its_candidates(most: int) -> None:
    gram, l1, l2 = gram_of(1), 1.0, 5.0
    weights = solved(gram, l1, l2, most)
    promise = (gram - l1) / np.sqrt(np.diag(gram) + l2)[:, None]
    np.fill_diagonal(promise, 0)
    for column in range(len(gram)):
        order = np.argsort(-promise[:, column], kind="stable")[:most]
        chosen = np.sort([item for item in order if promise[item, column] > 0]).astype(int)
        own = [*chosen, column]
        among = torch.from_numpy(gram[np.ix_(own, own)].copy())
        expected = np.zeros(len(gram))
        expected[chosen] = sparse_regression(among, l1, l2).toarray()[:-1, -1]
        np.testing.assert_allclose(weights[:, column], expected, atol=2e-4)
    assert (weights > 0).sum(0).max() == most


def test_candidates_are_what_is_close_and_not_what_is_popular() -> None:
    rng = np.random.default_rng(3)
    matrix = (rng.random((2_000, 12)) < 0.05).astype(np.float32)
    # Nearly everybody had item 0; item 7 goes with item 4.
    matrix[:, 0] = rng.random(2_000) < 0.9
    matrix[:, 7] = matrix[:, 4] * (rng.random(2_000) < 0.9)
    gram = matrix.T @ matrix
    assert gram[0, 7] > 0.8 * gram[7, 7]
    assert np.flatnonzero(solved(gram, 1.0, 1.0, 1)[:, 7]).tolist() == [4]


def test_it_does_not_depend_on_blocks_or_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gram = gram_of(2)
    torch.set_num_threads(1)
    first = solved(gram, 0.5, 5.0, 10)
    torch.set_num_threads(threads)
    monkeypatch.setattr(module, "_BLOCK", 7)
    assert np.array_equal(solved(gram, 0.5, 5.0, 10), first)
