"""Filters, diversity, given candidates, and lists for everybody in a file, against plain loops."""

import csv
import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.recommender import InputError, Recommender, UnknownId, recommender
from nas.recommender.recommender import Ranking, diversified
from nas.recommender.writer import write_artefact

ITEMS, USERS = 20, 12
items = st.lists(st.integers(0, ITEMS - 1).map(lambda n: f"i{n}"), max_size=ITEMS)


@pytest.fixture(scope="module")
def model(artefact: Path) -> Recommender:
    return Recommender.load(artefact)


def names(ranking: Ranking) -> list[str]:
    return [one.item for one in ranking]


@given(
    only=st.none() | items, without=items, seen=st.booleans(), k=st.integers(1, 25), user=st.integers(0, 11)
)
def test_a_filter_is_the_whole_list_less_what_it_names(
    model: Recommender, only: list[str] | None, without: list[str], seen: bool, k: int, user: int
) -> None:
    def kept(ranking: Ranking) -> Ranking:
        return [one for one in ranking if one.item not in without and (only is None or one.item in only)][:k]

    found = model.recommend(f"u{user}", k, only=only, without=without, exclude_seen=seen)
    assert found == kept(model.recommend(f"u{user}", ITEMS, exclude_seen=seen))
    many = model.recommend_many([f"u{user}", "u0"], k, only=only, without=without, exclude_seen=seen)
    assert many[0] == found
    for history in ([], ["i3", "i4"]):
        found = model.recommend(f"u{user}", k, new=history, only=only, without=without, exclude_seen=seen)
        assert found == kept(model.recommend(f"u{user}", ITEMS, new=history, exclude_seen=seen))
        found = model.fold_in(history, k, only=only, without=without, exclude_seen=seen)
        assert found == kept(model.fold_in(history, ITEMS, exclude_seen=seen))
        assert seen is False or not set(names(found)) & set(history)


def test_given_items_are_ranked_whether_seen_or_not(model: Recommender) -> None:
    whole = model.recommend("u1", ITEMS, exclude_seen=False)
    chosen = ["i7", "i0", "i3", "i7"]
    assert model.rerank("u1", chosen) == [one for one in whole if one.item in chosen]
    assert model.rerank("u1", chosen, 2) == model.rerank("u1", chosen)[:2]
    assert model.rerank("u1", []) == []
    later = model.recommend("u1", ITEMS, new=["i4", "i6"], exclude_seen=False)
    assert model.rerank("u1", chosen, new=["i4", "i6"]) == [one for one in later if one.item in chosen]


def test_wrong_filters_are_refused(model: Recommender) -> None:
    for diversity in (-0.1, 1.1, float("nan"), None, "0.3"):
        with pytest.raises(InputError, match=r"diversity must be a number in 0..1"):
            model.recommend("u1", diversity=diversity)
    with pytest.raises(UnknownId, match="unknown item: 'x'"):
        model.recommend("u1", only=["x", "i1"])
    with pytest.raises(UnknownId, match="unknown item: 'x'"):
        model.fold_in(["i1"], without=["x"])
    with pytest.raises(InputError, match="expected a list of item ids"):
        model.rerank("u1", "i1")
    with pytest.raises(InputError, match="k must be a whole number, at least 1"):
        model.rerank("u1", ["i1"], 0)


