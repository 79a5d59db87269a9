from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_experiment import TINY

from nas.experiment.config import Experiment
from nas.experiment.context import Context
from nas.experiment.stages.contest import _within_limits, contest
from nas.experiment.stages.partners import closed_form_branches, with_partners
from nas.experiment.stages.retrain import retrain, retrain_best
from nas.search.loop import Candidate
from nas.space.architecture import Architecture, GraphBranch
from nas.space.closed_form import ItemBranch, SpectralBranch
from nas.space.recipe import Recipe

GRAPH = GraphBranch(layers=(), hidden_size=4)
ALONE = Architecture(graph=GRAPH)
BRANCHES = TINY["search_space"]["branches"] | {
    "spectral": {"rank": [4, 8]},
    "item": {"kind": ["ease"], "regularisation": [100, 10]},
}
FUSION = {"graph": [1, 0], "spectral": [0, 1], "item": [0, 1]}


def opened(
    path: Path, branches: dict[str, Any] = BRANCHES, fusion: dict[str, Any] | None = None, **search: Any
) -> Context:
    space = TINY["search_space"] | {"branches": branches}
    fusion = FUSION if branches is BRANCHES and fusion is None else fusion
    space |= {"fusion": fusion} if fusion else {}
    values = TINY | {"search_space": space, "search": TINY["search"] | search}
    values |= {"retrain": TINY["retrain"] | {"recipes": 1}}
    return Context.open(Experiment.parse(values, "test", path), path / "run")


def test_what_an_architecture_lacks_is_added_and_changes_nothing_yet(tmp_path: Path) -> None:
    context = opened(tmp_path)
    space = context.experiment.search_space
    spectral, item = SpectralBranch(rank=4), ItemBranch(kind="ease", regularisation=100)
    assert closed_form_branches(space) == {"spectral": spectral, "item": item}
    found = with_partners(context, space, ALONE)
    assert found.branches == {"graph": GRAPH, "spectral": spectral, "item": item}
    assert found.weights == {"graph": 1, "spectral": 0, "item": 0}
    assert found.canonical() == ALONE
    assert found.id == ALONE.id
    # Its own settings stay.
    other = ItemBranch(kind="ease", regularisation=10)
    fused = Architecture.model_validate(
        {"graph": GRAPH, "item": other, "fusion": {"graph": 0.25, "item": 0.75}}
    )
    found = with_partners(context, space, fused)
    assert found.item == other
    assert found.weights == {"graph": 0.25, "spectral": 0, "item": 0.75}
    assert with_partners(context, space, found) == found


def test_a_space_of_networks_adds_nothing(tmp_path: Path) -> None:
    context = opened(tmp_path, TINY["search_space"]["branches"])
    assert with_partners(context, context.experiment.search_space, ALONE) == ALONE


def test_what_costs_too_much_is_not_added(tmp_path: Path) -> None:
    free = opened(tmp_path / "free")
    space = free.experiment.search_space
    spectral, item = (
        free.costs(Architecture.model_validate({"graph": GRAPH, name: branch}))["artefact_bytes"]
        for name, branch in closed_form_branches(space).items()
    )
    assert item < spectral
    context = opened(tmp_path / "bound", constraints=[f"artefact_bytes <= {item}"])
    assert with_partners(context, space, ALONE).branches.keys() == {"graph", "item"}


def test_what_is_known_competes_by_the_parts_that_the_space_holds(tmp_path: Path) -> None:
    free = opened(tmp_path / "free")
    layers = [{"aggregator": "lightgcn"}]
    network = Architecture.model_validate({"graph": {"hidden_size": 8, "layers": layers}})
    whole = with_partners(free, free.experiment.search_space, network)
    less = f"refresh_macs <= {free.costs(whole)['refresh_macs'] - 1}"
    pairs = {("graph", "spectral"), ("graph", "item"), ("spectral", "item")}
    for weights, expected in (([1, 0], pairs), ([1], pairs - {("spectral", "item")})):
        fusion = FUSION | {"graph": weights}
        context = opened(tmp_path / str(len(weights)), fusion=fusion, constraints=[less])
        found = _within_limits(context, context.experiment.search_space, whole)
        assert {tuple(part.branches) for part in found} == expected


def judged(architecture: Architecture, fused: float, alone: float) -> Candidate:
    values = {"ndcg@20": fused, "graph_alone": alone}
    return Candidate(
        number=0, architecture=architecture, values=values, cached=False, seconds=0.1, finished=0.0
    )


def test_networks_are_retrained_that_are_worth_most_by_themselves(tmp_path: Path) -> None:
    context = opened(tmp_path)
    space = context.experiment.search_space
    lone = [
        Architecture(graph=GRAPH.model_copy(update={"hidden_size": size, "score": score}))
        for size, score in ((4, "dot"), (8, "cosine"), (8, "dot"))
    ]
    weak, strong, middling = (with_partners(context, space, one) for one in lone)
    found = [judged(weak, 0.9, 0.1), judged(strong, 0.2, 0.4), judged(middling, 0.3, 0.3)]
    no_network = Architecture.model_validate({**closed_form_branches(space)})
    unjudged = Candidate(number=3, architecture=ALONE, values={}, cached=False, seconds=0.1, finished=0.0)
    both = [*found, replace(unjudged, architecture=no_network, values={"ndcg@20": 1.0}), unjudged]
    assert context.experiment.retrain.top == 2
    results = retrain_best(context, space, both, Recipe(learning_rate=1e-6))
    assert {one["id"] for one in results} == {strong.id, middling.id}


