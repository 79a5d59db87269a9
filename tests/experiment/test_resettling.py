"""Where what comes next is asked for, settings are chosen once more beside all branches."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages import resettling
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.fusion import weigh
from nas.experiment.stages.resettling import settle_again
from nas.experiment.stages.settling import Network, Settling
from nas.space.architecture import Architecture, Fusion
from nas.space.closed_form import ItemBranch, UserBranch

Quality = Callable[[ItemBranch, UserBranch], float]

ITEM = {"regularisation": [1, 10, 100], "recency": [0, 1, 10], "debias": [0, 0.5]}
USER = {"neighbours": [5, 20], "recency": [0, 3]}
SPACE: dict[str, Any] = {
    "name": "again",
    "branches": {
        "graph": {"layers": 1, "hidden_size": 4, "aggregator": ["lightgcn"]},
        "item": ITEM,
        "user": USER,
    },
    "fusion": {"graph": 1, "item": [0, 1], "user": [0, 1]},
}


@pytest.fixture(params=["leave_last_out"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> Context:
    rng = np.random.default_rng(0)
    lines = ["user,item,timestamp"]
    for user in range(60):
        first = rng.integers(30)
        lines += [f"u{user},i{(first + step) % 30},{step}" for step in range(12)]
    (tmp_path / "events.csv").write_text("\n".join(lines) + "\n")
    values = {
        "data": {"path": str(tmp_path / "events.csv")},
        "split": {"strategy": request.param},
        "search_space": SPACE,
        "threads": 1,
    }
    return Context.open(Experiment.parse(values, "test", tmp_path), tmp_path / "run")


def planted(
    context: Context, quality: Quality, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, dict[str, Any]], list[Architecture]]:
    """Return what is settled again where branches together are worth `quality`, and what was weighed near the best."""
    near_ones: list[Architecture] = []

    def known(
        _context: Context, one: Architecture, _states: Any, *, near: bool = False
    ) -> tuple[Architecture, dict[str, float]]:
        assert one.item is not None
        assert one.user is not None
        value = quality(one.item, one.user)
        if near:
            near_ones.append(one)
        # Weights that tell which call they are of.
        fusion = Fusion.of({"graph": 1.0, "item": 1.0 + len(near_ones), "user": 1.0})
        return one.model_copy(update={"fusion": fusion}), {context.experiment.metric: value}

    monkeypatch.setattr(resettling, "weigh", known)
    network: Network = (
        Architecture.model_validate({"graph": {"hidden_size": 4}}),
        (torch.ones(context.train.n_users, 4), torch.ones(context.train.n_items, 4)),
    )
    settled = context.experiment.search_space.settled(ItemBranch(regularisation=1.0)).settled(
        UserBranch(neighbours=5)
    )
    return settle_again(context, settled, network), near_ones


@pytest.mark.parametrize("strategy", ["leave_last_out", "random"])
def test_features_wait_for_the_other_settings_where_age_counts(strategy: str, tmp_path: Path) -> None:
    rows = [f"u{user},i{(user + step) % 30},{step}" for user in range(60) for step in range(12)]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"i{n},block {n // 5}\n" for n in range(30)))
    values = {
        "data": {"path": str(tmp_path / "events.csv"), "items": str(tmp_path / "items.csv")},
        "split": {"strategy": strategy},
        "search_space": SPACE | {"branches": SPACE["branches"] | {"item": ITEM | {"features": [0, 3]}}},
    }
    context = Context.open(Experiment.parse(values, "test", tmp_path), tmp_path / "run")
    space = context.experiment.search_space
    first, late = (Settling(context, space, "item", lambda: None, all_items=late) for late in (False, True))
    assert ("features" in first.steps) == (strategy == "random")
    assert "features" in late.steps


def distance(item: ItemBranch, user: UserBranch) -> float:
    return (
        abs(math.log10(item.regularisation) - 1)
        + (item.recency != 10)
        + (item.debias != 0.5)
        + (user.recency != 3)
        + (user.neighbours != 20)
    )


def test_settings_are_those_that_are_worth_most_together(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, tried = planted(context, lambda item, user: 1 / (1 + distance(item, user)), monkeypatch)
    best = ItemBranch(regularisation=10.0, recency=10.0, debias=0.5)
    assert ItemBranch.model_validate(found["item"]["settings"]) == best
    assert UserBranch.model_validate(found["user"]["settings"]) == UserBranch(neighbours=20, recency=3)
    # What is tried begins at the weights of the best before it.
    assert tried[0].weights["item"] == pytest.approx(1 / 3, abs=1e-3)
    assert tried[-1].weights["item"] > 0.5
    assert len(tried) == len({one.id for one in tried})
    # What they are worth by themselves is told anew.
    metric = context.experiment.metric
    assert found["item"]["alone"][metric] <= found["item"]["validation"][metric]
    start = 1 / (1 + distance(ItemBranch(regularisation=1.0), UserBranch(neighbours=5)))
    item_alone = 1 / (1 + distance(best, UserBranch(neighbours=5)))
    assert found["item"]["together"] == pytest.approx([start, item_alone])
    assert found["user"]["together"] == pytest.approx([item_alone, 1.0])


def test_what_is_told_is_the_worth_of_what_was_chosen(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Too little a gain to be more than chance: `debias` stays.
    def quality(item: ItemBranch, _user: UserBranch) -> float:
        return 0.3 + 0.1 * (item.recency == 10) + 1e-4 * (item.debias > 0)

    found, _ = planted(context, quality, monkeypatch)
    assert ItemBranch.model_validate(found["item"]["settings"]).debias == 0
    assert found["item"]["together"] == pytest.approx([0.3, 0.4], abs=1e-9)


def test_what_is_no_better_stays(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = planted(context, lambda item, _: 0.5 + 1e-4 * (item.recency > 0), monkeypatch)
    assert found == {}


def test_on_a_large_catalogue_item_weights_are_not_fitted_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resettling, "LARGE_CATALOGUE", 10)
    found, _ = planted(context, lambda item, user: 1 / (1 + distance(item, user)), monkeypatch)
    assert ItemBranch.model_validate(found["item"]["settings"]) == ItemBranch(
        regularisation=1.0, recency=10.0, debias=0.5
    )


def test_all_branches_together_are_worth_no_less_than_before(context: Context) -> None:
    space, results = settle_branches(context)
    again = context.folder.read_json("branches/again.json")
    assert {name: row["settings"] for name, row in results.items()} == {
        name: branch.model_dump(mode="json") for name, branch in space.decode({"fusion.item": 1.0, "fusion.user": 1.0}).closed_forms.items()
    }  # fmt: skip
    before = {name: context.folder.read_json(f"branches/{name}.json")["settings"] for name in results}
    kinds = context.folder.read_json("branches/kinds.json")["results"]
    before |= {name: row["settings"] for name, row in kinds.items()}
    assert all(again["results"][name]["settings"] != before[name] for name in again["results"])
    old, new = (
        weigh(context, Architecture.model_validate(branches), None)[1][context.experiment.metric]
        for branches in (before, {name: row["settings"] for name, row in results.items()})
    )
    assert new >= old


@pytest.mark.parametrize("context", ["random"], indirect=True)
def test_random_interactions_ask_for_no_second_choice(context: Context) -> None:
    settle_branches(context)
    assert context.folder.read_json("branches/again.json") is None
