"""`nas export --everything` and `--data`: the winner, chosen and judged, fitted on all there is to learn from."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import nas
from nas.cli import main
from nas.data import Interactions
from nas.experiment.context import Context
from nas.experiment.everything import check_fits, with_everything
from nas.experiment.stages.retrain import refitting
from nas.model.evaluation import final_states
from nas.model.fitting import refit
from nas.model.training import TrainingData
from nas.space import Architecture
from nas.space.closed_form import ItemBranch


@pytest.fixture(scope="module")
def context(finished: nas.Run) -> Context:
    return finished.opened()


def histories(folder: Path) -> set[tuple[str, str]]:
    arrays, model = load_file(folder / "weights.safetensors"), nas.Recommender.load(folder)
    users = np.repeat(np.arange(len(model.user_ids)), np.diff(arrays["seen_indptr"]))
    pairs = zip(users, arrays["seen_items"], strict=True)
    return {(model.user_ids[user], model.item_ids[item]) for user, item in pairs}


def pairs_of(interactions: Interactions) -> set[tuple[str, str]]:
    pairs = zip(interactions.user, interactions.item, strict=True)
    return {(interactions.user_ids[user], interactions.item_ids[item]) for user, item in pairs}


def test_the_winner_is_fitted_on_the_test_part_too(
    finished: nas.Run, context: Context, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in finished.path.iterdir() if path.is_file()}
    folder = finished.export(tmp_path / "all", everything=True)
    assert histories(folder) == pairs_of(context.interactions)
    result = finished._retrained(finished.summary["winner"]["id"])
    architecture, recipe, epochs, seed = refitting(result)
    data = TrainingData.of(context.interactions, context.device)
    weights = refit(architecture, recipe, data, epochs=epochs, seed=seed)
    users, items, _ = final_states(architecture, weights, data.graph)
    arrays = load_file(folder / "weights.safetensors")
    np.testing.assert_allclose(arrays["user_embeddings"], users.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(arrays["item_embeddings"], items.numpy(), rtol=1e-5, atol=1e-6)
    # The run stays what it was, and its own artefact is still what was judged.
    assert before == {path.name: path.read_bytes() for path in finished.path.iterdir() if path.is_file()}
    assert histories(finished.path / "recommender") == pairs_of(context.train_and_valid)


def test_an_artefact_says_whether_it_was_judged(finished: nas.Run, tmp_path: Path) -> None:
    whole, own = finished.export(tmp_path / "all", everything=True), finished.path / "recommender"
    assert json.loads((own / "manifest.json").read_text())["data"]["held_out"] == "test"
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["data"]["held_out"] is None
    assert manifest["metrics"]["test"] == finished.summary["winner"]["test"]
    told = (whole / "README.md").read_text()
    assert "nothing is left to judge them by" in told
    assert "Nothing was\nheld out." in told
    assert "the very numbers in this folder" not in told


def written(context: Context, path: Path, more: list[tuple[str, str]]) -> Path:
    rows = [f"{user},{item}\n" for user, item in [*sorted(pairs_of(context.interactions)), *more]]
    path.write_text("".join(["user,item\n", *rows]), encoding="utf-8")
    return path


def test_newer_events_bring_new_users_and_items(finished: nas.Run, context: Context, tmp_path: Path) -> None:
    items = context.interactions.item_ids
    more = [
        ("zoe", items[0]),
        ("zoe", items[1]),
        ("zoe", "novelty"),
        (context.interactions.user_ids[0], "novelty"),
    ]
    path = written(context, tmp_path / "newer.csv", more)
    folder = finished.export(tmp_path / "newer", data=path)
    model = nas.Recommender.load(folder)
    assert histories(folder) == pairs_of(context.interactions) | set(more)
    assert not {one.item for one in model.recommend("zoe", 10)} & {items[0], items[1], "novelty"}
    assert model.similar_items("novelty", 3)


def test_every_branch_is_fitted_on_everything(context: Context) -> None:
    whole = with_everything(context)
    architecture = Architecture(item=ItemBranch(kind="ease", regularisation=10.0))
    found = whole.closed_forms.of(architecture, "train and valid")["item"]
    dense = np.zeros((context.interactions.n_users, context.interactions.n_items))
    dense[context.interactions.user, context.interactions.item] = 1
    inverse = np.linalg.inv(dense.T @ dense + 10 * np.eye(dense.shape[1]))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(found.weights, expected, atol=1e-5)
    assert len(whole.train_and_valid) == len(context.interactions)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "newer.csv"),
        ("user;item\n1;2\n", "newer.csv"),
        ("user,thing\n1,2\n", "item"),
        ("user,item\n", "newer.csv"),
    ],
)
def test_a_file_that_will_not_do_is_told_and_nothing_written(
    content: str | None,
    told: str,
    finished: nas.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "newer.csv"
    if content is not None:
        path.write_text(content)
    out = tmp_path / "out"
    command = ["nas", "export", str(finished.path), "--out", str(out), "--data", str(path)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert not out.exists()


def test_ratings_and_times_that_the_run_has_must_be_there(tmp_path: Path, context: Context) -> None:
    timed = np.arange(len(context.interactions), dtype=np.int64)
    old = replace(context.interactions, timestamp=timed)
    path = written(context, tmp_path / "newer.csv", [])
    with pytest.raises(nas.UserError, match="no column of timestamps"):
        with_everything(replace(context, interactions=old), path)


def test_a_catalogue_that_outgrew_its_branch_is_refused(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    ease = Architecture(item=ItemBranch(kind="ease"))
    check_fits(ease, context)
    monkeypatch.setattr("nas.model.item_weights.MOST_ITEMS", {"ease": 20})
    with pytest.raises(nas.UserError, match="search anew"):
        check_fits(ease, context)
