from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_experiment import TINY

import nas
from nas.data import Interactions
from nas.experiment.config import Experiment
from nas.experiment.sizing import sized


def data_of(users: int, items: int, each: int) -> Interactions:
    user = np.repeat(np.arange(users, dtype=np.int32), each)
    item = np.concatenate([np.arange(each, dtype=np.int32) for _ in range(users)])
    ids = tuple(str(n) for n in range(max(users, items)))
    return Interactions(user=user, item=item, user_ids=ids[:users], item_ids=ids[:items])


SMALL, MIDDLE, LARGE = data_of(900, 1600, 100), data_of(3000, 3000, 300), data_of(30000, 40000, 35)


def bare(**sections: object) -> Experiment:
    return Experiment.parse({"data": {"source": "planted"}, **sections}, "here", Path())


def test_small_data_has_the_written_defaults() -> None:
    assert sized(bare(), SMALL).resolved() == bare().resolved()


def test_less_is_done_on_more_data() -> None:
    small, middle, large = (sized(bare(), data) for data in (SMALL, MIDDLE, LARGE))
    for section, key in (
        ("recipe", "trials"),
        ("supernet", "epochs"),
        ("search", "trials"),
        ("retrain", "top"),
    ):
        numbers = [getattr(getattr(experiment, section), key) for experiment in (small, middle, large)]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[0] > numbers[-1] >= 1
    assert (small.retrain.every, large.retrain.every) == (2, 5)
    assert (small.search_space.name, large.search_space.name) == ("full", "linear")
    assert "gat" in small.baselines.names
    assert "gat" not in large.baselines.names


def test_few_interactions_of_many_are_more_work_than_as_many_of_few() -> None:
    few, many = data_of(900, 1600, 100), data_of(9000, 30000, 10)
    assert len(few) == len(many)
    assert sized(bare(), few).recipe.trials > sized(bare(), many).recipe.trials


def test_of_very_many_items_fewer_users_are_judged() -> None:
    judged = [sized(bare(), data_of(100, items, 5)).search.users for items in (60_000, 90_000, 1_000_000)]
    assert judged == [4000, 2**28 // 90_000, 1000]


def test_what_is_set_stays() -> None:
    given = bare(search={"trials": 777}, search_space="graph", baselines={"names": ["gat"]})
    found = sized(given, LARGE)
    assert found.search.trials == 777
    assert found.search_space.name == "graph"
    assert found.baselines.names == ("gat",)
    assert found.recipe.trials < 20, "what is not set still follows the data"
    everything = Experiment.parse(bare().resolved(), "here", Path())
    assert sized(everything, LARGE) == everything


def test_a_sized_experiment_stays_as_it_is() -> None:
    once = sized(bare(), LARGE)
    again = Experiment.parse(once.resolved(), "here", Path())
    assert sized(again, LARGE).resolved() == once.resolved()


def test_what_was_chosen_is_written_down_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.experiment.sizing._SMALL", 300)
    value = {key: TINY[key] for key in ("name", "threads", "data", "baselines")}
    value |= {
        "search": {"trials": 6, "population": 3},
        "recipe": {"trials": 2},
        "supernet": {"epochs": 1},
    }
    run = nas.search(value, tmp_path / "run")
    written = yaml.safe_load((run.path / "experiment.yaml").read_text())
    assert written["search_space"]["name"] == "linear"
    assert written["search"]["trials"] == 6
    assert written["retrain"]["top"] < 5
    assert nas.search(value, tmp_path / "run").summary == run.summary
    assert nas.search(run=tmp_path / "run").summary == run.summary
    assert nas.search(Experiment.parse(value, "here", Path()), tmp_path / "run").summary == run.summary
