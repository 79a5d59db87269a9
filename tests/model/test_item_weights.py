from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import norm, rankdata

from nas.data import Interactions, ItemTable
from nas.model.co_occurrences import co_occurrences, sparse_co_occurrences
from nas.model.evaluation import history_costs
from nas.model.history import counted_by, histories_of, largest_entries, largest_products
from nas.model.item_weights import ease_weights, ease_weights_by_users, fit_items
from nas.model.sparse_regression import sparse_regression
from nas.model.timeline import ages_of, moments_of
from nas.space.closed_form import ItemBranch

MakeInteractions = Callable[..., Interactions]


def dense(interactions: Interactions) -> NDArray[np.float64]:
    return histories_of(interactions).toarray().astype(np.float64)


def timed(interactions: Interactions, seed: int = 0) -> Interactions:
    rng = np.random.default_rng(seed)
    return replace(interactions, timestamp=rng.integers(0, 5, len(interactions)) * 1_000)


def weights_of(branch: ItemBranch, interactions: Interactions) -> NDArray[np.float32]:
    weights = fit_items(branch, interactions).weights
    assert isinstance(weights, torch.Tensor | csr_array)
    return weights.numpy() if isinstance(weights, torch.Tensor) else weights.toarray()


def scores(branch: ItemBranch, interactions: Interactions) -> NDArray[np.float64]:
    return fit_items(branch, interactions)(torch.arange(interactions.n_users)).double().numpy()


def test_close_items_count_more_and_users_of_long_histories_less(small: Interactions) -> None:
    data = timed(small)
    branch = ItemBranch(proximity=2.0, user_norm=0.5)
    found, moments = co_occurrences(data, branch).numpy(), moments_of(data)
    counts = np.diff(data.offsets)
    typical = np.exp(np.log(np.maximum(counts, 1)).mean())
    expected = np.zeros_like(found)
    for a in range(len(data)):
        for b in range(len(data)):
            if data.user[a] == data.user[b]:
                share = (1 + abs(int(moments[a]) - int(moments[b])) / 2.0) ** -0.5
                expected[data.item[a], data.item[b]] += share * (counts[data.user[a]] / typical) ** -0.5
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_users_without_a_history_change_no_weight(small: Interactions) -> None:
    more = replace(small, user_ids=(*small.user_ids, "nobody", "nobody else"))
    branch = ItemBranch(user_norm=0.5)
    assert torch.equal(co_occurrences(more, branch), co_occurrences(small, branch))


def test_time_of_any_unit_and_origin_gives_the_same_weights(small: Interactions) -> None:
    data = timed(small)
    assert data.timestamp is not None
    branch = ItemBranch(proximity=1.0)
    other = replace(data, timestamp=data.timestamp * 86_400 + 7)
    assert torch.equal(co_occurrences(data, branch), co_occurrences(other, branch))


def test_without_time_and_ratings_their_settings_change_nothing(small: Interactions) -> None:
    bare = replace(small, timestamp=None, rating=None)
    plain = scores(ItemBranch(), bare)
    np.testing.assert_array_equal(scores(ItemBranch(proximity=3.0, rating=0.5, recency=2.0), bare), plain)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_ease_with_dropout_is_its_closed_form(dropout: float, small: Interactions) -> None:
    matrix = dense(small)
    gram = matrix.T @ matrix
    inverse = np.linalg.inv(gram + np.diag(7.0 + dropout / (1 - dropout) * np.diag(gram)))
    expected = matrix @ (np.eye(small.n_items) - inverse / np.diag(inverse))
    found = scores(ItemBranch(regularisation=7.0, dropout=dropout), small)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("proximity", [0.0, 2.0])
