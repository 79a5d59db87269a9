"""A recommender with branches that score by the history: against dense formulas, and against damage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.recommender import ArtefactError, InputError, Recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.writer import assembled, write_artefact

USERS, ITEMS, RANK = 12, 20, 3
Floats = NDArray[np.float64]
Make = Callable[..., ArtefactContents]


def parts(seed: int, *, sparse: bool, low_rank: bool, counts: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((ITEMS, ITEMS)) * (rng.random((ITEMS, ITEMS)) < 0.4)
    found: dict[str, NDArray[Any]] = {"dense": weights.astype(np.float32)}
    if sparse:
        matrix = csr_array(weights)
        found = {
            "indptr": matrix.indptr.astype(np.int64),
            "items": matrix.indices.astype(np.int32),
            "weights": matrix.data.astype(np.float32),
        }
    if low_rank:
        found["left"] = rng.standard_normal((ITEMS, RANK), dtype=np.float32)
        found["right"] = rng.standard_normal((RANK, ITEMS), dtype=np.float32)
    if counts:
        found["counts"] = rng.random(counts, dtype=np.float32) + 0.5
    return found


def matrix_of(branch: dict[str, NDArray[Any]]) -> Floats:
    if "dense" in branch:
        found = branch["dense"].astype(np.float64)
    else:
        found = csr_array(
            (branch["weights"], branch["items"], branch["indptr"]), shape=(ITEMS, ITEMS)
        ).toarray()
    return found + (branch["left"].astype(np.float64) @ branch["right"] if "left" in branch else 0)


def shares(seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "item_shares": rng.random(ITEMS, dtype=np.float32),
        "user_shares": rng.random(USERS, dtype=np.float32),
        "left": rng.standard_normal((ITEMS, RANK), dtype=np.float32),
        "right": rng.standard_normal((RANK, ITEMS), dtype=np.float32),
    }


def formed(contents: ArtefactContents, branch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The branch with A X' B X A as a dense matrix."""
    had = np.zeros((USERS, ITEMS))
    had[np.repeat(np.arange(USERS), np.diff(contents.seen_indptr)), contents.seen_items] = 1
    a, b = branch["item_shares"].astype(np.float64), branch["user_shares"].astype(np.float64)
    return {
        "left": branch["left"],
        "right": branch["right"],
        "dense": a[:, None] * (had.T @ (b[:, None] * had)) * a,
    }


@pytest.mark.parametrize("graph", [0.0, 1.5])
def test_weights_that_are_never_formed_score_as_if_they_were(
    graph: float, make: Make, tmp_path: Path
) -> None:
    contents = fused(make, graph=graph, sparse=True)
    never = replace(contents, branches={**contents.branches, "spectral": shares(5)})
    whole = replace(contents, branches={**contents.branches, "spectral": formed(contents, shares(5))})
    dense = {**whole.branches["spectral"]}
    dense["dense"] = dense["dense"].astype(np.float32)
    whole = replace(whole, branches={**whole.branches, "spectral": dense})
    one, two = loaded(never, tmp_path / "never"), loaded(whole, tmp_path / "whole")

    def alike(a: Any, b: Any) -> None:
        assert {x.item: x.score for x in a} == pytest.approx({x.item: x.score for x in b}, rel=1e-4, abs=1e-5)

    for user in range(1, USERS):
        alike(*(model.recommend(f"u{user}", ITEMS, exclude_seen=False) for model in (one, two)))
        for item in ("i3", "i11"):
            first, second = one.explain(f"u{user}", item), two.explain(f"u{user}", item)
            assert first.score == pytest.approx(second.score, rel=1e-4, abs=1e-5)
            assert {c.item: c.contribution for c in first.contributions} == pytest.approx(
                {c.item: c.contribution for c in second.contributions}, rel=1e-4, abs=1e-5
            )
    alike(one.fold_in(["i2", "i7"], ITEMS), two.fold_in(["i2", "i7"], ITEMS))


def fused(make: Make, *, graph: float, sparse: bool) -> ArtefactContents:
    contents = make(users=USERS, items=ITEMS)
    spectral = parts(1, sparse=sparse, low_rank=True)
    item = parts(2, sparse=not sparse, low_rank=False, counts=len(contents.seen_items))
    weights = {"graph": graph, "spectral": 0.5, "item": 2.0}
    fusion = {name: weight for name, weight in weights.items() if weight}
    return replace(contents, fusion=fusion, branches={"spectral": spectral, "item": item})


def loaded(contents: ArtefactContents, folder: Path) -> Recommender:
    write_artefact(folder, contents)
    return Recommender.load(folder)


