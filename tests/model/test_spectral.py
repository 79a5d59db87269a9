from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.data import Interactions
from nas.graph import Graph
from nas.model.spectral import fit_spectral, singular_vectors
from nas.model.timeline import ages_of
from nas.space.closed_form import SpectralBranch


def normalised(interactions: Interactions) -> np.ndarray:
    matrix = np.zeros((interactions.n_users, interactions.n_items))
    matrix[interactions.user, interactions.item] = 1.0
    users, items = (np.maximum(matrix.sum(axis), 1) for axis in (1, 0))
    return matrix / np.sqrt(users[:, None] * items[None, :])


def aligned(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """`found` with each column's sign turned to `expected`'s."""
    return found * np.sign((found * expected).sum(0))


@pytest.mark.parametrize("columns", [1, 5, 12])
def test_the_start_is_numpys_svd_up_to_sign_and_one_scale(columns: int, small: Interactions) -> None:
    users, items = (t.numpy() for t in singular_vectors(Graph.from_interactions(small), columns, seed=0))
    left, values, right = np.linalg.svd(normalised(small), full_matrices=False)
    # Vectors of close values could turn into one another.
    assert np.diff(-values[: columns + 1]).min() > 0.004
    expected = np.concatenate([left, right.T])[:, :columns] * np.sqrt(values[:columns])
    expected /= np.linalg.norm(expected, axis=1).mean()
    found = np.concatenate([users, items])
    np.testing.assert_allclose(aligned(found, expected), expected, atol=2e-3)
    # A column's sign is that of both sides.
    product = users @ items.T
    np.testing.assert_allclose(product, expected[: small.n_users] @ expected[small.n_users :].T, atol=5e-3)


def test_the_first_columns_of_a_wide_start_are_the_narrow_start(small: Interactions) -> None:
    graph = Graph.from_interactions(small)
    wide, narrow = (np.concatenate(singular_vectors(graph, columns, seed=0)) for columns in (12, 4))
    scale = np.linalg.norm(wide[:, :4]) / np.linalg.norm(narrow)
    np.testing.assert_allclose(aligned(wide[:, :4], narrow), scale * narrow, atol=2e-3)
    lengths = np.linalg.norm(wide, axis=1)
    assert lengths.mean() == pytest.approx(1, abs=1e-5)


def test_a_seed_decides_the_start(small: Interactions) -> None:
    graph = Graph.from_interactions(small)
    one, same, other = (singular_vectors(graph, 6, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(one, same)
    # The same vectors, but for what the iterations leave of where they began.
    assert not torch.equal(one, other)
    np.testing.assert_allclose(aligned(other.numpy(), one.numpy()), one.numpy(), atol=2e-3)


def test_columns_beyond_the_rank_are_not_made_up(tiny: Interactions) -> None:
    users, items = singular_vectors(Graph.from_interactions(tiny), 64, seed=0)
    assert users.shape == (8, 8)
    assert items.shape == (11, 8)
    # Isolated nodes begin at 0.
    assert float(users[-1].abs().max()) < 1e-4
    assert float(items[-1].abs().max()) < 1e-4


def test_a_filter_passes_nothing_beyond_the_rank_of_the_matrix(tiny: Interactions) -> None:
    # Seven users have interactions; of anyone else's history, what lies in the span of theirs passes.
    model = fit_spectral(SpectralBranch(rank=64), tiny, Graph.from_interactions(tiny), 0)
    vectors = np.linalg.svd(normalised(tiny))[2][: np.linalg.matrix_rank(normalised(tiny))]
    root = np.sqrt(np.bincount(tiny.item, minlength=tiny.n_items))
    inverse = np.divide(1, root, where=root > 0, out=np.zeros_like(root))
    due = 0.3 * (vectors * inverse).T @ (vectors * root)
    assert model.left is not None
    assert model.right is not None
    assert model.left.shape == (11, 7)
    np.testing.assert_allclose((model.left @ model.right).numpy(), due, atol=1e-4)


@pytest.mark.parametrize("never_formed", [False, True])
def test_items_count_by_their_age(
    never_formed: bool, small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    if never_formed:
        monkeypatch.setattr("nas.model.spectral._WHOLE", 3)
    data = replace(small, timestamp=np.random.default_rng(0).integers(0, 5, len(small)))
    graph, branch = Graph.from_interactions(data), SpectralBranch(rank=4, recency=2.0)
    users = torch.arange(data.n_users)
    counted = np.zeros((data.n_users, data.n_items))
    counted[data.user, data.item] = 1 / (1 + ages_of(data) / 2)
    matrix = normalised(data)
    vectors = np.linalg.svd(matrix)[2][:4]
    root = np.sqrt(np.maximum(np.bincount(data.item, minlength=data.n_items), 1))
    due = counted @ (matrix.T @ matrix + 0.3 * (vectors.T / root[:, None]) @ (vectors * root))
    found = fit_spectral(branch, data, graph, 0)(users).numpy()
    np.testing.assert_allclose(found, due, atol=2e-3)
    assert not np.allclose(found, fit_spectral(branch.fitted(), data, graph, 0)(users).numpy(), atol=0.05)
