"""A run over a space with every branch, and with every baseline."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quality
from tiny_experiment import TINY

import nas
from nas.baselines import BASELINES, TRAINED
from nas.cli import main
from nas.experiment.context import Context
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.fusion import full_scorer
from nas.experiment.stages.recipe import recipe_of
from nas.experiment.stages.retrain import refitted_states, retrain_best
from nas.experiment.storage import open_storage
from nas.model.ranking import top_items
from nas.search.loop import candidates, open_study
from nas.space import Architecture

FUSED: dict[str, Any] = TINY | {
    "name": "fused",
    "search_space": {
        **TINY["search_space"],
        "branches": {
            **TINY["search_space"]["branches"],
            "spectral": {"rank": [4, 8], "neighbours": [0, 10]},
            "item": {"regularisation": [10, 100], "proximity": [0, 3], "rating": [0, 0.2]},
            "user": {"neighbours": [5, 10], "recency": [0, 3]},
        },
        "fusion": {"graph": [1, 0], "spectral": [0, 1], "item": [1, 0], "user": [0, 0.1]},
    },
    "baselines": {"recipes": 1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nas.Run:
    return nas.search(FUSED, tmp_path_factory.mktemp("runs") / "fused")


def retrained(run: nas.Run) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(run.path.glob("retrained/*/result.json"))]


def test_every_branch_is_searched_and_every_baseline_run(run: nas.Run) -> None:
    assert {row["name"] for row in run.summary["baselines"]} == {"lightgcn", *BASELINES, *TRAINED}
    assert all(row["test"]["ndcg@20"] > 0 for row in run.summary["baselines"])
    branches = run.summary["branches"]
    assert branches.keys() == {"spectral", "item", "user"}
    # Planted data has neither times nor ratings, so there is nothing to weigh by them.
    assert (branches["item"]["settings"]["proximity"], branches["item"]["settings"]["rating"]) == (0, 0)
    assert branches["item"]["tried"] == 2
    assert (branches["user"]["settings"]["recency"], branches["user"]["tried"]) == (0, 2)


def test_a_run_ends_where_the_catalogue_is_too_large_for_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.model.item_weights.MOST_ITEMS", {"ease": 20})
    monkeypatch.setattr("nas.model.item_weights.DENSE_SLIM", 20)
    monkeypatch.setattr("nas.model.item_weights.MOST_PAIRS", 20)
    item = {"kind": ["ease", "slim", "cosine"], "regularisation": 10}
    branches = FUSED["search_space"]["branches"] | {"item": item}
    few = {
        "search_space": FUSED["search_space"] | {"branches": branches},
        "search": {"trials": 8, "population": 4},
        "baselines": {"names": ["popularity", "ease", "slim"]},
    }
    run = nas.search(FUSED | few, tmp_path / "large")
    assert run.summary["branches"]["item"]["settings"]["kind"] == "cosine"
    skipped = {row["name"] for row in run.summary["baselines"] if "skipped" in row}
    assert skipped == {"ease", "slim"}
    told = (run.path / "recommender" / "README.md").read_text()
    assert "The best of 2 other models" in told
    assert "EASE is run up to 20 items" in run.report().read_text()


def test_the_winner_is_the_best_of_all_that_was_weighed(run: nas.Run) -> None:
    found = retrained(run)
    assert run.summary["winner"]["validation"]["ndcg@20"] == max(r["validation"]["ndcg@20"] for r in found)
    # The closed-form branches by themselves are among them.
    assert any("graph" not in result["architecture"] for result in found)


def test_weighing_is_never_worse_than_the_graph_branch_alone(run: nas.Run) -> None:
    # 0 is among the weights of the other branches, and judged users are all users here.
    for result in retrained(run):
        if result["graph"] is not None:
            assert result["validation"]["ndcg@20"] >= result["graph"]["ndcg@20"] - 1e-9


@pytest.mark.parametrize("closed_form_alone", [False, True])
def test_an_exported_fusion_ranks_as_its_branches_do(
    closed_form_alone: bool, run: nas.Run, tmp_path: Path
) -> None:
    # By the run's recipe: a baseline's network has a folder of another name.
    own = [result for result in retrained(run) if result["name"] == result["id"]]
    results = {("graph" not in result["architecture"]): result for result in own}
    ranks_as_its_branches(run, results[closed_form_alone], tmp_path / "model")


def test_an_exported_user_branch_ranks_as_fitted(tmp_path: Path) -> None:
    branches = {name: FUSED["search_space"]["branches"][name] for name in ("graph", "user")}
    space = FUSED["search_space"] | {"branches": branches, "fusion": {"graph": [1, 0], "user": [0, 1]}}
    few = {"search": {"trials": 8, "population": 4}, "baselines": {"names": ["popularity"]}}
    run = nas.search(FUSED | few | {"search_space": space}, tmp_path / "users")
    (alone,) = (result for result in retrained(run) if list(result["architecture"]) == ["user"])
    ranks_as_its_branches(run, alone, tmp_path / "model")


def ranks_as_its_branches(run: nas.Run, result: dict[str, Any], folder: Path) -> None:
    folder = run.export(folder, result["id"])
    model = nas.Recommender.load(folder)
    context = Context.open(run.experiment, run.path)
    # Of the winner, the better of its trainings is exported.
    winner = run.summary["winner"]
    name = winner["name"] if result["id"] == winner["id"] else result["id"]
    held = run.folder.read_json(f"retrained/{name}/result.json")
    architecture = Architecture.model_validate(held["architecture"])
    scorer = full_scorer(context, architecture, refitted_states(context, held))
    users = np.arange(context.train.n_users)
    if architecture.graph is not None:
        # The run's own network: someone with a known history and initial embedding gets the known final one.
        for user, final in zip(users, refitted_states(context, held)[0].numpy(), strict=True):
            if len(history := model._history(user)):
                found = model._network.of_known(user, history, history)
                np.testing.assert_allclose(found, final, rtol=1e-5, atol=1e-5 * np.abs(final).max())
    due = top_items(scorer, users, context.train_and_valid, 5)
    ids = context.train.item_ids
    for user, row in zip(users, due, strict=True):
        found = model.recommend(context.train.user_ids[user], 5)
        if found and found[0].fallback is None:
            assert [one.item for one in found] == [ids[n] for n in row]


def test_what_is_retrained_later_is_weighed_as_the_best_were(run: nas.Run, tmp_path: Path) -> None:
    later, then = (nas.Run(shutil.copytree(run.path, tmp_path / name)) for name in ("later", "then"))
    context = Context.open(then.experiment, then.path)
    known = {result["id"] for result in retrained(run)}
    trials = candidates(
        open_study(open_storage(then.experiment, then.path), "search", then.experiment.search.objectives)
    )
    lone = [
        one
        for one in trials
        if one.architecture.branches.keys() == {"graph"} and one.architecture.id not in known
    ]
    space, _ = settle_branches(context)
    (best,) = retrain_best(context, space, lone[:1], recipe_of(then.folder.read_json("recipe.json")))
    found = later.retrain(best["id"])
    assert len(found["architecture"]) > 1, "what it lacked in the search helps beside it"
    assert {**found, "seconds": 0} == {**best, "seconds": 0}


def test_an_export_of_fewer_bits_says_what_it_lost(
    run: nas.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = run.folder.read_json("test_reads.json")
    folder = run.export(tmp_path / "int8", precision="int8")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "Here they are rounded to int8." in (folder / "README.md").read_text()
    assert "rounded to" not in (run.path / "recommender" / "README.md").read_text()
    found = manifest["metrics"]["precision"]["ndcg@20"]
    assert found["float32"] > 0
    assert found["lost"] == pytest.approx(1 - found["int8"] / found["float32"])
    assert abs(found["lost"]) < 0.02
    assert run.folder.read_json("test_reads.json") == reads, "test data is not read again"
    again = run.export(tmp_path / "again", precision="int8")
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())
    command = ["nas", "export", str(run.path), "--out", str(again), "--precision"]
    monkeypatch.setattr(sys, "argv", [*command, "float16"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(again)
    assert "ndcg@20 of the validation part" in lines[1]
    monkeypatch.setattr(sys, "argv", [*command, "float16", "--everything"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "ndcg@20 of a random tenth of its data, which it was fitted on" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "int4"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--precision int4: expected one of float32, float16, int8" in capsys.readouterr().err


def test_a_fusion_can_be_asked_in_onnx_but_has_no_index(
    run: nas.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    fused = next(result["id"] for result in retrained(run) if "item" in result["architecture"])
    # Compared with the recommender as it is written.
    assert (run.export(tmp_path / "out", fused, onnx=True) / "model.onnx").exists()
    out = str(tmp_path / "none")
    monkeypatch.setattr(
        sys, "argv", ["nas", "export", str(run.path), "--architecture", fused, "--ann", "--out", out]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--ann needs a recommender whose only branch is graph" in line
    assert not (tmp_path / "none").exists()


def test_the_report_draws_every_branch(run: nas.Run) -> None:
    page = run.report().read_text(encoding="utf-8")
    (drawing,) = re.findall(r'<svg[^>]* class="drawing">.*?</svg>', page, re.DOTALL)
    winner = Architecture.model_validate(run.summary["winner"]["architecture"])
    assert len(winner.branches) > 1
    titles = re.findall(r'class="title">([^<]+)<', drawing)
    drawn = {name.capitalize() for name in winner.branches if name != "graph"}
    drawn |= {"User embeddings", "Item embeddings"} if winner.graph else set()
    assert drawn <= set(titles)
    assert "Fused score" in titles


def test_the_quality_table_has_a_row_a_model(run: nas.Run, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "quality.json"
    quality.main([run.path], out)
    made = json.loads(out.read_text())
    assert made[0]["model"] == "nas"
    assert [row["ndcg@20"] for row in made[1:]] == sorted((row["ndcg@20"] for row in made[1:]), reverse=True)
    assert {row["model"] for row in made[1:]} == {"lightgcn", *BASELINES, *TRAINED}
    for row in made:
        assert (row["data"], row["chosen_on"], row["threads"]) == ("fused", "validation", 1)
        assert row["interval"][0] <= row["interval"][1]
    # The winner's interval is that of its lead over the best of the others.
    assert made[0]["interval"] == made[1]["interval"]
    # Another data set's rows stay; those of the same are replaced.
    out.write_text(json.dumps([{"data": "other"}, *made]))
    quality.main([run.path], out)
    assert json.loads(out.read_text()) == [{"data": "other"}, *made]