def expected(
    contents: ArtefactContents, embedding: Floats, history: NDArray[np.int32], counts: Floats
) -> Floats:
    def scaled(scores: Floats) -> Floats:
        return np.asarray(scores / scores.std())

    fusion, found = contents.fusion, np.zeros(ITEMS)
    if "graph" in fusion:
        found += fusion["graph"] * scaled(embedding @ contents.item_embeddings.T.astype(np.float64))
    ones = np.ones(len(history))
    for name, own in (("spectral", ones), ("item", counts)):
        found += fusion[name] * scaled(own @ matrix_of(dict(contents.branches[name]))[history])
    return found


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("graph", [0.0, 1.5])
def test_scores_are_the_weighted_sum_of_standardised_ones(
    graph: float, sparse: bool, make: Make, tmp_path: Path
) -> None:
    contents = fused(make, graph=graph, sparse=sparse)
    model = loaded(contents, tmp_path / "a")
    for user in range(1, USERS):
        part = slice(contents.seen_indptr[user], contents.seen_indptr[user + 1])
        history = contents.seen_items[part]
        counts = contents.branches["item"]["counts"][part].astype(np.float64)
        due = expected(contents, contents.user_embeddings[user].astype(np.float64), history, counts)
        ranking = model.recommend(f"u{user}", ITEMS, exclude_seen=False)
        assert {one.item: one.score for one in ranking} == pytest.approx(
            {f"i{n}": float(score) for n, score in enumerate(due)}, rel=1e-4, abs=1e-5
        )
        explained = model.explain(f"u{user}", "i3")
        assert explained.score == pytest.approx(due[3], rel=1e-4, abs=1e-5)
        total = explained.personal + sum(one.contribution for one in explained.contributions)
        assert total == pytest.approx(explained.score, rel=1e-6, abs=1e-6)
        if not graph:
            # Every branch is linear in the history, so nothing else is left to be personal.
            assert explained.personal == pytest.approx(0, abs=1e-5)
    assert model.recommend("u0", 2)[0].fallback == "popularity"


@pytest.mark.parametrize("size", [1e-15, 1e-18])
def test_small_embeddings_are_standardised(size: float, make: Make, tmp_path: Path) -> None:
    contents, small = fused(make, graph=1.5, sparse=True), np.float32(size)
    users, items = contents.user_embeddings * small, contents.item_embeddings * small
    model = loaded(replace(contents, user_embeddings=users, item_embeddings=items), tmp_path / "a")
    due = loaded(contents, tmp_path / "b")
    for one, other in zip(model.recommend_many(["u1", "u2"]), due.recommend_many(["u1", "u2"]), strict=True):
        assert {x.item: x.score for x in one} == pytest.approx({x.item: x.score for x in other}, rel=1e-4)


def test_embeddings_too_small_to_be_standardised_are_refused(make: Make) -> None:
    contents, small = fused(make, graph=1.5, sparse=True), np.float32(1e-41)
    users, items = contents.user_embeddings * small, contents.item_embeddings * small
    model = assembled(replace(contents, user_embeddings=users, item_embeddings=items))
    for ask in (lambda: model.recommend("u1"), lambda: model.recommend_many(model.user_ids)):
        with pytest.raises(
            ArtefactError, match="embeddings are too small for their scores to be standardised"
        ):
            ask()
    # Of cosines that is no matter.
    assert len(model.similar_items("i1", ITEMS)) == ITEMS - 1


def test_fold_in_scores_every_branch(make: Make, tmp_path: Path) -> None:
    contents = fused(make, graph=1.0, sparse=True)
    model = loaded(contents, tmp_path / "a")
    history = np.array([2, 7], np.int32)
    mean = contents.item_embeddings[history].mean(0, dtype=np.float64) @ contents.fold_in
    due = expected(contents, mean, history, np.ones(2))
    due[history] = -np.inf
    found = model.fold_in(["i7", "i2", "i7"], 5)
    assert [one.item for one in found] == [f"i{n}" for n in np.argsort(-due)[:5]]
    assert found[0].score == pytest.approx(due.max(), rel=1e-4)


def aged(make: Make) -> ArtefactContents:
    contents = fused(make, graph=0.0, sparse=True)
    ages = np.random.default_rng(4).integers(0, 9, len(contents.seen_items), dtype=np.int32)
    item = dict(contents.branches["item"]) | {"ages": ages, "fade": np.array([0.5], np.float32)}
    return replace(contents, branches=dict(contents.branches) | {"item": item})


