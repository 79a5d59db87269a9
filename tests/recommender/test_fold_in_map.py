"""The map from a history to an initial embedding, against plain least squares."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nas.recommender.contents import ArtefactContents
from nas.recommender.fold_in_map import fold_in_maps

Make = Callable[..., ArtefactContents]
# Arguments of the fixture `make`.
variations = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "users": st.integers(2, 9),
        "items": st.integers(1, 12),
        "columns": st.integers(1, 5),
        "density": st.sampled_from([0.1, 0.5, 1.0]),
    }
)


def history(contents: ArtefactContents, user: int) -> NDArray[np.int32]:
    return contents.seen_items[contents.seen_indptr[user] : contents.seen_indptr[user + 1]]


@given(variation=variations, ridge=st.sampled_from([0.01, 0.5, 3.0]))
def test_fold_in_map_is_the_ridge_regression(make: Make, variation: dict[str, Any], ridge: float) -> None:
    contents = make(**variation)
    seen = [history(contents, user) for user in range(len(contents.user_ids))]
    items, users = contents.item_embeddings.astype(np.float64), contents.user_embeddings.astype(np.float64)
    means = np.array([items[one].mean(axis=0) for one in seen if len(one)])
    trained = users[[len(one) > 0 for one in seen]]
    # The same minimum, as plain least squares on rows appended.
    columns = items.shape[1]
    weight = np.sqrt(ridge * np.trace(means.T @ means) / columns)
    rows = np.vstack([means, weight * np.eye(columns)])
    expected = np.linalg.lstsq(rows, np.vstack([trained, np.zeros((columns, columns))]))[0]
    _, found = fold_in_maps(
        contents.user_embeddings,
        contents.item_embeddings,
        contents.seen_indptr,
        contents.seen_items,
        [7.0, ridge],
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_fold_in_map_is_found_where_users_are_means_of_their_items(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = make(users=60, items=40, columns=5)
    planted = np.random.default_rng(1).standard_normal((5, 5)).astype(np.float32)
    users = contents.user_embeddings.copy()
    for user in range(1, 60):
        if len(seen := history(contents, user)):
            users[user] = contents.item_embeddings[seen].mean(axis=0) @ planted
    arguments = (users, contents.item_embeddings, contents.seen_indptr, contents.seen_items)
    np.testing.assert_allclose(fold_in_maps(*arguments, [0.0])[0], planted, atol=1e-4)
    monkeypatch.setattr("nas.recommender.fold_in_map.USERS_PER_BLOCK", 7)
    np.testing.assert_allclose(fold_in_maps(*arguments, [0.0])[0], planted, atol=1e-4)
    scaled = fold_in_maps(users * 8, contents.item_embeddings * 8, *arguments[2:], [0.3])[0]
    np.testing.assert_allclose(scaled, fold_in_maps(*arguments, [0.3])[0], rtol=1e-5, atol=1e-6)


def test_fold_in_map_without_histories_is_zero() -> None:
    none = np.zeros(4, dtype=np.int64), np.zeros(0, dtype=np.int32)
    table = np.ones((3, 2), dtype=np.float32)
    np.testing.assert_array_equal(fold_in_maps(table, table, *none, [0.1])[0], np.zeros((2, 2)))
    with pytest.raises(ValueError, match="ridge must be a finite number of at least 0, but got -1"):
        fold_in_maps(table, table, *none, [0.1, -1])
