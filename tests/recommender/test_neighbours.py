"""`items.usearch` against exact lists."""

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

from nas.errors import UserError
from nas.recommender import ArtefactError, Recommender
from nas.recommender.contents import ArtefactContents
from nas.recommender.neighbours import Measured, ann_addition, built, embeddings, listed, measure
from nas.recommender.writer import _model, assembled, write_artefact

index_module = pytest.importorskip("usearch.index")

Make = Callable[..., ArtefactContents]


def test_lists_are_nearly_the_exact_ones(make: Make) -> None:
    model, _, arrays = _model(make(users=80, items=3000, columns=16, density=0.02))
    index = built(embeddings(arrays, "item_embeddings"))
    found = measure(index, model, arrays)
    assert found is not None
    assert found.users == 79, "whoever has no history has no list"
    assert 0.95 <= found.recall <= 1
    assert min(found.seconds, found.exact_seconds) > 0
    exact = {user: [one.item for one in model.recommend(user)] for user in model.user_ids[1:]}
    hits = 0
    for user, due in exact.items():
        row = model.user_ids.index(user)
        history = model._history(row)
        items = listed(index, arrays["user_embeddings"][row], history, 10)
        assert len(items) == 10
        assert not np.isin(items, history).any()
        hits += len({model.item_ids[item] for item in items} & {*due})
    assert found.recall == pytest.approx(hits / 790)


def test_an_index_of_other_items_has_a_low_recall(make: Make) -> None:
    model, _, arrays = _model(make(users=80, items=3000, columns=16))
    found = measure(built(embeddings(arrays, "item_embeddings")[::-1].copy()), model, arrays)
    assert found is not None
    assert found.recall < 0.1


def test_nothing_is_measured_where_nobody_has_a_history(make: Make) -> None:
    contents = make(users=3)
    empty = replace(contents, seen_indptr=np.zeros(4, np.int64), seen_items=np.zeros(0, np.int32))
    model, _, arrays = _model(empty)
    assert measure(built(embeddings(arrays, "item_embeddings")), model, arrays) is None


def test_what_does_not_pay_is_said() -> None:
    fast, slow = Measured(500, 0.98765, 0.0005, 0.002), Measured(500, 1.0, 0.0005, 0.0004)
    due = (
        "items.usearch: recall@10 0.9877 against the exact lists of 500 users; 0.50 ms a user, exact 2.00 ms"
    )
    assert str(fast) == due
    assert str(slow).endswith(
        "exact 0.40 ms; it does not pay for this catalogue: the exact list takes no longer"
    )


def test_the_folder_is_an_artefact_and_the_same_each_time(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="nas")
    contents = make(users=30, items=500, columns=8)
    for name in ("one", "two"):
        write_artefact(tmp_path / name, contents, [ann_addition])
    assert "recall@10 1.0000 against the exact lists of 29 users" in caplog.text
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert all(
        (tmp_path / "two" / one).read_bytes() == (tmp_path / "one" / one).read_bytes() for one in names
    )
    model = Recommender.load(tmp_path / "one")
    assert model.manifest["files"].keys() == names - {"manifest.json"}
    assert model.recommend_many(model.user_ids) == assembled(contents).recommend_many(model.user_ids)


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_index_is_refused(damage: str, make: Make, tmp_path: Path) -> None:
    write_artefact(tmp_path / "out", make(), [ann_addition])
    path = tmp_path / "out" / "items.usearch"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "changed" else content[:-1])
    if damage == "gone":
        path.unlink()
    with pytest.raises(ArtefactError, match=r"cannot use 'items\.usearch'"):
        Recommender.load(tmp_path / "out")


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_the_readme_s_example_lists_what_the_recommender_does(
    precision: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_artefact(tmp_path / "out", replace(make(seed=3), precision=precision), [ann_addition])
    monkeypatch.chdir(tmp_path / "out")
    (example,) = re.findall(r"```python\n([^`]*usearch[^`]*)```", Path("README.md").read_text("utf-8"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, {})
    rows = [line.split() for line in printed.getvalue().splitlines()]
    best = Recommender.load(".").recommend("u1", 3)
    assert [item for item, _ in rows] == [one.item for one in best]
    assert [float(score) for _, score in rows] == pytest.approx([one.score for one in best], rel=1e-4)


def refused(contents: ArtefactContents, folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        write_artefact(folder / "out", contents, [ann_addition])
    assert not any(folder.iterdir())


@pytest.mark.parametrize("graph", [{}, {"graph": 0.5}])
def test_several_branches_are_refused(graph: dict[str, float], make: Make, tmp_path: Path) -> None:
    contents = make()
    item: dict[str, Any] = {"dense": np.eye(len(contents.item_ids), dtype=np.float32)}
    fused = replace(contents, fusion={**graph, "item": 1.0}, branches={"item": item})
    match = (
        f"--ann needs a recommender whose only branch is graph, but this one has {', '.join(fused.fusion)}"
    )
    refused(fused, tmp_path, match)


def test_without_usearch_nothing_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    refused(make(), tmp_path, r"--ann needs usearch .*: pip install usearch$")