def test_what_is_new_counts_most_and_makes_the_rest_older(make: Make, tmp_path: Path) -> None:
    contents = aged(make)
    model, item = loaded(contents, tmp_path / "a"), contents.branches["item"]
    part = slice(contents.seen_indptr[1], contents.seen_indptr[2])
    had, nobody = contents.seen_items[part], np.zeros(0)

    def assert_due(found: list[Any], history: list[int], counts: list[float]) -> None:
        due = expected(contents, nobody, np.array(history, np.int32), np.array(counts))
        assert {one.item: one.score for one in found} == pytest.approx(
            {f"i{n}": float(score) for n, score in enumerate(due)}, rel=1e-4, abs=1e-5
        )

    def old(later: int) -> list[float]:
        return (item["counts"][part] / (1 + 0.5 * (item["ages"][part] + later))).tolist()

    everything: dict[str, Any] = {"k": ITEMS, "exclude_seen": False}
    assert_due(model.recommend("u1", **everything), had.tolist(), old(0))
    one, other = np.setdiff1d(np.arange(ITEMS), had)[:2]
    # What is known already is not new, and what is given twice counts where it is latest.
    new = [f"i{n}" for n in (other, one, had[0], other)]
    assert_due(model.recommend("u1", new=new, **everything), [*had, one, other], [*old(2), 1 / 1.5, 1.0])
    for ask in (lambda items: model.fold_in(items), lambda items: model.recommend("u1", new=items)):
        with pytest.raises(InputError, match="a set of items has no order"):
            ask({"i2", "i7"})
    folded = model.fold_in([f"i{n}" for n in (7, 2, 5, 7)], **everything)
    assert_due(folded, [2, 5, 7], [1 / 2, 1 / 1.5, 1.0])


def with_nearest(make: Make, count: float, power: float, **more: Any) -> ArtefactContents:
    own = {key: one for key, one in shares(7).items() if key.endswith("_shares")}
    nearest = {"nearest": np.array([count, power], dtype=np.float32)}
    return replace(
        make(users=USERS, items=ITEMS), fusion={"user": 1.0}, branches={"user": own | nearest | more}
    )


def by_neighbours(contents: ArtefactContents, history: set[int], counts: dict[int, float]) -> Floats:
    """The standardised scores of a history, one neighbour after the other."""
    branch, scores, likeness = contents.branches["user"], np.zeros(ITEMS), {}
    count, power = branch["nearest"].tolist()
    had = np.split(contents.seen_items, contents.seen_indptr[1:-1])
    for user, items in enumerate(had):
        if history & set(items.tolist()) and set(items.tolist()) - history:
            shared = sum(counts[item] * float(branch["item_shares"][item]) for item in history & set(items))
            likeness[user] = shared * float(branch["user_shares"][user])
    for user in sorted(likeness, key=lambda user: -likeness[user])[: int(count)]:
        scores[had[user]] += (likeness[user] / max(likeness.values())) ** power
    return np.asarray(scores / scores.std())


@pytest.mark.parametrize(("count", "power"), [(1, 2.0), (3, 0.5), (4, 3.0), (100, 1.0)])
@pytest.mark.parametrize("counted", [False, True])
def test_the_nearest_users_score_as_one_by_one(
    count: float, power: float, counted: bool, make: Make, tmp_path: Path
) -> None:
    contents = with_nearest(make, count, power)
    all_counts = np.ones(len(contents.seen_items), dtype=np.float32)
    if counted:
        all_counts = np.random.default_rng(3).random(len(all_counts), dtype=np.float32) + np.float32(0.5)
        contents = with_nearest(make, count, power, counts=all_counts)
    model = loaded(contents, tmp_path / "a")
    for user in range(1, USERS):
        part = slice(*contents.seen_indptr[user : user + 2])
        counts = dict(zip(contents.seen_items[part].tolist(), all_counts[part].tolist(), strict=True))
        due = by_neighbours(contents, set(counts), counts)
        found = {one.item: one.score for one in model.recommend(f"u{user}", ITEMS, exclude_seen=False)}
        assert found == pytest.approx({f"i{n}": score for n, score in enumerate(due)}, rel=1e-5, abs=1e-6)
        # What the items of the history add is all there is.
        for item in (3, 11):
            why = model.explain(f"u{user}", f"i{item}")
            assert why.score == pytest.approx(due[item], rel=1e-5, abs=1e-6)
            assert why.personal == pytest.approx(0, abs=1e-5)
            assert len(why.contributions) == len(counts)
        if not counted:
            # Somebody new with the same history is served alike: nobody is the own neighbour.
            again = model.fold_in([f"i{n}" for n in counts], ITEMS, exclude_seen=False)
            assert {one.item: one.score for one in again} == found
    if not counted:
        due = by_neighbours(contents, {2, 7, 9}, dict.fromkeys((2, 7, 9), 1.0))
        fresh = model.fold_in(["i2", "i7", "i9"], ITEMS, exclude_seen=False)
        assert {one.item: one.score for one in fresh} == pytest.approx(
            {f"i{n}": score for n, score in enumerate(due)}, rel=1e-5, abs=1e-6
        )


