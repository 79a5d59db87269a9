"""What an architecture costs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nas.data import Interactions
from nas.graph import Graph
from nas.model.evaluation import costs, final_states, scorer_of
from nas.model.network import propagate
from nas.model.weights import Weights, parameters_of_space
from nas.space import Architecture, SearchSpace

SPACE = SearchSpace.load("graph")


def test_parameters_are_the_numbers_of_the_extracted_store(
    tiny: Interactions, graph: Graph, randomise: Callable[..., Weights]
) -> None:
    supernet = randomise(parameters_of_space(SPACE.branches.graph, graph.n_users, graph.n_items), 0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        arch = SPACE.sample(rng)
        held = sum(tensor.numel() for tensor in supernet.extract(arch, graph).tensors.values())
        assert costs(arch, graph.n_users, graph.n_items, len(tiny))["parameters"] == held


def decode(**genome: str | int) -> Architecture:
    return SPACE.decode(genome)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_lightgcn_costs_edges_times_columns_times_layers(layers: int) -> None:
    arch = decode(layers=layers, hidden_size=32, readout="last")
    found = costs(arch, 100, 50, 700)
    assert found["refresh_macs"] == 2 * 700 * 32 * layers
    assert found["parameters"] == 150 * 32
    summed = costs(decode(layers=layers, hidden_size=32, readout="mean"), 100, 50, 700)
    assert summed["refresh_macs"] == 2 * 700 * 32 * layers + 150 * 32 * (layers + 1)


def test_matrix_factorisation_is_refreshed_for_nothing() -> None:
    found = costs(decode(layers=0, hidden_size=16), 100, 50, 700)
    arrays = 150 * 16 + 16 * 16 + (101 * 2 + 700) + 50
    assert found == {"parameters": 150 * 16, "refresh_macs": 0, "artefact_bytes": 4 * arrays}


def test_costs_grow_with_width_depth_and_data() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        genome = SPACE.encode(SPACE.sample(rng))
        genome |= {"layers": max(1, int(genome["layers"])), "hidden_size": 32, "aggregator_1": "gcn"}
        base = costs(SPACE.decode(genome), 100, 50, 700)
        wide = costs(SPACE.decode(genome | {"hidden_size": 64}), 100, 50, 700)
        much = costs(SPACE.decode(genome), 200, 100, 1400)
        assert all(base[name] < min(wide[name], much[name]) for name in base)
    depths = [costs(decode(layers=n, aggregator_1="sage"), 100, 50, 700) for n in range(5)]
    macs = [found["refresh_macs"] for found in depths]
    assert macs == sorted(set(macs))


def test_layers_store_what_folding_in_needs() -> None:
    plain, deep = (
        costs(decode(layers=n, aggregator_1="gcn", aggregator_2="identity", readout="last"), 100, 50, 700)
        for n in (0, 2)
    )
    # Initial embeddings, the items' states before the first layer, its weight and bias; an identity needs nothing.
    more = 100 * 16 + 50 * 16 + 16 * 16 + 16
    assert deep["artefact_bytes"] - plain["artefact_bytes"] == 4 * more


def test_concatenated_states_make_the_artefact_larger() -> None:
    last, concat = (costs(decode(layers=2, readout=r), 100, 50, 700) for r in ("last", "concat"))
    size = 16
    more = 150 * size * 2 + 2 * size**2
    assert concat["artefact_bytes"] - last["artefact_bytes"] == 4 * more
    assert concat["parameters"] == last["parameters"]


def test_scores_are_products_of_the_final_states(graph: Graph, randomise: Callable[..., Weights]) -> None:
    arch = decode(layers=1, readout="concat", score="cosine")
    weights = randomise(parameters_of_space(SPACE.branches.graph, graph.n_users, graph.n_items), 0)
    users, items, seconds = final_states(arch, weights, graph)
    assert seconds > 0
    assert not users.requires_grad
    assert all(
        torch.equal(a, b) for a, b in zip(propagate(arch, weights, graph), (users, items), strict=True)
    )
    found = scorer_of(arch, weights, graph)(torch.tensor([3, 0]))
    torch.testing.assert_close(found, users[[3, 0]] @ items.t())
