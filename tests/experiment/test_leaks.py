"""What is held out changes nothing that is trained or chosen before it may be seen; planted leaks are noticed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data import Interactions, PlantedConfig, Split, SplitConfig, planted, split
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.folder import RunFolder
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.recipe import choose_recipe, recipe_of
from nas.experiment.stages.retrain import retrain_best
from nas.experiment.stages.search import run_search
from nas.experiment.stages.supernet import train_supernet
from nas.graph import Graph
from nas.model.training import TrainingData
from nas.space import Recipe

Pairs = set[tuple[int, int]]

EXPERIMENT = Experiment.parse(
    {
        "name": "leaks",
        "data": {"source": "planted"},
        "search_space": {
            "name": "small",
            "branches": {
                "graph": {"layers": [0, 1, 2], "hidden_size": [4, 8], "aggregator": ["lightgcn", "gat"]},
                "spectral": {"rank": [4, 8]},
                "item": {"regularisation": [10, 100]},
            },
            "fusion": {"graph": [0, 1], "spectral": [0, 1], "item": [0, 1]},
            "recipe": {"temperature": {"min": 0.1, "max": 0.5}},
        },
        "recipe": {"trials": 2},
        "supernet": {"epochs": 2},
        "search": {"trials": 8, "population": 4},
        "retrain": {"epochs": 4},
    },
    "here",
    Path(),
)

MakeContext = Callable[..., Context]


def pairs(interactions: Interactions) -> Pairs:
    return set(zip(interactions.user.tolist(), interactions.item.tolist(), strict=True))


def edges(graph: Graph) -> Pairs:
    """The pairs that the graph connects, loops left out."""
    columns = (graph.edges.column - graph.n_users).tolist()
    return {(u, i) for u, i in zip(graph.edges.row.tolist(), columns, strict=True) if u < graph.n_users}


def moved(held_out: Interactions, whole: Interactions, seed: int) -> Interactions:
    """As many other items for the same users, none of which the data holds."""
    rng, taken, found = np.random.default_rng(seed), pairs(whole), []
    for user in held_out.user.tolist():
        free = [item for item in range(whole.n_items) if (user, item) not in taken]
        found.append((user, int(rng.choice(free))))
        taken.add(found[-1])
    user, item = np.array(sorted(found), dtype=np.int32).T
    return replace(held_out, user=user.copy(), item=item.copy())


@pytest.fixture(scope="module")
def whole() -> Interactions:
    return planted(PlantedConfig(users=60, items=50, interactions_per_user=10))


@pytest.fixture(scope="module")
def parts(whole: Interactions) -> Split:
    return split(whole, SplitConfig(strategy="random"))


@pytest.fixture
def context(whole: Interactions, tmp_path: Path) -> MakeContext:
    """A context of any parts, each in a folder of its own."""

    def make(parts: Split, name: str) -> Context:
        folder = RunFolder(tmp_path / name)
        folder.claim(EXPERIMENT)
        return Context(EXPERIMENT, folder, whole, parts)

    return make


def assert_trained_on(data: TrainingData, expected: Interactions, held_out: list[Interactions]) -> None:
    """No held-out pair is an edge, a positive or a degree."""
    assert edges(data.graph) == pairs(data.interactions) == pairs(expected)
    assert all(pairs(expected).isdisjoint(pairs(part)) for part in held_out)
    degrees = np.bincount(expected.user, minlength=expected.n_users)
    assert data.graph.edges.degree[: expected.n_users].tolist() == degrees.tolist()


def test_training_sees_train_and_refitting_train_and_valid(parts: Split, context: MakeContext) -> None:
    made = context(parts, "run")
    assert_trained_on(made.training, parts.train, [parts.valid, parts.test])
    assert_trained_on(made.refitting, parts.train.union(parts.valid), [parts.test])
    with pytest.raises(AssertionError):
        # The leak that this test is for: validation pairs in the training graph.
        assert_trained_on(made.refitting, parts.train, [parts.valid, parts.test])


def weights(made: Context) -> dict[str, torch.Tensor]:
    return train_supernet(made, Recipe())[0].state()


def test_shared_weights_do_not_depend_on_what_is_held_out(
    parts: Split, whole: Interactions, context: MakeContext
) -> None:
    other = Split(parts.train, moved(parts.valid, whole, 0), moved(parts.test, whole, 1))
    one, two = weights(context(parts, "one")), weights(context(other, "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    leaking = context(parts, "leaking")
    leaking.__dict__["training"] = TrainingData.of(parts.train.union(parts.test))
    leaked = weights(leaking)
    assert not torch.equal(one["users"], leaked["users"])


def choices(made: Context) -> tuple[Recipe, list[tuple[str, float]], list[dict[str, Any]]]:
    recipe = recipe_of(choose_recipe(made))
    train_supernet(made, recipe)
    space, _ = settle_branches(made)
    found = run_search(made, space)
    retrained = retrain_best(made, space, found, recipe)
    kept = [{key: result[key] for key in ("architecture", "epochs", "validation")} for result in retrained]
    return recipe, [(c.architecture.id, c.values["ndcg@20"]) for c in found], kept


def test_choices_depend_on_validation_and_never_on_test(
    parts: Split, whole: Interactions, context: MakeContext
) -> None:
    chosen = context(parts, "one")
    expected = choices(chosen)
    other_test = Split(parts.train, parts.valid, moved(parts.test, whole, 1))
    assert choices(context(other_test, "two")) == expected
    other_valid = Split(parts.train, moved(parts.valid, whole, 0), parts.test)
    assert choices(context(other_valid, "three")) != expected
    assert not (chosen.folder.path / "test_reads.json").exists()
    chosen.read_test("search")
    assert [one["by"] for one in chosen.folder.read_json("test_reads.json")] == ["search"]