def test_next_predicts_what_came_after_or_along_with_an_item(proximity: float, small: Interactions) -> None:
    data = timed(small)
    settings = {"regularisation": 7.0, "dropout": 0.4, "proximity": proximity, "user_norm": 0.5}
    branch = ItemBranch.model_validate({"kind": "next", **settings})
    moments, counts = moments_of(data), np.bincount(data.user, minlength=data.n_users)
    typical = np.exp(np.log(np.maximum(counts, 1)).mean())
    after = np.zeros((data.n_items, data.n_items))
    for a in range(len(data)):
        for b in range(len(data)):
            steps = moments[b] - moments[a]
            if data.user[a] == data.user[b] and a != b and steps >= 0:
                share = 1 / np.sqrt(1 + steps / proximity) if proximity else 1
                after[data.item[a], data.item[b]] += share * (counts[data.user[a]] / typical) ** -0.5
    gram = co_occurrences(data, branch).double().numpy()
    due = np.linalg.solve(gram + np.diag(7.0 + 0.4 / 0.6 * np.diag(gram)), after)
    np.fill_diagonal(due, 0)
    found = fit_items(branch, data).weights
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), due, rtol=1e-3, atol=1e-4)
    # What came before is not what came next, unless nobody knows.
    other = replace(data, timestamp=-data.timestamp if data.timestamp is not None else None)
    assert not np.allclose(fit_items(branch, other).weights.numpy(), due, atol=1e-2)
    bare = replace(data, timestamp=None)
    both = co_occurrences(bare, branch, later=True)
    assert torch.equal(both, co_occurrences(bare, branch))


def test_next_knows_which_of_two_items_follows_the_other() -> None:
    # Everybody has b right after a; whoever had a last is told b, whoever had b last is not told a.
    users = 30
    rng = np.random.default_rng(0)
    triples = sorted((user, item, time) for user in range(users) for item, time in (
        (0, 10), (1, 11), (2 + int(rng.integers(4)), 5)))  # fmt: skip
    user, item, time = (np.array(column) for column in zip(*triples, strict=True))
    data = Interactions(
        user.astype(np.int32), item.astype(np.int32), tuple(map(str, range(users))), tuple("abcdef"),
        timestamp=time.astype(np.int64),
    )  # fmt: skip
    weights = fit_items(ItemBranch(kind="next", regularisation=1.0), data).weights
    assert isinstance(weights, torch.Tensor)
    assert weights[0, 1] > 1
    assert weights[1, 0] < 0


def test_ratings_weigh_the_history_and_not_the_weights(small: Interactions) -> None:
    rated = replace(small, rating=np.random.default_rng(0).integers(1, 6, len(small)).astype(np.float32))
    plain, weighed = fit_items(ItemBranch(), rated), fit_items(ItemBranch(rating=0.3), rated)
    assert isinstance(plain.weights, torch.Tensor)
    assert isinstance(weighed.weights, torch.Tensor)
    assert torch.equal(plain.weights, weighed.weights)
    assert rated.rating is not None
    below = (rated.rating[:, None] > rated.rating).mean(1)
    alike = (rated.rating[:, None] == rated.rating).mean(1)
    z = [NormalDist().inv_cdf(share) for share in below + alike / 2]
    np.testing.assert_allclose(weighed.histories.data, 1 + 0.3 * np.clip(z, -2, 2), rtol=1e-5)
    np.testing.assert_array_equal(histories_of(rated, 5.0).data.min(), np.float32(0.1))


def test_ratings_that_tie_share_the_mean_of_their_ranks(small: Interactions) -> None:
    stars = np.random.default_rng(0).integers(1, 6, len(small)).astype(np.float32)
    z = norm.ppf((rankdata(stars) - 0.5) / len(stars))
    found = histories_of(replace(small, rating=stars), 0.1).data
    np.testing.assert_allclose(found, 1 + 0.1 * np.clip(z, -2, 2), rtol=1e-6)


def test_of_ratings_the_order_alone_counts(small: Interactions) -> None:
    stars = np.random.default_rng(0).integers(1, 6, len(small)).astype(np.float32)
    plays = replace(small, rating=np.exp(3 * stars))
    np.testing.assert_array_equal(
        histories_of(plays, 0.3).data, histories_of(replace(small, rating=stars), 0.3).data
    )
    assert set(histories_of(replace(small, rating=np.full(len(small), 7.0)), 0.3).data) == {1.0}