@pytest.mark.parametrize("nearest", [(0, 1), (0.5, 1), (2, 0), (2, -1), (2, 101)])
def test_a_number_of_neighbours_or_a_power_that_cannot_be_is_refused(
    nearest: tuple[float, float], make: Make, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match="a count of at least 1 and a power above 0"):
        write_artefact(tmp_path / "a", with_nearest(make, *nearest))


def test_nearest_with_a_low_rank_part_is_refused(make: Make, tmp_path: Path) -> None:
    low = {key: one for key, one in shares(7).items() if key in ("left", "right")}
    with pytest.raises(ArtefactError, match="with item_shares and user_shares alone"):
        write_artefact(tmp_path / "a", with_nearest(make, 2, 1, **low))


def test_a_history_without_any_weight_scores_nothing(make: Make, tmp_path: Path) -> None:
    contents = make(users=USERS, items=ITEMS)
    nothing = {"dense": np.zeros((ITEMS, ITEMS), np.float32)}
    model = loaded(replace(contents, fusion={"item": 1.0}, branches={"item": nothing}), tmp_path / "a")
    assert {one.score for one in model.recommend("u1", ITEMS)} == {0.0}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no weights": ({"indptr": None, "items": None, "weights": None}, "must have weights"),
    "half of them": ({"items": None}, "must have weights"),
    "two forms": ({"item_shares": np.ones(ITEMS, np.float32)}, "in one form"),
    "left alone": ({"right": None}, "both or neither"),
    "shape": ({"left": np.zeros((ITEMS, RANK + 1), np.float32)}, r"spectral_left must be float32 \(20, 3\)"),
    "type": ({"weights": np.zeros(5)}, "spectral_weights must be float32"),
    "beyond": ({"items": "beyond"}, r"spectral_items must lie in 0..19"),
    "falling": ({"indptr": "falling"}, "spectral_indptr must rise"),
    "shares of another size": (
        {"indptr": None, "items": None, "weights": None, "item_shares": np.ones(ITEMS, np.float32)}
        | {"user_shares": np.ones(USERS + 1, np.float32)},
        r"spectral_user_shares must be float32 \(12,\)",
    ),
    "nearest of a matrix": ({"nearest": np.ones(2, np.float32)}, "nearest with item_shares and user_shares"),
    "ages alone": ({"ages": np.zeros(1, np.int32)}, r"spectral_ages must be int32"),
    "no fade": ({"ages": "ages"}, "both or neither of ages and fade"),
    "fade of 0": ({"ages": "ages", "fade": np.zeros(1, np.float32)}, "a fade above 0"),
    "of the future": ({"ages": "future", "fade": np.ones(1, np.float32)}, "ages of at least 0"),
    "not a number": ({"right": np.full((RANK, ITEMS), np.nan, np.float32)}, "spectral_right holds values"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_branch_is_refused(name: str, make: Make, tmp_path: Path) -> None:
    change, message = BROKEN[name]
    contents = fused(make, graph=1.0, sparse=True)
    spectral = dict(contents.branches["spectral"])
    for key, value in change.items():
        if value is None:
            del spectral[key]
        elif key == "ages" and isinstance(value, str):
            spectral[key] = np.full(len(contents.seen_items), -1 if value == "future" else 1, np.int32)
        elif isinstance(value, str):
            spectral[key] = spectral[key].copy()
            spectral[key][1] = ITEMS if value == "beyond" else -1
        else:
            spectral[key] = value
    broken = replace(contents, branches={**contents.branches, "spectral": spectral})
    with pytest.raises(ArtefactError, match=message):
        write_artefact(tmp_path / "a", broken)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "fusion", [{}, {"text": 1.0}, {"graph": 0.0}, {"graph": float("inf")}, {"graph": True}]
)
def test_a_faulty_fusion_is_refused(fusion: dict[str, float], make: Make, tmp_path: Path) -> None:
    with pytest.raises((ArtefactError, ValueError)):
        write_artefact(tmp_path / "a", replace(make(), fusion=fusion))
    assert not (tmp_path / "a").exists()
