import numpy as np
import pytest
from pydantic import ValidationError

from nas.data import Interactions, PlantedConfig, Split, SplitConfig, planted, split

RING = PlantedConfig(kind="two_hop", users=400, items=400, interactions_per_user=6)


def dense(interactions: Interactions) -> np.ndarray:
    matrix = np.zeros((interactions.n_users, interactions.n_items))
    matrix[interactions.user, interactions.item] = 1
    return matrix


def ndcg(scores: np.ndarray, parts: Split, k: int = 10) -> float:
    """NDCG@k on test, train and valid masked, averaged over the users with test items."""
    seen, relevant = dense(parts.train) + dense(parts.valid) > 0, dense(parts.test)
    # Ties are broken at random: in the order of the index the ring itself would answer.
    tie_break = np.random.default_rng(0).random(scores.shape) * 1e-9
    top = np.argsort(-np.where(seen, -np.inf, scores + tie_break), axis=1)[:, :k]
    discount = 1 / np.log2(np.arange(2, k + 2))
    gain = (np.take_along_axis(relevant, top, axis=1) * discount).sum(axis=1)
    count = np.minimum(relevant.sum(axis=1).astype(int), k)
    ideal = np.concatenate([[0], np.cumsum(discount)])[count]
    return float((gain[count > 0] / ideal[count > 0]).mean())


def popularity(train: np.ndarray) -> np.ndarray:
    return np.broadcast_to(train.sum(axis=0), train.shape)


def factorisation(train: np.ndarray, rank: int) -> np.ndarray:
    left, values, right = np.linalg.svd(train, full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


def paths(train: np.ndarray) -> np.ndarray:
    return train @ train.T @ train


@pytest.mark.parametrize("seed", [0, 1])
def test_blocks_are_found_by_collaborative_filtering_only(seed: int) -> None:
    parts = split(planted(PlantedConfig(seed=seed)), SplitConfig())
    train = dense(parts.train)
    assert ndcg(popularity(train), parts) < 0.08
    assert ndcg(factorisation(train, 8), parts) > 0.15
    assert ndcg(paths(train), parts) > 0.15


@pytest.mark.parametrize("seed", [0, 1])
def test_two_hop_needs_propagation(seed: int) -> None:
    parts = split(planted(RING.model_copy(update={"seed": seed})), SplitConfig())
    train = dense(parts.train)
    assert ndcg(popularity(train), parts) < 0.04
    assert ndcg(train, parts) < 0.04, "one hop is what the user has already"
    assert ndcg(factorisation(train, 8), parts) < 0.25
    assert ndcg(factorisation(train, 16), parts) < 0.45
    assert ndcg(paths(train), parts) > 0.75


def test_two_hop_without_noise_is_answered_in_full() -> None:
    parts = split(planted(RING.model_copy(update={"noise": 0.0})), SplitConfig())
    assert ndcg(paths(dense(parts.train)), parts) == pytest.approx(1.0)


def test_two_hop_holds_out_the_ends_of_each_window() -> None:
    interactions = planted(RING.model_copy(update={"noise": 0.0}))
    assert interactions.part is not None
    for user in (0, 7, 399):
        mine = interactions.user == user
        window = [(user + step) % 400 for step in range(6)]
        assert set(interactions.item[mine]) == set(window)
        assert set(interactions.item[mine & (interactions.part > 0)]) == {window[0], window[-1]}
    first_is_test = [
        interactions.part[(interactions.user == user) & (interactions.item == user)][0] == 2
        for user in range(394)
    ]
    assert 0.4 < np.mean(first_is_test) < 0.6


@pytest.mark.parametrize("kind", ["blocks", "two_hop"])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_every_user_has_the_number_of_interactions_asked_for(kind: str, noise: float) -> None:
    interactions = planted(PlantedConfig(kind=kind, users=50, items=60, interactions_per_user=7, noise=noise))
    assert np.bincount(interactions.user).tolist() == [7] * 50
    pairs = interactions.user.astype(int) * 60 + interactions.item
    assert (np.diff(pairs) > 0).all(), "rows are sorted and distinct"


def test_noise_is_the_share_of_interactions_outside_the_block() -> None:
    def outside(noise: float) -> float:
        interactions = planted(PlantedConfig(users=1000, noise=noise))
        return float((interactions.user // 200 != interactions.item // 30).mean())

    assert outside(0.0) == 0
    # A fifth of the noise falls into the block; drawing without replacement moves it up a little.
    assert outside(0.2) == pytest.approx(0.16, abs=0.04)


@pytest.mark.parametrize("kind", ["blocks", "two_hop"])
def test_the_seed_alone_decides(kind: str) -> None:
    first, again, other = (planted(PlantedConfig(kind=kind, seed=seed)).fingerprint() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_titles_name_the_block() -> None:
    interactions = planted(PlantedConfig())
    assert interactions.items.title is not None
    assert interactions.items.title[61] == "block 2 item 61"
    assert (interactions.user_ids[17], interactions.item_ids[3]) == ("user-17", "item-3")


@pytest.mark.parametrize(("kind", "count"), [("blocks", 31), ("two_hop", 2), ("two_hop", 76)])
def test_impossible_counts_are_refused(kind: str, count: int) -> None:
    with pytest.raises(ValidationError, match=rf"must hold for {kind} with these items, but got {count}"):
        PlantedConfig(kind=kind, interactions_per_user=count)