def test_unknown_items_are_skipped_where_that_is_asked_for(model: Recommender) -> None:
    lists: list[dict[str, Any]] = [
        {"only": ["i4", "x", "i6"]},
        {"without": ["x", "i4"]},
        {"only": iter(["i4", "x", "i6"]), "without": ["y"]},
        {"only": ["x"]},
        {"without": ["x"]},
    ]
    known: list[dict[str, Any]] = [
        {"only": ["i4", "i6"]}, {"without": ["i4"]}, {"only": ["i4", "i6"]}, {"only": []}, {},
    ]  # fmt: skip
    for given_, due in zip(lists, known, strict=True):
        assert model.recommend("u1", unknown="skip", **given_) == model.recommend("u1", **due)
    assert model.recommend_many(["u0", "u1"], only=["x", "i4"], unknown="skip") == model.recommend_many(
        ["u0", "u1"], only=["i4"]
    )
    due = model.recommend("u1", new=["i4", "i6"])
    assert model.recommend("u1", new=["i4", "x", "i6"], unknown="skip") == due
    # What is unknown is no event of the user's: the answer is that of the training.
    assert model.recommend("u1", new=["x"], unknown="skip") == model.recommend("u1")
    assert model.rerank("u1", ["x", "i4", "i6"], unknown="skip") == model.rerank("u1", ["i4", "i6"])
    assert model.rerank("u1", ["x"], unknown="skip") == []
    new = model.rerank("u1", ["i4", "i6"], new=["i7"])
    assert model.rerank("u1", ["i4", "i6"], new=["i7", "x"], unknown="skip") == new
    assert model.fold_in(["x", "i3"], unknown="skip", without=["y"]) == model.fold_in(["i3"])
    assert model.fold_in([], unknown="skip") == model.fold_in([])
    with pytest.raises(UnknownId, match="unknown item: 'x', 'y'"):
        model.fold_in(iter(["x", "y"]), unknown="skip")
    for ask in (model.recommend, model.rerank):
        with pytest.raises(UnknownId, match="unknown user: 'nobody'"):
            ask("nobody", *([["i4"]] if ask == model.rerank else []), unknown="skip")
    with pytest.raises(UnknownId, match="unknown user: 'x'"):
        model.recommend_many(["x"], unknown="skip")
    with pytest.raises(InputError, match="unknown must be 'error' or 'skip', but is 'ignore'"):
        model.recommend("u1", unknown="ignore")


@given(seed=st.integers(0, 1000), k=st.integers(1, 12), diversity=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_diversity_is_maximal_marginal_relevance(seed: int, k: int, diversity: float) -> None:
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.standard_normal(10)).astype(np.float32)
    vectors = rng.standard_normal((10, 3)).astype(np.float32)
    relevance = (scores - scores.min()) / np.ptp(scores)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    left, chosen = set(range(10)), list[int]()
    while left and len(chosen) < k:
        worth = {
            one: (1 - diversity) * relevance[one]
            - diversity * max((units[one] @ units[other] for other in chosen), default=0)
            for one in left
        }
        chosen.append(max(sorted(left), key=worth.__getitem__))
        left.remove(chosen[-1])
    assert diversified(scores, vectors, k, diversity) == chosen


def test_diversity_chooses_among_ten_times_as_many(model: Recommender) -> None:
    plain = model.recommend("u1", 2)
    assert model.recommend("u1", 2, diversity=0) == plain
    spread = model.recommend("u1", 2, diversity=0.9)
    assert spread[0] == plain[0]
    assert set(names(spread)) <= set(names(model.recommend("u1", 20)))
    cosines = {one.item: one.score for one in model.similar_items(plain[0].item, ITEMS)}
    left = names(model.recommend("u1", ITEMS))[1:]
    full = model.recommend("u1", 2, diversity=1)
    assert full[1].item == min(left, key=cosines.__getitem__)
    assert model.recommend("u0", 3, diversity=0.5)[0].fallback == "popularity"
    assert model.fold_in(["i1"], 2, diversity=1)[0] == model.fold_in(["i1"], 1)[0]
    later = model.recommend("u1", ITEMS, new=["i4", "i6"])
    full = model.recommend("u1", 2, new=["i4", "i6"], diversity=1)
    cosines = {one.item: one.score for one in model.similar_items(later[0].item, ITEMS)}
    assert names(full) == [later[0].item, min(names(later[1:]), key=cosines.__getitem__)]
    assert model.fold_in([], 2, diversity=1)[0] == model.fold_in([], 1)[0]
    assert model.recommend("u1", diversity=1, only=[]) == []


