"""Laws of the space: what it counts, holds, decodes and steps to is the same set."""

from itertools import product
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nas.space import Architecture, Recipe, SearchSpace

COUNTED = settings(max_examples=40)


def some(*values: Any, most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)


def choice(strategy: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"choices": strategy, "per": st.sampled_from(["layer", "tied"])})


def parse(branch: dict[str, Any], **rest: Any) -> SearchSpace:
    return SearchSpace.parse({"name": "space", "branches": {"graph": branch}, **rest}, "space")


# Heads 1 is always among the choices, so that some divide every size.
spaces = st.fixed_dictionaries(
    {
        "layers": some(0, 1, 2, 3),
        "hidden_size": some(4, 6, 8),
        "aggregator": choice(some("identity", "lightgcn", "gcn", "gat", "gatv2", most=3)),
        "heads": choice(some(1, 2, 3, 4).map(lambda heads: sorted({1, *heads}, reverse=len(heads) > 1))),
        "skip": some("none", "residual", "initial", "dense"),
        "readout": some("last", "mean", "concat"),
        "activation": some("none", "relu", "tanh"),
        "score": some("dot", "cosine"),
    }
).map(parse)


def everything(space: SearchSpace) -> set[Architecture]:
    """Every architecture, by decoding every genome."""
    genes = space.genes()
    assume(np.prod([len(choices) for choices in genes.values()]) <= 2000)
    return {space.decode(dict(zip(genes, values, strict=True))) for values in product(*genes.values())}


@given(space=spaces)
@COUNTED
def test_the_size_is_the_number_of_architectures(space: SearchSpace) -> None:
    assert space.size() == len(everything(space))


@given(space=spaces)
@COUNTED
def test_decoding_undoes_encoding(space: SearchSpace) -> None:
    for arch in everything(space):
        genome = space.encode(arch)
        assert set(genome) == set(space.genes())
        assert all(value in space.genes()[name] for name, value in genome.items())
        assert space.decode(genome) == arch


@given(space=spaces, other=spaces, seed=st.integers(0, 99))
@COUNTED
def test_a_space_contains_its_own_architectures_and_no_others(
    space: SearchSpace, other: SearchSpace, seed: int
) -> None:
    own = everything(space)
    assert all(space.contains(arch) for arch in own)
    rng = np.random.default_rng(seed)
    for arch in [other.sample(rng) for _ in range(20)]:
        assert space.contains(arch) == (arch in own)


