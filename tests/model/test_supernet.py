from collections import Counter
from typing import Any

import pytest
import torch

from nas.graph.aggregators import AGGREGATORS
from nas.model.evaluation import scorer_of
from nas.model.supernet import Sampler, Supernet, with_tempered_lengths
from nas.space import Architecture, Recipe, SearchSpace


def space_of(**branch: Any) -> SearchSpace:
    branch = {"aggregator": list(AGGREGATORS), **branch}
    return SearchSpace.parse({"name": "space", "branches": {"graph": branch}}, "space")


def test_decks_deal_each_aggregator_equally_often_to_each_layer() -> None:
    sampler = Sampler(space_of(layers=2, hidden_size=8), 0)
    drawn = [sampler() for _ in range(10 * len(AGGREGATORS))]
    for layer in range(2):
        counts = Counter(arch.graph.layers[layer].aggregator for arch in drawn)
        assert counts == dict.fromkeys(AGGREGATORS, 10)
    # Decks are shuffled: neither the order of the table nor the same cards for both layers.
    first, second = ([arch.graph.layers[n].aggregator for arch in drawn] for n in range(2))
    assert first != second
    assert first[:9] != first[9:18]


def test_every_value_of_every_gene_but_the_width_is_trained_before_long() -> None:
    space = SearchSpace.load("graph")
    sampler = Sampler(space, 0)
    branches = [sampler().graph for _ in range(90)]
    for name in ("skip", "readout", "activation", "score"):
        assert {getattr(branch, name) for branch in branches} == set(space.genes()[name])
    assert {len(branch.layers) for branch in branches} == set(space.genes()["layers"])
    layers = [layer for branch in branches for layer in branch.layers]
    assert {layer.aggregator for layer in layers} == set(AGGREGATORS)
    assert {layer.heads for layer in layers} == {1, 2, 4, 8}


def test_decks_go_on_from_epoch_to_epoch(ring: Any) -> None:
    drawn = []

    class Noted(Sampler):
        def __call__(self) -> Architecture:
            drawn.append(super().__call__())
            return drawn[-1]

    space, recipe = space_of(layers=1, hidden_size=8), Recipe(start="noise", batches=2)
    supernet = Supernet(space, ring.data, recipe, 0, Noted)
    for _ in range(len(AGGREGATORS)):
        supernet.epoch()
    counts = Counter(arch.graph.layers[0].aggregator for arch in drawn)
    assert counts == dict.fromkeys(AGGREGATORS, 2)


def test_every_step_trains_the_widest_hidden_size() -> None:
    sampler = Sampler(SearchSpace.load("graph"), 0)
    assert {sampler().graph.hidden_size for _ in range(40)} == {128}


def test_equal_seeds_choose_equal_architectures() -> None:
    def chosen(seed: int) -> list[str]:
        sampler = Sampler(SearchSpace.load("graph"), seed)
        return [sampler().id for _ in range(5)]

    assert chosen(0) == chosen(0) != chosen(1)


@pytest.mark.parametrize("size", [8, 32])
def test_every_slice_of_a_trained_supernet_has_learned(size: int, ring: Any) -> None:
    # Measured after 20 epochs, two seeds: 8 columns .21 to .40, 32 columns .63 to .74; popularity at most .07.
    space = space_of(layers={"min": 0, "max": 2}, hidden_size=[8, 32], heads=[1, 2], skip=["none", "initial"])
    recipe = Recipe(start="noise", batches=2, learning_rate=0.01)
    supernet = Supernet(space, ring.data, recipe, 0)
    for _ in range(20):
        supernet.epoch()
    for aggregator in AGGREGATORS:
        arch = space.decode({"layers": 1, "hidden_size": size, "aggregator_1": aggregator})
        found = ring.ndcg(scorer_of(arch, supernet.weights, ring.data.graph))
        assert found > {8: 0.15, 32: 0.4}[size] > 2 * ring.popularity, aggregator


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_dot_products_are_judged_by_a_power_of_the_items_lengths(power: float) -> None:
    branch = Architecture.model_validate({"graph": {"hidden_size": 4, "score": "dot"}}).learned
    items = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)).double()
    items[3] = 0
    found = with_tempered_lengths(branch, items, power)
    there = [0, 1, 2, 4, 5, 6]
    assert torch.allclose(found.norm(dim=1)[there], items.norm(dim=1)[there] ** power)
    assert torch.allclose(torch.cosine_similarity(found, items)[there], torch.ones(6).double())
    assert torch.equal(found[3], items[3])


def test_cosines_have_no_lengths_to_judge_by() -> None:
    branch = Architecture.model_validate({"graph": {"hidden_size": 4, "score": "cosine"}}).learned
    items = torch.randn(7, 4)
    assert with_tempered_lengths(branch, items) is items