@pytest.mark.parametrize("kind", ["ease", "slim", "next", "cosine"])
def test_an_item_counts_by_its_age_and_its_rating_and_weights_do_not(kind: str, small: Interactions) -> None:
    data = replace(
        timed(small), rating=np.random.default_rng(0).integers(1, 6, len(small)).astype(np.float32)
    )
    branch = ItemBranch.model_validate({"kind": kind, "recency": 2.0, "rating": 0.3, "neighbours": 5})
    plain = fit_items(branch.fitted(), data)
    weights = plain.weights.numpy() if isinstance(plain.weights, torch.Tensor) else plain.weights.toarray()
    due = np.zeros((data.n_users, data.n_items))
    counted = histories_of(data, 0.3)
    for entry, (user, item) in enumerate(zip(data.user, data.item, strict=True)):
        due[user] += counted.data[entry] / (1 + ages_of(data)[entry] / 2) * weights[item]
    np.testing.assert_allclose(scores(branch, data), due, rtol=1e-4, atol=1e-6)
    assert not np.allclose(due, scores(branch.model_copy(update={"recency": 0.0}), data))
    sizes = (small.n_users, small.n_items, len(small))
    old, young = (
        history_costs(one, *sizes)["artefact_bytes"]
        for one in (fit_items(branch, data), counted_by(plain, data, rating=0.3))
    )
    assert old - young == 4 * (len(small) + 1)
    other = branch.model_copy(update={"recency": 7.0, "rating": 0.0})
    assert other.fitted() == branch.fitted() != branch.model_copy(update={"neighbours": 4}).fitted()


@pytest.mark.parametrize("kind", ["ease", "slim", "next", "cosine"])
def test_scores_are_divided_by_a_power_of_what_many_had(kind: str, small: Interactions) -> None:
    data = timed(small)
    branch = ItemBranch.model_validate({"kind": kind, "neighbours": 5, "recency": 2.0, "debias": 0.35})
    had = np.bincount(data.item, minlength=data.n_items)
    assert len(set(had)) > 2
    plain = branch.model_copy(update={"debias": 0.0})
    np.testing.assert_allclose(scores(branch, data), scores(plain, data) / (1 + had) ** 0.35, rtol=1e-5)
    # No fit of its own, and no larger than without.
    assert branch.fitted() == plain.fitted()
    assert fit_items(branch, data).entries == fit_items(plain, data).entries


def described(interactions: Interactions) -> Interactions:
    """Every third item is red, every fourth large; the rest have nothing in common."""
    colours = tuple(("red",) if n % 3 == 0 else (f"colour {n}",) for n in range(interactions.n_items))
    sizes = tuple("large" if n % 4 == 0 else "" for n in range(interactions.n_items))
    return replace(interactions, items=ItemTable(title=sizes, genres=colours))


def features_of(n_items: int) -> NDArray[np.float64]:
    return np.array([[n % 3 == 0, n % 4 == 0] for n in range(n_items)], dtype=np.float64)


@pytest.mark.parametrize(("proximity", "later"), [(0.0, False), (2.0, False), (2.0, True)])
def test_items_come_closer_by_what_few_have(proximity: float, later: bool, small: Interactions) -> None:
    data = described(timed(small))
    plain = ItemBranch(proximity=proximity, user_norm=0.5)
    branch = plain.model_copy(update={"features": 3.0})
    features = features_of(data.n_items)
    due = co_occurrences(data, plain, later=later).numpy() + features * (3 / features.sum(0)) @ features.T
    found = co_occurrences(data, branch, later=later)
    np.testing.assert_allclose(found.numpy(), due, rtol=1e-5, atol=1e-6)
    # Of what nothing is known, nothing changes.
    bare = replace(data, items=ItemTable())
    assert torch.equal(co_occurrences(bare, branch, later=later), co_occurrences(bare, plain, later=later))


@pytest.mark.parametrize("proximity", [0.0, 2.0])
def test_sparse_co_occurrences_hold_features_too(proximity: float, small: Interactions) -> None:
    data, branch = described(timed(small)), ItemBranch(proximity=proximity, features=3.0)
    found = sparse_co_occurrences(data, branch)
    assert found.has_sorted_indices
    np.testing.assert_allclose(found.toarray(), co_occurrences(data, branch).numpy(), rtol=1e-5)


