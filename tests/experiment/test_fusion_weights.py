"""The weights of branches are found on a planted quality whose best is known."""

from types import SimpleNamespace
from typing import Any

import pytest

from nas.experiment.stages import fusion
from nas.space.architecture import Architecture, Fusion, GraphBranch
from nas.space.closed_form import ItemBranch, UserBranch

BRANCHES = {"graph": GraphBranch(hidden_size=4), "item": ItemBranch(), "user": UserBranch()}
SCALE = fusion._WEIGHTS


def relative(weights: dict[str, float]) -> tuple[float, float]:
    """Places on the scale of the item and the user branch, the graph branch at 1; far away without it."""
    if not weights.get("graph"):
        return 99.0, 99.0
    item, user = (
        min(range(len(SCALE)), key=lambda n: abs(SCALE[n] - weights.get(name, 0) / weights["graph"]))
        for name in ("item", "user")
    )
    return item, user


def weighed(
    quality: Any, start: Fusion | None, monkeypatch: pytest.MonkeyPatch, **given: float
) -> dict[str, float]:
    asked: list[tuple[float, float]] = []

    def scorer(_context: Any, architecture: Architecture, _states: Any) -> tuple[float, float]:
        asked.append(relative(architecture.weights))
        return asked[-1]

    def evaluate(places: tuple[float, float], *_rest: Any) -> Any:
        return SimpleNamespace(means={"ndcg@20": quality(*places)})

    monkeypatch.setattr(fusion, "validation_scorer", scorer)
    monkeypatch.setattr(fusion, "evaluate", evaluate)
    experiment = SimpleNamespace(
        metric="ndcg@20",
        ks=(20,),
        search=SimpleNamespace(constraints=()),
        search_space=SimpleNamespace(fixed_weights=given),
    )
    context: Any = SimpleNamespace(experiment=experiment, judged_users=None, train=None, valid=None)
    found, means = fusion.weigh(context, Architecture.model_validate({**BRANCHES, "fusion": start}), None)
    assert len(asked) == len(set(asked)), "nothing is evaluated twice"
    assert means["ndcg@20"] == quality(*relative(found.weights))
    return found.weights


def test_branches_that_belong_together_climb_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a ridge each loses what it climbs alone.
    def ridge(item: float, user: float) -> float:
        return -10 * abs(item - user - 4) - abs(item + user - 14)

    found = weighed(ridge, None, monkeypatch)
    assert relative(found) == (9, 5)


@pytest.mark.parametrize("start", [None, Fusion(graph=1, item=9, user=9)])
def test_the_better_of_two_climbs_counts(start: Fusion | None, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two summits: a small one near the usual weights, a high one that is reached from where a search has been.
    def summits(item: float, user: float) -> float:
        return max(5 - abs(item - 4) - abs(user - 2), 8 - 4 * abs(item - 15) - 4 * abs(user - 15))

    found = relative(weighed(summits, start, monkeypatch))
    assert found == ((4, 2) if start is None else (15, 15))


def test_item_weights_and_nearest_users_may_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    # From where the network leads, the way to the higher summit is downhill.
    def summits(item: float, user: float) -> float:
        return max(5 - abs(item - 4) - abs(user - 2), 8 - abs(item - 13) - abs(user - 10))

    assert relative(weighed(summits, None, monkeypatch)) == (13, 10)


def test_what_does_not_help_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = weighed(lambda item, user: -abs(item - 5) - user, Fusion(graph=1, item=1, user=1), monkeypatch)
    assert found.keys() == {"graph", "item"}


def test_weights_that_the_space_gives_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = weighed(lambda *_: 0.5, Fusion(graph=1, item=9), monkeypatch, graph=2.0, item=1.0, user=1.0)
    assert found == {"graph": 0.5, "item": 0.25, "user": 0.25}
