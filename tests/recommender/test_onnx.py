"""`model.onnx` under onnxruntime against the recommender that it was made from."""

import contextlib
import io
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from nas.errors import UserError
from nas.recommender import ArtefactError, Recommender, onnx_model
from nas.recommender.contents import ArtefactContents
from nas.recommender.onnx_check import compare
from nas.recommender.onnx_model import onnx_addition
from nas.recommender.writer import _model, assembled, write_artefact

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

Make = Callable[..., ArtefactContents]
Branch = dict[str, NDArray[Any]]
USERS, ITEMS, RANK = 12, 20, 3
FORMS = ["dense", "sparse", "shares", "nearest"]


def branch(seed: int, form: str, low_rank: bool, counts: int) -> Branch:
    """A branch with weights in one form; its sparse rows, and so a history, may be empty."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((ITEMS, ITEMS)) * (rng.random((ITEMS, ITEMS)) < 0.2)
    weights[rng.random(ITEMS) < 0.3] = 0
    found: Branch = {"dense": weights.astype(np.float32)}
    if form == "sparse":
        matrix = csr_array(weights)
        found = {"indptr": matrix.indptr.astype(np.int64), "items": matrix.indices.astype(np.int32)}
        found["weights"] = matrix.data.astype(np.float32)
    if form in ("shares", "nearest"):
        found = {
            f"{kind}_shares": rng.random(n, dtype=np.float32)
            for kind, n in (("item", ITEMS), ("user", USERS))
        }
    if form == "nearest":
        return found | {"nearest": np.array([1 + seed % 4, 0.5 + seed % 3], dtype=np.float32)}
    if low_rank:
        found["left"] = rng.standard_normal((ITEMS, RANK), dtype=np.float32)
        found["right"] = rng.standard_normal((RANK, ITEMS), dtype=np.float32)
    if counts:
        found["counts"] = rng.random(counts, dtype=np.float32) * (rng.random(counts) < 0.8)
    return found


def aged(found: Branch, seed: int, counts: int) -> Branch:
    """The same, whose items count by their age, and for an even seed by nothing else."""
    rng = np.random.default_rng(seed)
    found |= {"ages": rng.integers(0, 9, counts, dtype=np.int32), "fade": np.array([0.3], dtype=np.float32)}
    return found if seed % 2 else {key: one for key, one in found.items() if key != "counts"}


def fused(
    make: Make,
    fusion: dict[str, float],
    forms: dict[str, tuple[str, bool, bool]],
    seed: int = 0,
    precision: str = "float32",
) -> ArtefactContents:
    contents = make(seed, users=USERS, items=ITEMS)
    sizes = {name: len(contents.seen_items) * counted for name, (*_, counted) in forms.items()}
    branches = {
        name: branch(seed + n, form, low, sizes[name])
        for n, (name, (form, low, _)) in enumerate(forms.items())
    }
    return replace(contents, fusion=fusion, branches=branches, precision=precision)


def made(contents: ArtefactContents) -> tuple[Recommender, dict[str, NDArray[Any]], bytes]:
    model, _, arrays = _model(contents)
    return model, arrays, onnx_model.onnx_model(model, arrays)


def histories(model: Recommender) -> NDArray[np.float32]:
    found = np.zeros((len(model.user_ids), len(model.item_ids)), np.float32)
    for user, row in enumerate(found):
        row[model._history(user)] = 1
    return found


def answers(content: bytes, user: Any, history: Any, k: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as well
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {"user": np.asarray(user, np.int64), "history": history, "k": np.array([k])}
    found = session.run(["items", "scores", "all_scores"], given)
    assert [str(one.dtype) for one in found] == ["int64", "float32", "float32"]
    return found


BRANCHES = st.tuples(st.sampled_from(FORMS), st.booleans(), st.booleans())


@settings(max_examples=60)
@given(
    graph=st.sampled_from([0.0, 1.5]),
    forms=st.dictionaries(st.sampled_from(["spectral", "item"]), BRANCHES),
    seed=st.integers(0, 1000),
    precision=st.sampled_from(["float32", "float16", "int8"]),
    old=st.booleans(),
)
def test_every_fusion_scores_and_lists_as_the_recommender_does(
    graph: float,
    forms: dict[str, tuple[str, bool, bool]],
    seed: int,
    precision: str,
    old: bool,
    make: Make,
) -> None:
    weights = {"graph": graph, "spectral": 0.5, "item": 2.0}
    fusion = {name: one for name, one in weights.items() if one and (name == "graph" or name in forms)}
    contents = fused(make, fusion or {"graph": 1.0}, forms if fusion else {}, seed, precision)
    if old and "item" in contents.branches:
        item = aged(dict(contents.branches["item"]), seed, len(contents.seen_items))
        contents = replace(contents, branches=dict(contents.branches) | {"item": item})
    model, _, content = made(contents)
    items, scores, all_scores = answers(content, np.arange(USERS), histories(model), 5)
    everything = model.recommend_many(model.user_ids, ITEMS, exclude_seen=False)
    lists = model.recommend_many(model.user_ids, 5)
    for user, (every, best) in enumerate(zip(everything, lists, strict=True)):
        exact = {one.item: one.score for one in every}
        due = np.array([exact[item] for item in model.item_ids])
        close = {"rtol": 1e-5, "atol": 1e-5 * max(1, np.abs(due).max())}
        np.testing.assert_allclose(all_scores[user], due, **close)
        np.testing.assert_allclose(scores[user], [one.score for one in best], **close)
        # Up to ties: what is listed has the scores that are due, and none of it twice.
        np.testing.assert_allclose(due[items[user]], [one.score for one in best], **close)
        assert len({*items[user].tolist()} - {*model._history(user).tolist()}) == 5


def test_deviations_over_many_items_are_right(make: Make) -> None:
    # Few of many scores are not 0: summed in float32, the deviation would be off by 1e-5.
    items, rng = 30_000, np.random.default_rng(0)
    contents = make(users=8, items=items, density=0.01, titled=False)
    item = {
        "indptr": np.arange(items + 1, dtype=np.int64) * 5,
        "items": rng.integers(0, items, 5 * items).astype(np.int32),
        "weights": rng.random(5 * items, dtype=np.float32),
    }
    model, arrays, content = made(replace(contents, fusion={"item": 1.0}, branches={"item": item}))
    assert (compare(model, arrays, content) or 1) < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_equal_scores_are_listed_by_place(seed: int, make: Make) -> None:
    # Of small integers every product is exact, and most of them tie.
    model, _, content = made(make(seed, tied=True))
    items, scores, _ = answers(content, np.arange(12), histories(model), 8)
    for user, best in enumerate(model.recommend_many(model.user_ids, 8)):
        assert [model.item_ids[item] for item in items[user]] == [one.item for one in best]
        assert scores[user].tolist() == [one.score for one in best]


@pytest.mark.parametrize("form", FORMS)
def test_items_had_since_the_training_count_in_branches_that_score_by_the_history(
    form: str, make: Make
) -> None:
    forms = {"spectral": (form, True, False), "item": ("sparse", False, True)}
    model, _, content = made(fused(make, {"spectral": 1.0, "item": 2.0}, forms))
    history = histories(model)
    for user in range(1, USERS):
        free = np.flatnonzero(history[user] == 0)[:2]
        history[user, free] = 3.5  # anything but 0
        due = model.recommend(model.user_ids[user], 4, new=[model.item_ids[item] for item in free])
        items, scores, _ = answers(content, [user], history[[user]], 4)
        assert [model.item_ids[item] for item in items[0]] == [one.item for one in due]
        assert scores[0].tolist() == pytest.approx([one.score for one in due], rel=1e-4, abs=1e-5)


def test_what_was_had_since_counts_in_full_and_makes_nothing_older(make: Make, tmp_path: Path) -> None:
    contents = fused(make, {"item": 1.0}, {"item": ("dense", False, True)})
    item = aged(dict(contents.branches["item"]), 1, len(contents.seen_items))
    contents = replace(contents, branches={"item": item})
    model, _, content = made(contents)
    given = histories(model)
    counted = np.zeros((USERS, ITEMS))
    owners = np.repeat(np.arange(USERS), np.diff(contents.seen_indptr))
    counted[owners, contents.seen_items] = item["counts"] / (1 + 0.3 * item["ages"])
    for user in range(1, USERS):
        new = np.flatnonzero(given[user] == 0)[:2]
        given[user, new], counted[user, new] = 1, 1
    *_, all_scores = answers(content, np.arange(USERS), given, 3)
    due = counted @ item["dense"].astype(np.float64)
    due[1:] /= due[1:].std(axis=1, keepdims=True)
    np.testing.assert_allclose(all_scores[1:], due[1:], rtol=1e-4, atol=1e-5)
    # Here the recommender differs: there, the last is the only one that counts in full.
    new = [model.item_ids[one] for one in np.flatnonzero(histories(model)[1] == 0)[:2]]
    later = {one.item: one.score for one in model.recommend("u1", ITEMS, new=new, exclude_seen=False)}
    assert [later[one] for one in model.item_ids] != pytest.approx(all_scores[1].tolist(), abs=1e-2)
    # Nor does anything that is new help whoever had nothing at the training.
    given[0, :3] = 1
    np.testing.assert_array_equal(answers(content, [0], given[:1], 3)[2][0], model._popularity)
    told = (
        "all count in full here and make none of the others older; `recommender.py` counts the latest most."
    )
    popular = "A user without a history at the training gets what is popular, whatever `history` holds."
    for n, (one, ages) in enumerate([(contents, True), (contents_of_all(make), False)]):
        write_artefact(tmp_path / str(n), one, [onnx_addition])
        text = " ".join((tmp_path / str(n) / "README.md").read_text("utf-8").split())
        assert (told in text) == ages
        assert popular in text


def test_lists_end_where_nothing_is_left(make: Make) -> None:
    model, _, content = made(fused(make, {"graph": 1.0, "item": 1.0}, {"item": ("sparse", True, True)}))
    history = histories(model)
    for k in (3, ITEMS, ITEMS + 5):
        items, scores, _ = answers(content, np.arange(USERS), history, k)
        assert items.shape == scores.shape == (USERS, min(k, ITEMS))
        listed = items >= 0
        assert (listed.sum(axis=1) == np.minimum(k, (history == 0).sum(axis=1))).all()
        assert ((items == -1) == (scores == -np.inf)).all()
        # What is left out lies at the end.
        assert (np.diff(listed.astype(int), axis=1) <= 0).all()
    items, _, all_scores = answers(content, [2], np.ones((1, ITEMS), np.float32), 3)
    assert items.tolist() == [[-1, -1, -1]]
    assert np.isfinite(all_scores).all()


def test_a_known_user_of_whom_no_history_is_given(make: Make) -> None:
    model, _, content = made(fused(make, {"graph": 1.0, "item": 1.0}, {"item": ("shares", True, True)}))
    items, _, all_scores = answers(content, [3], np.zeros((1, ITEMS), np.float32), 2)
    alone = model._items @ model._users[3]
    np.testing.assert_allclose(all_scores[0], alone / alone.std(), rtol=1e-4, atol=1e-5)
    assert items[0, 0] == np.argmax(alone)


@pytest.mark.parametrize("user", [-1, USERS])
@pytest.mark.parametrize("fusion", ["graph", "item"])
def test_users_that_are_none_are_refused(user: int, fusion: str, make: Make) -> None:
    forms = {} if fusion == "graph" else {"item": ("dense", False, False)}
    model, _, content = made(fused(make, {fusion: 1.0}, forms))
    with pytest.raises(Exception, match="out of"):
        answers(content, [user], histories(model)[:1], 3)


def test_the_comparison_finds_what_is_wrong(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    contents = fused(make, {"graph": 1.0, "item": 1.0}, {"item": ("sparse", True, True)})
    model, arrays, content = made(contents)
    caplog.set_level(logging.INFO, logger="nas")
    assert (compare(model, arrays, content) or 1) < 1e-5
    assert "12 users have the same 20 best items up to ties; scores differ by at most" in caplog.text
    for name in ("item_counts", "item_weights", "user_embeddings", "item_left", "popularity"):
        other = onnx_model.onnx_model(model, arrays | {name: arrays[name][::-1].copy()})
        with pytest.raises(RuntimeError, match=r"model\.onnx differs from the recommender by"):
            compare(model, arrays, other)
    unlike = replace(contents, fusion={"graph": 1.0, "item": 1.01})
    with pytest.raises(RuntimeError, match="differs"):
        compare(model, arrays, made(unlike)[2])


def test_a_list_with_what_was_had_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model, arrays, content = made(make())

    class Forgetful:
        def __init__(self, *given: Any, **options: Any) -> None:
            self._session = session(*given, **options)

        def run(self, names: list[str], asked: dict[str, Any]) -> Any:
            return self._session.run(names, asked | {"history": np.zeros_like(asked["history"])})

    session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", Forgetful)
    with pytest.raises(RuntimeError, match="lists what it must not for user 'u1'"):
        compare(model, arrays, content)


def contents_of_all(make: Make) -> ArtefactContents:
    forms = {"spectral": ("shares", True, False), "item": ("sparse", False, True)}
    return fused(make, {"graph": 1.0, "spectral": 0.5, "item": 2.0}, forms)


def test_the_folder_is_an_artefact_and_the_same_each_time(make: Make, tmp_path: Path) -> None:
    contents = contents_of_all(make)
    sizes = [write_artefact(tmp_path / name, contents, [onnx_addition]) for name in ("one", "two")]
    paths = sorted((tmp_path / "one").iterdir())
    assert sizes == [sum(path.stat().st_size for path in paths)] * 2
    assert all((tmp_path / "two" / path.name).read_bytes() == path.read_bytes() for path in paths)
    model = Recommender.load(tmp_path / "one")
    assert model.recommend_many(model.user_ids) == assembled(contents).recommend_many(model.user_ids)
    assert model.manifest["files"].keys() == {path.name for path in paths} - {"manifest.json"}
    # Replaced by one without it, the file goes.
    write_artefact(tmp_path / "two", contents)
    assert not (tmp_path / "two" / "model.onnx").exists()


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_file_is_refused(damage: str, make: Make, tmp_path: Path) -> None:
    write_artefact(tmp_path / "out", contents_of_all(make), [onnx_addition])
    path = tmp_path / "out" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "changed" else content[:-1])
    if damage == "gone":
        path.unlink()
    with pytest.raises(ArtefactError, match=r"cannot use 'model\.onnx'"):
        Recommender.load(tmp_path / "out")


def test_the_readme_s_example_lists_what_the_recommender_does(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artefact(tmp_path / "out", contents_of_all(make), [onnx_addition])
    monkeypatch.chdir(tmp_path / "out")
    (example,) = re.findall(r"```python\n([^`]*onnxruntime[^`]*)```", Path("README.md").read_text("utf-8"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, {})
    rows = [line.split() for line in printed.getvalue().splitlines()]
    best = Recommender.load(".").recommend("u1", 3)
    assert [item for item, _ in rows] == [one.item for one in best]
    assert [float(score) for _, score in rows] == pytest.approx([one.score for one in best], rel=1e-4)


def test_too_large_a_file_is_refused_before_anything_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "MOST_BYTES", 3000)
    contents = fused(make, {"graph": 1.0, "item": 1.0}, {"item": ("dense", True, True)})
    with pytest.raises(UserError, match=r"1,600 of them item_dense \(20, 20\), but the format allows 3,000"):
        write_artefact(tmp_path / "out", contents, [onnx_addition])
    assert not any(tmp_path.iterdir())


def test_without_onnx_nothing_is_written(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"--onnx needs onnx .*: pip install onnx onnxruntime$"):
        write_artefact(tmp_path / "out", make(), [onnx_addition])
    assert not any(tmp_path.iterdir())


def test_without_onnxruntime_nothing_is_compared(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    caplog.set_level(logging.INFO, logger="nas")
    write_artefact(tmp_path / "out", make(), [onnx_addition])
    assert "not compared" in caplog.text
    assert (tmp_path / "out" / "model.onnx").exists()