def test_ease_with_features_is_that_of_both_matrices_one_below_the_other(small: Interactions) -> None:
    few = small.select(small.user < 6)
    few = replace(few, user_ids=few.user_ids[:6])
    for data in (described(few), described(small)):
        features = features_of(data.n_items)
        rows = np.vstack([dense(data), (features * np.sqrt(3 / features.sum(0))).T])
        inverse = np.linalg.inv(rows.T @ rows + 7 * np.eye(data.n_items))
        due = np.eye(data.n_items) - inverse / np.diag(inverse)
        found = weights_of(ItemBranch(regularisation=7.0, features=3.0), data)
        np.testing.assert_allclose(found, due, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["ease", "slim", "next"])
def test_what_nobody_had_is_recommended_for_what_it_shares(kind: str, small: Interactions) -> None:
    new = 27  # Red, not large.
    data = described(small.select(small.item != new))
    branch = ItemBranch.model_validate({"kind": kind, "regularisation": 1.0, "l1": 0.01})
    assert not weights_of(branch, data)[:, new].any()
    weights = weights_of(branch.model_copy(update={"features": 3.0}), data)[:, new]
    red = [n for n in range(data.n_items) if n % 3 == 0 and n != new]
    others = [n for n in range(data.n_items) if n % 3]
    assert weights[red].min() > 0 or kind == "slim"
    assert weights[red].mean() > 0 >= np.median(weights[others])


def test_cosines_know_no_features(small: Interactions) -> None:
    branch = ItemBranch(kind="cosine", neighbours=5, features=3.0)
    assert branch.canonical().features == 0
    np.testing.assert_array_equal(weights_of(branch, described(small)), weights_of(branch, small))


def test_each_item_keeps_its_nearest_by_cosine(small: Interactions) -> None:
    branch = ItemBranch(kind="cosine", neighbours=2)
    weights = weights_of(branch, small)
    # Counts of common users tie often, and what ties with the last is kept.
    assert all(len(set(column[column != 0])) <= 2 for column in weights.T)
    assert fit_items(branch, small).entries == (weights != 0).sum()


@pytest.mark.parametrize("kind", ["ease", "next", "slim"])
def test_the_largest_weights_of_all_items_are_kept(kind: str, small: Interactions) -> None:
    data = timed(small)
    branch = ItemBranch.model_validate({"kind": kind, "regularisation": 0.5, "l1": 0.1, "neighbours": 2})
    whole = weights_of(branch.model_copy(update={"neighbours": 0}), data)
    bound = np.sort(np.abs(whole), axis=None)[-2 * data.n_items]
    found = weights_of(branch, data)
    np.testing.assert_array_equal(found, np.where(np.abs(whole) >= bound, whole, 0))
    assert fit_items(branch, data).entries == 2 * data.n_items
    assert len(set((found != 0).sum(0))) > 1


@pytest.mark.parametrize(
    "branch",
    [
        ItemBranch(regularisation=5.0),
        ItemBranch(regularisation=5.0, neighbours=2),
        ItemBranch(kind="cosine", neighbours=3),
        ItemBranch(kind="slim", l1=4.0, regularisation=1.0),
    ],
    ids=["dense", "largest", "nearest", "fewer than items"],
)
def test_a_history_costs_the_weights_of_its_items(branch: ItemBranch, small: Interactions) -> None:
    model = fit_items(branch, small)
    done = dense(small) @ (weights_of(branch, small) != 0).sum(1)
    sizes = (small.n_users, small.n_items, len(small))
    found = history_costs(model, *sizes)
    assert found["refresh_macs"] == done.sum() > 0
    if branch.kind == "slim":
        assert found["parameters"] < small.n_items


