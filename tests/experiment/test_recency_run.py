"""A run on data whose users move on: what comes next is like what came last."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from tiny_experiment import TINY

import nas
from nas.experiment.context import Context
from nas.experiment.stages.fusion import full_scorer
from nas.experiment.stages.retrain import refitted_states
from nas.experiment.storage import open_journal
from nas.model.ranking import top_items
from nas.space import Architecture

USERS, GROUPS, ITEMS_PER_GROUP, STAY = 90, 6, 10, 6


def events() -> str:
    """Each user has six items of one group, then six of another; nothing says which groups follow each other."""
    rng = np.random.default_rng(0)
    lines = ["user,item,rating,timestamp"]
    for user in range(USERS):
        for turn, group in enumerate(rng.choice(GROUPS, 2, replace=False)):
            for n, item in enumerate(rng.choice(ITEMS_PER_GROUP, STAY, replace=False)):
                time, rating = 100 * turn + n, rng.integers(1, 6)
                lines.append(f"u{user},{group * ITEMS_PER_GROUP + item},{rating},{time}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", params=["leave_last_out", "random"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nas.Run:
    folder = tmp_path_factory.mktemp("recency")
    (folder / "events.csv").write_text(events())
    graph = {"layers": [0, 1, 3], "hidden_size": 64, "aggregator": "lightgcn", "readout": "mean"}
    branches = {"graph": graph, "item": {"recency": [0, 1, 10], "rating": [0.1, 0], "regularisation": 10}}
    values: dict[str, Any] = TINY | {
        "name": request.param,
        "data": {"path": str(folder / "events.csv")},
        "split": {"strategy": request.param},
        "search_space": TINY["search_space"]
        | {
            "branches": branches,
            "fusion": {"graph": [1, 0], "item": [1, 0]},
            "recipe": {"recency": [0, 1, 4]},
        },
        "recipe": {"trials": 4},
        "retrain": TINY["retrain"] | {"epochs": 20},
        "baselines": {"names": ["ease", "mf-bpr"], "recipes": 1},
    }
    return nas.search(values, folder / "run")


def test_age_counts_where_what_comes_next_is_asked_for_and_not_where_anything_is(run: nas.Run) -> None:
    chosen = run.summary["branches"]["item"]["settings"]["recency"]
    assert chosen == (0 if run.experiment.name == "random" else 1)
    # And in the loss of the network: for a random split, age is not even tried.
    journal = open_journal(run.experiment, run.path, "recipe")
    trials = optuna.load_study(study_name="recipe", storage=journal).trials
    tried = [trial.params.get("recency", 0) for trial in trials]
    assert tried[:3] == ([0] if run.experiment.name == "random" else [0, 1, 4])
    recipe = run.folder.read_json("recipe.json")["recipe"]
    assert (recipe.get("recency", 0) > 0) == (run.experiment.name != "random")


def test_what_is_exported_ranks_as_the_run_does_and_folds_in_by_order(run: nas.Run, tmp_path: Path) -> None:
    results = {path.parent.name: path for path in run.path.glob("retrained/*/result.json")}
    alone = next(
        one for one in (run.folder.read_json(f"retrained/{name}/result.json") for name in results)
        if "graph" not in one["architecture"]
    )  # fmt: skip
    model = nas.Recommender.load(run.export(tmp_path / "model", alone["id"]))
    told = (tmp_path / "model" / "README.md").read_text()
    assert ("the latest last" in told) == (alone["architecture"]["item"]["recency"] > 0)
    context = Context.open(run.experiment, run.path)
    scorer = full_scorer(
        context, Architecture.model_validate(alone["architecture"]), refitted_states(context, alone)
    )
    history = context.train_and_valid
    due = top_items(scorer, np.arange(history.n_users), history, 5)
    for user, row in enumerate(due):
        found = [one.item for one in model.recommend(history.user_ids[user], 5)]
        assert found == [history.item_ids[n] for n in row]
    assert history.timestamp is not None
    # Without ratings, somebody new who had the same items in the same order is the same.
    if alone["architecture"]["item"]["rating"] == 0:
        for user in range(5):
            part = slice(history.offsets[user], history.offsets[user + 1])
            order = history.item[part][np.argsort(history.timestamp[part])]
            again = model.fold_in([history.item_ids[n] for n in order], 5)
            assert [one.item for one in again] == [history.item_ids[n] for n in due[user]]


def test_what_a_baseline_trained_competes_too(run: nas.Run) -> None:
    metric = run.experiment.metric
    names = [path.parent.name for path in run.path.glob("retrained/*/result.json")]
    assert sum(name.endswith("-mf-bpr") for name in names) == 1
    (row,) = [row for row in run.summary["baselines"] if row["name"] == "mf-bpr"]
    assert run.summary["winner"]["validation"][metric] >= row["validation"][metric]
