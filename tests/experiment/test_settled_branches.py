"""The closed-form branches are settled by what they are worth beside the graph branch."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor

from nas.data import Interactions, PlantedConfig, planted
from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.branches import climb_kind, settle_branches
from nas.experiment.stages.fusion import weigh
from nas.experiment.stages.recipe import choose_recipe
from nas.experiment.stages.settling import Settling
from nas.model.evaluation import evaluate
from nas.model.fusion import Held, fused
from nas.model.item_weights import fit_items
from nas.model.nearest_users import fit_users
from nas.model.spectral import singular_vectors
from nas.recommender import recommender
from nas.space.architecture import Architecture
from nas.space.closed_form import ItemBranch, UserBranch
from nas.space.search_space import SearchSpace

SPACE: dict[str, Any] = {
    "name": "two-branches",
    "branches": {
        "graph": {"layers": 1, "hidden_size": 8, "aggregator": ["lightgcn"]},
        # What came after an item is not known here: planted data has no times.
        "item": {"kind": ["ease", "slim", "next", "cosine"], "regularisation": [10, 1, 100], "l1": [0.3, 1]},
    },
    "fusion": {"graph": 1, "item": [0, 1]},
}
NETWORK = Architecture.model_validate({"graph": {"hidden_size": 3}})
PLANTED = {"users": 150, "items": 90, "blocks": 6, "interactions_per_user": 10}
KINDS = "ease", "slim", "cosine"
# What every artefact holds, in bytes.
RUNTIME = Path(recommender.__file__).stat().st_size


def context_of(space: dict[str, Any], folder: Path, more: dict[str, Any] | None = None) -> Context:
    values = {"data": {"source": "planted", "planted": PLANTED}, "search_space": space, "threads": 1}
    values |= more or {}
    return Context.open(Experiment.parse(values, "test", folder), folder / "run")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return context_of(SPACE, tmp_path)


def states_of(context: Context) -> tuple[Tensor, Tensor]:
    users, items = singular_vectors(context.training.graph, 3, 0)
    return users, items


def beside(context: Context, branch: ItemBranch, states: tuple[Tensor, Tensor]) -> list[dict[str, float]]:
    users, train = context.judged_users, context.train
    held = Held(fit_items(branch, train), users, train.n_users)
    alone = evaluate(held, train, context.valid, context.experiment.ks, users).means
    scorers = [fused(states, 1.0, [(weight, held)]) for weight in (0.2, 0.4, 0.8)]
    return [alone] + [
        evaluate(one, train, context.valid, context.experiment.ks, users).means for one in scorers
    ]


def test_a_branch_is_chosen_by_what_it_adds_to_the_graph_branch(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = states_of(context)
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, states))
    space, results = settle_branches(context)
    found, metric = results["item"], context.experiment.metric
    chosen = ItemBranch.model_validate(found["settings"])
    alone, *fusions = beside(context, chosen, states)
    assert found["alone"] == alone
    best = max(one[metric] for one in [alone, *fusions])
    assert found["validation"][metric] == best
    # At least as good as whatever a kind begins with, up to a gain that is too small to count.
    for kind in KINDS:
        others = beside(context, ItemBranch(kind=kind, regularisation=10, l1=0.3).canonical(), states)  # type: ignore[arg-type]
        assert best * 1.001 >= max(one[metric] for one in others)
    assert space.decode({"fusion.item": 1}).item == chosen


def test_nearest_users_are_chosen_by_what_they_add_to_all_others(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {"neighbours": [5, 40], "power": [1, 4]}
    space = SPACE | {"branches": SPACE["branches"] | {"user": user}}
    states, metric = states_of(context), context.experiment.metric
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, states))
    own = context_of(space, tmp_path / "users")
    settled, results = settle_branches(own)
    others = Architecture.model_validate({"graph": NETWORK.graph, "item": results["item"]["settings"]})
    best, _ = weigh(own, others, states)
    users, weights = own.judged_users, best.weights
    item = own.closed_forms.held(others.item)  # type: ignore[arg-type]

    def value(branch: UserBranch) -> float:
        held = Held(fit_users(branch, own.train), users, own.train.n_users)
        fusions = [
            fused(states, weights.get("graph", 0), [(weights.get("item", 0), item), (share, held)])
            for share in (0.03, 0.06, 0.12)
        ]
        ks = own.experiment.ks
        means = (evaluate(one, own.train, own.valid, ks, users).means for one in [held, *fusions])
        return max(one[metric] for one in means)

    chosen = UserBranch.model_validate(results["user"]["settings"])
    assert results["user"]["validation"][metric] == pytest.approx(value(chosen))
    every = [UserBranch(neighbours=count, power=power) for count in (5, 40) for power in (1, 4)]
    # Neither setting alone would do better, but for less than counts.
    near = [one for one in every if (one.neighbours == chosen.neighbours) != (one.power == chosen.power)]
    assert len(near) == 2
    assert value(chosen) * 1.001 >= max(map(value, near))
    assert settled.decode({"fusion.user": 1}).user == chosen


@pytest.mark.parametrize("preferred", [None, *KINDS])
def test_the_kind_of_item_weights_is_the_best_of_the_close_ones_beside_all_branches(
    preferred: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SPACE | {"branches": SPACE["branches"] | {"user": {"neighbours": [5, 40], "power": [1, 4]}}}
    own = context_of(space, tmp_path)
    metric, states = own.experiment.metric, states_of(own)
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, states))
    monkeypatch.setattr("nas.experiment.stages.branches._CLOSE", 0.5)

    def users_beside(item: ItemBranch) -> UserBranch:
        space = own.experiment.search_space.settled(item)
        settling = Settling(own, space, "user", lambda: (NETWORK, states))
        genome = settling.climb(settling.climb_from_starts("user"))
        return UserBranch.model_validate(settling.space.decode(genome).model_dump())

    def worth(item: ItemBranch) -> float:
        whole = {"graph": NETWORK.graph, "item": item, "user": users_beside(item)}
        return weigh(own, Architecture.model_validate(whole), states)[1][metric]

    if preferred:
        monkeypatch.setattr(
            "nas.experiment.stages.branches._beside_all",
            lambda _context, one: {metric: float(one.genes()["item.kind"] == (preferred,))},
        )
    settled, results = settle_branches(own)
    found = results["item"]
    item = ItemBranch.model_validate(found["settings"])
    assert set(found["beside_all"]) == set(KINDS)
    if preferred:
        assert item.kind == preferred
    else:
        for kind in KINDS:
            climbed = own.folder.read_json(f"branches/item-{kind}.json")
            assert climbed is not None
            one = item if kind == item.kind else ItemBranch.model_validate(climbed["genome"]).canonical()
            assert found["beside_all"][kind] == pytest.approx(worth(one))
        assert found["beside_all"][item.kind] == max(found["beside_all"].values())
    assert UserBranch.model_validate(results["user"]["settings"]) == users_beside(item)
    assert settled.decode({"fusion.item": 1, "fusion.user": 1}).branches == {
        "graph": settled.decode({}).graph,
        "item": item,
        "user": users_beside(item),
    }
    held = Held(fit_items(item, own.train), own.judged_users, own.train.n_users)
    alone = evaluate(held, own.train, own.valid, own.experiment.ks, own.judged_users)
    assert found["alone"] == alone.means
    assert settle_branches(own)[1] == results


def test_a_kind_of_which_nothing_may_be_had_is_not_weighed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SPACE | {"branches": SPACE["branches"] | {"user": {"neighbours": [5, 40]}}}
    bound = {"search": {"constraints": [f"artefact_bytes <= {RUNTIME + 71_000}"]}}
    own = context_of(space, tmp_path, bound)
    states = states_of(own)
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, states))
    monkeypatch.setattr("nas.experiment.stages.branches._CLOSE", 0.01)
    _, results = settle_branches(own)
    tried = {kind: own.folder.read_json(f"branches/item-{kind}.json")["tried"] for kind in KINDS}  # type: ignore[index]
    assert {kind for kind in KINDS if tried[kind]} == {"slim"}
    assert results["item"]["settings"]["kind"] == "slim"
    assert "beside_all" not in results["item"]


@pytest.mark.parametrize(
    ("beyond", "preferred", "users"),
    [(73_000, "slim", True), (79_000, "slim", False), (79_000, "ease", False)],
)
def test_users_stand_beside_a_kind_where_there_is_room_for_them(
    beyond: int, preferred: str, users: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    branches = SPACE["branches"] | {"user": {"neighbours": [5, 40]}}
    space = SPACE | {"branches": branches, "fusion": {"graph": 1, "item": 1, "user": [0, 1]}}
    own = context_of(space, tmp_path, {"search": {"constraints": [f"artefact_bytes <= {RUNTIME + beyond}"]}})
    metric, states = own.experiment.metric, states_of(own)
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, states))
    monkeypatch.setattr("nas.experiment.stages.branches._CLOSE", 0.01)
    monkeypatch.setattr(
        "nas.experiment.stages.branches._beside_all",
        lambda _context, one: {metric: float(one.genes()["item.kind"] == (preferred,))},
    )
    settled, results = settle_branches(own)
    assert results["item"]["settings"]["kind"] == preferred
    assert ("settings" in results["user"], "skipped" in results["user"]) == (users, not users)
    assert ("user" in settled.branches.names) == users


def test_kinds_that_are_far_behind_are_not_weighed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SPACE | {"branches": SPACE["branches"] | {"user": {"neighbours": [5, 40]}}}
    own, states = context_of(space, tmp_path), states_of(context_of(space, tmp_path / "other"))
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, states))
    monkeypatch.setattr("nas.experiment.stages.branches._CLOSE", 1.0)
    _, results = settle_branches(own)
    assert results["item"] == own.folder.read_json("branches/item.json")


def test_beside_a_network_that_knows_nothing_a_branch_is_chosen_by_itself(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.Generator().manual_seed(0)
    users, items = (torch.randn(len(part), 3, generator=noise) for part in states_of(context))
    monkeypatch.setattr(
        "nas.experiment.stages.branches._lightgcn", lambda _context: (NETWORK, (users, items))
    )
    _, beside_noise = settle_branches(context)
    found = beside_noise["item"]
    chosen = ItemBranch.model_validate(found["settings"])
    _, *fusions = beside(context, chosen, (users, items))
    metric = context.experiment.metric
    assert found["validation"] == found["alone"]
    assert found["alone"][metric] > max(one[metric] for one in fusions)


def test_without_a_graph_branch_each_is_chosen_by_itself(context: Context) -> None:
    _, results = settle_branches(context)
    assert results["item"]["validation"] == results["item"]["alone"]


def test_what_a_space_leaves_out_is_not_beside_a_branch(tmp_path: Path) -> None:
    # A weight of the item branch that may be 0 as well does not bring the graph branch back.
    context = context_of(SPACE | {"fusion": {"graph": [0], "item": [0, 1]}}, tmp_path)
    choose_recipe(context)
    space, results = settle_branches(context)
    assert results["item"]["validation"] == results["item"]["alone"]
    for weight in (0.0, 1.0):
        assert space.decode({"fusion.item": weight}).branches.keys() == {"item"}


def test_every_kind_climbs_from_its_own_start(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[ItemBranch] = []

    def spy(branch: ItemBranch, *rest: Any) -> Any:
        fitted.append(branch)
        return fit_items(branch, *rest)

    monkeypatch.setattr("nas.experiment.stages.settling.fit_items", spy)
    _, results = settle_branches(context)
    assert {one.kind for one in fitted} == set(KINDS)
    assert {one.regularisation for one in fitted if one.kind == "slim"} == {10, 1, 100}
    # Settings that make no difference to a kind are not tried: three of EASE and of cosine neighbours.
    assert results["item"]["tried"] == len(set(fitted)) <= 3 + 3 + 6


def test_a_kind_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.model.item_weights.MOST_ITEMS", {"ease": 50})
    branches = SPACE["branches"] | {"item": {"kind": ["ease"]}}
    _, results = settle_branches(context_of(SPACE | {"branches": branches}, tmp_path))
    assert results["item"]["skipped"] == "90 items need 9.72e-05 GB; EASE is run up to 50 items"


def test_a_space_of_which_nothing_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.model.item_weights.MOST_ITEMS", {"ease": 50})
    branches = {"graph": SPACE["branches"]["graph"], "item": {"kind": "ease"}}
    with pytest.raises(
        UserError, match="the item branch is too large for this data, and no other has a weight"
    ):
        context_of(SPACE | {"branches": branches, "fusion": {"graph": 0, "item": 1}}, tmp_path)
    assert not (tmp_path / "run").exists()


def test_it_stands_beside_the_lightgcn_that_the_run_has_chosen(context: Context, tmp_path: Path) -> None:
    _, alone = settle_branches(context)
    other = context_of(SPACE | {"name": "again"}, tmp_path / "other")
    choose_recipe(other)
    _, fused_with = settle_branches(other)
    assert fused_with["item"]["validation"] != fused_with["item"]["alone"]
    assert alone["item"]["validation"] == alone["item"]["alone"]


def test_another_process_climbs_to_the_same_settings(context: Context, tmp_path: Path) -> None:
    _, expected = settle_branches(context)
    other = context_of(SPACE, tmp_path / "other")
    for kind in KINDS:
        climb_kind(context_of(SPACE, tmp_path / "other"), "item", kind)
    _, found = settle_branches(other)
    assert {**found["item"], "seconds": 0} == {**expected["item"], "seconds": 0}


def test_on_a_large_catalogue_the_regularisation_is_chosen_on_all_items(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.experiment.stages.settling.LARGE_CATALOGUE", 40)
    fitted: list[tuple[int, ItemBranch]] = []

    def spy(branch: ItemBranch, train: Interactions) -> Any:
        fitted.append((train.n_items, branch))
        return fit_items(branch, train)

    monkeypatch.setattr("nas.experiment.stages.settling.fit_items", spy)
    _, results = settle_branches(context)
    found, metric = results["item"], context.experiment.metric
    chosen = ItemBranch.model_validate(found["settings"])
    everywhere = {one for items, one in fitted if items == context.train.n_items}
    # The popular items say everything else: one kind, and one l1, are left.
    assert {items for items, _ in fitted} == {40, context.train.n_items}
    assert len({(one.kind, one.l1) for one in everywhere}) == 1
    assert found["items"] == context.train.n_items
    assert found["tried"] == len({(items, one) for items, one in fitted})

    def value(branch: ItemBranch) -> float:
        held = Held(fit_items(branch, context.train), context.judged_users, context.train.n_users)
        return evaluate(
            held, context.train, context.valid, context.experiment.ks, context.judged_users
        ).means[metric]

    assert found["alone"][metric] == value(chosen)
    walked = sorted(everywhere, key=lambda one: one.regularisation)
    assert value(chosen) * 1.001 >= max(map(value, walked))
    # A step on either side of the chosen one, where there is one.
    place, choices = [1.0, 10.0, 100.0].index(chosen.regularisation), {one.regularisation for one in walked}
    assert choices >= set([1.0, 10.0, 100.0][max(0, place - 1) : place + 2])


def test_on_a_large_catalogue_features_are_weighed_on_all_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.experiment.stages.settling.LARGE_CATALOGUE", 40)
    item = {"kind": "ease", "regularisation": 10, "l1": 1, "dropout": [0, 0.3], "features": [0, 3, 10]}
    context = context_of(SPACE | {"branches": SPACE["branches"] | {"item": item}}, tmp_path)
    everywhere: set[ItemBranch] = set()

    def spy(branch: ItemBranch, train: Interactions) -> Any:
        if train.n_items == context.train.n_items:
            everywhere.add(branch)
        return fit_items(branch, train)

    monkeypatch.setattr("nas.experiment.stages.settling.fit_items", spy)
    settle_branches(context)
    assert len({one.features for one in everywhere}) > 1
    assert len({one.dropout for one in everywhere}) == 1


def test_features_count_where_they_say_more_than_what_was_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The titles of planted data name the block whose items a user likes, and of four items each little else is known.
    few = {"data": {"source": "planted", "planted": PLANTED | {"interactions_per_user": 4}}}
    item = {"kind": "ease", "regularisation": 10, "features": [0, 3, 10]}
    space = SPACE | {"branches": SPACE["branches"] | {"item": item}}
    context = context_of(space, tmp_path, few)
    monkeypatch.setattr("nas.experiment.stages.branches._lightgcn", lambda _context: None)
    _, results = settle_branches(context)
    assert results["item"]["settings"]["features"] > 0
    found = results["item"]["alone"]["ndcg@20"]
    plain = ItemBranch(kind="ease", regularisation=10.0)
    users, train = context.judged_users, context.train
    held = Held(fit_items(plain, train), users, train.n_users)
    assert found > 1.1 * evaluate(held, train, context.valid, context.experiment.ks, users).means["ndcg@20"]


def test_where_nothing_is_known_of_items_features_are_not_tried(tmp_path: Path) -> None:
    made = planted(PlantedConfig.model_validate(PLANTED))
    rows = {"user": [made.user_ids[n] for n in made.user], "item": [made.item_ids[n] for n in made.item]}
    pl.DataFrame(rows).write_csv(tmp_path / "pairs.csv")
    item = {"kind": "ease", "regularisation": 10, "features": [0, 3, 10]}
    space = SearchSpace.parse(SPACE | {"branches": SPACE["branches"] | {"item": item}}, "test")
    bare = context_of(SPACE, tmp_path, {"data": {"path": str(tmp_path / "pairs.csv")}})
    assert Settling(bare, space, "item", lambda: None).steps == []
    known = context_of(SPACE, tmp_path / "known")
    assert Settling(known, space, "item", lambda: None).steps == ["features"]


def test_a_walk_goes_on_while_it_gets_better(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    space = SPACE | {
        "branches": SPACE["branches"] | {"item": {"kind": "slim", "regularisation": [9, 1, 3, 27]}}
    }
    qualities = {1.0: 0.4, 3.0: 0.3, 9.0: 0.2, 27.0: 0.5}
    made = Settling(context, SearchSpace.parse(space, "test"), "item", lambda: None)
    monkeypatch.setattr(made, "value", lambda genome: qualities[genome["regularisation"]])
    start = made.starts("slim")[0]
    assert start["regularisation"] == 9
    # Down as far as it gets better, and back up no further than that.
    assert made.walk("regularisation", start)["regularisation"] == 1
    qualities |= {3.0: 0.1}
    assert made.walk("regularisation", start)["regularisation"] == 27


def test_nearest_users_climb_from_either_side(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"neighbours": 5, "power": [3, 1], "rarity": [0.5, 1]}
    space = SearchSpace.parse(SPACE | {"branches": SPACE["branches"] | {"user": user}}, "test")
    qualities = {(3.0, 0.5): 0.4, (1.0, 0.5): 0.3, (3.0, 1.0): 0.3, (1.0, 1.0): 0.5}
    made = Settling(context, space, "user", lambda: None)
    monkeypatch.setattr(made, "value", lambda genome: qualities[genome["power"], genome["rarity"]])
    ends = [made.climb(start) for start in made.starts("user")]
    assert [(end["power"], end["rarity"]) for end in ends] == [(3, 0.5), (1, 1)]
    assert made.climb_from_starts("user") == ends[1]
    qualities |= {(1.0, 1.0): 0.2}
    assert made.climb_from_starts("user") == ends[0]


def test_a_space_without_the_other_start_has_one(context: Context) -> None:
    user = {"neighbours": [5, 10], "power": [3, 2], "rarity": 0.5}
    space = SearchSpace.parse(SPACE | {"branches": SPACE["branches"] | {"user": user}}, "test")
    made = Settling(context, space, "user", lambda: None)
    assert made.starts("user") == [{"neighbours": 5, "power": 3.0, "rarity": 0.5, "recency": 0.0}]
    assert len(Settling(context, space, "item", lambda: None).starts("ease")) == 1
