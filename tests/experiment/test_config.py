from pathlib import Path

import pytest

from nas.errors import UserError
from nas.experiment.config import Experiment, SupernetConfig
from nas.shipped import shipped
from nas.space import Recipe, SearchSpace

SHIPPED = sorted(path.stem for path in shipped("experiments").glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_experiments_load_and_are_their_own_resolution(name: str) -> None:
    experiment = Experiment.load(name)
    again = Experiment.parse(experiment.resolved(), "again", Path())
    assert again == experiment


def test_the_default_asks_for_what_the_readme_promises() -> None:
    experiment = Experiment.load("ml-100k")
    assert experiment.data.source == "ml-100k"
    assert experiment.search.sampler == "nsga2"
    assert experiment.search.trials >= 200
    assert experiment.retrain.top == 5
    assert experiment.search_space.name == "full"


def test_overrides_reach_nested_keys_and_are_read_as_yaml() -> None:
    words = ("search.trials=7", "search.objectives=[recall@5, parameters]", "data.k_core=3", "threads=1")
    experiment = Experiment.load("ml-100k", words)
    assert experiment.search.trials == 7
    assert experiment.search.objectives == ("recall@5", "parameters")
    assert experiment.ks == (5, 10, 20)
    assert experiment.data.k_core == 3
    assert experiment.threads == 1


def test_a_separator_that_means_something_to_yaml_is_taken_as_it_stands() -> None:
    values = {"name": "x", "data": {"path": "x.csv"}}
    assert Experiment.parse(values, "x", Path(), ("data.delimiter=|",)).data.delimiter == "|"


@pytest.mark.parametrize(
    ("data", "split", "strategy"),
    [
        ({"path": "x.csv"}, {}, "random"),
        ({"path": "x.csv"}, {"strategy": "latest"}, "latest"),
        ({"train": "x.txt", "test": "y.txt", "format": "adjacency"}, {}, "fixed"),
    ],
)
def test_how_the_data_is_split_is_written_down(
    data: dict[str, str], split: dict[str, str], strategy: str
) -> None:
    experiment = Experiment.parse({"name": "x", "data": data, "split": split}, "x", Path())
    written = experiment.resolved()
    assert written["split"]["strategy"] == strategy
    assert experiment.given().get("split", {}) == split
    assert Experiment.parse(written, "again", Path()).resolved() == written


def test_constraints_are_texts_that_are_their_own_resolution() -> None:
    words = ("search.constraints=[refresh_macs <= 2e8, coverage@50 >= 0.3]", "search.patience=40")
    experiment = Experiment.load("ml-100k", words)
    assert experiment.resolved()["search"]["constraints"] == [
        "refresh_macs <= 200000000",
        "coverage@50 >= 0.3",
    ]
    assert experiment.ks == (10, 20, 50), "what is bounded has to be measured"
    assert experiment.search.patience == 40
    assert Experiment.parse(experiment.resolved(), "again", Path()) == experiment


def test_overrides_reach_into_a_space_that_is_named() -> None:
    words = ("search_space=full", "search_space.branches.graph.layers=2", "search_space.branches.user=null")
    space = Experiment.load("ml-100k", words).search_space
    full = SearchSpace.load("full")
    assert space.branches.graph is not None
    assert space.branches.graph.layers.choices == (2,)
    assert space.branches.graph.aggregator == full.branches.graph.aggregator  # type: ignore[union-attr]
    assert space.branches.names == ("graph", "spectral", "item")
    assert space.branches.item == full.branches.item
    with pytest.raises(UserError, match=r"of which space\? Name it first, such as --set search_space=full"):
        Experiment.parse({"data": {"source": "planted"}}, "here", Path(), words[1:])
    same = ("search_space.extends=full", *words[1:])
    assert Experiment.parse({"data": {"source": "planted"}}, "here", Path(), same).search_space == space


def test_a_space_in_an_experiment_may_extend_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: graph\nbranches: {graph: {layers: 1}}\n")
    text = "data: {source: planted}\nsearch_space: {extends: mine.yaml, branches: {graph: {score: dot}}}\n"
    (tmp_path / "experiment.yaml").write_text(text)
    experiment = Experiment.load(tmp_path / "experiment.yaml")
    graph = experiment.search_space.branches.graph
    assert graph is not None
    assert (graph.layers.choices, graph.score.choices) == ((1,), ("dot",))
    # What a run writes down is whole, wherever it is read.
    assert Experiment.parse(experiment.resolved(), "again", Path()) == experiment


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / "space.yaml").write_text("name: s\nbranches: {graph: {aggregator: mean}}\n")
    (folder / "e.yaml").write_text("data: {path: ../events.csv}\nsearch_space: space.yaml\n")
    experiment = Experiment.load(folder / "e.yaml")
    assert experiment.data.path == (tmp_path / "events.csv").resolve()
    assert experiment.search_space.name == "s"


@pytest.mark.parametrize(("of_the_recipe", "expected"), [(0.02, 0.005), (0.005, 0.005), (0.001, 0.001)])
def test_shared_weights_learn_no_faster_than_asked_for(of_the_recipe: float, expected: float) -> None:
    recipe = Recipe(learning_rate=of_the_recipe, dropout=0.3, batches=5)
    found = SupernetConfig(learning_rate=0.005, batches=5).recipe(recipe)
    assert found == Recipe(learning_rate=expected, dropout=0.3, batches=5)


@pytest.mark.parametrize(("of_the_recipe", "expected"), [(3, 5), (9, 9)])
def test_shared_weights_take_no_fewer_steps_than_asked_for(of_the_recipe: int, expected: int) -> None:
    found = SupernetConfig(batches=5).recipe(Recipe(batches=of_the_recipe))
    assert found.batches == expected


def test_an_override_leaves_the_mapping_it_was_given_alone() -> None:
    value = {"data": {"source": "planted"}, "search_space": "graph", "search": {"trials": 5}}
    Experiment.parse(value, "here", Path(), ("search.trials=9",))
    assert value["search"] == {"trials": 5}


@pytest.mark.parametrize("override", ["search.trials", "=5", "search..trials=5", "search.trials=[1"])
def test_an_override_that_is_none_is_refused(override: str) -> None:
    with pytest.raises(UserError, match="--set"):
        Experiment.load("ml-100k", (override,))


def test_a_table_in_place_of_an_experiment_is_told(tmp_path: Path) -> None:
    table = tmp_path / "orders.csv"
    table.write_text("user,item\n1,2\n")
    with pytest.raises(
        UserError, match=r"orders\.csv: not a YAML file; .* names a table of events under `data: path`"
    ):
        Experiment.load(table)