def test_what_helps_beside_a_trained_network_is_kept_though_the_search_had_none(tmp_path: Path) -> None:
    context = opened(tmp_path)
    recipe = Recipe(learning_rate=1e-6)
    (result,) = retrain_best(context, context.experiment.search_space, [judged(ALONE, 0.1, 0.1)], recipe)
    assert result["id"] == ALONE.id
    assert len(Architecture.model_validate(result["architecture"]).branches) > 1
    assert result["validation"]["ndcg@20"] > result["graph"]["ndcg@20"]
    # Of the branches as they were weighed, not as they were asked for.
    assert result["costs"] == context.costs(Architecture.model_validate(result["architecture"]))
    assert result["costs"]["refresh_macs"] > context.costs(ALONE)["refresh_macs"]


def test_a_candidate_that_is_tuned_is_weighed_with_all_branches_again(tmp_path: Path) -> None:
    context = opened(tmp_path)
    lightgcn = Architecture(graph=GRAPH.model_copy(update={"hidden_size": 8}))
    recipe = Recipe(learning_rate=1e-6)
    retrained = retrain(context, ALONE, recipe)
    assert Architecture.model_validate(retrained["architecture"]).branches.keys() == {"graph"}
    chosen = {"architecture": lightgcn.model_dump(mode="json"), "recipe": recipe.model_dump()}
    results, _ = contest(context, context.experiment.search_space, [retrained], chosen, [])
    (tuned,) = [result for result in results if result["name"].endswith("-tuned")]
    assert len(Architecture.model_validate(tuned["architecture"]).branches) > 1


def rows_of(context: Context, name: str, settings: dict[str, float], quality: float) -> list[dict[str, Any]]:
    names = [f"{metric}@{k}" for metric in ("recall", "ndcg") for k in context.experiment.ks]
    low = {"name": "ease", "settings": {"regularisation": 10.0}, "validation": dict.fromkeys(names, 0.0)}
    skipped = {"name": "slim", "skipped": "too large"}
    return [
        {"name": "ials", "settings": {}, "validation": dict.fromkeys(names, 2.0)},
        {"name": name, "settings": settings, "validation": dict.fromkeys(names, quality)},
        low,
        skipped,
    ]


USERS = {"neighbours": 5, "power": 1.0, "rarity": 0.5}


def competing(context: Context, name: str, settings: dict[str, float], quality: float) -> list[str]:
    """What the contest adds where a baseline has this quality, iALS a higher one and EASE none."""
    lightgcn = Architecture(graph=GRAPH.model_copy(update={"hidden_size": 8}))
    recipe = Recipe(learning_rate=1e-6)
    retrained = retrain(context, ALONE, recipe)
    chosen = {"architecture": lightgcn.model_dump(mode="json"), "recipe": recipe.model_dump()}
    baselines = rows_of(context, name, settings, quality)
    results, _ = contest(context, context.experiment.search_space, [retrained], chosen, baselines)
    added = [result for result in results if result["name"].endswith("-baseline")]
    branches = [Architecture.model_validate(result["architecture"]).branches for result in added]
    assert results == sorted(results, key=lambda result: -result["validation"]["ndcg@20"])
    return sorted(
        "+".join(f"{key}:{one}" if key == "user" else key for key, one in b.items()) for b in branches
    )


def test_a_closed_form_baseline_that_leads_competes_as_a_branch(tmp_path: Path) -> None:
    user = "user:users, neighbours 5, power 1, rarity 0.5"
    space = {**BRANCHES, "user": {"neighbours": [3, 9]}}
    fusion = {**FUSION, "user": [0, 1]}
    found = competing(opened(tmp_path / "a", space, fusion), "userknn", USERS, 1.0)
    # By itself, and, if it helps there, in what had been best.
    assert len(found) == 2
    assert user in found
    assert competing(opened(tmp_path / "b", space, fusion), "userknn", USERS, 0.0) == []
    # What the space does not hold does not compete, nor by itself where others have to be there.
    assert competing(opened(tmp_path / "c"), "userknn", USERS, 1.0) == []
    needed = competing(opened(tmp_path / "d", space, fusion | {"item": [1]}), "userknn", USERS, 1.0)
    assert len(needed) == 1
    assert user not in needed
    slim = {"l1": 1.0, "l2": 1.0}
    assert competing(opened(tmp_path / "e", space, fusion), "slim", slim, 1.0) == []


def test_a_branch_of_weight_0_takes_no_part(tmp_path: Path) -> None:
    context = opened(tmp_path, BRANCHES, FUSION | {"item": [0]})
    assert closed_form_branches(context.experiment.search_space).keys() == {"spectral"}
    without = opened(tmp_path / "graph", BRANCHES, FUSION | {"graph": [0]})
    lightgcn = Architecture(graph=GRAPH.model_copy(update={"hidden_size": 8}))
    chosen = {"architecture": lightgcn.model_dump(mode="json"), "recipe": Recipe().model_dump()}
    results, _ = contest(without, without.experiment.search_space, [], chosen, [])
    assert ["graph" in result["architecture"] for result in results] == [False]
