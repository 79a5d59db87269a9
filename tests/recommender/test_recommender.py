"""Answers against dense computations on the same arrays."""

import difflib
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from nas.recommender import InputError, Recommender, UnknownId, recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.recommender import Explanation, Ranking, Table
from nas.recommender.writer import write_artefact

Make = Callable[..., ArtefactContents]
ARRAYS = ("user_embeddings", "item_embeddings", "seen_indptr", "seen_items", "fold_in")
# Arguments of the fixture `make`.
variations = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10_000),
        "users": st.integers(2, 9),
        "items": st.integers(1, 12),
        "columns": st.integers(1, 5),
        "density": st.sampled_from([0.1, 0.5, 1.0]),
        "tied": st.booleans(),
        "titled": st.booleans(),
    }
)


def model_of(contents: ArtefactContents) -> Recommender:
    popularity = np.bincount(contents.seen_items, minlength=len(contents.item_ids)).astype(np.float32)
    parts = {name: getattr(contents, name) for name in ARRAYS}
    titles = None
    if contents.titles is not None and contents.genres is not None:
        titles = [[title, list(kinds)] for title, kinds in zip(contents.titles, contents.genres, strict=True)]
    return Recommender(
        {}, list(contents.user_ids), list(contents.item_ids), titles, parts | {"popularity": popularity}
    )


def history(contents: ArtefactContents, user: int) -> NDArray[np.int32]:
    return contents.seen_items[contents.seen_indptr[user] : contents.seen_indptr[user + 1]]


