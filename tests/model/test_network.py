"""The one network against PyG's networks and plain formulas."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pyg_twins import TWINS, Tensors, edge_index
from torch import Tensor

from nas.data import Interactions
from nas.graph import Graph
from nas.graph.aggregators import AGGREGATORS
from nas.model.network import ACTIVATIONS, Propagation, propagate
from nas.model.weights import Weights, parameters_of
from nas.space import Architecture, GraphBranch, Layer, SearchSpace
from nas.space.graph_space import _WORDS

PRESETS = {"lightgcn", "mf", "ngcf", "gat", "gatv2", "gcn", "graphsage", "gin"}


def architecture(names: list[str], heads: int = 1, size: int = 8, **rest: str) -> Architecture:
    layers = tuple(
        Layer(aggregator=name, heads=heads if AGGREGATORS[name].attention else 1) for name in names
    )
    return Architecture(graph=GraphBranch.model_validate({"hidden_size": size, "layers": layers, **rest}))


def weights_of(arch: Architecture, graph: Graph, randomise: Callable[..., Weights]) -> Weights:
    return randomise(parameters_of(arch.graph, graph.n_users, graph.n_items), 3)


def final(arch: Architecture, weights: Weights, graph: Graph) -> Tensor:
    return torch.cat(propagate(arch, weights, graph))


def embeddings(weights: Weights) -> Tensor:
    return torch.cat([weights.tensors["users"], weights.tensors["items"]])


def layer_tensors(weights: Weights, layer: int, aggregator: str) -> Tensors:
    prefix = f"{layer}.{aggregator}."
    return {name.removeprefix(prefix): t for name, t in weights.tensors.items() if name.startswith(prefix)}


def preset(name: str) -> Architecture:
    return SearchSpace.load(f"presets/{name}").decode({})


def apply_layer(weights: Weights, graph: Graph, layer: int, aggregator: str, x: Tensor) -> Tensor:
    return AGGREGATORS[aggregator].apply(x, layer_tensors(weights, layer, aggregator), graph, 1)


# --- presets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_one_point_of_the_shipped_space(name: str) -> None:
    space = SearchSpace.load(f"presets/{name}")
    assert space.size() == 1
    assert space.contains(preset(name))
    assert SearchSpace.load("graph").contains(preset(name))


def test_the_lightgcn_preset_is_pygs_lightgcn(
    graph: Graph, randomise: Callable[..., Weights], pyg: ModuleType
) -> None:
    weights = weights_of(preset("lightgcn"), graph, randomise)
    model = pyg.nn.models.LightGCN(graph.n_nodes, embedding_dim=64, num_layers=3)
    model.embedding.weight.data = embeddings(weights).detach()
    expected = model.get_embedding(edge_index(graph))
    torch.testing.assert_close(final(preset("lightgcn"), weights, graph), expected, rtol=1e-5, atol=1e-5)


def test_the_mf_preset_is_the_embeddings(graph: Graph, randomise: Callable[..., Weights]) -> None:
    weights = weights_of(preset("mf"), graph, randomise)
    assert torch.equal(final(preset("mf"), weights, graph), embeddings(weights))


def test_the_ngcf_preset_is_the_papers_network(graph: Graph, randomise: Callable[..., Weights]) -> None:
    weights = weights_of(preset("ngcf"), graph, randomise)
    adjacency = torch.zeros(graph.n_nodes, graph.n_nodes)
    adjacency[graph.edges.row.long(), graph.edges.column.long()] = 1.0
    root = adjacency.sum(1).clamp(min=1).rsqrt()
    laplacian = root[:, None] * adjacency * root[None, :]
    states = [embeddings(weights)]
    for layer in range(3):
        x, tensors = states[-1], layer_tensors(weights, layer, "ngcf")
        out = (laplacian @ x + x) @ tensors["weight_sum"] + (laplacian @ x * x) @ tensors["weight_product"]
        states.append(torch.where(out > 0, out, 0.2 * out))
    expected = torch.cat(states, dim=1)
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(final(preset("ngcf"), weights, graph), expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("name", "aggregator", "heads", "activation"),
    [
        ("gat", "gat", 4, torch.nn.ELU()),
        ("gatv2", "gatv2", 4, torch.nn.ELU()),
        ("gcn", "gcn", 1, torch.nn.ReLU()),
        ("graphsage", "sage", 1, torch.nn.ReLU()),
        ("gin", "gin", 1, torch.nn.ReLU()),
    ],
)
def test_a_preset_is_two_of_pygs_layers_with_the_activation_between(
    name: str,
    aggregator: str,
    heads: int,
    activation: torch.nn.Module,
    graph: Graph,
    randomise: Callable[..., Weights],
    pyg: ModuleType,
) -> None:
    weights = weights_of(preset(name), graph, randomise)
    x = embeddings(weights)
    for layer in range(2):
        twin = TWINS[aggregator](pyg, layer_tensors(weights, layer, aggregator), graph, heads)
        x = torch.func.functional_call(*twin, (x, edge_index(graph)))
        x = activation(x) if layer == 0 else x
    scale = float(x.detach().abs().max())
    torch.testing.assert_close(final(preset(name), weights, graph), x, rtol=1e-5, atol=1e-5 * scale)


# --- skips, readouts, activations, scores --------------------------------------------------------------------------

SKIPS: dict[str, Callable[[Callable[[Tensor], Tensor], list[Tensor]], Tensor]] = {
    "none": lambda f, states: f(states[-1]),
    "residual": lambda f, states: (f(states[-1]) + states[-1]) / 2,
    "initial": lambda f, states: 0.9 * f(states[-1]) + 0.1 * states[0],
    "dense": lambda f, states: f(sum(states) / len(states)),
}
READOUTS: dict[str, Callable[[list[Tensor], Weights], Tensor]] = {
    "last": lambda states, _weights: states[-1],
    "mean": lambda states, _weights: sum(states) / len(states),
    "learned": lambda states, weights: sum(
        w / len(states) * s for w, s in zip(weights.tensors["readout"], states, strict=True)
    ),
    "concat": lambda states, _weights: torch.cat(states, 1),
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": lambda x: x.clamp(min=0),
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.2 * x),
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "tanh": lambda x: 2 * torch.sigmoid(2 * x) - 1,
}


def test_every_word_of_the_space_has_a_formula_here() -> None:
    assert set(SKIPS) == set(_WORDS["skip"])
    assert set(READOUTS) == set(_WORDS["readout"])
    assert set(FUNCTIONS) == set(_WORDS["activation"]) == set(ACTIVATIONS)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("skip", SKIPS)
def test_a_skip_and_a_readout_are_their_formulas(
    skip: str, readout: str, graph: Graph, randomise: Callable[..., Weights]
) -> None:
    names = ["gcn", "sage", "gcn"]
    arch = architecture(names, skip=skip, readout=readout, activation="tanh")
    weights = weights_of(arch, graph, randomise)
    states = [embeddings(weights)]
    for n, name in enumerate(names):
        # Last states that are scored keep their sign.
        bare = readout == "last" and n == 2

        def layer(x: Tensor, n: int = n, name: str = name, bare: bool = bare) -> Tensor:
            out = apply_layer(weights, graph, n, name, x)
            return out if bare else out.tanh()

        states.append(SKIPS[skip](layer, states))
    expected = READOUTS[readout](states, weights)
    torch.testing.assert_close(final(arch, weights, graph), expected, rtol=1e-5, atol=1e-6)
    assert expected.shape[1] == arch.graph.final_size


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_an_activation_is_its_formula_and_spares_linear_layers(
    activation: str, graph: Graph, randomise: Callable[..., Weights]
) -> None:
    arch = architecture(["gcn", "lightgcn"], activation=activation, readout="concat")
    weights = weights_of(arch, graph, randomise)
    first = FUNCTIONS[activation](apply_layer(weights, graph, 0, "gcn", embeddings(weights)))
    expected = torch.cat([embeddings(weights), first, graph.symmetric @ first], 1)
    torch.testing.assert_close(final(arch, weights, graph), expected, rtol=1e-5, atol=1e-6)


def test_cosine_scores_are_cosines(graph: Graph, randomise: Callable[..., Weights]) -> None:
    dot, cosine = (architecture(["gcn"], readout="concat", score=score) for score in ("dot", "cosine"))
    weights = weights_of(dot, graph, randomise)
    users, items = propagate(cosine, weights, graph)
    long_users, long_items = propagate(dot, weights, graph)
    expected = F.cosine_similarity(long_users[:, None], long_items[None], dim=2)
    torch.testing.assert_close(users @ items.t(), expected, rtol=1e-5, atol=1e-6)


def test_dropout_hides_its_share_of_the_embeddings_and_scales_the_rest(
    small: Interactions, randomise: Callable[..., Weights]
) -> None:
    graph, arch = Graph.from_interactions(small), architecture([], size=64)
    weights = weights_of(arch, graph, randomise)
    whole = final(arch, weights, graph)

    def dropped(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat(Propagation(weights, graph, 64, dropout=0.3, generator=generator)(arch))

    ratio = dropped(0) / whole
    kept = ratio != 0
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 1 / 0.7))
    # 4,480 entries: five standard deviations are .034.
    assert abs(float(kept.float().mean()) - 0.7) < 0.034
    assert torch.equal(dropped(0), dropped(0))
    assert not torch.equal(dropped(0), dropped(1))


# --- laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "heads"),
    [(name, heads) for name, a in AGGREGATORS.items() for heads in ([1, 2, 4] if a.attention else [1])],
)
def test_renaming_users_and_items_changes_nothing(
    name: str,
    heads: int,
    tiny: Interactions,
    graph: Graph,
    randomise: Callable[..., Weights],
    make_interactions: Callable[..., Interactions],
) -> None:
    arch = architecture([name, name], heads, skip="initial", readout="learned", activation="elu")
    weights = weights_of(arch, graph, randomise)
    rng = np.random.default_rng(5)
    user, item = rng.permutation(tiny.n_users), rng.permutation(tiny.n_items)
    pairs = zip(user[tiny.user].tolist(), item[tiny.item].tolist(), strict=True)
    renamed = Graph.from_interactions(make_interactions(pairs, tiny.n_users, tiny.n_items))
    moved = Weights(
        weights.tensors
        | {
            "users": weights.tensors["users"][np.argsort(user)],
            "items": weights.tensors["items"][np.argsort(item)],
        }
    )
    users, items = propagate(arch, weights, graph)
    other_users, other_items = propagate(arch, moved, renamed)
    torch.testing.assert_close(other_users[user], users, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(other_items[item], items, rtol=1e-5, atol=1e-5)


any_branch = st.builds(
    lambda names, heads, skip, readout, activation, score: GraphBranch(
        hidden_size=8,
        # Aggregators without attention carry a number of heads too: their canonical form does not.
        layers=tuple(Layer(aggregator=name, heads=h) for name, h in zip(names, heads, strict=False)),
        skip=skip,
        readout=readout,
        activation=activation,
        score=score,
    ),
    st.lists(st.sampled_from(list(AGGREGATORS)), max_size=3),
    st.lists(st.sampled_from([1, 2, 4]), min_size=3, max_size=3),
    *(st.sampled_from(_WORDS[name]) for name in ("skip", "readout", "activation", "score")),
)


@given(branch=any_branch)
@settings(max_examples=100)
def test_the_canonical_form_is_the_same_function(
    branch: GraphBranch, graph: Graph, randomise: Callable[..., Weights]
) -> None:
    arch = Architecture(graph=branch)
    weights = weights_of(arch, graph, randomise)
    if not branch.layers and branch.readout == "learned":
        weights = Weights(weights.tensors | {"readout": torch.ones(1)})
    torch.testing.assert_close(
        final(arch.canonical(), weights, graph), final(arch, weights, graph), rtol=1e-5, atol=1e-6
    )