@given(st.integers(0, 99), st.integers(0, 7), st.booleans())
def test_largest_entries_of_a_sparse_matrix_are_those_of_the_dense_one(
    seed: int, count: int, whole: bool
) -> None:
    matrix = np.random.default_rng(seed).integers(-3, 4, (5, 6)).astype(np.float32)
    before, bound = matrix.copy(), np.sort(np.abs(matrix), axis=None)[::-1][min(6 * count, 30) - 1]
    found = largest_entries(torch.from_numpy(matrix) if whole else csr_array(matrix), count)
    np.testing.assert_array_equal(
        found.toarray(), np.where(np.abs(matrix) >= bound, matrix, 0) if count else matrix
    )
    assert (found.data != 0).all()
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize("count", [0, 1, 4, 99])
def test_the_largest_of_a_product_by_blocks_are_those_of_the_whole(
    count: int, small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.history._BLOCK_BYTES", 4 * small.n_items * 3)
    matrix = histories_of(small)
    left = matrix.T.tocsr()
    whole = (left @ matrix).toarray()
    found = largest_products(left, matrix, count).toarray()
    bound = -np.sort(-whole, axis=0)[min(count, len(whole)) - 1] if count else np.zeros(len(whole))
    np.testing.assert_array_equal(found, np.where(whole >= np.maximum(bound, 1), whole, 0))


@pytest.mark.parametrize(("dropout", "user_norm"), [(0.0, 0.0), (0.4, 0.5)])
def test_few_users_give_the_same_weights_by_a_shorter_way(
    dropout: float, user_norm: float, small: Interactions
) -> None:
    branch = ItemBranch(regularisation=5.0, dropout=dropout, user_norm=user_norm)
    expected = ease_weights(co_occurrences(small, branch), 5.0, dropout)
    counts = np.maximum(np.diff(small.offsets), 1)
    share = (counts / np.exp(np.log(counts).mean())) ** (-0.5 * user_norm)
    matrix = csr_array(histories_of(small).multiply(share[:, None]).astype(np.float32))
    torch.testing.assert_close(ease_weights_by_users(matrix, 5.0, dropout), expected, rtol=1e-3, atol=1e-4)


def test_a_catalogue_of_many_items_takes_the_shorter_way(
    make_interactions: MakeInteractions, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_interactions([(0, 0), (0, 7), (1, 7), (1, 3), (2, 0)], 3, 9)
    branch = ItemBranch(regularisation=2.0, user_norm=0.5)
    expected = ease_weights(co_occurrences(data, branch), 2.0)
    monkeypatch.setattr("nas.model.item_weights._inverse", None)
    found = fit_items(branch, data).weights
    assert isinstance(found, torch.Tensor)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_slim_solves_for_the_co_occurrences_that_the_branch_counts(small: Interactions) -> None:
    data = timed(small)
    branch = ItemBranch(kind="slim", regularisation=0.5, l1=0.2, proximity=2.0, user_norm=0.5)
    expected = sparse_regression(co_occurrences(data, branch), 0.2, 0.5).toarray()
    found = scores(branch, data)
    np.testing.assert_allclose(found, dense(data) @ expected, rtol=1e-5, atol=1e-6)
    others = [branch.model_copy(update={key: 0.0}) for key in ("proximity", "user_norm")]
    assert all(np.abs(scores(one, data) - found).max() > 0.01 for one in others)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("proximity", [0.0, 2.0])
@pytest.mark.parametrize("times", [False, True])
def test_sparse_co_occurrences_are_the_dense_ones(proximity: float, times: bool, small: Interactions) -> None:
    data = timed(small) if times else replace(small, timestamp=None)
    branch = ItemBranch(kind="slim", proximity=proximity, user_norm=0.5)
    found = sparse_co_occurrences(data, branch)
    assert found.has_sorted_indices
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), co_occurrences(data, branch).numpy(), rtol=1e-5)


@pytest.mark.parametrize("times", [False, True])
def test_slim_on_a_large_catalogue_is_slim_among_the_closest(
    times: bool, small: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = timed(small) if times else small
    branch = ItemBranch(kind="slim", l1=0.2, regularisation=2.0, user_norm=0.25, proximity=3.0)
    expected = scores(branch, data)
    monkeypatch.setattr("nas.model.item_weights.DENSE_SLIM", 10)
    # No more than 30 items are candidates of one.
    np.testing.assert_allclose(scores(branch, data), expected, atol=1e-3)
    few = fit_items(branch.model_copy(update={"neighbours": 3}), data).weights
    assert isinstance(few, csr_array)
    assert few.nnz == 3 * data.n_items