def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Exactly rounded for the sizes used here, so that it ties where the recommender ties."""
    return np.array(
        [[np.float32(np.dot(a.astype(np.float64), b.astype(np.float64))) for b in right] for a in left]
    )


def ordered(scores: NDArray[np.float32], left_out: NDArray[np.int32] | list[int]) -> list[int]:
    """All items but those left out, best first, ties by index: a full stable sort."""
    return [
        item for item in np.argsort(-scores, kind="stable").tolist() if item not in set(map(int, left_out))
    ]


def names(ranking: Ranking) -> list[str]:
    return [one.item for one in ranking]


def agrees(
    ranking: Ranking, scores: NDArray[np.float32], left_out: NDArray[np.int32] | list[int], k: int
) -> None:
    """The ranking is the stable sort, up to scores that differ by rounding alone."""
    expected = ordered(scores, left_out)[:k]
    assert len(ranking) == len(expected)
    found = [int(one.item[1:]) for one in ranking]
    assert len(set(found)) == len(found)
    assert not set(found) & set(map(int, left_out))
    np.testing.assert_allclose([one.score for one in ranking], scores[expected], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scores[found], scores[expected], rtol=1e-6, atol=1e-6)


@given(data=st.data(), k=st.integers(1, 15), chunk=st.sampled_from([1, 24, 8192]))
def test_the_best_of_a_table_are_the_head_of_a_full_stable_sort(
    data: st.DataObject, k: int, chunk: int
) -> None:
    # Small integers, so that products are exact and tie.
    numbers = st.integers(-2, 2).map(float)
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=40))
    rows = data.draw(arrays(np.float32, shape, elements=numbers))
    vectors = data.draw(arrays(np.float64, (3, shape[1]), elements=numbers))
    base = data.draw(st.none() | arrays(np.float64, (3, shape[0]), elements=numbers))
    out = [data.draw(st.lists(st.integers(0, shape[0] - 1))) for _ in vectors]
    barred = data.draw(st.none() | arrays(np.bool_, shape[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recommender, "CHUNK", chunk)
        found = Table(rows).best(vectors, k, [np.array(one, dtype=np.int64) for one in out], barred, base)
    dense = vectors @ rows.T + (0 if base is None else base)
    for scores, without, (places, values) in zip(dense, out, found, strict=True):
        gone = {*without, *np.flatnonzero(barred if barred is not None else []).tolist()}
        expected = ordered(scores.astype(np.float32), list(gone))[:k]
        assert places.tolist() == expected
        np.testing.assert_array_equal(values, scores[expected])


def test_what_float32_cannot_tell_apart_float64_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # The rows differ by less than float32 resolves in a sum with large terms that cancel.
    rng = np.random.default_rng(0)
    rows = np.tile(rng.standard_normal(64).astype(np.float32), (5000, 1))
    rows[:, 0], rows[:, 1] = 1e4, -1e4
    rows[:, 2] = rng.standard_normal(5000) * 1e-4
    vector = np.ones((1, 64))
    exact = (rows.astype(np.float64) @ vector[0]).astype(np.float32)
    assert len(np.unique(exact)) > 1000
    ((places, values),) = Table(rows).best(vector, 50, [np.zeros(0, np.int64)])
    assert places.tolist() == np.argsort(-exact, kind="stable")[:50].tolist()
    np.testing.assert_array_equal(values, exact[places])
    # Far more candidates than fit into a block.
    monkeypatch.setattr(recommender, "ROWS_PER_BLOCK", 7)
    ((again, _),) = Table(rows).best(vector, 50, [np.zeros(0, np.int64)])
    assert again.tolist() == places.tolist()


@given(variation=variations, k=st.integers(1, 15), exclude=st.booleans())
def test_recommend_is_a_stable_sort_of_the_dense_scores(
    make: Make, variation: dict[str, Any], k: int, exclude: bool
) -> None:
    contents = make(**variation)
    model = model_of(contents)
    dense = product(contents.user_embeddings, contents.item_embeddings)
    popularity = np.bincount(contents.seen_items, minlength=len(contents.item_ids)).astype(np.float32)
    together = model.recommend_many(contents.user_ids, k, exclude_seen=exclude)
    for user, user_id in enumerate(contents.user_ids):
        seen = history(contents, user)
        ranking = model.recommend(user_id, k, exclude_seen=exclude)
        assert ranking == together[user]
        scores = dense[user] if len(seen) else popularity
        agrees(ranking, scores, seen if exclude else [], k)
        assert {one.fallback for one in ranking} <= {None if len(seen) else "popularity"}


@given(seed=st.integers(0, 10_000), k=st.integers(1, 15))
def test_ties_are_in_the_order_of_the_items(make: Make, seed: int, k: int) -> None:
    # Products of small integers are exact, so the order must be as well.
    contents = make(seed, tied=True, columns=2)
    model = model_of(contents)
    dense = product(contents.user_embeddings, contents.item_embeddings)
    for user in range(1, len(contents.user_ids)):
        if len(seen := history(contents, user)):
            expected = [f"i{item}" for item in ordered(dense[user], seen)[:k]]
            assert names(model.recommend(f"u{user}", k)) == expected


def test_equal_embeddings_tie_whatever_their_place_and_company(make: Make) -> None:
    # Matrix routines treat the edges of a block apart; without rounding, equal rows differ in the last bit.
    contents = make(users=50, items=203, columns=37)
    contents.item_embeddings[:] = contents.item_embeddings[5]
    rankings = model_of(contents).recommend_many(contents.user_ids, 203, exclude_seen=False)
    for ranking in rankings[1:]:
        assert len({one.score for one in ranking}) == 1
        assert names(ranking) == list(contents.item_ids)


@pytest.mark.parametrize("threads", [1, 3])
def test_neither_blocks_nor_threads_change_anything(
    make: Make, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    contents = make(users=40, items=30)
    whole = model_of(contents).recommend_many(contents.user_ids, 7)
    assert [model_of(contents).recommend(user, 7) for user in contents.user_ids] == whole
    monkeypatch.setattr(recommender, "THREADS", threads)
    for name, value in (
        ("USERS_PER_BLOCK", 3),
        ("SCORES_PER_BLOCK", 100),
        ("ROWS_PER_BLOCK", 7),
        ("CHUNK", 9),
    ):
        monkeypatch.setattr(recommender, name, value)
        assert model_of(contents).recommend_many(contents.user_ids, 7) == whole


@pytest.mark.parametrize("installed", [True, False])
def test_a_blas_has_one_thread_while_ours_are_at_work(
    make: Make, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    contents = make(users=60, items=30)
    expected = [model_of(contents).recommend(user, 7) for user in contents.user_ids]
    monkeypatch.setattr(recommender, "THREADS", 2)
    monkeypatch.setattr(recommender, "USERS_PER_BLOCK", 2)
    if not installed:
        monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    at_work = []
    best = Table.best

    def noted(self: Table, vectors: NDArray[np.float64], *rest: Any) -> list[recommender.Best]:
        at_work.append((len(vectors), blas_threads()))
        return best(self, vectors, *rest)

    monkeypatch.setattr(Table, "best", noted)
    with threadpool_limits(2, "blas"):
        assert model_of(contents).recommend_many(contents.user_ids, 7) == expected
        assert blas_threads() == {2}
    # The first block is answered alone, and may use what the BLAS has. The most that any BLAS has: one with
    # OpenMP counts for each thread anew, from what the environment says.
    assert [max(threads) for _, threads in at_work[1:]] == [1 if installed else 2] * (len(at_work) - 1)
    assert max(users for users, _ in at_work) == (8 if installed else 2)


def test_a_blas_gets_its_threads_back_from_whoever_leaves_last(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, users = model_of(make(users=60, items=30)), np.arange(60)
    monkeypatch.setattr(recommender, "THREADS", 2)
    monkeypatch.setattr(recommender, "USERS_PER_BLOCK", 2)
    with threadpool_limits(2, "blas"):
        first, second = model.best_items(users, 7), model.best_items(users, 7)
        for _ in range(20):  # beyond the first block, which is answered before
            next(first), next(second)
        del first
        assert blas_threads() == {1}
        del second
        assert blas_threads() == {2}


def blas_threads() -> set[int]:
    """How many threads the loaded BLAS libraries have."""
    return {int(one["num_threads"]) for one in threadpool_info() if one["user_api"] == "blas"}


@given(variation=variations, k=st.integers(1, 15))
def test_similar_is_the_cosine_without_itself(make: Make, variation: dict[str, Any], k: int) -> None:
    contents = make(**variation)
    model = model_of(contents)

    def cosines(table: NDArray[np.float32]) -> NDArray[np.float32]:
        wide = table.astype(np.float64)
        norms = np.linalg.norm(wide, axis=1)
        norms[norms == 0] = 1
        return ((wide @ wide.T) / norms / norms[:, None]).astype(np.float32)

    items = cosines(contents.item_embeddings)
    for item, item_id in enumerate(contents.item_ids):
        agrees(model.similar_items(item_id, k), items[item], [item], k)
    users, untrained = cosines(contents.user_embeddings), np.flatnonzero(np.diff(contents.seen_indptr) == 0)
    for user, user_id in enumerate(contents.user_ids):
        found = model.similar_users(user_id, k)
        expected = [] if user in untrained else ordered(users[user], [user, *untrained.tolist()])[:k]
        np.testing.assert_allclose([one.score for one in found], users[user][expected], atol=1e-6)
        assert not {one.user for one in found} & {user_id, *(f"u{one}" for one in untrained)}


@pytest.mark.parametrize("size", [1e-20, 1e-25, 1e-35])
def test_small_embeddings_are_as_alike_as_large_ones(make: Make, size: float) -> None:
    contents, small = make(users=40, items=50), np.float32(size)
    users, items = contents.user_embeddings * small, contents.item_embeddings * small
    large, model = (
        model_of(contents),
        model_of(replace(contents, user_embeddings=users, item_embeddings=items)),
    )
    for item in contents.item_ids:
        due = {one.item: one.score for one in large.similar_items(item, 50)}
        assert {one.item: one.score for one in model.similar_items(item, 50)} == pytest.approx(due, abs=1e-6)
    due = {one.user: one.score for one in large.similar_users("u1", 40)}
    assert {one.user: one.score for one in model.similar_users("u1", 40)} == pytest.approx(due, abs=1e-6)


def test_the_bound_of_rounding_errors_holds_for_small_numbers() -> None:
    # Rows whose products differ by less than float32 resolves, though the squares of their numbers are 0 there.
    rng = np.random.default_rng(0)
    rows = np.tile(rng.standard_normal(64).astype(np.float32), (5000, 1))
    rows[:, 0], rows[:, -1] = 1e4, -1e4
    rows[:, 2:40] = rng.standard_normal((5000, 38)) * 1e-3
    rows *= np.float32(1e-28)
    vector = np.ones((1, 64))
    exact = (rows.astype(np.float64) @ vector[0]).astype(np.float32)
    ((places, _),) = Table(rows).best(vector, 50, [np.zeros(0, np.int64)])
    assert places.tolist() == np.argsort(-exact, kind="stable")[:50].tolist()


@given(variation=variations, k=st.integers(1, 15), data=st.data())
def test_fold_in_scores_by_the_mapped_mean(
    make: Make, variation: dict[str, Any], k: int, data: st.DataObject
) -> None:
    contents = make(**variation)
    model = model_of(contents)
    chosen = data.draw(st.lists(st.integers(0, len(contents.item_ids) - 1), min_size=1))
    distinct = sorted(set(chosen))
    embedding = contents.item_embeddings[distinct].astype(np.float64).mean(axis=0) @ contents.fold_in
    scores = (contents.item_embeddings @ embedding).astype(np.float32)
    ranking = model.fold_in([f"i{item}" for item in chosen], k)
    agrees(ranking, scores, distinct, k)
    assert ranking == model.fold_in([f"i{item}" for item in reversed(distinct)], k)
    popular = model.fold_in([], k)
    assert popular == model.recommend("u0", k)
    assert {one.fallback for one in popular} == {"popularity"}


@given(variation=variations)
def test_explanation_adds_up_to_the_score(make: Make, variation: dict[str, Any]) -> None:
    contents = make(**variation)
    model = model_of(contents)
    for user, user_id in enumerate(contents.user_ids):
        seen = history(contents, user)
        for item, item_id in enumerate(contents.item_ids):
            why = model.explain(user_id, item_id)
            parts = [one.contribution for one in why.contributions]
            assert sum(parts) + why.personal == pytest.approx(why.score, abs=1e-5)
            assert parts == sorted(parts, reverse=True)
            assert {one.item for one in why.contributions} == {f"i{one}" for one in seen}
            assert why.seen == (item in seen)
            if not len(seen):
                assert (why.score, why.fallback) == ((contents.seen_items == item).sum(), "popularity")
                continue
            target = contents.item_embeddings[item].astype(np.float64)
            assert why.score == pytest.approx(contents.user_embeddings[user] @ target, abs=1e-5)
            for one in why.contributions:
                embedding = contents.item_embeddings[int(one.item[1:])].astype(np.float64)
                assert one.contribution == pytest.approx(
                    embedding @ contents.fold_in @ target / len(seen), abs=1e-5
                )


def test_explained_score_is_the_recommended_one(make: Make) -> None:
    model = model_of(make())
    for one in model.recommend("u1", 20, exclude_seen=False):
        why = model.explain("u1", one.item)
        assert isinstance(why, Explanation)
        assert why.score == pytest.approx(one.score, rel=1e-6)
        assert why.title == one.title == f"Title {one.item[1:]}"


def test_titles_and_genres(make: Make) -> None:
    (best,) = model_of(make()).recommend("u1", 1)
    assert best.title == f"Title {best.item[1:]}"
    assert best.genres == ("Drama",) * (int(best.item[1:]) % 3)
    (best,) = model_of(make(titled=False)).recommend("u1", 1)
    assert (best.title, best.genres) == (None, ())


class Key:
    """An id of a type that the recommender has never heard of."""

    def __str__(self) -> str:
        return "7"


def test_ids_match_by_their_text(make: Make) -> None:
    contents = make()
    numbered = model_of(replace(contents, user_ids=[one[1:] for one in contents.user_ids]))
    assert numbered.recommend(7) == numbered.recommend("7") == numbered.recommend(np.int64(7))
    assert numbered.recommend(Key()) == numbered.recommend("7")


def test_unknown_ids_are_named(make: Make) -> None:
    model = model_of(make())
    with pytest.raises(UnknownId, match=r"^unknown user: 'u77'; close ids: 'u7'"):
        model.recommend("u77")
    with pytest.raises(UnknownId, match=r"^unknown user: '~~~~~~'; someone new: fold in a history$"):
        model.similar_users("~~~~~~")
    with pytest.raises(UnknownId, match=r"^unknown item: 'a', 'b\\nc'; ids that hold commas come as a list$"):
        model.fold_in(["a", "i1", "b\nc", "a"])
    with pytest.raises(UnknownId, match=r"^unknown user: 'x', 'y'; someone new: fold in a history$"):
        model.recommend_many(["x", "u1", "y"])
    with pytest.raises(KeyError):
        model.explain("u1", "nothing")


def test_an_unknown_id_is_compared_with_few(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [str(uuid.UUID(int=n)) for n in np.random.default_rng(0).integers(2**62, size=10_000).tolist()]
    ids[-1] = "zz-top"
    model, looked = model_of(replace(make(titled=False), user_ids=ids[-12:])), list[int]()
    model._index["user"] = dict(zip(ids, range(len(ids)), strict=True))
    close = difflib.get_close_matches

    def counted(word: str, possibilities: list[str]) -> list[str]:
        looked.append(len(possibilities))
        return close(word, possibilities)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    # It is far back, but begins alike.
    with pytest.raises(UnknownId, match="close ids: 'zz-top'"):
        model.recommend("zz-pop")
    with pytest.raises(UnknownId, match="someone new"):
        model.recommend("~" * 36)
    assert looked == [2000, 2000]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(make: Make, k: int) -> None:
    model = model_of(make())
    for ask in (
        lambda: model.recommend("u1", k),
        lambda: model.recommend_many([], k),
        lambda: model.similar_items("i1", k),
        lambda: model.similar_users("u0", k),
        lambda: model.fold_in(["i1"], k),
        lambda: model.fold_in([], k),
    ):
        with pytest.raises(InputError, match=f"k must be a whole number, at least 1, but got {k}"):
            ask()


@pytest.mark.parametrize("k", ["3", 1.5, None])
def test_a_k_that_is_no_whole_number_is_told(make: Make, k: Any) -> None:
    with pytest.raises(InputError, match=f"k must be a whole number, at least 1, but got {k!r}"):
        model_of(make()).recommend("u1", k)


def test_many_unknown_ids_are_counted(make: Make) -> None:
    with pytest.raises(UnknownId, match=r"'x9' and 1990 more; ids that hold commas come as a list$"):
        model_of(make()).fold_in([f"x{n}" for n in range(2000)])


def test_k_beyond_the_catalogue_gives_what_there_is(make: Make) -> None:
    contents = make()
    model = model_of(contents)
    assert len(model.recommend("u1", 1000)) == 20 - len(history(contents, 1))
    assert len(model.recommend("u1", 1000, exclude_seen=False)) == 20
    assert len(model.similar_items("i1", 1000)) == 19
    assert model.fold_in(contents.item_ids, 10) == []
    assert model.recommend_many([], 10) == []


def test_a_text_is_no_list_of_ids(make: Make) -> None:
    model = model_of(make())
    with pytest.raises(InputError, match="expected a list of item ids, but got 'i1'"):
        model.fold_in("i1")
    with pytest.raises(InputError, match="expected a list of user ids"):
        model.recommend_many("u1")
    with pytest.raises(InputError, match="expected a list of item ids, but got 423"):
        model.recommend("u1", only=423)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"diversity must be a number in 0..1, but is 'x'"):
        model.recommend("u1", diversity="x")  # type: ignore[arg-type]


def test_load_gives_what_was_written(make: Make, tmp_path: Path) -> None:
    contents = make()
    write_artefact(tmp_path / "artefact", contents)
    loaded, direct = Recommender.load(tmp_path / "artefact"), model_of(contents)
    assert loaded.recommend_many(contents.user_ids, 20) == direct.recommend_many(contents.user_ids, 20)
    assert loaded.similar_users("u1") == direct.similar_users("u1")
    assert loaded.manifest["architecture"] == contents.architecture
    assert (loaded.user_ids, loaded.item_ids) == (contents.user_ids, contents.item_ids)