def expected_rows(model: Recommender, k: int, **filters: Any) -> list[tuple[Any, ...]]:
    return [
        (user, rank, one.item, pytest.approx(one.score, rel=1e-6), one.fallback)
        for user in model.user_ids
        for rank, one in enumerate(model.recommend(user, k, **filters), start=1)
    ]


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    """The rows of a file, read by a library."""
    if path.suffix == ".parquet":
        return pl.read_parquet(path).rows()
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [(one["user"], one["rank"], one["item"], one["score"], one.get("fallback")) for one in rows]
    with path.open(newline="") as file:
        return [
            (one["user"], int(one["rank"]), one["item"], float(one["score"]), one["fallback"] or None)
            for one in csv.DictReader(file)
        ]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_everybody_goes_to_a_file(
    model: Recommender, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommender, "USERS_PER_BLOCK", 5)
    out = tmp_path / f"all{suffix}"
    out.write_text("old")
    expected = expected_rows(model, 3, without=["i1"])
    assert model.recommend_all(out, 3, without=["i1"]) == len(expected)
    assert rows_of(out) == expected
    assert list(tmp_path.iterdir()) == [out]
    if suffix == ".parquet":
        types = [pl.String, pl.Int32, pl.String, pl.Float32, pl.String]
        assert pl.read_parquet_schema(out) == dict(zip(recommender.COLUMNS, types, strict=True))
    assert model.recommend_all(out, only=[]) == 0
    assert rows_of(out) == []


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_ids_of_any_text_survive_in_a_file(make: Callable[..., Any], suffix: str, tmp_path: Path) -> None:
    ids = ["a,b", 'q"q', "new\nline", "日本", "", "\r"]
    write_artefact(tmp_path / "a", replace(make(users=6, items=6), user_ids=ids, item_ids=ids))
    model = Recommender.load(tmp_path / "a")
    model.recommend_all(tmp_path / f"all{suffix}", 6)
    assert rows_of(tmp_path / f"all{suffix}") == expected_rows(model, 6)


