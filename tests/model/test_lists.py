from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from nas.data import Interactions
from nas.model.lists import Catalogue, catalogue_of, coverage, diversity, gini, novelty

pytestmark = pytest.mark.usefixtures("threads")


def popular(*counts: int) -> Catalogue:
    """A catalogue whose items were had by the first 1, 2, ... users."""
    users = np.concatenate([np.arange(count) for count in counts]).astype(np.int32)
    return Catalogue(np.concatenate([[0], np.cumsum(counts)]), users, max(counts))


def test_a_catalogue_holds_the_users_of_each_item(tiny: Interactions) -> None:
    found = catalogue_of(tiny)
    assert (found.n_users, found.n_items) == (8, 11)
    for item in range(11):
        users = found.users[found.offsets[item] : found.offsets[item + 1]]
        assert users.tolist() == sorted(tiny.user[tiny.item == item].tolist())
    assert found.popularity.sum() == len(tiny)


def test_coverage_counts_items_not_empty_places(pyg: ModuleType) -> None:
    ranked = np.array([[0, 1], [1, -1]], dtype=np.int32)
    items = popular(1, 1, 1, 1)
    assert coverage(ranked, items) == 0.5
    assert coverage(ranked[:, :1], items) == 0.5
    assert coverage(ranked[1:], items) == 0.25
    metric = pyg.metrics.LinkPredCoverage(k=1, num_dst_nodes=4)
    metric.update(torch.from_numpy(ranked[:, :1]).long(), torch.tensor([[0, 1], [0, 1]]))
    assert coverage(ranked[:, :1], items) == pytest.approx(float(metric.compute()))


def test_gini_is_half_the_mean_difference_over_the_mean() -> None:
    rng = np.random.default_rng(0)
    ranked = rng.integers(-1, 9, (7, 5)).astype(np.int32)
    shown = np.array([(ranked == item).sum() for item in range(9)], dtype=float)
    expected = np.abs(shown[:, None] - shown[None]).mean() / (2 * shown.mean())
    nine = popular(*[1] * 9)
    assert gini(ranked, nine) == pytest.approx(expected)
    assert gini(np.arange(9, dtype=np.int32)[None], nine) == pytest.approx(0)
    assert gini(np.zeros((5, 1), np.int32), popular(*[1] * 1000)) == pytest.approx(0.999)
    assert gini(np.full((2, 3), -1, np.int32), popular(1, 1, 1, 1)) == 0


def test_novelty_is_bits_of_surprise() -> None:
    items = popular(4, 2, 1, 1, 0)
    assert novelty(np.array([[0, 1], [2, -1]], np.int32), items) == pytest.approx((1 + 2 + 3) / 3)
    assert novelty(np.array([[4]], np.int32), items) == 3


def cosine_of_pairs(ranked: NDArray[np.int32], history: Interactions) -> float:
    """The mean over the lists of the mean over their pairs, one by one."""
    had = np.zeros((history.n_users, history.n_items))
    had[history.user, history.item] = 1
    means = []
    for row in ranked:
        kept = [had[:, item] for item in row if item >= 0]
        pairs = [(a, b) for n, a in enumerate(kept) for b in kept[:n]]
        norms = [np.sqrt(a.sum() * b.sum()) for a, b in pairs]
        cosines = [a @ b / norm if norm else 0.0 for (a, b), norm in zip(pairs, norms, strict=True)]
        if pairs:
            means.append(np.mean(cosines))
    return float(np.mean(means))


@pytest.fixture(params=[0, 8, 5_000], ids=["by users", "both", "by pairs"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Catalogues of more items, and of fewer, than those whose cosines are held."""
    monkeypatch.setattr("nas.model.lists._FEW_ITEMS", request.param)
    monkeypatch.setattr("nas.model.lists._MOSTLY", 0.0)
    catalogue_of.cache_clear()
    yield
    catalogue_of.cache_clear()


def most_popular(history: Interactions, count: int) -> NDArray[np.int64]:
    return np.argsort(-np.bincount(history.item, minlength=history.n_items), kind="stable")[:count]


@pytest.mark.usefixtures("way")
def test_diversity_is_one_less_the_mean_cosine_of_pairs(tiny: Interactions, small: Interactions) -> None:
    rng = np.random.default_rng(0)
    for history in (tiny, small):
        ranked = np.stack([rng.permutation(history.n_items)[:5] for _ in range(9)]).astype(np.int32)
        ranked[:5] = rng.permuted(np.tile(most_popular(history, 8), (5, 1)), axis=1)[:, :5]
        ranked[2, 3:] = ranked[4, 1:] = ranked[7, 3:] = -1
        expected = 1 - cosine_of_pairs(ranked, history)
        assert diversity(ranked, catalogue_of(history)) == pytest.approx(expected)


@pytest.mark.usefixtures("way")
def test_diversity_of_likes_and_of_strangers(make_interactions: Callable[..., Interactions]) -> None:
    items = catalogue_of(make_interactions([(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)], 3, 4))
    assert diversity(np.array([[0, 1]], np.int32), items) == pytest.approx(0.0)
    assert diversity(np.array([[0, 2]], np.int32), items) == 1.0
    assert diversity(np.array([[0, 3]], np.int32), items) == 1.0, "nobody had the last one"
    assert diversity(np.array([[0, -1]], np.int32), items) == 0.0, "one item is no pair"


def test_lists_of_popular_items_are_not_gone_through_by_users(
    small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.lists._FEW_ITEMS", 10)
    monkeypatch.setattr("nas.model.lists._similarity", None)
    catalogue = replace(catalogue_of(small))
    ranked = np.random.default_rng(0).permuted(np.tile(most_popular(small, 10), (7, 1)), axis=1)[:, :4]
    found = diversity(ranked.astype(np.int32), catalogue)
    assert found == pytest.approx(1 - cosine_of_pairs(ranked, small))
    assert catalogue.cosines.shape == (10, 10)


def test_cosines_that_few_lists_can_do_with_are_not_held(
    small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.lists._FEW_ITEMS", 10)
    catalogue = replace(catalogue_of(small))
    popular, rare = most_popular(small, 30)[:4], most_popular(small, 30)[-4:]
    ranked = np.stack([popular, rare, rare]).astype(np.int32)
    assert diversity(ranked, catalogue) == pytest.approx(1 - cosine_of_pairs(ranked, small))
    assert "cosines" not in vars(catalogue)