@given(space=spaces, seed=st.integers(0, 99))
@COUNTED
def test_samples_are_canonical_and_contained(space: SearchSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for arch in [space.sample(rng) for _ in range(10)]:
        assert arch.canonical() == arch
        assert space.contains(arch)


@given(space=spaces)
@settings(max_examples=10)
def test_single_steps_lead_from_anywhere_to_everywhere(space: SearchSpace) -> None:
    whole = everything(space)
    reached = {space.decode({})}
    border = list(reached)
    while border:
        found = [other for arch in border for other in space.neighbours(arch)]
        border = [arch for arch in dict.fromkeys(found) if arch not in reached]
        reached.update(border)
    assert reached == whole


@given(space=spaces, seed=st.integers(0, 99))
@COUNTED
def test_neighbours_are_one_gene_away(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    genome, found = space.encode(arch), list(space.neighbours(arch))
    assert len(found) == len(set(found))
    assert arch not in found
    steps = {
        space.decode({**genome, name: value}) for name, values in space.genes().items() for value in values
    }
    assert set(found) == steps - {arch}


def shape(arch: Architecture) -> tuple[object, ...]:
    """Which genes matter: what becomes active by a step begins with its first choice."""
    branch = arch.graph
    return branch.layers, branch.hidden_size, any(branch.activated(n) for n in range(len(branch.layers)))


@given(space=spaces, seed=st.integers(0, 99))
@COUNTED
def test_a_step_within_a_shape_can_be_taken_back(space: SearchSpace, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    for other in space.neighbours(arch):
        if shape(other) == shape(arch):
            assert arch in space.neighbours(other)


def test_every_value_is_sampled() -> None:
    space = SearchSpace.load("graph")
    rng = np.random.default_rng(0)
    branches = [space.sample(rng).graph for _ in range(300)]
    assert {len(branch.layers) for branch in branches} == set(space.genes()["layers"])
    for name in ("hidden_size", "skip", "readout", "activation", "score"):
        assert {getattr(branch, name) for branch in branches} == set(space.genes()[name])
    layers = {layer for branch in branches for layer in branch.layers}
    assert {layer.aggregator for layer in layers} == set(space.genes()["aggregator_1"])


def test_heads_that_do_not_divide_become_the_next_that_do() -> None:
    space = parse({"hidden_size": [4, 6], "layers": 1, "aggregator": ["gat"], "heads": [1, 2, 3, 4]})
    found = {
        (size, heads): space.decode({"hidden_size": size, "heads_1": heads}).graph.layers[0].heads
        for size in (4, 6)
        for heads in (1, 2, 3, 4)
    }
    assert found == {(4, 1): 1, (4, 2): 2, (4, 3): 2, (4, 4): 4, (6, 1): 1, (6, 2): 2, (6, 3): 3, (6, 4): 3}


def test_tied_genes_are_shared_by_all_layers() -> None:
    space = parse(
        {
            "layers": 3,
            "aggregator": {"choices": ["gcn", "gat"], "per": "tied"},
            "heads": {"choices": [1, 2], "per": "tied"},
        }
    )
    assert space.free_genes() == {"aggregator": ("gcn", "gat"), "heads": (1, 2)}
    assert [str(layer) for layer in space.decode({"aggregator": "gat", "heads": 2}).graph.layers] == [
        "gatx2"
    ] * 3


RECIPE: dict[str, Any] = {
    "loss": ["bpr", "softmax"],
    "dropout": 0.5,
    "temperature": {"min": 0.1, "max": 10.0, "log": True},
    "learning_rate": {"min": 0.01, "max": 0.03},
}


def test_the_default_recipe_takes_first_choices_and_middles() -> None:
    found = parse({"aggregator": "gcn"}, recipe=RECIPE).recipe_defaults()
    assert (found.loss, found.dropout) == ("bpr", 0.5)
    assert found.temperature == pytest.approx(1.0)
    assert found.learning_rate == pytest.approx(0.02)
    assert found.batches == Recipe().batches


def test_a_trial_chooses_every_free_setting_within_its_range() -> None:
    space = parse({"aggregator": "gcn"}, recipe=RECIPE)
    assert set(space.free_recipe()) == {"loss", "temperature", "learning_rate"}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(50)]
    recipes = [space.suggest_recipe(trial) for trial in trials]
    assert {recipe.loss for recipe in recipes} == {"bpr", "softmax"}
    assert {recipe.dropout for recipe in recipes} == {0.5}
    temperatures = [recipe.temperature for recipe in recipes]
    assert 0.1 <= min(temperatures) < 0.4
    assert 2.5 < max(temperatures) <= 10
    # On a logarithmic scale half of them lie below the geometric middle.
    assert 10 <= sum(temperature < 1 for temperature in temperatures) <= 40
    assert all(set(trial.params) == {"loss", "temperature", "learning_rate"} for trial in trials)


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        ({"graph": 2, "item": 1}, {"graph": 2.0, "item": 1.0}),
        ({"graph": 2}, {"graph": 2.0, "item": 1.0}),
        ({}, {}),  # left out
        ({"graph": [2, 3], "item": 1}, {}),
        ({"graph": 2, "item": 0}, {}),
        ({"graph": [0, 2], "item": 1}, {}),
    ],
)
def test_weights_are_given_where_there_is_one_for_each_branch(
    fusion: dict[str, Any], expected: dict[str, float]
) -> None:
    graph = {"layers": 1, "hidden_size": 4, "aggregator": "mean"}
    value = {"name": "s", "branches": {"graph": graph, "item": {}}, "fusion": fusion}
    assert SearchSpace.parse(value, "s").fixed_weights == expected
    assert SearchSpace.parse({"name": "s", "branches": {"graph": graph}}, "s").fixed_weights == {}
