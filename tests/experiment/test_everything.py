"""`nas export --everything` and `--data`: the winner, chosen and judged, fitted on all there is to learn from."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_experiment import TINY

import nas
from nas.cli import main
from nas.data import DataConfig, Interactions, PlantedConfig, planted
from nas.experiment.context import Context
from nas.experiment.everything import with_everything, with_newer
from nas.experiment.stages.retrain import refitting, retrain
from nas.model.evaluation import final_states
from nas.model.fitting import refit
from nas.model.training import TrainingData, steps_of
from nas.space import Architecture, Recipe
from nas.space.closed_form import ItemBranch


@pytest.fixture(scope="module")
def context(finished: nas.Run) -> Context:
    return finished.opened()


def histories(folder: Path) -> set[tuple[str, str]]:
    arrays, model = load_file(folder / "weights.safetensors"), nas.Recommender.load(folder)
    users = np.repeat(np.arange(len(model.user_ids)), np.diff(arrays["seen_indptr"]))
    pairs = zip(users, arrays["seen_items"], strict=True)
    return {(model.user_ids[user], model.item_ids[item]) for user, item in pairs}


def contents_of(folder: Path) -> dict[Path, str | None]:
    """The sha256 of every file below a folder, None for a folder."""
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in folder.rglob("*")
    }


def pairs_of(interactions: Interactions) -> set[tuple[str, str]]:
    pairs = zip(interactions.user, interactions.item, strict=True)
    return {(interactions.user_ids[user], interactions.item_ids[item]) for user, item in pairs}


def test_the_winner_is_fitted_on_the_test_part_too(
    finished: nas.Run, context: Context, tmp_path: Path
) -> None:
    before = contents_of(finished.path)
    folder = finished.export(tmp_path / "all", everything=True)
    assert histories(folder) == pairs_of(context.interactions)
    result = finished._retrained(finished.summary["winner"]["id"])
    architecture, recipe, epochs, seed = refitting(result)
    data = TrainingData.of(context.interactions, context.device)
    assert result["steps"] == steps_of(context.training, recipe)
    weights = refit(architecture, recipe, data, epochs=epochs, seed=seed, steps=result["steps"])
    users, items, _ = final_states(architecture, weights, data.graph)
    arrays = load_file(folder / "weights.safetensors")
    np.testing.assert_allclose(arrays["user_embeddings"], users.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(arrays["item_embeddings"], items.numpy(), rtol=1e-5, atol=1e-6)
    # The run stays what it was, and its own artefact is still what was judged.
    assert contents_of(finished.path) == before
    assert histories(finished.path / "recommender") == pairs_of(context.train_and_valid)


def test_an_artefact_says_whether_it_was_judged(finished: nas.Run, tmp_path: Path) -> None:
    whole, own = finished.export(tmp_path / "all", everything=True), finished.path / "recommender"
    assert json.loads((own / "manifest.json").read_text())["data"]["held_out"] == "test"
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["data"]["held_out"] is None
    assert manifest["metrics"]["test"] == finished.summary["winner"]["test"]
    told = (whole / "README.md").read_text()
    assert f"all {len(finished.opened().interactions)} interactions of planted" in told
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


def newer(
    finished: nas.Run, path: Path, architecture: Architecture, recipe: dict[str, Any] | None = None
) -> Context:
    result = {"architecture": architecture.values(), "recipe": recipe or {}}
    return with_newer(finished.experiment, finished.folder, path, result)


@pytest.mark.parametrize(
    ("branch", "recipe", "told"),
    [
        ({"recency": 3.0}, {}, "no timestamps, by which the item branch counts"),
        ({"proximity": 3.0}, {}, "no timestamps, by which the item branch counts"),
        (
            {"kind": "next"},
            {"recency": 3.0},
            "no timestamps, by which the item branch and the network counts",
        ),
        ({"rating": 0.1}, {}, "no ratings, by which the item branch counts"),
        ({}, {"rating": 0.1}, "no ratings, by which the network counts"),
    ],
)
def test_ratings_and_times_that_count_must_be_there(
    branch: dict[str, Any],
    recipe: dict[str, Any],
    told: str,
    finished: nas.Run,
    context: Context,
    tmp_path: Path,
) -> None:
    path = written(context, tmp_path / "newer.csv", [])
    assert len(newer(finished, path, Architecture(item=ItemBranch())).interactions) == len(
        context.interactions
    )
    with pytest.raises(nas.UserError, match=told):
        newer(finished, path, Architecture(item=ItemBranch.model_validate(branch)), recipe)


def test_features_that_count_must_be_there(finished: nas.Run, context: Context, tmp_path: Path) -> None:
    path = written(context, tmp_path / "newer.csv", [])
    told = r"newer.csv: no table of the items with features that some share, by which the item branch counts"
    with pytest.raises(nas.UserError, match=told):
        newer(finished, path, Architecture(item=ItemBranch(features=3.0)))


ROWS = "".join(f"{n % 7},{n % 5},4,{n}\n" for n in range(35))


@pytest.mark.parametrize(
    ("data", "name", "header"),
    [
        ({"path": "ratings.csv"}, "ratings-tomorrow.csv", "userId,movieId,rating,timestamp\n"),
        ({"path": "events.csv"}, "ratings.csv", "user,item,rating,timestamp\n"),
        ({"path": "events", "format": "csv"}, "newer.inter", "user,item,rating,timestamp\n"),
        ({"train": "train.csv", "test": "test.csv"}, "ratings.csv", "user,item,rating,timestamp\n"),
        ({"source": "planted"}, "ratings.csv", "userId,movieId,rating,timestamp\n"),
    ],
)
def test_newer_events_are_read_as_the_run_s_own_are(
    data: dict[str, str], name: str, header: str, finished: nas.Run, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(header + ROWS)
    # The run's own file is not there any more.
    own = {key: one if key in ("source", "format") else tmp_path / "old" / one for key, one in data.items()}
    experiment = finished.experiment.model_copy(update={"data": DataConfig.model_validate(own)})
    result = {"architecture": Architecture(item=ItemBranch()).values(), "recipe": {}}
    found = with_newer(experiment, finished.folder, tmp_path / name, result).interactions
    assert (len(found), found.n_users, found.n_items) == (35, 7, 5)
    assert found.rating is not None
    assert found.timestamp is not None


def test_a_catalogue_that_outgrew_its_branch_is_refused(
    finished: nas.Run, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(context, tmp_path / "newer.csv", [])
    monkeypatch.setattr("nas.model.item_weights.MOST_ITEMS", {"ease": 20})
    with pytest.raises(nas.UserError, match=r"too large for the item branch .*search anew"):
        newer(finished, path, Architecture(item=ItemBranch(kind="ease")))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> nas.Run:
    """A run of a RecBole pair, whose item table is found beside the events."""
    folder = tmp_path_factory.mktemp("shop")
    made = planted(PlantedConfig.model_validate(TINY["data"]["planted"]))
    rows = zip(made.user, made.item, strict=True)
    events = "".join(f"{made.user_ids[user]}\t{made.item_ids[item]}\n" for user, item in rows)
    assert made.items.title is not None
    titles = "".join(f"{one}\t{title}\n" for one, title in zip(made.item_ids, made.items.title, strict=True))
    (folder / "x.inter").write_text(f"user_id:token\titem_id:token\n{events}")
    (folder / "x.item").write_text(f"item_id:token\ttitle:token_seq\n{titles}")
    item = {"kind": "ease", "regularisation": 10, "features": 3}
    branches = TINY["search_space"]["branches"] | {"item": item}
    space = TINY["search_space"] | {"branches": branches, "fusion": {"graph": 1, "item": 1}}
    return nas.search(
        TINY | {"data": {"path": str(folder / "x.inter")}, "search_space": space}, folder / "run"
    )


def test_newer_events_need_neither_the_old_ones_nor_a_table_of_their_own(
    shop: nas.Run, tmp_path: Path
) -> None:
    folder = shop.path.parent
    newer_events = tmp_path / "newer.inter"
    newer_events.write_text((folder / "x.inter").read_text() + "zoe\tnovelty\nzoe\titem-1\n")
    closed_form = retrain(shop.opened(), Architecture(item=ItemBranch(regularisation=10.0)), Recipe())["id"]
    moved = (folder / "x.inter").rename(folder / "gone.inter")
    try:
        model = nas.Recommender.load(shop.export(tmp_path / "out", data=newer_events))
        alone = nas.Recommender.load(shop.export(tmp_path / "alone", closed_form, data=newer_events))
    finally:
        moved.rename(folder / "x.inter")
    assert model.recommend(model.user_ids[0], 1)[0].title.startswith("block ")
    assert alone.user_ids == model.user_ids
    told = (tmp_path / "out" / "README.md").read_text()
    assert told.startswith("# A recommender for newer.inter")
    assert "602 interactions of newer.inter" in told
    # A table beside the newer events comes first.
    table = "item_id:token\ttitle:token_seq\nnovelty\tbrand new\nitem-2\tbrand new\n"
    (tmp_path / "newer.item").write_text(table)
    model = nas.Recommender.load(shop.export(tmp_path / "out", data=newer_events))
    assert {one.title for one in model.similar_items("item-1", 60)} == {None, "brand new"}


def test_a_table_that_is_gone_is_told(shop: nas.Run, tmp_path: Path) -> None:
    folder = shop.path.parent
    events = tmp_path / "newer.inter"
    events.write_text((folder / "x.inter").read_text())
    moved = (folder / "x.item").rename(folder / "gone.item")
    try:
        with pytest.raises(nas.UserError, match="no table of the items"):
            shop.export(tmp_path / "out", data=events)
    finally:
        moved.rename(folder / "x.item")
    assert list(tmp_path.iterdir()) == [events]


def test_a_changed_table_of_items_is_changed_data(shop: nas.Run) -> None:
    table = shop.path.parent / "x.item"
    before = table.read_text()
    try:
        table.write_text(before.replace("block 0", "block 9"))
        with pytest.raises(nas.UserError, match="the table of the items changed since this run began"):
            shop.opened()
    finally:
        table.write_text(before)
    assert shop.folder.read_json("data.json")["item_features"] > 0