def test_a_file_that_cannot_be_made_is_one_line_and_nothing_is_left(
    model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"must end in one of .jsonl, .csv, .parquet"):
        model.recommend_all(tmp_path / "all.txt")
    with pytest.raises(InputError, match=r"cannot write .*No such file"):
        model.recommend_all(tmp_path / "none" / "all.csv")
    (tmp_path / "all.csv").mkdir()
    for wrong in ("all.csv", "x" * 300 + ".csv"):
        with pytest.raises(InputError, match="cannot write"):
            model.recommend_all(tmp_path / wrong)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*Not a directory"):
        model.recommend_all(tmp_path / "file" / "all.csv")
    (tmp_path / "file").unlink()
    with pytest.raises(UnknownId):
        model.recommend_all(tmp_path / "all.jsonl", only=["x"])
    found = importlib.import_module

    def none_of_them(name: str) -> ModuleType:
        if name.partition(".")[0] in ("pyarrow", "polars"):
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(recommender, "import_module", none_of_them)
    with pytest.raises(InputError, match=r"needs pyarrow or polars; .jsonl and .csv need neither"):
        model.recommend_all(tmp_path / "all.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


def test_a_file_keeps_its_mode_and_the_link_to_it(model: Recommender, tmp_path: Path) -> None:
    old, link, long = tmp_path / "old.csv", tmp_path / "link.csv", tmp_path / ("x" * 250 + ".csv")
    old.touch(mode=0o600)
    link.symlink_to(old)
    model.recommend_all(link)
    assert link.is_symlink()
    assert old.stat().st_mode & 0o777 == 0o600
    model.recommend_all(long)
    assert old.read_bytes() == long.read_bytes() != b""
    assert set(tmp_path.iterdir()) == {old, link, long}


def test_an_interruption_leaves_the_old_file(
    model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all.csv").write_text("old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Recommender, "_diversified", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.recommend_all(tmp_path / "all.csv")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("all.csv", "old")]


class Arrow:
    """What the writer uses of pyarrow, by polars: pyarrow is no dependency of the tests."""

    string, int32, float32 = (staticmethod(lambda name=name: name) for name in ("String", "Int32", "Float32"))

    def __init__(self) -> None:
        self.frames: list[pl.DataFrame] = []

    def schema(self, fields: list[tuple[str, str]]) -> dict[str, Any]:
        return {name: getattr(pl, kind) for name, kind in fields}

    def table(self, columns: dict[str, list[Any]], schema: dict[str, Any]) -> pl.DataFrame:
        return pl.DataFrame(columns, schema)

    def ParquetWriter(self, path: Path, _: object) -> "Arrow":
        self.path = path
        return self

    def __enter__(self) -> "Arrow":
        return self

    def __exit__(self, *_: object) -> None:
        pl.concat(self.frames).write_parquet(self.path)

    def write_table(self, table: pl.DataFrame) -> None:
        self.frames.append(table)


def test_pyarrow_writes_if_it_is_there(
    model: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = Arrow()
    monkeypatch.setattr(recommender, "import_module", lambda _: arrow)
    model.recommend_all(tmp_path / "all.parquet", 4)
    assert rows_of(tmp_path / "all.parquet") == expected_rows(model, 4)


def test_pyarrow_itself_writes_the_same(model: Recommender, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    expected = expected_rows(model, 4)
    assert model.recommend_all(tmp_path / "all.parquet", 4) == len(expected)
    assert rows_of(tmp_path / "all.parquet") == expected
    types = [pl.String, pl.Int32, pl.String, pl.Float32, pl.String]
    assert pl.read_parquet_schema(tmp_path / "all.parquet") == dict(
        zip(recommender.COLUMNS, types, strict=True)
    )
    assert model.recommend_all(tmp_path / "all.parquet", only=[]) == 0
    assert rows_of(tmp_path / "all.parquet") == []


def test_the_command_line_filters_reranks_and_writes(
    artefact: Path, model: Recommender, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*words: str) -> list[dict[str, Any]]:
        assert recommender.main([*words, "--folder", str(artefact)]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def asked(*words: str) -> list[str]:
        return [one["item"] for one in ask(*words)]

    only = ["i1", "i2", "i5", "i9"]
    words = ["--user", "u1", "--only", "i1,i2", "--only", '["i5", "i9"]', "--with-seen", "-k", "3"]
    assert asked("recommend", *words) == names(model.recommend("u1", 3, only=only, exclude_seen=False))
    words = ["--user", "u1", "--without", "i3,i4", "--diversity", "0.5"]
    assert asked("recommend", *words) == names(model.recommend("u1", without=["i3", "i4"], diversity=0.5))
    assert asked("rerank", "--user", "u1", "--items", ",".join(only)) == names(model.rerank("u1", only))
    words = ["--user", "u1", "--new", "i4,i6", "--without", "i3"]
    assert asked("recommend", *words) == names(model.recommend("u1", new=["i4", "i6"], without=["i3"]))
    words = ["--history", "i3", "--without", "i4", "--with-seen"]
    assert asked("fold-in", *words) == names(model.fold_in(["i3"], without=["i4"], exclude_seen=False))
    out = tmp_path / "all.csv"
    assert ask("recommend-all", "--out", str(out), "-k", "2") == [{"rows": 2 * USERS}]
    assert rows_of(out) == expected_rows(model, 2)
    for words in (
        ["recommend-all", "--out", str(tmp_path / "all.txt")],
        ["recommend-all", "--out", str(tmp_path / "none" / "all.csv")],
        ["recommend", "--user", "u1", "--diversity", "2"],
        ["recommend", "--user", "u1", "--diversity", "much"],
        ["recommend", "--user", "u1", "--only", "i1,x"],
        ["rerank", "--user", "u1"],
        ["rerank", "--user", "u1", "--items", "[i1"],
    ):
        assert recommender.main([*words, "--folder", str(artefact)]) == 2
        found = capsys.readouterr()
        assert found.out == ""
        assert len(found.err.splitlines()) == 1
