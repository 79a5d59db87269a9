import pytest

from nas.errors import UserError
from nas.model.evaluation import costs
from nas.model.metrics import METRICS
from nas.search.objectives import COSTS, QUALITIES, direction, list_lengths
from nas.space import SearchSpace


@pytest.mark.parametrize("name", ["ndcg@20", "recall@1", "coverage@10", *(f"{m}@5" for m in METRICS)])
def test_qualities_are_raised(name: str) -> None:
    assert direction(name) == "maximize"


@pytest.mark.parametrize("name", COSTS)
def test_costs_are_lowered(name: str) -> None:
    assert direction(name) == "minimize"


@pytest.mark.parametrize(
    "name",
    [
        "ndcg",
        "ndcg@",
        "ndcg@0",
        "ndcg@020",
        "ndcg@-1",
        "ndcg@ten",
        "ndcg@²",
        "macs@20",
        "parameters@20",
        "",
        "@20",
    ],
)
def test_what_is_no_objective_is_said_with_the_choices(name: str) -> None:
    with pytest.raises(UserError, match=r"unknown objective .*; expected one of .*ndcg@K.*refresh_macs"):
        direction(name)


def test_list_lengths_are_those_of_the_qualities() -> None:
    assert list_lengths(["ndcg@20", "refresh_macs", "recall@5", "coverage@20"]) == {5, 20}


def test_every_objective_has_a_value() -> None:
    computed = costs(SearchSpace.load("presets/gat").decode({}), 10, 10, 20)
    assert set(computed) == set(COSTS) - {"refresh_seconds"}
    assert set(QUALITIES) == {*METRICS, "coverage", "gini", "novelty", "diversity"}
